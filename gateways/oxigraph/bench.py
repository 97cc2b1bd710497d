#!/usr/bin/env python3
"""Compares the gateway with the stock server, and prints the tables of README.md.

    bench.py GATEWAY STOCK FILE [REPEATS]

GATEWAY and STOCK are the two programs, FILE is the data as N-Triples. Each figure is a median and the worst
of so many repeats, 20 if not given. Everything runs on this machine, the clients too.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from urllib.parse import urlencode

BASE = "http://example.com/"
KNOWS = f"<{BASE}knows>"
LONG = {
    "pattern match that yields rows": ("query", f"SELECT * {{ ?a {KNOWS} ?b . ?b {KNOWS} ?c . ?c {KNOWS} ?d }}"),
    "aggregation": ("query", f"SELECT ?city (COUNT(*) AS ?n) {{ ?a {KNOWS} ?b . ?b {KNOWS} ?c . ?c <{BASE}city> ?city }} GROUP BY ?city"),
    "ORDER BY": ("query", f"SELECT ?a ?n {{ ?a {KNOWS} ?b . ?b <{BASE}name> ?n }} ORDER BY ?n ?a"),
    "property path": ("query", f"SELECT (COUNT(*) AS ?n) {{ ?a <{BASE}city> <{BASE}city/7> . ?a {KNOWS}* ?b }}"),
    "update": ("update", f"INSERT {{ ?a <{BASE}new> ?c }} WHERE {{ ?a {KNOWS} ?b . ?b {KNOWS} ?c }}"),
}
PERSON = f"<{BASE}person/%d>"
MIX = [
    f"SELECT ?n {{ {PERSON} <{BASE}name> ?n }}",
    f"SELECT ?n {{ {PERSON} {KNOWS} ?b . ?b <{BASE}name> ?n }}",
    f"SELECT ?n ?age {{ {PERSON} {KNOWS} ?b . ?b {KNOWS} ?c . ?c <{BASE}name> ?n ; <{BASE}age> ?age }}",
    f"ASK {{ {PERSON} {KNOWS} <{BASE}person/1> }}",
    f"SELECT (COUNT(*) AS ?n) {{ {PERSON} {KNOWS} ?b . ?b {KNOWS} ?c . ?c {KNOWS} ?d . ?d {KNOWS} ?e }}",
    f"SELECT ?city (COUNT(*) AS ?n) {{ {PERSON} {KNOWS} ?b . ?b {KNOWS} ?c . ?c <{BASE}city> ?city }} GROUP BY ?city",
    f"SELECT ?b ?age {{ {PERSON} {KNOWS} ?b . ?b <{BASE}age> ?age }} ORDER BY ?age",
    f"CONSTRUCT {{ ?b <{BASE}knownBy> ?a }} WHERE {{ BIND({PERSON} AS ?a) ?a {KNOWS} ?b }}",
]
LONGER = [
    f"SELECT ?city (COUNT(*) AS ?n) {{ ?a <{BASE}city> ?city }} GROUP BY ?city ORDER BY ?city",
    f"SELECT (AVG(?age) AS ?n) {{ ?a <{BASE}age> ?age }}",
    f"SELECT ?a ?n {{ ?a <{BASE}city> <{BASE}city/7> ; <{BASE}name> ?n }}",
    f"SELECT ?a ?n {{ ?a <{BASE}age> 7 ; <{BASE}name> ?n }} ORDER BY ?n ?a LIMIT 10",
]
GATEWAY, OPERATORS, STOCK = 17878, 17879, 17880


class Server:
    """A server that runs as long as the `with` block."""

    def __init__(self, command, port, data=None):
        self.command, self.port, self.data = command, port, data

    def __enter__(self):
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, stdout=quiet, stderr=quiet)
        until(lambda: connect(self.port).connect() is None, 300)
        if self.data:
            connection = connect(self.port)
            with open(self.data, "rb") as body:
                connection.request("POST", "/store?default", body, {"Content-Type": "application/n-triples"})
                assert connection.getresponse().status == 204
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def cpu(self):
        """Returns the processor time so far, in seconds."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(ready, limit=120):
    """Waits until `ready` returns something, and returns how long that took, in seconds."""
    begun = time.monotonic()
    while True:
        try:
            if ready():
                return time.monotonic() - begun
        except OSError:
            pass
        if time.monotonic() - begun > limit:
            raise TimeoutError("not in time")
        time.sleep(0.001)


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=300)


