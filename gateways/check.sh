#!/usr/bin/env bash
# Builds and tests the gateways, each a workspace of its own with many dependencies, and so not part of
# .ci/run. It needs Rust and curl.
set -euo pipefail
cd "$(dirname "$0")"
for gateway in */Cargo.toml; do
  echo "check.sh: ${gateway%/*}"
  ! command -v python3 >/dev/null || python3 ../scripts/prose.py "${gateway%/*}" --max 0
  cargo fmt --manifest-path "$gateway" --check
  cargo clippy --manifest-path "$gateway" --all-targets -- -D warnings
  (cd "${gateway%/*}" && cargo test --release)
done
