#!/usr/bin/env bash
# Measures the example server beside PostgreSQL and MariaDB with its thread pool, on this machine,
# in one go, and prints one Markdown table. Each server is started apart, on loopback, with data
# in a temporary folder, and is stopped before the next one starts.
#
# IDLE=N, SECONDS_EACH=N and CLIENTS='8 200 1000' change what is measured.
set -euo pipefail
source "$(dirname "$0")/usage.sh"
takes
cd "$(dirname "$0")/.."

idle=${IDLE:-1000}
seconds=${SECONDS_EACH:-10}
read -ra clients <<<"${CLIENTS:-8 200 1000}"
pg_bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
timeout=20

missing=()
[ -x "$pg_bin/initdb" ] && [ -x "$pg_bin/pgbench" ] || missing+=(postgresql-15)
[ -x "$(command -v mariadbd)" ] && [ -x "$(command -v mariadb-install-db)" ] || missing+=(mariadb-server)
if [ ${#missing[@]} -gt 0 ]; then
  echo "compare.sh: these Debian packages are missing: ${missing[*]}" >&2
  exit 1
fi

ulimit -n "$(ulimit -Hn)"
cargo build --quiet --release -p safepoint-demo --bin server
cargo build --quiet --release -p load
release=${CARGO_TARGET_DIR:-target}/release

work=$(mktemp -d)
chmod 755 "$work"
server_pid=
failed=0
stop() {
  [ -n "$server_pid" ] || return 0
  kill "$server_pid" 2>/dev/null || true
  # Who does not stop when asked is killed.
  for _ in $(seq 150); do
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# PostgreSQL and MariaDB don't run as root. This becomes the command, so that in the background
# its pid is the server's own.
become() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
  else
    exec "$@"
  fi
}
as() { (become "$@"); }

private_folder() {
  mkdir "$work/$1"
  [ "$(id -u)" != 0 ] || chown "$1:" "$work/$1"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    listens "$port" || break
  done
  echo "$port"
}

# Until "$@" says yes. The server's own words tell why it never did.
wait_for() {
  local log=$1
  shift
  for _ in $(seq 300); do
    ! "$@" || return 0
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "compare.sh: the server did not start:" >&2
  tail -n 20 "$log" >&2
  exit 1
}

# The rows go to the table, the header once.
load() {
  local label=$1 what=$2
  shift 2
  echo "$label: $what" >&2
  "$release/load" "$what" --label "$label" --timeout "$timeout" "$@" >"$work/rows" || {
    failed=1
    echo "| $label | **$what failed, see above** | | | | | | |" >>"$work/rows"
  }
  [ -s "$work/table" ] || sed -n 1,2p "$work/rows" >"$work/table"
  # Connections are reported once, with the memory that they take.
  grep -v -e '^| server' -e '^|---' -e '| open, busy |' "$work/rows" |
    { grep -v '| open, idle |.*|  |$' || true; } >>"$work/table"
}

throughput() {
  local label=$1 count
  shift
  # What was run before leaves memory to be used again, so this comes first.
  load "$label, just started" throughput --idle "$idle" --busy 1 --seconds 1 \
    --server-pid "$server_pid" "$@"
  for count in "${clients[@]}"; do
    load "$label" throughput --idle 0 --busy "$count" --seconds "$seconds" "$@"
  done
}

# The endless work comes last: where a kill fails, it holds the server up.
kills() {
  local label=$1
  shift
  load "$label, busy with select 1" kill-one-by-one --idle "$idle" --busy 2 --busy-statement 'select 1' "$@"
  load "$label, busy with select 1" kill-all --idle "$idle" --busy 2 --busy-statement 'select 1' "$@"
  load "$label, busy with endless work" kill-one-by-one --idle "$idle" --busy 2 "$@"
}

bench() {
  local label=$1 port=$2 count said tps latency
  echo 'select 1' >"$work/select.sql"
  for count in "${clients[@]}"; do
    echo "$label: pgbench, $count clients" >&2
    if said=$(timeout $((seconds + timeout)) "$pg_bin/pgbench" -h 127.0.0.1 -p "$port" -U omm -n -M simple -j 2 -f "$work/select.sql" \
      -c "$count" -T "$seconds" postgres 2>&1); then
      tps=$(sed -n 's/^tps = \([0-9]*\).*/\1/p' <<<"$said")
      latency=$(sed -n 's/^latency average = //p' <<<"$said")
      echo "| $label | pgbench, select 1, $count clients | | $tps | | | | average: $latency |"
    else
      failed=1
      tail -n 5 <<<"$said" >&2
      echo "| $label | **pgbench, select 1, $count clients, failed, see above** | | | | | | |"
    fi >>"$work/table"
  done
}

safepoint() {
  local label=$1 address
  shift
  : >"$work/address"
  "$release/server" --listen 127.0.0.1:0 "$@" >"$work/address" 2>"$work/log" &
  server_pid=$!
  wait_for "$work/log" test -s "$work/address"
  address=$(head -n 1 "$work/address")
  throughput "$label" --address "$address"
  bench "$label" "${address##*:}"
  kills "$label" --address "$address"
  stop
}

postgresql() {
  local port
  port=$(free_port)
  private_folder postgres
  as postgres "$pg_bin/initdb" -D "$work/postgres/data" -U omm -A trust -E UTF8 --no-sync >"$work/log" 2>&1
  become postgres "$pg_bin/postgres" -D "$work/postgres/data" -p "$port" -h 127.0.0.1 -k "$work/postgres" \
    -c max_connections=$((idle + 200)) >"$work/log" 2>&1 &
  server_pid=$!
  wait_for "$work/log" "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$port"
  throughput PostgreSQL --address "127.0.0.1:$port" --database postgres
  bench PostgreSQL "$port"
  kills PostgreSQL --address "127.0.0.1:$port" --database postgres
  stop
}

mariadb() {
  local port
  port=$(free_port)
  private_folder mysql
  as mysql mariadb-install-db --no-defaults --datadir="$work/mysql/data" \
    --auth-root-authentication-method=normal --skip-test-db >"$work/log" 2>&1
  become mysql mariadbd --no-defaults --datadir="$work/mysql/data" --socket="$work/mysql/socket" \
    --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --thread-handling=pool-of-threads \
    --max-connections=$((idle + 200)) --max-connect-errors=1000000 --back-log=1000 \
    >"$work/log" 2>&1 &
  server_pid=$!
  wait_for "$work/log" listens "$port"
  throughput 'MariaDB, thread pool' --protocol mysql --user root --address "127.0.0.1:$port"
  kills 'MariaDB, thread pool' --protocol mysql --user root --address "127.0.0.1:$port"
  stop
}

safepoint 'safepoint, thread pool' --thread-pool on
safepoint 'safepoint, thread per session' --thread-pool off
postgresql
mariadb
cat "$work/table"
exit "$failed"
