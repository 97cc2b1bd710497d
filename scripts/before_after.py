#!/usr/bin/env python3
"""Compares the throughput of two builds of the example server, in turns.

    cargo build --release -p safepoint-demo --bin server
    scripts/before_after.py BEFORE AFTER [BLOCKS]

BEFORE and AFTER are the programs. One BEFORE and two AFTERs run side by side, and pgbench asks one
after the other for `select 1` with eight clients, for a quarter of a second or so each. A block asks
each server twice, in one of six orders, so that a machine that gets slower or faster favours none.
Prints the ratios of the blocks (120), among them those of AFTER to itself: less of a difference
means nothing. The last line is each server's processor time, for the same number of statements.

PG_BIN is the folder of pgbench.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PGBENCH = Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")) / "pgbench"
CLIENTS = 8
TRANSACTIONS = 2500
ORDERS = ["OABBAO", "ABOOBA", "BAOOAB", "OBAABO", "AOBBOA", "BOAAOB"]
TICKS = os.sysconf("SC_CLK_TCK")


def fail(text):
    sys.exit(f"before_after.py: {text} (--help says more)")


class Server:
    def __init__(self, program, folder):
        self.program = program
        options = ["--listen", "127.0.0.1:0", "--thread-pool", "on", "--workers", "2"]
        self.process = subprocess.Popen(
            [program, *options],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        said = self.process.stdout.readline()
        port = re.search(r"127\.0\.0\.1:(\d+)", said)
        if port is None:
            self.process.kill()
            fail(f"{program}: expected a server that prints its address, got {said!r}")
        self.port = port.group(1)

    def processor_time(self):
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def throughput(self, script):
        command = [PGBENCH, "-n", "-h", "127.0.0.1", "-p", self.port, "-U", "omm", "-c", str(CLIENTS)]
        command += ["-j", "1", "-t", str(TRANSACTIONS), "-f", script, "postgres"]
        ran = subprocess.run(command, capture_output=True, text=True)
        tps = re.search(r"tps = ([\d.]+)", ran.stdout)
        if ran.returncode != 0 or tps is None:
            fail(f"pgbench on {self.program}: {ran.stderr.strip()}")
        return float(tps.group(1))


def report(name, ratios):
    low, middle, high = statistics.quantiles(ratios, n=4)
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    mean = f"mean {statistics.mean(ratios):.3f} ± {error:.3f}"
    print(f"{name}: median {middle:.3f} (quartiles {low:.3f}, {high:.3f}), {mean}")


def measure(servers, script, blocks):
    for server in servers.values():
        for _ in range(4):
            server.throughput(script)
    began = {name: server.processor_time() for name, server in servers.items()}
    after, itself = [], []
    for block in range(blocks):
        sums = dict.fromkeys(servers, 0.0)
        for name in ORDERS[block % len(ORDERS)]:
            sums[name] += servers[name].throughput(script)
        after.append((sums["A"] + sums["B"]) / 2 / sums["O"])
        itself.append(sums["A"] / sums["B"])
    report("after / before", after)
    report("after / itself", itself)
    spent = {name: server.processor_time() - began[name] for name, server in servers.items()}
    times = f"before {spent['O']:.2f} s, after {spent['A']:.2f} s and {spent['B']:.2f} s"
    print(f"processor time: {times}, ratio {(spent['A'] + spent['B']) / 2 / spent['O']:.3f}")


def main():
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return
    if not 2 <= len(arguments) <= 3:
        fail("expected BEFORE, AFTER, and perhaps the number of blocks")
    before, after = arguments[:2]
    blocks = arguments[2] if len(arguments) == 3 else "120"
    if not blocks.isascii() or not blocks.isdigit() or int(blocks) < 2:
        fail(f"expected a number of blocks from 2 on, got '{blocks}'")
    for program in (before, after, PGBENCH):
        if not os.access(program, os.X_OK) or not Path(program).is_file():
            fail(f"expected a program at {program}")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "select.sql"
        script.write_text("select 1;\n")
        servers = {}
        try:
            for name, program in (("O", before), ("A", after), ("B", after)):
                servers[name] = Server(Path(program).resolve(), folder)
            measure(servers, script, int(blocks))
        finally:
            for server in servers.values():
                server.process.kill()
                server.process.wait()


if __name__ == "__main__":
    main()
