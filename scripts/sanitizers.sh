#!/usr/bin/env bash
# ThreadSanitizer and AddressSanitizer over the tests and the soaks, on nightly Rust.
#
#   scripts/sanitizers.sh [thread|address]...      both, if none is named
#   NIGHTLY=nightly SOAK_ROUNDS=20 scripts/sanitizers.sh
#
# It fails where a test fails, where AddressSanitizer reports anything, and where
# ThreadSanitizer reports a race in which either access is made by a file of `src/`.
#
# What these runs can't see:
# - The standard library is the one that comes with Rust, built without a sanitizer. Its
#   mutexes, channels and joins order what they guard, and ThreadSanitizer does not know it:
#   data behind a contended `std::sync::Mutex` looks like a race, in the test harness, in the
#   tests, in crossbeam's channels and in the server. So only accesses made by `src/` count.
#   It guards what it shares by parking_lot, which is built with the sanitizer. Comparing and
#   hashing ids, which are plain numbers in other people's maps, does not count, nor does what
#   lies on a thread's stack: scoped threads borrow it, and their end is one of those joins.
# - Drops of an `Arc` are suppressed (`tsan.supp`), and with them a race on what the last one
#   frees.
# - SQLite is C, and built without a sanitizer: its own accesses are not looked at, in its heap
#   only what passes through the system's `malloc`.
# - Neither knows of orderings that are too weak but work on this machine: that is loom's part.
# - There is no unsafe code in the library, so that whatever is found is a dependency's.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
takes thread address
cd "$(dirname "$0")/.."

nightly=${NIGHTLY:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- thread address
# The one takes the address space away that a sanitizer needs. The other asks that safe points be
# near each other in time, and a sanitizer makes all of it many times slower. The rest leak on
# purpose.
not_here=(--skip without_threads_clients_are_told --skip heavy_statements_are_not_reported
  --skip that_was_forgotten --skip an_attachment_that_ends --skip though_a_run_was_forgotten
  --skip what_a_panic_carries_may_panic)

# Prints the reports in which `src/` makes one of the accesses, and fails if there are any.
races_in_src() {
  awk -v src="$PWD/src/" '
    /^WARNING: ThreadSanitizer/ { report = ""; ours = 0; owned = 1; borrowed = 0 }
    { report = report $0 "\n" }
    / of size [0-9]+ at / { owned = 0 }
    /^$/ { owned = 1 }
    /^  Location is stack of / { borrowed = 1 }
    # What proptest sets up once, and what a panic prints.
    /^  Location is global .proptest/ || / as std::io::Write>::write_all / { borrowed = 1 }
    # The first frame that is not of the standard library makes the access.
    !owned && /^ +#[0-9]+ .* \/[^ ]+:[0-9]+/ && !/ \/rustc\/| \/rust\/deps\/|\/src\/id\.rs:/ {
      owned = 1
      ours += index($0, " " src) > 0
    }
    /^SUMMARY/ { all++; if (ours && !borrowed) { print report; found++ } }
    END {
      printf "%d reports, %d of them of races in src/\n", all, found
      exit found > 0
    }' "$@" /dev/null
}

run() {
  local sanitizer=$1 target=$PWD/target/$1 failed=0
  echo "== $sanitizer =="
  rm -rf "$target/reports"
  mkdir -p "$target/reports"
  # With a target named, build scripts and procedural macros are left as they are. It is named by
  # the environment, so that the tests that build the example server build it the same way.
  export CARGO_BUILD_TARGET=$host
  export CARGO_TARGET_DIR=$target
  export RUSTFLAGS="-Zsanitizer=$sanitizer -Cunsafe-allow-abi-mismatch=sanitizer"
  export TSAN_OPTIONS="exitcode=0 log_path=$target/reports/tsan suppressions=$PWD/scripts/tsan.supp"
  export ASAN_OPTIONS="log_path=$target/reports/asan"
  export SOAK_ROUNDS=${SOAK_ROUNDS:-1}
  cargo "+$nightly" test -q --no-fail-fast -p safepoint -p safepoint-demo --lib --tests \
    -- "${not_here[@]}" || failed=1
  if [ "$sanitizer" = thread ]; then
    races_in_src "$target"/reports/* || failed=1
  elif compgen -G "$target/reports/*" >/dev/null; then
    cat "$target"/reports/*
    failed=1
  fi
  return $failed
}

failed=0
for sanitizer; do (run "$sanitizer") || failed=1; done
exit $failed
