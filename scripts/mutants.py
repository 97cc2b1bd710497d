#!/usr/bin/env python3
"""Tries mutants of the whole library against its tests, all of them in one build.

cargo-mutants lists the mutants (`cargo mutants --list --json`). Each function of a copy of the
sources gets all of its mutated bodies beside its own, and an environment variable chooses one, so
that a mutant costs a run of tests and no build. Mutants that do not compile are found by the
compiler's messages and left out. Called by scripts/mutants.sh.
"""

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("MUTANTS_DIR", ROOT / "target" / "mutants"))
TREE = WORK / "tree"
FEATURES = "async,crossbeam-channel,serde,tracing,metrics"
# Sources that only models, scenes and tests are compiled from.
NOT_SHIPPED = re.compile(r"^src/(sync/(loom|shuttle)\.rs|pool/poller/shuttle\.rs|.*tests(/.*)?\.rs|.*_tests\.rs)$")
# Not tried against: they start servers, build examples, or take long.
NOT_TRIED = re.compile(r"^(examples|soak|sql_face)$")

SWITCH = """
//! Which mutant runs.

/// Whether the environment variable `SAFEPOINT_MUTANT` names this one.
pub(crate) fn is(number: usize) -> bool {
    static WHICH: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *WHICH.get_or_init(|| {
        std::env::var("SAFEPOINT_MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
    }) == number
}
"""


def run(command, **options):
    return subprocess.run(command, text=True, capture_output=True, **options)


def listed(patterns):
    command = ["cargo", "mutants", "--list", "--json"]
    for pattern in patterns or ["src/**/*.rs"]:
        command += ["-f", pattern]
    listing = run(command, cwd=ROOT)
    if listing.returncode:
        sys.exit(listing.stderr)
    mutants = [m for m in json.loads(listing.stdout) if not NOT_SHIPPED.match(m["file"])]
    for number, mutant in enumerate(mutants, 1):
        mutant["number"] = number
    return mutants


