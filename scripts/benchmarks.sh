#!/usr/bin/env bash
# Asks the questions of benches/peers, all of them or those that are named, and writes
# BENCHMARKS.md and benches/charts/ from what was measured, now or before. All of them take some
# three minutes. `scripts/benchmarks.sh -n` measures nothing, and writes. A part of a question:
# `cargo bench --manifest-path benches/peers/Cargo.toml --bench accept_kill -- 'ours.*/1000$'`.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
takes -n safe_point helper attach_detach begin_finish open_close accept_kill kill_seen_running \
  kill_seen_parked snapshot memory
cd "$(dirname "$0")/.."

peers=benches/peers/Cargo.toml
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
target=$CARGO_TARGET_DIR
questions=("$@")
if [ $# = 0 ]; then
  questions=(safe_point helper attach_detach begin_finish open_close accept_kill
    kill_seen_running kill_seen_parked snapshot memory)
fi
if [ "${1:-}" != -n ]; then
  # First, so that no build runs beside a measurement.
  cargo build --quiet --release --manifest-path "$peers" --bins
  cargo bench --quiet --manifest-path "$peers" --benches --no-run
  for question in "${questions[@]}"; do
    # Names that are gone would stay.
    rm -rf "$target/criterion/$question" "$target/criterion/${question}_threads" "$target/figures/$question.json"
    cargo bench --quiet --manifest-path "$peers" --bench "$question" 2>/dev/null |
      { grep -E 'time:|^[a-z_]+[/:]' || true; }
  done
fi
cargo run --quiet --release --manifest-path "$peers" --bin report
