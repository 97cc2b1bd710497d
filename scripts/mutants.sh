#!/usr/bin/env bash
# Mutation check of the whole library: each line of src/ is broken in turn, as cargo-mutants lists
# it, and the library's own tests have to notice. What they need not notice stands in
# .cargo/mutants.toml, each with its reason. All mutants are in one build, so one costs a run of
# tests: with `--jobs 5` some 25 are tried in a minute on two quiet cores, and some 1,550 compile. It
# needs cargo-mutants (`cargo install cargo-mutants`) and python3.
#
#   scripts/mutants.sh                          all of them
#   scripts/mutants.sh -f 'src/pool/*.rs'       those of some files
#   scripts/mutants.sh --again RESULTS          those that an earlier run's results have as missed
#
# The outcome of each is in target/mutants/results.tsv: caught, hung (a wait that has no deadline, or
# a loop without end), missed, or unviable (it does not compile).
set -euo pipefail
source "$(dirname "$0")/usage.sh"
exec python3 "$(dirname "$0")/mutants.py" "$@"
