#!/usr/bin/env bash
# ThreadSanitizer and AddressSanitizer over the tests and the soaks, on nightly Rust.
#
#   scripts/sanitizers.sh [thread|address]...      both, if none is named
#   NIGHTLY=nightly-2026-05-19 scripts/sanitizers.sh
#
# It fails where a sanitizer reports anything, or a test fails.
set -euo pipefail
cd "$(dirname "$0")/.."

nightly=${NIGHTLY:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- thread address

run() {
  local sanitizer=$1
  echo "== $sanitizer =="
  # With --target build scripts and procedural macros are left as they are.
  RUSTFLAGS="-Zsanitizer=$sanitizer -Cunsafe-allow-abi-mismatch=sanitizer" \
    TSAN_OPTIONS="halt_on_error=1 exitcode=66 suppressions=$PWD/scripts/tsan.supp" \
    ASAN_OPTIONS="halt_on_error=1 exitcode=66 detect_leaks=1" \
    CARGO_TARGET_DIR="target/$sanitizer" \
    SOAK_ROUNDS=1 PROPTEST_CASES=32 \
    cargo "+$nightly" test --target "$host" -p safepoint --lib --tests --example server
}

for sanitizer; do run "$sanitizer"; done
