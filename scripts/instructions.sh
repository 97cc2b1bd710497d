#!/usr/bin/env bash
# Counts the instructions of each operation by callgrind, and compares them with the file
# benches/instructions.txt: fails where one has grown by more than 5 %. Counts repeat on noisy
# machines, to the instruction.
#
#   scripts/instructions.sh              compares
#   scripts/instructions.sh --update     writes the file; commit it with what changed the counts
#   scripts/instructions.sh --asm        prints the loops around a safe point and an ambient one
#   scripts/instructions.sh --where OP   which functions the instructions of an operation are in
#
# An operation's count is the difference of two runs, of N and of 2 N, divided by N: what comes
# before and after cancels out. gungraun would do the same, but needs a runner of exactly its
# version to be installed; valgrind is all that this needs.
#
# Another rustc generates other code. The file says which one it was written with; where yours is
# another, that is said, and the counts are compared all the same. On another architecture, or
# without valgrind, nothing is compared; with CI set that is a failure.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
case "$*" in
  '' | --update | --asm | --where | '--where '*) ;;
  *) refuse "unknown arguments '$*', expected --update, --asm, --where OP or none" ;;
esac
cd "$(dirname "$0")/.."

file=benches/instructions.txt
times=10000
compiler=$(rustc -V | cut -d' ' -f2)
machine=$(rustc -vV | sed -n 's/^host: //p')

skip() {
  echo "instructions.sh: NOT CHECKED: $*" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
}

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --manifest-path benches/peers/Cargo.toml --bin count --bin count_helper
count=$CARGO_TARGET_DIR/release/count

if [ "${1:-}" = --asm ]; then
  objdump -d -C --no-show-raw-insn "$count" | awk '/^[0-9a-f]+ <count::(safe_points|ambient_checks)/,/^$/'
  exit
fi

command -v valgrind >/dev/null || skip 'valgrind is missing (Debian: apt-get install valgrind)'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The operations of a helper are in a program of their own. Its list is read whole: `grep -q` at the
# end of a pipe goes at the first match, and a program that still writes then fails, now and then.
helper_operations=$("${count}_helper")
operations() { "$count" && echo "$helper_operations"; }
program() { if grep -qx -- "$1" <<<"$helper_operations"; then echo "${count}_helper"; else echo "$count"; fi; }

collected() {
  valgrind --tool=callgrind --callgrind-out-file="$work/out" "$(program "$1")" "$1" "$2" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; return 1; }
  sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log"
}

if [ "${1:-}" = --where ]; then
  names=$(operations)
  grep -qx -- "${2:-}" <<<"$names" || refuse "unknown operation '${2:-}', expected one of ${names//$'\n'/, }"
  collected "$2" "$times" >/dev/null
  callgrind_annotate --threshold=99 "$work/out" 2>/dev/null | grep -v -e '^--' -e '^$' | cut -c1-160
  exit
fi

was() { [ ! -e "$file" ] || awk -v name="$1" '$1 == name { print $2 }' "$file"; }

failed=0
{
  echo '# Instructions per operation, counted by callgrind: scripts/instructions.sh --update'
  echo "# rustc $compiler, $machine"
} >"$work/new"
if [ "${1:-}" != --update ]; then
  [ -e "$file" ] || { echo "instructions.sh: there is no $file" >&2; exit 1; }
  written=$(sed -n 's/^# rustc //p' "$file")
  [ "${written#*, }" = "$machine" ] || skip "$file is for ${written#*, }, and this is $machine"
  [ "${written%,*}" = "$compiler" ] ||
    echo "instructions.sh: $file was written with rustc ${written%,*}, this is $compiler" >&2
fi
for name in $(operations); do
  once=$(collected "$name" $times)
  twice=$(collected "$name" $((2 * times)))
  now=$(awk -v many=$((twice - once)) -v times=$times 'BEGIN { printf "%.1f", many / times }')
  before=$(was "$name")
  echo "$name $now" >>"$work/new"
  printf '%-20s %8s  was %s\n' "$name" "$now" "${before:--}"
  [ "${1:-}" != --update ] || continue
  if ! awk -v now="$now" -v was="${before:-0}" 'BEGIN { exit !(now <= was * 1.05) }'; then
    echo "instructions.sh: $name has grown by more than 5 %: change the code or, by --update, $file" >&2
    failed=1
  fi
done
[ "${1:-}" != --update ] || cp "$work/new" "$file"
exit $failed
