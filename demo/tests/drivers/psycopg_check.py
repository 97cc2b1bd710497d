"""What a Python program does with psycopg 3 and its pool, against the server on the port that is given.

The program has passed on PostgreSQL 15, and runs there unchanged: judge.py does that.
"""

import asyncio
import datetime
import faulthandler
import sys
import threading
import time
from decimal import Decimal

import psycopg
import psycopg_pool
from psycopg import errors
from psycopg.rows import dict_row, namedtuple_row

PORT = int(sys.argv[1])
LIMIT = 120  # seconds
ADDRESS = f"host=127.0.0.1 port={PORT} dbname=postgres connect_timeout={LIMIT}"
ENDLESS = "with recursive c(x) as (select 1 union all select 1 from c) select count(*) from c"

# A statement that is never answered: this says where that was, and ends it all.
faulthandler.dump_traceback_later(4 * LIMIT, exit=True)

ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
VALUES = {
    "bigint": [0, 1, -1, 41, 40_000, -3_000_000_000, 2**63 - 1, -(2**63)],
    "double precision": [0.0, 1.5, -0.1, 1e300, 5e-324, 123456789.125],
    "boolean": [True, False],
    "text": ["", "x", "it's \u00e4 100% \U0001f600", "12", "007", "1.50", "t", "a\\b\n\tc"],
    "bytea": [b"", b"\x00\xff\\", bytes(range(256))],
    "numeric": [Decimal("1.5"), Decimal("-12"), Decimal("0"), Decimal("0.001"), Decimal("123456.789")],
    "date": [datetime.date(2024, 2, 29), datetime.date(1999, 12, 31), datetime.date(1, 1, 1)],
    "timestamp": [datetime.datetime(2024, 2, 29, 12, 30, 15, 123456), datetime.datetime(1900, 1, 1)],
    "timestamptz": [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 120000, tzinfo=datetime.timezone.utc),
        datetime.datetime(1970, 1, 1, tzinfo=ZONE),
    ],
}


def connect(**more):
    return psycopg.connect(ADDRESS, user="ann", **more)


def value(connection, sql, arguments=None, **more):
    return connection.execute(sql, arguments, **more).fetchone()[0]


def refused(error, call, *arguments, **more):
    try:
        call(*arguments, **more)
    except error as caught:
        return caught
    raise AssertionError(f"{arguments}: no {error.__name__}")


def patient(call, *arguments):
    """Repeats a call that a short time limit may end on a busy machine."""
    while True:
        try:
            return call(*arguments)
        except errors.QueryCanceled:
            pass


def everyday():
    with connect(application_name="everyday", autocommit=True) as connection:
        assert connection.info.server_version >= 150000
        assert connection.info.encoding == "utf-8"
        assert connection.info.parameter_status("server_encoding") == "UTF8"
        assert value(connection, "show application_name") == "everyday"
        assert value(connection, "select current_setting('application_name')") == "everyday"
        assert value(connection, "select set_config('application_name', %s, false)", ["other"]) == "other"
        assert connection.info.parameter_status("application_name") == "other"
        assert value(connection, "select current_user") == "ann"
        assert value(connection, "select session_user") == "ann"
        assert int(value(connection, "show max_connections")) > 0
        now = value(connection, "select now()")
        assert now.tzinfo and abs(now.timestamp() - time.time()) < 600, now
        connection.execute("create table person (id bigint primary key, name text, height double precision)")
        one = connection.execute("insert into person values (%s, %s, %s)", (1, "it's \u00e4", 1.75))
        assert one.rowcount == 1 and one.statusmessage == "INSERT 0 1"
        with connection.cursor() as cursor:
            cursor.executemany("insert into person values (%s, %s, %s)", [(n, f"n{n}", n / 4) for n in range(2, 9)])
            assert cursor.rowcount == 7
            cursor.executemany(
                "insert into person values (%(id)s, %(name)s, null) returning id",
                [{"id": n, "name": None} for n in (9, 10)],
                returning=True,
            )
            found = []
            while True:
                found.append(cursor.fetchone()[0])
                if not cursor.nextset():
                    break
            assert found == [9, 10], found
        rows = connection.cursor(row_factory=dict_row).execute("select * from person order by id limit %s", [2])
        assert rows.fetchall() == [
            {"id": 1, "name": "it's \u00e4", "height": 1.75},
            {"id": 2, "name": "n2", "height": 0.5},
        ]
        named = connection.cursor(row_factory=namedtuple_row)
        assert named.execute("select id, name from person where name = %s", ["n3"]).fetchone().id == 3
        update = connection.execute("update person set name = %s, height = height + %s where id > %s", ("z", 1, 5))
        assert update.rowcount == 5
        assert value(connection, "select count(*) from person where name like %s", ["z%"]) == 5
        assert value(connection, "select count(*) from person where id between %s and %s", [2, 4]) == 3
        assert connection.execute("delete from person where name is null or id in (%s, %s)", (1, 2)).rowcount == 2
        with connection.cursor() as cursor:
            cursor.execute("select 1; select 2")
            assert cursor.fetchone() == (1,) and cursor.nextset() and cursor.fetchone() == (2,)
        connection.execute("drop table person")


