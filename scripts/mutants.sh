#!/usr/bin/env bash
# Mutation check of the core: each line of the word, record, registry, session, wait and kill
# modules is broken in turn, and the library's tests have to notice. What they need not notice
# stands in .cargo/mutants.toml, each with its reason. Some 400 mutants, about an hour on two
# cores. It needs cargo-mutants (`cargo install cargo-mutants`).
#
#   scripts/mutants.sh                    all of them
#   scripts/mutants.sh -f src/word.rs     those of one file
set -euo pipefail
source "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."

# Short runs of the reference model do, and debug information is slow to link.
export PROPTEST_CASES=${PROPTEST_CASES:-60}
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0

[ $# -gt 0 ] || set -- -f 'src/{word,record,registry,session,attached,task,hold,wait,kill}.rs' -f 'src/record/*.rs'
cargo mutants --timeout 15 "$@"
