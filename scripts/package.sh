#!/usr/bin/env bash
# Whether the crate could be published as it stands: the rust-version is true, the package builds,
# the licences and sources of what it brings along are those of deny.toml, and nothing of the last
# release's API is broken. What is not installed is named, and left out.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
takes
cd "$(dirname "$0")/.."

scripts/rust-version.sh

said=$(cargo publish --quiet --dry-run --allow-dirty -p safepoint 2>&1) || { echo "$said"; exit 1; }
# The profiles of Cargo.toml are for packages of the workspace that are not published.
noise='profile package spec|a package with a similar name|^$|aborting upload due to dry run'
grep -vE "$noise" <<<"$said" || true
echo "package: builds"

if cargo deny --version >/dev/null 2>&1; then
  # The advisories are in a repository that has to be fetched.
  checks=(bans licenses sources)
  [ "${ADVISORIES:-}" = 1 ] && checks+=(advisories)
  cargo deny --log-level error check "${checks[@]}"
else
  echo "cargo deny: not installed (cargo install cargo-deny)"
fi

release=$(git for-each-ref --sort=-version:refname --count=1 --format='%(refname:short)' 'refs/tags/v*')
if ! cargo semver-checks --version >/dev/null 2>&1; then
  echo "semver: not installed (cargo install cargo-semver-checks)"
elif [ -z "$release" ] && [ -z "${BASELINE:-}" ]; then
  echo "semver: no release to compare with (BASELINE=REVISION compares with that)"
else
  cargo semver-checks -p safepoint --all-features --baseline-rev "${BASELINE:-$release}"
fi
