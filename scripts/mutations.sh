#!/usr/bin/env bash
# Runs the library's tests against the mistakes of mutation-tests/table.rs: each mistake is switched
# on in turn, and every test that the table names for it has to fail. The mistakes that models and
# scenes refute are tried by `cargo test -p loom-tests -p shuttle-tests`.
#
#   scripts/mutations.sh            all of them, in some 16 minutes
#   scripts/mutations.sh NAME ...   these
set -euo pipefail
source "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."
cargo run -q -p mutation-tests -- "$@"
