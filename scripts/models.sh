#!/usr/bin/env bash
# Runs the models and prints what they explored: the module, the model, the number of
# interleavings (all there are, or all up to the preemption bound), and at which one each
# mistake failed. Fails where a model fails or a mistake passes.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
takes
cd "$(dirname "$0")/.."

rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
cargo test -q -p loom-tests -- --nocapture >"$rows" || { cat "$rows"; exit 1; }
echo '| module | model | interleavings | mistakes refuted at |'
echo '|---|---|---|---|'
grep -o '| [a-z_:]* | .*|$' "$rows" | sort