def types():
    with connect(autocommit=True) as connection:
        for kind, values in VALUES.items():
            table = f"of_{kind.split()[0]}"
            connection.execute(f"create table {table} (at bigint, v {kind})")
            for binary in (False, True):
                place = "%b" if binary else "%s"
                for at, given in enumerate(values):
                    for cursor in (connection.cursor(binary=False), connection.cursor(binary=True)):
                        cursor.execute(f"select {place}::{kind}", [given])
                        found = cursor.fetchone()[0]
                        assert found == given and type(found) is type(given), (kind, binary, given, found)
                        # The type that the client declares is the type of the result.
                        cursor.execute(f"select {place}", [given])
                        found = cursor.fetchone()[0]
                        assert found == given and type(found) is type(given), (kind, binary, given, found)
                        cursor.execute(f"delete from {table} where at = %s", [at])
                        cursor.execute(f"insert into {table} (at, v) values ({place}, {place})", [at, given])
                        cursor.execute(f"update {table} set v = {place} where at = {place}", [given, at])
                        assert cursor.rowcount == 1, (kind, binary, given)
                        cursor.execute(f"select v from {table} where v = {place} and at = %s", [given, at])
                        found = cursor.fetchone()
                        assert found is not None, (kind, binary, given)
                        assert found[0] == given and type(found[0]) is type(given), (kind, binary, given, found)
            connection.execute(f"insert into {table} values (%s, %s)", [100, None])
            assert value(connection, f"select v from {table} where at = 100") is None
            connection.execute(f"drop table {table}")
        for expression, given, expected in [
            ("%s + 1", 41, 42),
            ("%s + 1", 3_000_000_000, 3_000_000_001),
            ("1 + %s", 41, 42),
            ("%s * %s", (6, 7), 42),
            ("%s + 1", 1.5, 2.5),
            ("%s / 2", 5.0, 2.5),
            ("%s / 2", 5, 2),
            ("-%s", 41, -41),
            ("%s", True, True),
            ("%s", None, None),
            ("%s || 'b'", "a", "ab"),
            ("upper(%s)", "a", "A"),
            ("coalesce(%s, 5)", None, 5),
            ("%s::int", "12", 12),
            ("%s::text", 12, "12"),
            ("%s::float8", "1.5", 1.5),
            ("%s::bool", "yes", True),
        ]:
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                cursor.execute("select " + expression, given if isinstance(given, tuple) else (given,))
                found = cursor.fetchone()[0]
                assert found == expected and type(found) is type(expected), (expression, given, found)
        for sql, expected in [
            ("select 1", 1),
            ("select 1.5::float8", 1.5),
            ("select 'a'", "a"),
            ("select '7'::int", 7),
            ("select null", None),
            ("select '2024-02-29'::date", datetime.date(2024, 2, 29)),
            ("select cast('1.25' as numeric)", Decimal("1.25")),
        ]:
            found = value(connection, sql)
            assert found == expected and type(found) is type(expected), (sql, found)
        # What a type cannot have is an error, and the connection goes on.
        refused(errors.InvalidTextRepresentation, value, connection, "select %s::int", ["x"])
        refused(errors.NumericValueOutOfRange, value, connection, "select %s::int", ["99999999999"])
        refused(errors.InvalidDatetimeFormat, value, connection, "select %s::date", ["nonsense"])
        refused(errors.DatetimeFieldOverflow, value, connection, "select %s::date", ["2024-02-30"])
        assert value(connection, "select %s", [1]) == 1


