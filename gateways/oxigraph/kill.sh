#!/usr/bin/env bash
# Builds the gateway, runs it on data that it makes itself, and kills a query: what three terminals would
# show. It needs Rust and curl.
set -euo pipefail
cd "$(dirname "$0")"
cargo build --release
folder=$(mktemp -d)
./people.sh 400000 >"$folder/people.nt"
target/release/safepoint-oxigraph --bind 127.0.0.1:0 --operators 127.0.0.1:0 "$folder/people.nt" >"$folder/log" &
gateway=$!
trap 'kill "$gateway" 2>/dev/null || true; rm -r "$folder"' EXIT
until [ "$(wc -l <"$folder/log")" -ge 2 ]; do
  kill -0 "$gateway"
  sleep 0.1
done
clients=$(sed -n 's/^SPARQL: \(.*\)\/query.*/\1/p' "$folder/log")
operators=$(sed -n 's/^operators: \(.*\)\/activity.*/\1/p' "$folder/log")

shown() {
  printf '\n$ %s\n' "$*"
  "$@"
}
knows='<http://example.com/knows>'
query="SELECT (COUNT(*) AS ?n) { ?a $knows ?b . ?b $knows ?c . ?c $knows ?d . ?d $knows ?e . ?e $knows ?f }"
printf '\n# A client asks for something that takes minutes:\n$ curl %s/query --data-urlencode "query=%s"\n' "$clients" "$query"
curl -sS -w 'status %{http_code} after %{time_total} s\n' "$clients/query" --data-urlencode "query=$query" \
  >"$folder/answer" &
client=$!
until curl -sS "$operators/activity" | grep -q evaluate; do sleep 0.1; done
sleep 2
printf '\n# An operator looks who runs what, and ends it:'
shown curl -sS "$operators/activity"
session=$(curl -sS "$operators/activity" | sed 's/.*"session":"\([0-9]*\)".*/\1/')
printf '\n'
shown curl -sS -X DELETE "$operators/sessions/$session"
wait "$client"
printf '\n\n# What the client has got:\n'
cat "$folder/answer"
printf '\n# Who is left:'
shown curl -sS "$operators/activity"
printf '\n'
