#!/usr/bin/env bash
# Verifies the rust-version that Cargo.toml declares, with the toolchain that is at hand: whatever
# the library uses of std was stable by then, by clippy's word, and each crate that it brings along
# declares no later version. Where that toolchain is installed itself, it builds the library too.
set -euo pipefail
cd "$(dirname "$0")/.."

features=async,crossbeam-channel,serde,tracing,metrics

# name, version and rust-version of each package there is, a line each.
packages=$(cargo metadata --format-version 1 | sed 's/{"name":"[^"]*","version":"/\n&/g' |
  sed -n 's/^{"name":"\([^"]*\)","version":"\([^"]*\)".*"rust_version":"\([0-9.]*\)".*/\1 v\2 \3/p')
declared=$(sed -n 's/^safepoint v[^ ]* //p' <<<"$packages")
[ -n "$declared" ] || { echo "no rust-version in Cargo.toml" >&2; exit 1; }

# Clippy reads the rust-version itself.
touch src/lib.rs
cargo clippy --quiet -p safepoint --lib --features "$features" -- -D clippy::incompatible_msrv

brought=$(cargo tree -p safepoint -e normal,build --features "$features" --prefix none |
  cut -d' ' -f1,2 | sort -u)
later=$(while read -r name version needs; do
  grep -qx "$name $version" <<<"$brought" || continue
  latest=$(printf '%s\n' "$declared" "${needs%.0}" | sort -V | tail -1)
  [ "$latest" = "$declared" ] || echo "$name $version needs $needs"
done <<<"$packages")
if [ -n "$later" ]; then
  echo "declared is $declared, but:"
  echo "$later"
  exit 1
fi

if cargo "+$declared" --version >/dev/null 2>&1; then
  cargo "+$declared" check --quiet -p safepoint --features "$features"
  echo "rust-version $declared: built by it"
else
  echo "rust-version $declared: by clippy and by what the dependencies declare; it is not installed"
fi