def code_only(text):
    """The text with comments, strings and characters blanked out."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]*?|[^\\\'\n])\'', re.S
    )
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


class Source:
    """One file, with the bodies of its mutated functions."""

    def __init__(self, name):
        self.name = name
        self.text = (ROOT / name).read_text()
        self.code = code_only(self.text)
        self.starts = [0]
        for line in self.text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def at(self, place):
        return self.starts[place["line"] - 1] + place["column"] - 1

    def span(self, span):
        return self.at(span["start"]), self.at(span["end"])

    def body(self, function):
        """Where the body of a function is, its braces included."""
        start, end = self.span(function["span"])
        depth = 0
        for at in range(start, end):
            char = self.code[at]
            if char in "([":
                depth += 1
            elif char in ")]":
                depth -= 1
            elif char == "{" and depth == 0:
                return at, end
        return None

    def is_const(self, function):
        start, _ = self.span(function["span"])
        body = self.body(function)
        return body is None or re.search(r"\bconst\s+(unsafe\s+)?fn\b", self.code[start : body[0]])

    def with_switches(self, mutants):
        """The text, and for each of its lines the mutant that stands there, if one does."""
        bodies = {}
        for mutant in mutants:
            body = self.body(mutant["function"])
            bodies.setdefault(body, []).append(mutant)

        def own(start, end):
            """What stands there, with the switches of functions within."""
            parts, at = [], start
            inner = sorted(b for b in bodies if start < b[0] and b[1] <= end)
            for body in inner:
                if body[0] < at:
                    continue
                parts += [("", self.text[at : body[0]])] + wrapped(body)
                at = body[1]
            return parts + [("", self.text[at:end])]

        def wrapped(body):
            start, end = body
            parts = [("", "{\n")]
            for mutant in bodies[body]:
                first, last = self.span(mutant["span"])
                wrong = self.text[start:first] + mutant["replacement"] + self.text[last:end]
                if "changed by cargo-mutants" in mutant["replacement"]:
                    sys.exit("an unknown form of replacement")
                parts.append(("", f"if crate::mutant::is({mutant['number']}) \n"))
                parts.append((mutant["number"], wrong))
                parts.append(("", "\nelse "))
            return parts + body_of(start, end) + [("", "\n}")]

        def body_of(start, end):
            # Its own braces are outside of what is looked for.
            return [("", "{")] + own(start + 1, end - 1) + [("", "}")]

        text, lines, line = "", {}, 1
        for number, part in own(0, len(self.text)):
            if number:
                for offset in range(part.count("\n") + 1):
                    lines[line + offset] = number
            text += part
            line += part.count("\n")
        return text, lines


def make_tree():
    """A copy of what git knows here."""
    TREE.mkdir(parents=True, exist_ok=True)
    known = run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT).stdout.split("\n")
    for old in [p for p in TREE.rglob("*") if p.is_file()]:
        if str(old.relative_to(TREE)) not in known:
            old.unlink()
    for name in filter(None, known):
        source, target = ROOT / name, TREE / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            if not (name.startswith("src/") and target.exists()):
                shutil.copyfile(source, target)
    write(TREE / "src/mutant.rs", SWITCH)
    # A mutant that loses a wake-up is to be known sooner than on a busy machine.
    common = TREE / "tests/it/common/mod.rs"
    write(common, re.sub(r"(const TEST_TIMEOUT: Duration = Duration::from_secs)\(30\)", r"\1(15)", common.read_text()))


def write(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def tests():
    """The names of the test programs to try against."""
    names = [p.stem for p in (ROOT / "tests").glob("*.rs")]
    names += [p.parent.name for p in (ROOT / "tests").glob("*/main.rs")]
    return sorted(name for name in names if not NOT_TRIED.match(name))


def build(mutants):
    """Writes the sources and builds the tests. Returns the programs, and the numbers of the mutants
    that do not compile."""
    unviable = set()
    by_file = {}
    for mutant in mutants:
        by_file.setdefault(mutant["file"], []).append(mutant)
    sources = {str(p.relative_to(ROOT)): Source(str(p.relative_to(ROOT))) for p in (ROOT / "src").rglob("*.rs")}
    for mutant in mutants:
        if sources[mutant["file"]].is_const(mutant["function"] or {"span": mutant["span"]}):
            unviable.add(mutant["number"])
    environment = os.environ | {
        "CARGO_TARGET_DIR": str(WORK / "target"),
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "CARGO_PROFILE_TEST_DEBUG": "0",
        "CARGO_INCREMENTAL": "0",
        "RUSTFLAGS": "--cap-lints=allow -Aunreachable_code",
    }
    command = ["cargo", "test", "--no-run", "-p", "safepoint", "--features", FEATURES, "--lib"]
    for name in tests():
        command += ["--test", name]
    command.append("--message-format=json")
    while True:
        lines = {}
        for name, source in sources.items():
            kept = [m for m in by_file.get(name, []) if m["number"] not in unviable]
            text, lines[name] = source.with_switches(kept)
            if name == "src/lib.rs":
                text += "\nmod mutant;\n"
            write(TREE / name, text)
        built = run(command, cwd=TREE, env=environment)
        programs, wrong, elsewhere = {}, set(), []
        for line in built.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["profile"]["test"]:
                kind = message["target"]["kind"][0]
                programs["lib" if kind == "lib" else message["target"]["name"]] = message["executable"]
            if message["reason"] != "compiler-message" or message["message"]["level"] != "error":
                continue
            found = set()
            for span in message["message"]["spans"]:
                found |= {lines.get(span["file_name"], {}).get(at) for at in range(span["line_start"], span["line_end"] + 1)}
            found.discard(None)
            if found:
                wrong |= found
            elif message["message"]["spans"]:
                elsewhere.append(message["message"]["rendered"])
        if built.returncode == 0:
            return programs, unviable
        if not wrong:
            sys.exit("\n".join(elsewhere) or built.stderr)
        print(f"{len(wrong)} do not compile", flush=True)
        unviable |= wrong


def kill(process):
    """Ends a test program and what it has started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass


