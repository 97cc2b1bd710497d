#!/usr/bin/env bash
# Writes N-Triples about people who know each other, 8 for each: a type, a name, an age, a city, and four
# whom they know. The same data for the same number.
#
#   ./people.sh 2000000 > people.nt
set -euo pipefail
case ${1:-} in "" | *[!0-9]*) echo "people.sh: expected the number of triples, got '${1:-}'" >&2; exit 2 ;; esac
exec awk -v triples="$1" '
  function random(below) {
    state = (state * 1103515245 + 12345) % 2147483648
    return int(state / 65536) * below / 32768
  }
  function triple(predicate, object) { print person " <http://example.com/" predicate "> " object " ." }
  function node(kind, number) { return "<http://example.com/" kind "/" int(number) ">" }
  BEGIN {
    people = int((triples + 7) / 8)
    state = 42
    for (number = 0; number < people; number++) {
      person = node("person", number)
      triple("kind", "<http://example.com/Person>")
      triple("name", "\"Person " int(random(1000000)) "\"")
      triple("age", "\"" int(random(100)) "\"^^<http://www.w3.org/2001/XMLSchema#integer>")
      triple("city", node("city", random(1000)))
      # The first one makes a circle through all people.
      triple("knows", node("person", (number + 1) % people))
      for (other = 0; other < 3; other++) triple("knows", node("person", (random(32768) + random(1)) / 32768 * people))
    }
  }'
