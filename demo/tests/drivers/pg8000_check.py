"""What a Python program does with pg8000, against the server on the port that is given.

The program has passed on PostgreSQL 15, and runs there unchanged: judge.py does that.
"""

import datetime
import faulthandler
import io
import sys
import time
from decimal import Decimal

import pg8000.dbapi
import pg8000.native

PORT = int(sys.argv[1])
LIMIT = 120  # seconds
ADDRESS = {"host": "127.0.0.1", "port": PORT, "database": "postgres", "timeout": LIMIT}
ENDLESS = "with recursive c(x) as (select 1 union all select 1 from c) select count(*) from c"

# A statement that is never answered: this says where that was, and ends it all.
faulthandler.dump_traceback_later(4 * LIMIT, exit=True)

ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
VALUES = {
    "bigint": [0, 1, -1, 3_000_000_000, 2**63 - 1, -(2**63)],
    "double precision": [0.0, 1.5, -0.1, 1e300, 5e-324],
    "boolean": [True, False],
    "text": ["", "x", "it's \u00e4 100% \U0001f600", "12", "007", "1.50", "a\\b\n\tc"],
    "bytea": [b"", b"\x00\xff\\", bytes(range(256))],
    "numeric": [Decimal("1.5"), Decimal("-12"), Decimal("0"), Decimal("0.001"), Decimal("123456.789")],
    "date": [datetime.date(2024, 2, 29), datetime.date(1999, 12, 31)],
    "timestamp": [datetime.datetime(2024, 2, 29, 12, 30, 15, 123456), datetime.datetime(1900, 1, 1)],
    "timestamptz": [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 120000, tzinfo=datetime.timezone.utc),
        datetime.datetime(1970, 1, 1, tzinfo=ZONE),
    ],
}


def connect(**more):
    return pg8000.dbapi.connect(user="ann", **ADDRESS, **more)


def native(**more):
    return pg8000.native.Connection("ann", **ADDRESS, **more)


def refused(sqlstate, call, *arguments, **more):
    try:
        call(*arguments, **more)
    except (pg8000.dbapi.Error, pg8000.native.Error) as error:
        assert error.args[0].get("C") == sqlstate, (arguments, error)
        return
    raise AssertionError(f"{arguments}: no error")


def patient(call, *arguments):
    """Repeats a call that a short time limit may end on a busy machine."""
    while True:
        try:
            return call(*arguments)
        except pg8000.native.DatabaseError as error:
            if error.args[0].get("C") != "57014":
                raise


def everyday():
    connection = connect(application_name="everyday")
    cursor = connection.cursor()

    def value(sql, arguments=()):
        cursor.execute(sql, arguments)
        return cursor.fetchone()[0]

    assert value("show application_name") == "everyday"
    assert value("select current_setting('application_name')") == "everyday"
    assert value("select set_config('application_name', %s, false)", ("other",)) == "other"
    assert value("select current_user") == "ann"
    assert value("select session_user") == "ann"
    now = value("select now()")
    assert now.tzinfo and abs(now.timestamp() - time.time()) < 600, now
    connection.commit()
    cursor.execute("create table guest (id bigint primary key, name text, height double precision)")
    cursor.execute("insert into guest values (%s, %s, %s)", (1, "it's \u00e4", 1.75))
    assert cursor.rowcount == 1
    cursor.executemany("insert into guest values (%s, %s, %s)", [(n, f"n{n}", n / 4) for n in range(2, 9)])
    assert cursor.rowcount == 7
    connection.commit()
    cursor.execute("select * from guest where id < %s order by id", (3,))
    assert [column[0] for column in cursor.description] == ["id", "name", "height"]
    assert [list(row) for row in cursor] == [[1, "it's \u00e4", 1.75], [2, "n2", 0.5]]
    assert value("select id from guest where name = %s", ("n3",)) == 3
    cursor.execute("update guest set name = %s, height = height + %s where id > %s", ("z", 1.0, 4))
    assert cursor.rowcount == 4
    cursor.execute("delete from guest where name = %s returning id", ("z",))
    assert sorted(row[0] for row in cursor.fetchall()) == [5, 6, 7, 8]
    connection.rollback()
    assert value("select count(*) from guest") == 8
    cursor.execute("drop table guest")
    connection.commit()
    connection.close()