def transactions():
    with connect() as connection:
        connection.execute("create table account (id bigint primary key, sum bigint)")
        connection.commit()
        count = "select count(*) from account"
        insert = "insert into account values (%s, %s)"
        connection.execute(insert, (1, 10))
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        connection.rollback()
        assert value(connection, count) == 0
        connection.commit()
        with connection.transaction():
            connection.execute(insert, (1, 10))
            try:
                with connection.transaction():
                    connection.execute(insert, (2, 20))
                    raise KeyError
            except KeyError:
                pass
            with connection.transaction("mine"):
                connection.execute(insert, (3, 30))
            with connection.transaction():
                connection.execute(insert, (4, 40))
                raise psycopg.Rollback
        assert value(connection, "select sum(id) from account") == 4
        connection.commit()
        # An error in a savepoint, and the rest goes on.
        with connection.transaction():
            connection.execute(insert, (5, 50))
            try:
                with connection.transaction():
                    connection.execute(insert, (1, 0))
            except errors.UniqueViolation:
                pass
            connection.execute(insert, (6, 60))
        assert value(connection, count) == 4
        connection.commit()
        # An error in a block, which then has failed.
        refused(errors.UndefinedColumn, connection.execute, "select missing from account")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        refused(errors.InFailedSqlTransaction, connection.execute, "select 1")
        connection.rollback()
        for sql, error in (
            ("insert into account values (1, 0)", errors.UniqueViolation),
            ("select * from nowhere", errors.UndefinedTable),
            ("selec 1", errors.SyntaxError),
        ):
            assert refused(error, connection.execute, sql).sqlstate == error.sqlstate
            connection.rollback()
        # executemany that fails, and the rollback that follows it.
        cursor = connection.cursor()
        refused(errors.UniqueViolation, cursor.executemany, insert, [(n, 0) for n in range(7, 30)] + [(1, 0)])
        connection.rollback()
        assert value(connection, count) == 4
        connection.rollback()
        connection.read_only = True
        refused(errors.ReadOnlySqlTransaction, connection.execute, insert, (9, 9))
        connection.rollback()
        connection.read_only = None
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert value(connection, "show transaction_isolation") == "serializable"
        connection.rollback()
        connection.isolation_level = None
        connection.execute("drop table account")


def prepared():
    with connect(autocommit=True) as connection:
        connection.prepare_threshold = 1
        connection.prepared_max = 2
        for at in range(6):
            for sql in ("select %s + 1", "select %s + 2", "select %s + 3", "select %s + 4"):
                assert value(connection, sql, [at]) == at + int(sql[-1])
        assert value(connection, "select %s || 'x'", ["a"], prepare=True) == "ax"
        # After the plans are discarded behind its back, and by itself.
        connection.prepare_threshold = None
        connection.execute("deallocate all")
        connection.execute("discard all")
        assert value(connection, "select %s + 1", [1]) == 2
    with connect() as connection:
        connection.prepare_threshold = 0
        value(connection, "select %s + 1", [1])
        connection.rollback()
        # A rollback after an error lets psycopg deallocate all that it has prepared.
        refused(errors.UndefinedTable, connection.execute, "select * from nowhere where a = %s", [1])
        connection.rollback()
        for at in range(3):
            assert value(connection, "select %s + 1", [at]) == at + 1
            connection.commit()
        with connection.pipeline():
            cursors = [connection.execute("select %s * 2", [n]) for n in range(20)]
            assert [cursor.fetchone()[0] for cursor in cursors] == [n * 2 for n in range(20)]
        connection.commit()


def cursors():
    with connect() as connection:
        rows = "with recursive c(x) as (select 1 union all select x + 1 from c where x < %s) select x from c"
        with connection.cursor(name="mine") as cursor:
            cursor.itersize = 7
            cursor.execute(rows, [50])
            assert [row[0] for row in cursor] == list(range(1, 51))
        with connection.cursor(name='a "name"') as cursor:
            cursor.execute(rows, [10])
            assert cursor.fetchone() == (1,)
            assert cursor.fetchmany(3) == [(2,), (3,), (4,)]
            assert cursor.fetchmany(100) == [(n,) for n in range(5, 11)]
            assert cursor.fetchmany(1) == []
        with connection.cursor(name="other", binary=True) as cursor:
            cursor.execute("select %s + 1, %s", [1, "x"])
            assert cursor.fetchall() == [(2, "x")]
        # It ends with the transaction.
        cursor = connection.cursor(name="gone")
        cursor.execute(rows, [10])
        connection.commit()
        refused(errors.InvalidCursorName, cursor.fetchone)
        connection.rollback()
        # The rows come while they are read, without a cursor on the server.
        assert sum(row[0] for row in connection.cursor().stream(rows, [100])) == 5050


def copying():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("create table loaded (a bigint, b text, c boolean)")
        with cursor.copy("copy loaded (a, b, c) from stdin") as copy:
            for n in range(1000):
                copy.write_row((n, f"tab\t{n}" if n % 2 else None, True))
        assert cursor.rowcount == 1000
        cursor.execute("select count(*), count(b), max(b) from loaded")
        assert cursor.fetchone() == (1000, 500, "tab\t999")
        connection.commit()
        try:
            with cursor.copy("copy loaded from stdin") as copy:
                copy.write_row((1, "x", True))
                raise KeyError
        except KeyError:
            connection.rollback()
        assert value(connection, "select count(*) from loaded") == 1000
        cursor.execute("drop table loaded")


