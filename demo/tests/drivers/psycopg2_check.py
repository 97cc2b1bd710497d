"""What a Python program does with psycopg2, against the server on the port that is given.

Arguments: the port, and whether the server has a thread pool ("on" or "off").
"""

import faulthandler
import sys
import threading
import time

import psycopg2
import psycopg2.errors
import psycopg2.extras

PORT, MODEL = int(sys.argv[1]), sys.argv[2]
LIMIT = 120  # seconds

# A statement that is never answered: this says where that was, and ends it all.
faulthandler.dump_traceback_later(4 * LIMIT, exit=True)


def connect(user="ann", **more):
    return psycopg2.connect(
        host="127.0.0.1", port=PORT, user=user, dbname="postgres", connect_timeout=LIMIT, **more
    )


def value(connection, sql, arguments=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return cursor.fetchone()[0]


def pair(session):
    return f"{0 if MODEL == 'on' else session}, {session}"


def until(admin, session, state):
    """Waits until this is so of that session."""
    deadline = time.monotonic() + LIMIT
    sql = f"select count(*) from pg_stat_activity where sessionid = {session} and {state}"
    while value(admin, sql) != 1:
        assert time.monotonic() < deadline, f"not {state}: {session}"
        time.sleep(0.005)


WAITS = "waiting = 'interruptible'"
RUNS = "state = 'active' and query like '%endless%'"


def in_background(connection, sql):
    """Runs a statement on a thread; joining it gives the outcome."""
    outcome = []

    def run():
        try:
            outcome.append(value(connection, sql))
        except psycopg2.Error as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(LIMIT)
        assert outcome, f"{sql} goes on"
        return outcome[0]

    return join


def everyday():
    connection = connect(application_name="everyday", options=None)
    assert connection.server_version == 150000
    assert connection.get_parameter_status("server_encoding") == "UTF8"
    assert value(connection, "show application_name") == "everyday"
    connection.rollback()
    with connection, connection.cursor() as cursor:
        cursor.execute("create table item (id bigint primary key, name text, price double precision, sold boolean)")
    with connection, connection.cursor() as cursor:
        cursor.execute("insert into item values (%s, %s, %s, %s)", (1, "it's \u00e4 100%", 0.1, True))
        cursor.executemany(
            "insert into item values (%(id)s, %(name)s, %(price)s, %(sold)s)",
            [{"id": n, "name": None, "price": n / 3, "sold": False} for n in range(2, 5)],
        )
        psycopg2.extras.execute_values(cursor, "insert into item values %s", [(n, "x", 0.0, False) for n in range(5, 9)])
        assert cursor.rowcount == 4
    with connection, connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        cursor.execute("select * from item order by id")
        rows = cursor.fetchall()
        assert [column.name for column in cursor.description] == ["id", "name", "price", "sold"]
        assert rows[0]["name"] == "it's \u00e4 100%" and rows[0]["sold"] is True, rows[0]
        assert rows[1]["name"] is None and rows[2]["price"] == 1.0, rows
        assert len(rows) == 8
        cursor.execute("update item set price = price + 1 where id > %s", (4,))
        assert cursor.rowcount == 4
        cursor.execute("select id from item where name in %s", (("x", "y"),))
        assert cursor.rowcount == 4
    # An error fails the transaction, and a rollback mends it.
    with connection.cursor() as cursor:
        for sql, error in (
            ("select missing from item", psycopg2.errors.UndefinedColumn),
            ("select 1", psycopg2.errors.InFailedSqlTransaction),
        ):
            try:
                cursor.execute(sql)
                raise AssertionError(f"{sql}: no error")
            except error:
                pass
        connection.rollback()
        for sql, error in (
            ("insert into item values (1, '', 0, false)", psycopg2.errors.UniqueViolation),
            ("select * from nowhere", psycopg2.errors.UndefinedTable),
            ("selec 1", psycopg2.errors.SyntaxError),
        ):
            try:
                cursor.execute(sql)
                raise AssertionError(f"{sql}: no error")
            except error:
                connection.rollback()
        cursor.execute("select count(*) from item")
        assert cursor.fetchone() == (8,)
    connection.rollback()
    connection.set_session(autocommit=True)
    assert value(connection, "select 6 * 7") == 42
    connection.close()


def loading():
    import io

    connection = connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("create table loaded (a bigint, b text)")
        cursor.copy_from(io.StringIO("".join(f"{n}\tn{n}\n" for n in range(1000))), "loaded")
        cursor.execute("select count(*), max(b) from loaded")
        assert cursor.fetchone() == (1000, "n999")
    connection.close()


def killed():
    admin = connect("omm")
    admin.autocommit = True
    # In the middle of a statement.
    victim = connect()
    session = value(victim, "select pg_current_sessid()")
    join = in_background(victim, "select pg_sleep(3600)")
    until(admin, session, WAITS)
    assert value(admin, f"alter system kill session '{pair(session)}' immediate") is True
    assert any(notice.startswith("NOTICE:") for notice in admin.notices), admin.notices
    outcome = join()
    # An AdminShutdown where libpq keeps the first of two errors. Version 15 keeps the last, which
    # is that the connection has gone; the same with PostgreSQL's own server.
    assert isinstance(outcome, psycopg2.OperationalError), repr(outcome)
    assert outcome.pgcode in ("57P01", None) and victim.closed, repr(outcome)
    # Idle.
    victim = connect()
    session = value(victim, "select pg_current_sessid()")
    victim.rollback()
    assert value(admin, f"alter system kill session '{pair(session)}'") is True
    try:
        value(victim, "select 1")
        raise AssertionError("it goes on")
    except psycopg2.OperationalError as error:
        assert "connection" in str(error), repr(error)
    assert victim.closed
    # By an ordinary user.
    other, victim = connect("bob"), connect()
    session = value(victim, "select pg_current_sessid()")
    try:
        value(other, f"alter system kill session '{pair(session)}'")
        raise AssertionError("it was not refused")
    except psycopg2.errors.InsufficientPrivilege:
        pass
    assert value(victim, "select 1") == 1
    admin.close()


def cancelled():
    admin = connect("omm")
    admin.autocommit = True
    connection = connect()
    session = value(connection, "select pg_current_sessid()")
    connection.rollback()
    endless = "with recursive c(x) as (select 1 union all select x+1 from c) select count(*) as endless from c"
    for sql, state in (("select pg_sleep(3600)", WAITS), (endless, RUNS)):
        join = in_background(connection, sql)
        until(admin, session, state)
        connection.cancel()
        outcome = join()
        assert isinstance(outcome, psycopg2.errors.QueryCanceled), repr(outcome)
        connection.rollback()
        assert value(connection, "select pg_current_sessid()") == session
        connection.rollback()
    admin.close()


for check in (everyday, loading, killed, cancelled):
    check()
    print(check.__name__, "ok")
