#!/usr/bin/env bash
# Looks for tests that fail by chance: runs each test program many times, half of the rounds alone
# and half while both cores are kept busy by two endless loops; every other one of those at
# `nice -n 19`, so that it gets a small part of the machine. Prints each failure, with its seed and
# its output, and at the end a line for each program. Fails where one has failed.
#
#   scripts/flakes.sh                    4 rounds of every test program of the workspace
#   scripts/flakes.sh 60                 60 rounds
#   scripts/flakes.sh 200 e2e it         200 rounds of these programs; `lib` is the library's unit tests
#   scripts/flakes.sh 60 -loom -shuttle  60 rounds of all but the programs of packages named so
#
# AT_ONCE=4 runs four programs at a time, so that "alone" is beside three others. FILTER=text runs
# the tests whose names contain that text. A program that has not ended after LIMIT seconds (600) is
# stopped, and has failed. The outputs of failures stay in target/flakes.
#
# The soaks are given another seed each round, SOAK_SEED. The models and scenes do the same under any
# load, so they run in the rounds alone only: at `nice -n 19` they would not end in time.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."

# As .cargo/config.toml has it for `cargo test`.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-8}

rounds=4
wanted=() unwanted=()
for argument in "$@"; do
  case $argument in
    *[!0-9]*) case $argument in -*) unwanted+=("${argument#-}") ;; *) wanted+=("$argument") ;; esac ;;
    *) rounds=$argument ;;
  esac
done
[ "$rounds" -ge 1 ] || refuse 'expected at least one round'

# The package's folder, the program's name, and the program. The README's test command builds the
# same ones.
programs() {
  cargo test --workspace --no-run --message-format=json |
    grep '"profile":{[^}]*"test":true' |
    sed -n 's/.*"manifest_path":"\([^"]*\)\/Cargo.toml","target":{"kind":\["\([^"]*\)"\].*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1\t\2\t\3\t\4/p' |
    while IFS=$'\t' read -r folder kind name program; do
      [ "$kind" != lib ] || [ "$folder" != "$PWD" ] || name=lib
      printf '%s\t%s\t%s\n' "$folder" "$name" "$program"
    done
}

chosen() {
  local name=$1 package=$2 word
  for word in "${unwanted[@]}"; do
    [[ $package != "$word"* && $name != "$word" ]] || return 1
  done
  [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $name "* ]]
}

list=()
while IFS= read -r line; do
  IFS=$'\t' read -r folder name program <<<"$line"
  ! chosen "$name" "$(basename "$folder")" || list+=("$line")
done < <(programs)
[ ${#list[@]} -gt 0 ] || refuse "no test program is called ${wanted[*]:-anything}"

busy=()
rest() {
  [ ${#busy[@]} -eq 0 ] || kill "${busy[@]}" 2>/dev/null || true
  busy=()
}
trap rest EXIT
keep_busy() {
  local core
  for core in 1 2; do
    (while :; do :; done) &
    busy+=($!)
  done
}

out=target/flakes
rm -rf "$out"
mkdir -p "$out"
: >"$out/rounds"

# One round of one program: how (alone, busy or nice), which round.
round() {
  local line=$1 how=$2 number=$3 folder name program begun took log status=0
  IFS=$'\t' read -r folder name program <<<"$line"
  log=$PWD/$out/$name.$number.$how
  local run=(timeout --kill-after=5 "${LIMIT:-600}" "$program" ${FILTER:+"$FILTER"})
  [ "$how" != nice ] || run=(nice -n 19 "${run[@]}")
  begun=$(date +%s%N)
  (cd "$folder" && SOAK_SEED=$number CARGO_MANIFEST_DIR=$folder "${run[@]}") >"$log" 2>&1 || status=$?
  took=$((($(date +%s%N) - begun) / 1000000))
  printf '%s\t%s\t%s\n' "$name" "$status" "$took" >>"$out/rounds"
  if [ "$status" -eq 0 ]; then
    rm "$log"
  else
    echo "flakes.sh: $name failed ($status) in round $number, $how, SOAK_SEED=$number, after $took ms:"
    cat "$log"
  fi
}

running=0
start_round() {
  if [ "$running" -eq "${AT_ONCE:-1}" ]; then
    wait -n -p ended "${rounds_running[@]}"
    unset "rounds_running[$ended]"
    running=$((running - 1))
  fi
  round "$@" &
  rounds_running[$!]=$!
  running=$((running + 1))
}
all_rounds() {
  [ "$running" -eq 0 ] || wait "${rounds_running[@]}"
  rounds_running=()
  running=0
}
declare -a rounds_running=()

half=$(((rounds + 1) / 2))
for ((number = 1; number <= half; number++)); do
  for line in "${list[@]}"; do start_round "$line" alone "$number"; done
done
all_rounds
[ "$rounds" -le "$half" ] || keep_busy
for ((number = half + 1; number <= rounds; number++)); do
  how=busy
  [ $(((number - half) % 2)) -eq 1 ] || how=nice
  for line in "${list[@]}"; do
    case ${line%%$'\t'*} in */loom-tests | */shuttle-tests) continue ;; esac
    start_round "$line" "$how" "$number"
  done
done
all_rounds
rest

printf '%-32s %6s %6s %12s %12s\n' program rounds failed 'mean (ms)' 'longest (ms)'
awk -F'\t' '
  !($1 in ran) { names[++count] = $1 }
  { ran[$1]++; total[$1] += $3; if ($2 != 0) { failed[$1]++; failures++ } }
  $3 > longest[$1] { longest[$1] = $3 }
  END {
    for (at = 1; at <= count; at++) {
      name = names[at]
      printf "%-32s %6d %6d %12d %12d\n", name, ran[name], failed[name], total[name] / ran[name], longest[name]
    }
    printf "%d failures\n", failures
    exit failures > 0
  }' "$out/rounds"