def attempt(programs, times, number, own_first):
    """How a mutant fares: caught by which program, hung in which, or missed."""
    order = sorted(programs, key=lambda name: (name != "lib", times.get(name, 0)))
    environment = os.environ | {
        "SAFEPOINT_MUTANT": str(number),
        "PROPTEST_CASES": os.environ.get("PROPTEST_CASES", "240"),
        "RUST_BACKTRACE": "0",
        "CARGO_MANIFEST_DIR": str(TREE),
    }
    # First those of the file's own tests; a test's whole program after them.
    runs = [("it", [f"{module}::" for module in own_first])] if own_first else []
    runs += [(name, []) for name in order]
    for name, filters in runs:
        # Most of what is slow in a test is a wait, so many of them run at once.
        process = subprocess.Popen(
            [programs[name], "--test-threads=8", *filters], cwd=TREE, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        begun = time.monotonic()
        seconds = 40 + 3 * times.get(name, 30)
        limit = threading.Timer(seconds, kill, (process,))
        limit.start()
        # The first failure is enough: where a wake-up is lost each test waits for its deadline.
        failed = next((line for line in process.stdout if line.rstrip().endswith("... FAILED")), None)
        took = time.monotonic() - begun
        limit.cancel()
        if failed:
            kill(process)
        code = process.wait()
        if not failed and took >= seconds:
            return "hung", name
        if number == 0:
            times[name] = took
        if code:
            return "caught", name
    return "missed", ""


# Which test program most likely sees a mutant of a file.
NEAR = {
    "execute": ["sql_commands", "notices"], "bulk": ["bulk"], "drain": ["drain"], "watchdog": ["watchdog"],
    "timeouts": ["timeouts"], "timer": ["timeouts"], "policy": ["policy"], "event": ["audit"],
    "task": ["tasks"], "admission": ["admission"], "local": ["session_local"], "locals": ["session_local"],
    "receipt": ["kill_table"], "diagnose": ["pending_reason"], "pending": ["pending_reason"],
    "request": ["texts"], "reason": ["texts"], "wait": ["waits"], "hold_off": ["hold_offs"],
}


def main():
    parser = argparse.ArgumentParser(prog="mutants.sh")
    parser.add_argument("-f", "--file", action="append", help="the mutants of these files (a pattern)")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at once")
    parser.add_argument("--again", metavar="RESULTS", help="only those that this file has as missed")
    parser.add_argument("--list", action="store_true", help="print the mutants, and stop")
    arguments = parser.parse_args()

    mutants = listed(arguments.file)
    if arguments.again:
        missed = {line.split("\t")[1].split(": ", 1)[1] for line in open(arguments.again) if line.startswith("missed")}
        mutants = [m for m in mutants if m["name"].split(": ", 1)[1] in missed]
    if arguments.list:
        print("\n".join(m["name"] for m in mutants))
        return
    print(f"{len(mutants)} mutants", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    make_tree()
    programs, unviable = build(mutants)
    print(f"{len(unviable)} unviable; {len(programs)} test programs", flush=True)
    times = {}
    state, name = attempt(programs, times, 0, [])
    if state != "missed":
        sys.exit(f"the unchanged sources: {state} by {name}")
    print(f"the tests take {sum(times.values()):.0f} s", flush=True)

    results = WORK / "results.tsv"
    counts = {"caught": 0, "hung": 0, "missed": 0, "unviable": len(unviable)}
    todo = queue.Queue()
    for mutant in mutants:
        if mutant["number"] not in unviable:
            todo.put(mutant)
    lock = threading.Lock()
    with results.open("w") as out:
        for mutant in mutants:
            if mutant["number"] in unviable:
                out.write(f"unviable\t{mutant['name']}\t\n")

        def worker():
            while True:
                try:
                    mutant = todo.get_nowait()
                except queue.Empty:
                    return
                stem = Path(mutant["file"]).stem
                near = ["pool"] if "/pool/" in mutant["file"] else NEAR.get(stem, [])
                state, by = attempt(programs, times, mutant["number"], near)
                with lock:
                    counts[state] += 1
                    out.write(f"{state}\t{mutant['name']}\t{by}\n")
                    out.flush()
                    if state == "missed":
                        print(f"missed: {mutant['name']}", flush=True)

        workers = [threading.Thread(target=worker) for _ in range(arguments.jobs)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
    print(", ".join(f"{count} {state}" for state, count in counts.items()), f"of {len(mutants)}; {results}")
    sys.exit(counts["missed"] > 0)


main()
