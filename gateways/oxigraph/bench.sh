#!/usr/bin/env bash
# Measures the gateway beside the stock server of the same version, and writes the tables into README.md. It
# builds that server with its RocksDB, which takes some 15 minutes on two cores and needs clang and
# libclang. `STOCK=program` takes one that is built already. QUADS=2100000 and REPEATS=20 can be set too.
set -euo pipefail
cd "$(dirname "$0")"
cargo build --release
stock=${STOCK:-target/stock/bin/oxigraph}
if [ ! -x "$stock" ]; then
  cargo install oxigraph-cli@0.5.13 --locked --no-default-features --root target/stock
fi
data=target/people.nt
./people.sh "${QUADS:-2100000}" >"$data"
{
  printf 'Measured on %s by `bench.sh`: Oxigraph 0.5.13 in both, in memory, with %s quads, on %s cores' \
    "$(date +%F)" "$(sort -u "$data" | wc -l)" "$(nproc)"
  printf ' of %s.\n\n' "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -1)"
  ./bench.py target/release/safepoint-oxigraph "$stock" "$data" "${REPEATS:-20}"
} | tee target/tables
awk '
  FNR == NR { tables = tables $0 "\n"; next }
  /<!-- end of the tables -->/ { inside = 0 }
  !inside { print }
  /<!-- tables -->/ { inside = 1; printf "\n%s\n", tables }
' target/tables README.md >target/README.md
mv target/README.md README.md