def later(call):
    """Calls it on a thread, again and again until it has had an effect; joining it ends that."""
    over = threading.Event()

    def run():
        while not over.wait(0.05):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        over.set()
        thread.join(LIMIT)

    return join


def cancelled():
    with connect(autocommit=True) as connection:
        for sql in ("select pg_sleep(3600)", ENDLESS):
            for cancel in (connection.cancel, connection.cancel_safe):
                join = later(cancel)
                refused(errors.QueryCanceled, connection.execute, sql)
                join()
                while True:  # a cancel may still be on its way
                    try:
                        assert value(connection, "select 1") == 1
                        break
                    except errors.QueryCanceled:
                        pass
    with connect() as connection:
        connection.execute("create table kept (a bigint)")
        connection.commit()
        connection.execute("insert into kept values (1)")
        join = later(connection.cancel_safe)
        refused(errors.QueryCanceled, connection.execute, "select pg_sleep(3600)")
        join()
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        connection.rollback()
        while True:
            try:
                assert value(connection, "select count(*) from kept") == 0
                break
            except errors.QueryCanceled:
                connection.rollback()
        connection.execute("drop table kept")


def timeouts():
    with connect(options="-c statement_timeout=200ms -c lock_timeout=5s", autocommit=True) as connection:
        for sql in ("select pg_sleep(3600)", ENDLESS):
            refused(errors.QueryCanceled, connection.execute, sql)
        patient(connection.execute, "set statement_timeout = 0")
        connection.execute("set idle_in_transaction_session_timeout = 0")
        with connection.transaction():
            connection.execute("set local statement_timeout = '1h'")
            assert value(connection, "show statement_timeout") == "1h"
        assert value(connection, "show statement_timeout") == "0"
        connection.execute("reset statement_timeout")
        assert patient(value, connection, "show statement_timeout") == "200ms"
    refused(psycopg.OperationalError, connect, options="-c nonsense=1")
    refused(psycopg.OperationalError, connect, options="-c statement_timeout=x")


def pooled():
    resets = []

    def reset(connection):
        resets.append(1)
        connection.execute("discard all")

    def configure(connection):
        connection.autocommit = True

    with psycopg_pool.ConnectionPool(
        ADDRESS + " user=ann", min_size=2, max_size=3, reset=reset, configure=configure,
        check=psycopg_pool.ConnectionPool.check_connection, open=False,
    ) as pool:
        pool.wait(LIMIT)
        for at in range(6):
            with pool.connection(LIMIT) as connection:
                assert value(connection, "select %s + 1", [at]) == at + 1
                assert value(connection, "show lock_timeout") == "0"
                connection.execute("set lock_timeout = '1s'")
        # An error in the block gives the connection back in order.
        try:
            with pool.connection(LIMIT) as connection:
                with connection.transaction():
                    connection.execute("select * from nowhere")
        except errors.UndefinedTable:
            pass
        # A thread of the pool resets the connections.
        until = time.monotonic() + LIMIT
        while len(resets) < 7:
            assert time.monotonic() < until, resets
            time.sleep(0.005)
        # More than there are: one waits until another is given back.
        taken = [pool.getconn(LIMIT) for _ in range(3)]
        refused(psycopg_pool.PoolTimeout, pool.getconn, 0.1)
        for connection in taken:
            pool.putconn(connection)
        with pool.connection(LIMIT) as connection:
            assert value(connection, "select 1") == 1
        # A connection that the server has ended is replaced.
        with pool.connection(LIMIT) as connection:
            connection.close()
        pool.check()
        with pool.connection(LIMIT) as connection:
            assert value(connection, "select 1") == 1


def awaited():
    async def run():
        async with await psycopg.AsyncConnection.connect(ADDRESS, user="ann") as connection:
            cursor = await connection.execute("select %s + 1", [41])
            assert await cursor.fetchone() == (42,)
            task = asyncio.create_task(connection.execute("select pg_sleep(3600)"))
            while not task.done():
                await asyncio.sleep(0.05)
                await connection.cancel_safe()
            assert isinstance(task.exception(), errors.QueryCanceled), task
            await connection.rollback()
        async with psycopg_pool.AsyncConnectionPool(ADDRESS + " user=ann", min_size=1, open=False) as pool:
            async with pool.connection(LIMIT) as connection:
                cursor = await connection.execute("select 1")
                assert await cursor.fetchone() == (1,)

    asyncio.run(run())


for check in (
    everyday, types, transactions, prepared, cursors, copying, cancelled, timeouts, pooled, awaited
):
    if len(sys.argv) < 3 or check.__name__ in sys.argv[2:]:
        check()
        print(check.__name__, "ok", flush=True)
