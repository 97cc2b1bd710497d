"""What a Python program does with asyncpg and its pool, against the server on the port that is given.

The program has passed on PostgreSQL 15, and runs there unchanged: judge.py does that.
"""

import asyncio
import datetime
import faulthandler
import sys
import time
from decimal import Decimal

import asyncpg

PORT = int(sys.argv[1])
LIMIT = 120  # seconds
ADDRESS = {"host": "127.0.0.1", "port": PORT, "user": "ann", "database": "postgres", "timeout": LIMIT}
ENDLESS = "with recursive c(x) as (select 1 union all select 1 from c) select count(*) from c"
COUNT = "with recursive c(x) as (select 1 union all select x + 1 from c where x < $1) select x from c"

# A statement that is never answered: this says where that was, and ends it all.
faulthandler.dump_traceback_later(4 * LIMIT, exit=True)

ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
VALUES = {
    "smallint": [0, -1, 32767],
    "integer": [0, 1, -1, 2**31 - 1, -(2**31)],
    "bigint": [0, 1, -1, 3_000_000_000, 2**63 - 1, -(2**63)],
    "real": [0.0, 1.5, -0.25],
    "double precision": [0.0, 1.5, -0.1, 1e300, 5e-324],
    "boolean": [True, False],
    "text": ["", "x", "it's \u00e4 100% \U0001f600", "12", "007", "1.50", "a\\b\n\tc"],
    "varchar": ["", "12", "x"],
    "bytea": [b"", b"\x00\xff\\", bytes(range(256))],
    "numeric": [Decimal("1.5"), Decimal("-12"), Decimal("0"), Decimal("0.001"), Decimal("123456.789"), Decimal(10) ** 12],
    "date": [datetime.date(2024, 2, 29), datetime.date(1999, 12, 31), datetime.date(1, 1, 2)],
    "timestamp": [datetime.datetime(2024, 2, 29, 12, 30, 15, 123456), datetime.datetime(1900, 1, 1)],
    "timestamptz": [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 120000, tzinfo=datetime.timezone.utc),
        datetime.datetime(1970, 1, 1, tzinfo=ZONE),
    ],
}


async def connect(**more):
    return await asyncpg.connect(**{**ADDRESS, **more})


async def refused(error, awaitable):
    try:
        await awaitable
    except error as caught:
        return caught
    raise AssertionError(f"no {error.__name__}")


async def patient(call, *arguments):
    """Repeats a call that a short time limit may end on a busy machine."""
    while True:
        try:
            return await call(*arguments)
        except asyncpg.QueryCanceledError:
            pass


async def until_runs(other, sql):
    """Waits until the statement runs, since a cancel that comes before hits nothing."""
    runs = "select count(*) from pg_stat_activity where state = 'active' and query = $1"
    while await other.fetchval(runs, sql) == 0:
        await asyncio.sleep(0.02)


