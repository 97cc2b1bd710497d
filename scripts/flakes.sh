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
# A nice round gets a hundredth of a core for each of its threads. So it runs a part of a program's
# tests, one in sixteen, and the next nice round the next part; and twelve nice rounds run at a time.
# A program with fewer tests than that runs one of them.
#
# AT_ONCE=4 runs four programs at a time in the other rounds, so that "alone" is beside three others.
# KINDS="alone nice" runs the rounds of these kinds only, of alone, busy and nice.
# FILTER=text runs the tests whose names contain that text. A program that has not ended after LIMIT
# seconds (600) is stopped, and has failed. The outputs of failures stay in target/flakes.
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
for kind in ${KINDS:-}; do
  case $kind in alone | busy | nice) ;; *) refuse "KINDS: expected alone, busy or nice, got '$kind'" ;; esac
done

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

# How many parts a program's tests are run in at `nice -n 19`, and how many rounds run at a time there.
parts=16 nice_at_once=12

out=target/flakes
rm -rf "$out"
mkdir -p "$out"
: >"$out/rounds"

# One round of one program: how (alone, busy or nice), which round.
round() {
  local line=$1 how=$2 number=$3 folder name program begun took log status=0
  IFS=$'\t' read -r folder name program <<<"$line"
  log=$PWD/$out/$name.$number.$how
  local run=(timeout --kill-after=5 "${LIMIT:-600}" "$program") tests
  if [ "$how" = nice ]; then
    mapfile -t tests < <(cd "$folder" && "$program" --list ${FILTER:+"$FILTER"} |
      sed -n 's/: test$//p' | awk -v round=$((number / 2)) -v parts=$parts '
        { test[NR] = $0 }
        END {
          if (NR < parts) parts = NR
          for (at = 1; at <= NR; at++) if (at % parts == round % parts) print test[at]
        }')
    [ ${#tests[@]} -gt 0 ] || return 0
    run=(nice -n 19 "${run[@]}" --exact "${tests[@]}")
  else
    run+=(${FILTER:+"$FILTER"})
  fi
  begun=$(date +%s%N)
  (cd "$folder" && SOAK_SEED=$number CARGO_MANIFEST_DIR=$folder "${run[@]}") >"$log" 2>&1 || status=$?
  took=$((($(date +%s%N) - begun) / 1000000))
  printf '%s\t%s\t%s\t%s\n' "$name" "$status" "$took" "$how" >>"$out/rounds"
  if [ "$status" -eq 0 ]; then
    rm "$log"
  else
    echo "flakes.sh: $name failed ($status) in round $number, $how, SOAK_SEED=$number, after $took ms:"
    cat "$log"
  fi
}

running=0
start_round() {
  if [ "$running" -ge "$at_once" ]; then
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

# The rounds from the first number to the last, in steps, of all programs that run in them.
rounds_of() {
  local how=$1 first=$2 last=$3 step=$4 number line
  for ((number = first; number <= last; number += step)); do
    for line in "${list[@]}"; do
      case $how:${line%%$'\t'*} in
        busy:*/loom-tests | busy:*/shuttle-tests | nice:*/loom-tests | nice:*/shuttle-tests) continue ;;
      esac
      start_round "$line" "$how" "$number"
    done
  done
  all_rounds
}

wants() { [[ " ${KINDS:-alone busy nice} " == *" $1 "* ]]; }

half=$(((rounds + 1) / 2))
at_once=${AT_ONCE:-1}
! wants alone || rounds_of alone 1 "$half" 1
[ "$rounds" -le "$half" ] || keep_busy
! wants busy || rounds_of busy $((half + 1)) "$rounds" 2
at_once=$nice_at_once
! wants nice || rounds_of nice $((half + 2)) "$rounds" 2
rest

printf '%-24s %6s %6s %6s %6s %24s\n' program alone busy nice failed 'longest, each (ms)'
awk -F'\t' '
  !($1 in known) { known[$1]; names[++count] = $1 }
  { ran[$1, $4]++; if ($2 != 0) { failed[$1]++; failures++ } }
  $3 > longest[$1, $4] { longest[$1, $4] = $3 }
  END {
    for (at = 1; at <= count; at++) {
      name = names[at]
      printf "%-24s %6d %6d %6d %6d %8d %7d %7d\n", name, ran[name, "alone"], ran[name, "busy"], ran[name, "nice"],
        failed[name], longest[name, "alone"], longest[name, "busy"], longest[name, "nice"]
    }
    printf "%d failures\n", failures
    exit failures > 0
  }' "$out/rounds"
