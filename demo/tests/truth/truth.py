#!/usr/bin/env python3
"""Compare a server under test with PostgreSQL, case by case.

usage: truth.py --test HOST:PORT [--judge HOST:PORT | --answers FILE] [--cases FILE.py ...]
                [--except FILE [--model WORD]] [--patience N] [--only NAME] [--part K/N] [-v]
       truth.py --write FILE [--judge HOST:PORT] [--cases FILE.py ...] [--patience N]

Runs every case on both servers and says where the answers differ. Without --judge, a throw-away
PostgreSQL is started and removed again. Without --cases, the files *_cases.py beside this file are run.
--write FILE stores the judge's answers; --answers FILE compares with these, and needs no judge.
--except FILE names cases that are known to differ, one a line: such a case must differ. A second word
in a line is a kind of server, --model WORD, with which the case differs. --patience N waits N times as
long for answers, on a machine that may be busy.
--only NAME runs the cases whose name contains NAME; --part K/N runs every Nth case from the Kth on; -v
shows each value and its time.
Exit status: 0 all agree, 1 some differ, 2 the comparison could not be made.

A case is a function `case_KIND_what(c)` in a cases file. `c` (class Case) opens connections to one
server, and the function returns what is to be compared: lists of rows, command tags, SQLSTATEs and
transaction status bytes, never message texts. A server that does not answer is a value too.
The user `omm` is superuser on both servers; `ann` and `bob` are ordinary users.
With PostgreSQL as --test and as --judge, all must agree: that shows that the cases are stable.
"""
import argparse, glob, importlib.util, itertools, json, os, pathlib, pprint, shutil, signal, socket, struct
import subprocess, sys, tempfile, threading, time

sys.dont_write_bytecode = True  # leave no folder of compiled files beside this one
from truth_wire import PATIENCE, SILENCE, Connection

DEADLINE = 15.0  # seconds for a whole case


def give_up(why):
    print("truth.py: " + why, file=sys.stderr)
    sys.exit(2)


class Server:
    """An address, and which of the two kinds of server listens there."""

    def __init__(self, name):
        host, _, port = name.rpartition(":")
        self.address = (host or "127.0.0.1", int(port))
        try:
            first = self.administrator()
        except OSError as e:
            give_up("no server at %s: %s" % (name, e))
        if "status I" not in first.greeting:
            give_up("user omm cannot connect to %s: %s" % (name, first.greeting))
        # The server under test names its sessions; PostgreSQL has process ids only.
        self.has_sessions = Case.rows(first.q("select pg_current_sessid()")) != []
        if not self.has_sessions:
            first.q("create role ann login")  # an error only says that it is there
            first.q("create role bob login")
        first.hang_up(polite=True)

    def administrator(self):
        return Connection(self.address, {"user": "omm", "database": "postgres"})