async def everyday():
    connection = await connect(server_settings={"application_name": "everyday"})
    assert connection.get_server_version().major >= 15
    assert connection.get_settings().server_encoding == "UTF8"
    assert await connection.fetchval("show application_name") == "everyday"
    assert await connection.fetchval("select current_setting('application_name')") == "everyday"
    assert await connection.fetchval("select set_config($1, $2, false)", "application_name", "other") == "other"
    assert connection.get_settings().application_name == "other"
    assert await connection.fetchval("select current_user") == "ann"
    assert await connection.fetchval("select session_user") == "ann"
    now = await connection.fetchval("select now()")
    assert now.tzinfo and abs(now.timestamp() - time.time()) < 600, now
    assert await connection.execute("create table human (id bigint primary key, name text, height double precision)") == "CREATE TABLE"
    assert await connection.execute("insert into human values ($1, $2, $3)", 1, "it's \u00e4", 1.75) == "INSERT 0 1"
    await connection.executemany("insert into human (id, name, height) values ($1, $2, $3)", [(n, f"n{n}", n / 4) for n in range(2, 9)])
    await connection.executemany("insert into human (name, id) values ($1, $2), ($3, $4)", [(None, 9, "y", 10)])
    many = await connection.fetchmany("insert into human (id, name) values ($1, $2) returning id", [(n, "more") for n in (11, 12)])
    assert [row["id"] for row in many] == [11, 12]
    rows = await connection.fetch("select * from human order by id limit $1 offset $2", 2, 0)
    assert [dict(row) for row in rows] == [
        {"id": 1, "name": "it's \u00e4", "height": 1.75},
        {"id": 2, "name": "n2", "height": 0.5},
    ]
    assert (await connection.fetchrow("select id, name from human where name = $1", "n3"))["id"] == 3
    assert await connection.execute("update human set name = $1, height = height + $2 where id > $3", "z", 1.5, 7) == "UPDATE 5"
    assert await connection.fetchval("select count(*) from human where name like $1", "z%") == 5
    assert await connection.fetchval("select count(*) from human where id between $1 and $2", 2, 4) == 3
    assert await connection.fetchval("select max(id) from human h where h.id in ($1, $2) or h.name = $3", 2, 4, "n5") == 5
    assert await connection.fetchval("select a.id from human a join human b on a.id = b.id where b.height = $1", 1.75) == 1
    assert await connection.fetchval("select id from (select id, name from human) as h where name = $1", "n4") == 4
    assert await connection.fetchval("insert into human (id, name) values ($1, $2) on conflict (id) do update set name = $3 returning name", 1, "a", "b") == "b"
    assert await connection.execute("insert into human (id, name) select id + $1, name from human where id < $2", 100, 3) == "INSERT 0 2"
    assert await connection.execute("delete from human where name is null or id in ($1, $2)", 1, 2) == "DELETE 2"
    assert await connection.execute("select 1; select 2") == "SELECT 1"
    await connection.execute("drop table human")
    await connection.close()


async def types():
    connection = await connect()
    for kind, values in VALUES.items():
        table = f"with_{kind.split()[0]}"
        await connection.execute(f"create table {table} (at bigint, v {kind})")
        select = await connection.prepare(f"select $1::{kind} as v")
        assert len(select.get_parameters()) == 1 and select.get_attributes()[0].name == "v"
        for at, given in enumerate(values):
            found = await select.fetchval(given)
            assert found == given and type(found) is type(given), (kind, given, found)
            await connection.execute(f"insert into {table} (at, v) values ($1, $2)", at, None)
            assert await connection.execute(f"update {table} set v = $1 where at = $2", given, at) == "UPDATE 1"
            assert await connection.execute(f"insert into {table} values ($2, $1)", given, -1) == "INSERT 0 1"
            for where in ("v = $1 and at = $2", "$1 = v and $2 = at"):
                found = await connection.fetchval(f"select v from {table} where {where}", given, at)
                assert found == given and type(found) is type(given), (kind, given, found)
        assert await connection.fetchval(f"select $1::{kind}", None) is None
        assert await connection.fetchval(f"select count(*) from {table} where at = -1") == len(values)
        await connection.execute(f"drop table {table}")
    for sql, given, expected in [
        ("select $1 + 1", 41, 42),
        ("select 1 + $1", 41, 42),
        ("select $1::int + 1", 41, 42),
        ("select $1::bigint * 2", 3_000_000_000, 6_000_000_000),
        ("select $1 + 1.5::float8", 1.0, 2.5),
        ("select $1::float8 / 2", 5.0, 2.5),
        ("select $1", "a", "a"),
        ("select $1 || 'b'", "a", "ab"),
        ("select upper($1)", "a", "A"),
        ("select length($1)", "abc", 3),
        ("select $1::bool", True, True),
        ("select $1::text", "12", "12"),
        ("select '7'::int + $1", 1, 8),
        ("select coalesce($1, 5)", None, 5),
    ]:
        found = await connection.fetchval(sql, given)
        assert found == expected and type(found) is type(expected), (sql, found)
    for sql, given in [("select $1::int", "x"), ("select $1::int", 2**40), ("select $1::date", "2024-01-01")]:
        await refused(asyncpg.DataError, connection.fetchval(sql, given))
    await refused(asyncpg.UndefinedTableError, connection.fetch("select * from nowhere where a = $1", 1))
    await refused(asyncpg.InterfaceError, connection.fetchval("select $1::int"))
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def transactions():
    connection = await connect()
    await connection.execute("create table ledger (id bigint primary key, sum bigint)")
    insert, count = "insert into ledger values ($1, $2)", "select count(*) from ledger"
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(insert, 1, 10)
    assert connection.is_in_transaction()
    await transaction.rollback()
    assert await connection.fetchval(count) == 0 and not connection.is_in_transaction()
    async with connection.transaction():
        await connection.execute(insert, 1, 10)
        try:
            async with connection.transaction():
                await connection.execute(insert, 2, 20)
                raise KeyError
        except KeyError:
            pass
        async with connection.transaction():
            await connection.execute(insert, 3, 30)
        try:
            async with connection.transaction():
                await connection.execute(insert, 1, 0)
        except asyncpg.UniqueViolationError as error:
            assert error.sqlstate == "23505"
    assert await connection.fetchval("select sum(id)::int from ledger") == 4
    # An error in a block, which then has failed.
    transaction = connection.transaction()
    await transaction.start()
    await refused(asyncpg.UndefinedColumnError, connection.fetch("select missing from ledger"))
    await refused(asyncpg.InFailedSQLTransactionError, connection.fetch("select 1"))
    await transaction.rollback()
    await refused(asyncpg.PostgresSyntaxError, connection.execute("selec 1"))
    # All of executemany, or nothing.
    rows = [(n, 0) for n in range(7, 30)] + [(1, 0)]
    await refused(asyncpg.UniqueViolationError, connection.executemany(insert, rows))
    assert await connection.fetchval(count) == 2
    async with connection.transaction(isolation="serializable", readonly=True):
        assert await connection.fetchval("show transaction_isolation") == "serializable"
        assert await connection.fetchval(count) == 2
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(insert, 9, 9)
        raise AssertionError("it was written")
    except asyncpg.ReadOnlySQLTransactionError:
        pass
    await connection.execute("drop table ledger")
    await connection.close()