def send(connection, operation, text, **more):
    body = urlencode({operation: text, **more})
    connection.request("POST", f"/{operation}", body, {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/sparql-results+json, application/n-triples"})


def receive(connection):
    """Reads an answer to its end. Returns the status, and whether it broke off."""
    try:
        response = connection.getresponse()
        while response.read(1 << 16):
            pass
        return response.status, False
    except (http.client.HTTPException, OSError, AttributeError, ValueError):
        # The last two: the client has closed the connection while this reads it.
        return None, True


def operator(method, path):
    connection = connect(OPERATORS)
    connection.request(method, path)
    return json.loads(connection.getresponse().read())


class Client(threading.Thread):
    """A client that waits for its answer."""

    def __init__(self, port, operation, text, **more):
        super().__init__(daemon=True)
        self.connection = connect(port)
        send(self.connection, operation, text, **more)
        self.begun = time.monotonic()
        self.start()

    def run(self):
        self.answer = receive(self.connection)
        self.ended = time.monotonic()

    def leave(self):
        """Closes the connection, as a client does that is killed."""
        self.connection.sock.shutdown(2)
        self.connection.close()


def idle():
    return not operator("GET", "/activity")


def figures(seconds):
    """Returns a median and the worst as a cell of a table, in milliseconds."""
    def text(s):
        return f"{s * 1e3:.1f}" if s < 0.01 else f"{s * 1e3:,.0f}"
    return f"{text(statistics.median(seconds))} / {text(max(seconds))}"


def ends_in_the_gateway(command, repeats):
    """Prints how fast each kind of work ends, by a kill, a timeout, and a client that has gone."""
    print("| gateway, ms: median / worst | kill: client | receipt | timeout: client | thread free | client gone: session gone |")
    print("|---|--:|--:|--:|--:|--:|")
    with Server(command, GATEWAY) as server:
        for name, (operation, text) in LONG.items():
            rows = {"told": [], "receipt": [], "late": [], "free": [], "gone": []}
            for _ in range(repeats):
                client = Client(GATEWAY, operation, text)
                time.sleep(0.5)
                session = operator("GET", "/activity")[0]["session"]
                asked = time.monotonic()
                receipt = operator("DELETE", f"/sessions/{session}")
                until(idle)
                rows["receipt"].append(receipt["seconds"] if receipt["ended"] else time.monotonic() - asked)
                client.join()
                rows["told"].append(max(0, client.ended - asked))
                client = Client(GATEWAY, operation, text, timeout=0.5)
                client.join()
                until(idle)
                rows["late"].append(client.ended - client.begun - 0.5)
                rows["free"].append(time.monotonic() - client.begun - 0.5)
                client = Client(GATEWAY, operation, text)
                time.sleep(0.5)
                client.leave()
                rows["gone"].append(until(idle))
            cells = " | ".join(figures(rows[key]) for key in rows)
            print(f"| {name} | {cells} |", flush=True)


def ends_in_stock(command, data, repeats):
    """Prints how fast the same work ends in the stock server, with a timeout of a second for all queries."""
    print("| stock, ms: median / worst | timeout of 1 s: client | the answer | processor time after the client has gone |")
    print("|---|--:|---|--:|")
    for name, (operation, text) in LONG.items():
        with Server([*command, "--timeout-s", "1"], STOCK, data):
            late, seen = [], set()
            for _ in range(repeats):
                client = Client(STOCK, operation, text)
                client.join(60)
                if client.is_alive():
                    late.append(60.0)
                    seen.add("nothing within 60 s")
                    break
                late.append(max(0, client.ended - client.begun - 1))
                status, broke = client.answer
                seen.add("breaks off" if broke else f"{status}" + (", as if complete" if status == 200 else ""))
                if operation == "update":
                    break
        print(f"| {name} | {figures(late)} | {' or '.join(sorted(seen))} |", end=" ", flush=True)
        with Server(command, STOCK, data) as server:
            client = Client(STOCK, operation, text)
            time.sleep(0.5)
            client.leave()
            left, begun = server.cpu(), time.monotonic()
            while time.monotonic() - begun < 30:
                before = server.cpu()
                time.sleep(0.3)
                if server.cpu() == before:
                    break
            burned = server.cpu() - left
        print(f"{burned:.1f} s{' or more' if time.monotonic() - begun >= 30 else ''} |", flush=True)


def threads(server, number, **more):
    """Returns the threads of a server without a query, and the most with so many at a time."""
    with server:
        before = server.threads()
        most = before
        clients = [Client(server.port, *LONG["aggregation"], **more) for _ in range(number)]
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            most = max(most, server.threads())
            time.sleep(0.02)
        del clients
        return before, most


def price(gateway, stock, data, rounds, starts=5):
    """Prints the time of each query in the gateway as a share of the stock server's, in turns. Both are started
    several times, since where their data lies in memory differs from start to start."""
    times = [{} for _ in range(starts)]
    for seen in times:
        with Server(gateway, GATEWAY), Server(stock, STOCK, data):
            ask_both(MIX, rounds, seen)
            ask_both(LONGER, max(1, rounds // 20), seen)
    print(f"| query, median of {starts} starts | gateway, ms | stock, ms | share | each start |")
    print("|---|--:|--:|--:|--:|")
    for name, queries in (("the short ones together", MIX), ("the longer ones together", LONGER)):
        for query in queries:
            text = query.replace(BASE, ":").replace("%d", "N").replace("|", "\\|")
            print(row(f"`{text}`", times, [query]))
        print(row(name, times, queries), flush=True)


def row(name, times, queries):
    sums = {port: [sum(seen[port, query] for query in queries) * 1e3 for seen in times] for port in (GATEWAY, STOCK)}
    shares = [one / other for one, other in zip(sums[GATEWAY], sums[STOCK])]
    middle = {port: statistics.median(sums[port]) for port in sums}
    each = f"{min(shares):.2f} to {max(shares):.2f}"
    return f"| {name} | {middle[GATEWAY]:.2f} | {middle[STOCK]:.2f} | {statistics.median(shares):.2f} | {each} |"


def ask_both(queries, rounds, seen):
    """Asks both servers in turns, and stores the median time of each query, in seconds."""
    connections = {port: connect(port) for port in (GATEWAY, STOCK)}
    times = {(port, query): [] for port in connections for query in queries}
    for number in range(rounds):
        for query in queries:
            text = query.replace("%d", str(number * 37 % 200_000))
            for port in (GATEWAY, STOCK) if number % 2 else (STOCK, GATEWAY):
                begun = time.perf_counter()
                send(connections[port], "query", text)
                status, broke = receive(connections[port])
                times[port, query].append(time.perf_counter() - begun)
                assert status == 200 and not broke, (port, text)
    seen.update({key: statistics.median(values) for key, values in times.items()})


def main():
    if not 4 <= len(sys.argv) <= 5:
        sys.exit("usage: bench.py GATEWAY STOCK FILE [REPEATS]")
    gateway, stock, data = sys.argv[1:4]
    repeats = int(sys.argv[4]) if len(sys.argv) == 5 else 20
    gateway = [gateway, "--bind", f"127.0.0.1:{GATEWAY}", "--operators", f"127.0.0.1:{OPERATORS}", data]
    stock = [stock, "serve", "--bind", f"127.0.0.1:{STOCK}"]
    ends_in_the_gateway(gateway, repeats)
    print()
    ends_in_stock(stock, data, max(1, repeats // 4))
    print()
    before, most = threads(Server(gateway, GATEWAY), 500, timeout=20)
    print(f"- gateway: {before} threads without a query, {most} with 500 queries that have a timeout")
    before, most = threads(Server([*stock, "--timeout-s", "20"], STOCK, data), 500)
    print(f"- stock: {before} threads without a query, {most} with 500 queries that have a timeout")
    print()
    price(gateway, stock, data, 200)


if __name__ == "__main__":
    main()