class Case:
    """What a case may do on one server. finish() ends and removes all that it opened and created."""
    numbers = itertools.count(1)  # shared by all, so that no name is used twice
    endless = "with recursive g(x) as (select 1 union all select x + 1 from g) select count(*) from g"

    def __init__(self, server):
        self.server, self.connections, self.tables, self.over = server, [], [], False

    def connect(self, user="omm", database="postgres", slow=False, **startup):
        """Open a connection; its `greeting` is the answer to the start-up message, even a refusal."""
        if self.over:
            raise RuntimeError("the case is over")
        made = Connection(self.server.address, {"user": user, "database": database, **startup}, slow)
        self.connections.append(made)
        if "status I" in made.greeting:  # ask for the name now: later it may be too busy to say
            name = self.rows(made.q("select %s()" % ("pg_current_sessid" if self.server.has_sessions
                                                     else "pg_backend_pid")))
            made.session = name[0][0] if name else None
        return made

    def others(self, sql, user="omm"):
        """Return what another client is answered."""
        other = self.connect(user)
        answer = other.q(sql)
        if not other.busy:
            other.hang_up(polite=True)
        return answer

    def fresh_name(self):
        return "truth_%d_%d" % (os.getpid(), next(Case.numbers))

    def table(self, ddl):
        """Create a table with the columns `ddl`, in brackets, and return its name."""
        name = self.fresh_name()
        self.tables.append(name)
        answer = self.others("create table %s%s" % (name, ddl))
        if answer != ["CREATE TABLE", "status I"]:
            raise RuntimeError("create table: %s" % answer)
        return name

    def count(self, table):
        """Return how many rows another client sees in the table."""
        seen = self.rows(self.others("select count(*) from " + table))
        return int(seen[0][0]) if seen else "no such table"

    def numbers_in(self, table):
        """Return the values of column a, as another client sees them."""
        return [row[0] for row in self.rows(self.others("select a from %s order by a" % table))]

    def cancel(self, connection, secret=None):
        """Send a wire cancel for the connection (with another secret, if given); wait until it is taken."""
        line, secret = Connection(self.server.address, None), secret or connection.secret
        line.send(struct.pack("!III", 12 + len(secret), 80877102, connection.pid) + secret)
        try:
            line.receive()
        except TimeoutError:
            pass
        line.hang_up()

    def kill(self, connection):
        """End the connection's session at once, as an administrator."""
        admin = self.server.administrator()
        for _ in range(5):  # in a pool, the thread may change between the two statements
            if not self.server.has_sessions:
                admin.q("select pg_terminate_backend(%s)" % connection.session)
                break
            found = self.rows(admin.q("select pid, sessionid from pg_stat_activity where sessionid = "
                                      + connection.session))
            if not found or "status I" == admin.q("alter system kill session '%s, %s' immediate" % found[0])[-1]:
                break
        admin.hang_up(polite=True)

    def wait_for(self, sql, row):
        """Ask again and again until the first row is `row`; say whether that came within 3 s."""
        admin, end = self.connect(), time.monotonic() + SILENCE * PATIENCE[0]
        while time.monotonic() < end:
            if self.rows(admin.q(sql))[:1] == [row]:
                return True
            time.sleep(0.02)
        return False

    def gone(self, connection):
        """Wait until the connection's session has left the activity view."""
        column = "sessionid" if self.server.has_sessions else "pid"
        sql = "select count(*) from pg_stat_activity where %s = %s"
        return self.wait_for(sql % (column, connection.session), ("0",))

    @staticmethod
    def rows(answer):
        return [item for item in answer if isinstance(item, tuple)]

    @staticmethod
    def brief(answer):
        """Replace the rows of an answer by their number."""
        groups = [(is_row, list(items)) for is_row, items in itertools.groupby(answer, lambda i: isinstance(i, tuple))]
        return [item for is_row, items in groups for item in (["%d rows" % len(items)] if is_row else items)]

    @staticmethod
    def without_code(answer):
        """Hide SQLSTATEs, for statements that are wrong in each dialect for another reason."""
        return ["error" if isinstance(item, str) and item.startswith("error ") else item for item in answer]

    def finish(self):
        self.over = True
        for connection in self.connections:
            try:
                if connection.busy and not connection.closed and connection.session:
                    self.kill(connection)  # what runs on would disturb the next case
            except OSError:
                pass
            connection.hang_up(polite=True)
        try:
            last = self.server.administrator()
            for name in reversed(self.tables):
                last.q("drop table if exists " + name)
            last.hang_up()
        except OSError:
            pass  # the server has gone: the next case says so


def value_of(function, server):
    """Run one case on one server, in a thread of its own so that a hang does not hold up the others."""
    case, value = Case(server), ["no end within %d s" % DEADLINE]

    def body():
        try:
            value[0] = function(case)
        except Exception as e:
            value[0] = "raised %s: %s" % (type(e).__name__, e)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(DEADLINE * PATIENCE[0])
    result = value[0]
    case.finish()
    return result