async def prepared():
    connection = await connect()
    statement = await connection.prepare("select $1 + 1", timeout=LIMIT)
    assert [await statement.fetchval(n) for n in range(20)] == list(range(1, 21))
    assert len(await statement.fetch(1)) == 1 and statement.get_statusmsg() == "SELECT 1"
    again = await connection.prepare("select $1 || 'x' as it", name="mine")
    assert again.get_name() == "mine" and again.get_attributes()[0].type.name == "text"
    assert await again.fetchval("a") == "ax"
    del statement, again  # they are closed on the server
    assert await connection.fetchval("select 1") == 1
    await connection.execute("deallocate all")
    await connection.reload_schema_state()
    assert await connection.fetchval("select $1 + 1", 1) == 2
    await connection.execute("create table changing (a bigint)")
    assert await connection.fetch("select * from changing") == []
    await connection.execute("drop table changing")
    await connection.close()
    # Without a cache, each statement is closed after its use.
    connection = await connect(statement_cache_size=0)
    for n in range(5):
        assert await connection.fetchval("select $1 + 1", n) == n + 1
    await connection.close()


async def cursors():
    connection = await connect()
    async with connection.transaction():
        assert [row["x"] async for row in connection.cursor(COUNT, 50, prefetch=7)] == list(range(1, 51))
        cursor = await connection.cursor(COUNT, 20)
        assert [row[0] for row in await cursor.fetch(5)] == [1, 2, 3, 4, 5]
        assert (await cursor.fetchrow())[0] == 6
        assert len(await cursor.fetch(100)) == 14
        assert await cursor.fetch(1) == []
        statement = await connection.prepare(COUNT)
        assert [row[0] async for row in statement.cursor(3)] == [1, 2, 3]
    await connection.close()


async def moved():
    connection = await connect()
    async with connection.transaction():
        cursor = await connection.cursor(COUNT, 20)
        assert await cursor.forward(3) == 3
        assert (await cursor.fetchrow())[0] == 4
    await connection.close()