def types():
    connection = native()
    for kind, values in VALUES.items():
        table = f"has_{kind.split()[0]}"
        connection.run(f"create table {table} (at bigint, v {kind})")
        for at, given in enumerate(values):
            (found,), = connection.run(f"select cast(:v as {kind})", v=given)
            assert found == given and type(found) is type(given), (kind, given, found)
            connection.run(f"insert into {table} (at, v) values (:at, :v)", at=at, v=given)
            connection.run(f"update {table} set v = :v where at = :at", at=at, v=given)
            assert connection.row_count == 1
            (found,), = connection.run(f"select v from {table} where v = :v and at = :at", at=at, v=given)
            assert found == given and type(found) is type(given), (kind, given, found)
        connection.run(f"insert into {table} values (100, :v)", v=None)
        assert connection.run(f"select v from {table} where at = 100") == [[None]]
        connection.run(f"drop table {table}")
    for sql, given, expected in [
        ("select :v + 1", 41, 42),
        ("select 1 + :v", 41, 42),
        ("select :v + 1.0::float8", 1.5, 2.5),
        ("select :v", "a", "a"),
        ("select :v || 'b'", "a", "ab"),
        ("select :v::int", "12", 12),
        ("select cast(:v as text)", "12", "12"),
        ("select :v", True, "true"),
        ("select :v::bool", True, True),
        ("select coalesce(:v, 5)", None, 5),
    ]:
        (found,), = connection.run(sql, v=given)
        assert found == expected and type(found) is type(expected), (sql, given, found)
    refused("22P02", connection.run, "select cast(:v as int)", v="x")
    refused("22007", connection.run, "select cast(:v as date)", v="x")
    assert connection.run("select 1") == [[1]]
    connection.close()


def transactions():
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("create table sheet (id bigint primary key)")
    connection.commit()

    def count():
        cursor.execute("select count(*) from sheet")
        return cursor.fetchone()[0]

    insert = "insert into sheet values (%s)"
    cursor.execute(insert, (1,))
    connection.rollback()
    assert count() == 0
    cursor.execute(insert, (1,))
    cursor.execute("savepoint a")
    cursor.execute(insert, (2,))
    cursor.execute("rollback to savepoint a")
    cursor.execute(insert, (3,))
    cursor.execute("savepoint b")
    refused("23505", cursor.execute, insert, (1,))
    cursor.execute("rollback to b")
    cursor.execute("release a")
    connection.commit()
    assert count() == 2
    refused("42703", cursor.execute, "select missing from sheet")
    refused("25P02", cursor.execute, "select 1")
    connection.rollback()
    refused("42601", cursor.execute, "selec 1")
    connection.rollback()
    refused("23505", cursor.executemany, insert, [(n,) for n in range(5, 9)] + [(1,)])
    connection.rollback()
    assert count() == 2
    connection.rollback()
    connection.autocommit = True
    cursor.execute(insert, (4,))
    connection.autocommit = False
    connection.rollback()
    assert count() == 3
    cursor.execute("drop table sheet")
    connection.commit()
    connection.close()


def prepared():
    connection = native()
    statement = connection.prepare("select cast(:a as bigint) + :b")
    assert [statement.run(a=n, b=1) for n in range(10)] == [[[n + 1]] for n in range(10)]
    statement.close()
    named = connection.prepare("select :a || 'x' as it")
    assert named.run(a="a") == [["ax"]] and named.columns[0]["name"] == "it"
    named.close()
    connection.run("deallocate all")
    assert connection.run("select 1") == [[1]]
    connection.close()


def cursors():
    connection = connect()
    cursor = connection.cursor()
    rows = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 10) select x from c"
    cursor.execute(f"declare mine cursor for {rows}")
    cursor.execute("fetch 3 from mine")
    assert [row[0] for row in cursor.fetchall()] == [1, 2, 3]
    cursor.execute("fetch forward 100 from mine")
    assert len(cursor.fetchall()) == 7
    cursor.execute("close mine")
    refused("34000", cursor.execute, "fetch 1 from mine")
    connection.rollback()
    connection.close()


def copying():
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("create table brought (a bigint, b text)")
    cursor.execute("copy brought from stdin", stream=io.BytesIO(b"".join(b"%d\tn%d\n" % (n, n) for n in range(1000))))
    assert cursor.rowcount == 1000
    cursor.execute("copy brought (b, a) from stdin", stream=["x\t1\n", "\\N\t2\n"])
    cursor.execute("select count(*), count(b), max(b) from brought")
    assert cursor.fetchone() == [1002, 1001, "x"]
    cursor.execute("drop table brought")
    connection.commit()
    connection.close()


def timeouts():
    connection = native(startup_params={"options": "-c statement_timeout=200ms"})
    assert patient(connection.run, "show statement_timeout") == [["200ms"]]
    for sql in ("select pg_sleep(3600)", ENDLESS):
        refused("57014", connection.run, sql)
    patient(connection.run, "set statement_timeout = 0")
    connection.run("begin")
    connection.run("set local statement_timeout = '100ms'")
    refused("57014", connection.run, ENDLESS)
    connection.run("rollback")
    assert connection.run("show statement_timeout") == [["0"]]
    connection.close()
    refused("42704", native, startup_params={"options": "-c nonsense=1"})


for check in (everyday, types, transactions, prepared, cursors, copying, timeouts):
    if len(sys.argv) < 3 or check.__name__ in sys.argv[2:]:
        check()
        print(check.__name__, "ok", flush=True)
