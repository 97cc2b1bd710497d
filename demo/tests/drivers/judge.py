#!/usr/bin/env python3
"""Run the programs of this folder on PostgreSQL, which is right by definition.

usage: judge.py [NAME ...]

Starts a throw-away PostgreSQL, runs NAME_check.py there, for each NAME or for all drivers, and removes it
again. The python3 that runs this must have the drivers: target/drivers/bin/python does. The program of
tokio-postgres is a test: the address for its variable JUDGE is printed, and with the NAME "wait" the
server stays until the standard input ends.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.dont_write_bytecode = True  # leave no folder of compiled files beside this one
sys.path.insert(0, str(HERE.parent / "truth"))
import truth

DRIVERS = ["psycopg", "asyncpg", "pg8000"]


def main():
    names = sys.argv[1:] or DRIVERS
    judge = truth.ThrowAway()
    try:
        address = judge.address
        print("JUDGE=" + address, flush=True)
        psql = ["psql", "-q", "-h", "127.0.0.1", "-p", address.rpartition(":")[2], "-U", "omm", "postgres"]
        for sql in ("create role ann login", "grant create on schema public to ann"):
            subprocess.run(psql + ["-c", sql], check=True)
        failed = 0
        for name in names:
            if name == "wait":
                sys.stdin.read()
                continue
            program = [sys.executable, str(HERE / (name + "_check.py")), address.rpartition(":")[2]]
            failed += subprocess.run(program).returncode != 0
    finally:
        judge.remove()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