async def copying():
    connection = await connect()
    await connection.execute("create table filled (a bigint, b text)")

    async def lines():
        for n in range(1000):
            yield f"{n}\tn{n}\n".encode()

    assert await connection.copy_to_table("filled", source=lines()) == "COPY 1000"
    assert await connection.copy_to_table("filled", source=lines(), columns=["a", "b"]) == "COPY 1000"
    row = await connection.fetchrow("select count(*), max(b) from filled")
    assert tuple(row) == (2000, "n999")
    await connection.execute("drop table filled")
    await connection.close()


async def cancelled():
    connection, other = await connect(), await connect()
    for sql in ("select pg_sleep(3600)", ENDLESS):
        # asyncpg cancels the statement of a task that is cancelled, and of one that takes too long.
        task = asyncio.create_task(connection.execute(sql))
        await until_runs(other, sql)
        task.cancel()
        await refused(asyncio.CancelledError, task)
        # Without a time limit: the driver gives a connection up that is still cancelling at its end.
        assert await connection.fetchval("select 1") == 1
    await refused(asyncio.TimeoutError, connection.fetch("select pg_sleep(3600)", timeout=2))
    assert await connection.fetchval("select 1") == 1
    await connection.close()
    await other.close()


async def timeouts():
    connection = await connect(server_settings={"statement_timeout": "200ms"}, command_timeout=LIMIT)
    assert await patient(connection.fetchval, "show statement_timeout") == "200ms"
    for sql in ("select pg_sleep(3600)", ENDLESS):
        await refused(asyncpg.QueryCanceledError, connection.execute(sql))
    await patient(connection.execute, "set statement_timeout = 0")
    await refused(asyncpg.QueryCanceledError, limited(connection))
    assert await connection.fetchval("show statement_timeout") == "0"
    await connection.close()
    connection = await connect(server_settings={"options": "-c statement_timeout=1h"})
    assert await connection.fetchval("show statement_timeout") == "1h"
    await connection.close()
    await refused(asyncpg.UndefinedObjectError, connect(server_settings={"nonsense": "1"}))


async def limited(connection):
    async with connection.transaction():
        await connection.execute("set local statement_timeout = '100ms'")
        await connection.fetch("select pg_sleep(3600)")


async def pooled():
    async with asyncpg.create_pool(**ADDRESS, min_size=1, max_size=2, max_inactive_connection_lifetime=0) as pool:
        for at in range(6):
            async with pool.acquire(timeout=LIMIT) as connection:
                assert await connection.fetchval("select $1 + 1", at) == at + 1
                # The pool resets what the user before has set.
                assert await connection.fetchval("show lock_timeout") == "0"
                await connection.execute("set lock_timeout = '1s'")
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("select * from nowhere")
        except asyncpg.UndefinedTableError:
            pass
        # Connections given back in a block, with a cursor open, or with a cancelled statement.
        connection = await pool.acquire()
        await connection.transaction().start()
        await connection.cursor(COUNT, 20)
        await pool.release(connection)
        connection = await pool.acquire()
        await refused(asyncio.TimeoutError, connection.fetch("select pg_sleep(3600)", timeout=2))
        await pool.release(connection)
        first, second = await pool.acquire(), await pool.acquire()
        assert not first.is_in_transaction() and not second.is_in_transaction()
        await refused(asyncio.TimeoutError, pool.acquire(timeout=0.1))
        await pool.release(first)
        await pool.release(second)
        values = await asyncio.gather(*(pool.fetchval("select $1::int", n) for n in range(20)))
        assert values == list(range(20))
        assert await pool.execute("select 1") == "SELECT 1"
        await pool.expire_connections()
        assert await pool.fetchval("select 1") == 1


for check in (everyday, types, transactions, prepared, cursors, moved, copying, cancelled, timeouts, pooled):
    if len(sys.argv) < 3 or check.__name__ in sys.argv[2:]:
        asyncio.run(check())
        print(check.__name__, "ok", flush=True)