class ThrowAway:
    """A PostgreSQL cluster in a temporary folder."""

    def __init__(self):
        places = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda place: ("/15/" in place, place))
        self.bin = places[-1] if places else os.path.dirname(shutil.which("pg_ctl") or "")
        if not self.bin:
            give_up("PostgreSQL is not installed: apt-get install postgresql")
        self.folder = tempfile.mkdtemp(prefix="truth-")
        self.data = os.path.join(self.folder, "data")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        try:
            if os.getuid() == 0:  # it refuses to run as root
                shutil.chown(self.folder, "postgres")
            self.command("initdb", "-D", self.data, "-U", "omm", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            self.command("pg_ctl", "-D", self.data, "-w", "-l", os.path.join(self.folder, "log"), "start", "-o",
                         "-p %s -k %s -h 127.0.0.1 -F -c jit=off" % (self.address.split(":")[1], self.folder))
        except (subprocess.CalledProcessError, LookupError, OSError) as e:
            self.remove()
            give_up("PostgreSQL did not start: %s" % e)

    def command(self, name, *arguments):
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(as_user + [os.path.join(self.bin, name), *arguments], check=True, cwd=self.folder,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def remove(self):
        try:
            self.command("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        except (subprocess.CalledProcessError, OSError):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)


def cases_in(files, only):
    """Return [(name, function)] of the files in their order."""
    found = []
    for file in files:
        spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [(name[5:], f) for name, f in vars(module).items() if name.startswith("case_") and only in name]
    return found


class Answers:
    """Stored answers, in place of the judge."""

    def __init__(self, file):
        self.values = json.loads(pathlib.Path(file).read_text())


def plain(value):
    """Return the value as it is after a way through a file."""
    return json.loads(json.dumps(value))


def write(judge, cases, file):
    """Store the judge's answers, one case a line."""
    lines = []
    for name, function in cases:
        value = value_of(function, judge)
        if str(value).startswith("raised "):
            give_up("%s: %s" % (name, value))
        lines.append("%s: %s" % (json.dumps(name), json.dumps(value)))
    pathlib.Path(file).write_text("{\n%s\n}\n" % ",\n".join(lines))


def compare(test, judge, cases, verbose, known, patience):
    """Run the cases on both servers at once, print what differs, and return how many agree."""
    agrees = {}
    for name, function in cases:
        start, values = time.monotonic(), [None, None]
        # A case that is known to differ may do so by silence.
        PATIENCE[0] = 1 if name in known else patience

        def fill(i, server):
            if isinstance(server, Answers):
                values[i] = server.values.get(name, "no answer is stored: --write does that")
            else:
                values[i] = plain(value_of(function, server))

        threads = [threading.Thread(target=fill, args=pair, daemon=True) for pair in enumerate((test, judge))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        same = values[0] == values[1] and not str(values[0]).startswith("raised ")
        if name in known:
            if same:
                print("agrees, and is listed as a known difference: " + name)
            agrees.setdefault(name.split("_")[0], []).append(not same)
            continue
        agrees.setdefault(name.split("_")[0], []).append(same)
        if verbose or not same:
            took = " (%.1f s)" % (time.monotonic() - start) if verbose else ""
            print(("agrees: " if same else "differs: ") + name + took)
            for label, value in [("both ", values[0])] if same else zip(("test ", "judge"), values):
                print("  %s %s" % (label, pprint.pformat(value, width=110, compact=True).replace("\n", "\n        ")))
            sys.stdout.flush()
    for kind, results in agrees.items():
        print("%s: %d of %d agree" % (kind, sum(results), len(results)))
    return sum(map(sum, agrees.values()))


def part(text):
    """Return K and N of the text K/N."""
    first, step = map(int, text.split("/"))
    if not 1 <= first <= step:
        raise argparse.ArgumentTypeError("expected K/N with 1 <= K <= N")
    return first, step


def main():
    here = pathlib.Path(__file__).resolve().parent
    usage, explained = __doc__.split("usage: ")[1].split("\n", 1)
    parser = argparse.ArgumentParser(usage=usage, epilog=explained,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", metavar="HOST:PORT")
    parser.add_argument("--judge", metavar="HOST:PORT")
    parser.add_argument("--answers", metavar="FILE")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--except", dest="known", metavar="FILE")
    parser.add_argument("--patience", type=int, default=1, metavar="N")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="K/N")
    parser.add_argument("--model", default="", metavar="WORD")
    parser.add_argument("--cases", nargs="+", default=sorted(here.glob("*_cases.py")), metavar="FILE.py")
    parser.add_argument("--only", default="", metavar="NAME")
    parser.add_argument("-v", action="store_true", dest="verbose")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    first, step = asked.part
    cases = cases_in(asked.cases, asked.only)[first - 1::step]
    if not cases:
        give_up("no case has %r in its name" % asked.only)
    PATIENCE[0] = asked.patience
    known = set()
    if asked.known:
        lines = pathlib.Path(asked.known).read_text().splitlines()
        words = [line.split("#")[0].split() for line in lines]
        known = {name for name, *models in filter(None, words) if asked.model in (models or [asked.model])}
    if asked.answers:
        agree = compare(Server(asked.test), Answers(asked.answers), cases, asked.verbose, known, asked.patience)
    else:
        own = None if asked.judge else ThrowAway()
        try:
            judge = Server(asked.judge or own.address)
            if asked.write:
                write(judge, cases, asked.write)
                sys.exit(0)
            agree = compare(Server(asked.test), judge, cases, asked.verbose, known, asked.patience)
        finally:
            if own:
                own.remove()
    if known:
        print("%d of %d agree, or differ as listed (%d)" % (agree, len(cases), len(known)))
    else:
        print("%d of %d agree" % (agree, len(cases)))
    sys.exit(0 if agree == len(cases) else 1)


if __name__ == "__main__":
    main()
