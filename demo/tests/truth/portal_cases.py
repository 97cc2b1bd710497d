"""Portals that are fetched bit by bit, cursors, and what counts for a statement timeout."""
import time

from truth_wire import message, text

ENDLESS = "with recursive g(x) as (select 1 union all select x + 1 from g) select x from g"
NINE = "with recursive g(x) as (select 1 union all select x + 1 from g where x < 9) select x from g"


def close(portal):
    return message(b"C", b"P" + text(portal))


def block(c):
    v = c.connect()
    v.q("begin")
    return v


def opened(c, sql=NINE, portal="p", rows=2):
    """A connection in a block, with a portal of which some rows were fetched."""
    v = block(c)
    return v, v.pipeline([v.parse(sql), v.bind((), "", portal), v.execute(portal, rows)])


def case_portals_row_limits(c):
    v = block(c)
    two = "select 1 union all select 2"
    said = []
    for limits in ((2, 2, 0), (2, 0, 0, 1), (0, 0), (1, 0), (3,), (1, 5)):
        said.append(v.pipeline([v.parse(two), v.bind((), "", "p")] + [v.execute("p", n) for n in limits] + [close("p")]))
    return said


def case_portals_interleaved(c):
    v = block(c)
    fetches = [v.execute("p", 2), v.execute("q", 3), v.execute("p", 2), close("p"), v.execute("q", 1)]
    return v.pipeline([v.parse(ENDLESS), v.bind((), "", "p"), v.bind((), "", "q")] + fetches + [v.execute("p", 1)])


def case_portals_of_an_insert_returning(c):
    """All of the statement runs at the first fetch."""
    t = c.table("(a integer)")
    v = block(c)
    insert = v.parse("insert into %s values (1), (2), (3) returning a" % t)
    first = v.pipeline([insert, v.bind((), "", "p"), v.execute("p", 1)])
    rest = v.pipeline([v.execute("p", 1), v.execute("p", 0), v.execute("p", 0)])
    return first, v.q("select count(*) from " + t), rest, v.q("commit"), c.count(t)


def case_portals_of_an_insert_with_a_limit(c):
    t = c.table("(a integer)")
    v, said = opened(c, "insert into %s values (1)" % t, rows=1)
    return said, v.pipeline([v.execute("p", 1)])


def case_portals_of_show(c):
    v, said = opened(c, "show statement_timeout", rows=1)
    return said, v.pipeline([v.execute("p", 0)]), v.pipeline([v.execute("p", 0)])


def case_portals_and_own_changes(c):
    """A portal shows what its transaction had written when it was opened, and nothing later."""
    t = c.table("(a integer primary key)")
    v = block(c)
    said = [v.q("insert into %s values (1), (2), (3)" % t)]
    said.append(v.pipeline([v.parse("select a from %s order by a" % t), v.bind((), "", "p"), v.execute("p", 1)]))
    said += [v.q("insert into %s values (4)" % t), v.q("delete from %s where a = 2" % t)]
    return said, v.pipeline([v.execute("p", 9)]), v.pipeline([v.execute("p", 9)]), v.q("commit"), c.numbers_in(t)


def case_portals_and_changes_of_what_they_read(c):
    """The loop of every program: fetch some rows, change them, fetch the next."""
    t = c.table("(a integer primary key, b integer)")
    c.others("insert into %s values (1, 0), (2, 0), (3, 0), (4, 0)" % t)
    v, first = opened(c, "select a, b from %s where b = 0 order by a" % t, rows=1)
    said = [first]
    for a in (1, 2, 3):
        said += [v.q("update {0} set a = a + 10, b = 1 where a = {1}".format(t, a)), v.pipeline([v.execute("p", 1)])]
    return said, v.q("commit"), c.numbers_in(t)


def case_portals_bound_before_a_change(c):
    t = c.table("(a integer)")
    v = block(c)
    v.pipeline([v.parse("select a from " + t), v.bind((), "", "p")])
    return v.q("insert into %s values (7)" % t), v.pipeline([v.execute("p", 5)])


def case_portals_and_changes_of_others(c):
    """A portal keeps its snapshot; the other statements of its block do not."""
    t = c.table("(a integer)")
    v, first = opened(c)
    said = [first, c.others("insert into %s values (5)" % t), v.q("select a from " + t)]
    said += [v.q("insert into %s values (6)" % t), v.pipeline([v.execute("p", 2)]), v.q("commit")]
    return said, c.numbers_in(t)


def case_portals_two_snapshots(c):
    t = c.table("(a integer)")
    c.others("insert into %s values (1), (2)" % t)
    v, first = opened(c, "select a from %s order by a" % t, rows=1)
    c.others("insert into %s values (3)" % t)
    second = v.pipeline([v.parse("select a from %s order by a" % t), v.bind((), "", "q"), v.execute("q", 2)])
    return first, second, v.pipeline([v.execute("p", 9), v.execute("q", 9)])


def case_portals_in_a_snapshot(c):
    t = c.table("(a integer)")
    c.others("insert into %s values (1), (2)" % t)
    v = c.connect()
    v.q("begin isolation level repeatable read")
    seen = v.q("select count(*) from " + t)
    c.others("insert into %s values (3)" % t)
    first = v.pipeline([v.parse("select a from %s order by a" % t), v.bind((), "", "p"), v.execute("p", 1)])
    return seen, first, v.pipeline([v.execute("p", 9)]), v.q("commit")


def case_portals_and_savepoints(c):
    v = block(c)
    said = [v.q("savepoint a")]
    said.append(v.pipeline([v.parse(NINE, "s"), v.bind((), "s", "p"), v.execute("p", 2)]))
    said.append(v.q("savepoint b"))
    said.append(v.pipeline([v.bind((), "s", "q"), v.execute("q", 2)]))
    said += [v.q("rollback to b"), v.pipeline([v.execute("p", 1)]), v.q("rollback to b")]
    said += [v.pipeline([v.execute("q", 1)]), v.q("rollback to a"), v.pipeline([v.execute("p", 1)])]
    return said


def case_portals_after_a_release(c):
    v = block(c)
    v.q("savepoint a")
    said = [v.pipeline([v.parse(NINE), v.bind((), "", "p"), v.execute("p", 2)]), v.q("release a")]
    said += [v.pipeline([v.execute("p", 1)]), v.q("savepoint c"), v.q("selec 1"), v.pipeline([v.execute("p", 1)])]
    return said, v.q("rollback to c"), v.pipeline([v.execute("p", 1)])


def case_portals_of_a_failed_savepoint(c):
    v = block(c)
    v.q("savepoint a")
    v.pipeline([v.parse(NINE), v.bind((), "", "p"), v.execute("p", 2)])
    said = [v.q("selec 1"), v.pipeline([v.describe("P", "p")]), v.pipeline([close("p")]), v.q("rollback to a")]
    return said, v.pipeline([v.execute("p", 1)])


def case_portals_and_changes_before_a_savepoint(c):
    """Rows of the portal are changed, and the change is undone."""
    t = c.table("(a integer primary key)")
    v = block(c)
    v.q("insert into %s values (1), (2), (3)" % t)
    said = [v.pipeline([v.parse("select a from %s order by a" % t), v.bind((), "", "p"), v.execute("p", 1)])]
    said += [v.q("savepoint s"), v.q("delete from " + t), v.q("rollback to s"), v.pipeline([v.execute("p", 9)])]
    return said, v.q("commit"), c.numbers_in(t)


def case_portals_and_a_savepoint_without_changes(c):
    t = c.table("(a integer primary key)")
    v = block(c)
    v.q("insert into %s values (1), (2), (3)" % t)
    said = [v.pipeline([v.parse("select a from %s order by a" % t), v.bind((), "", "p"), v.execute("p", 1)])]
    said += [v.q("savepoint s"), v.q("rollback to s"), v.pipeline([v.execute("p", 1)]), v.q("release s")]
    return said, v.pipeline([v.execute("p", 9)]), v.q("commit")


def case_portals_in_a_savepoint_and_changes(c):
    t = c.table("(a integer)")
    v = block(c)
    said = [v.q("savepoint s"), v.q("select count(*) from " + t)]
    said.append(v.pipeline([v.parse(ENDLESS), v.bind((), "", "p"), v.execute("p", 2)]))
    said += [v.q("insert into %s values (1)" % t), v.pipeline([v.execute("p", 2)]), v.q("release s")]
    return said, v.pipeline([v.execute("p", 1)]), v.q("commit"), c.count(t)


def case_portals_that_fail(c):
    t = c.table("(a integer primary key, b bytea)")
    c.others("insert into %s values (1, 'x')" % t)
    v = block(c)
    v.q("savepoint a")
    v.pipeline([v.parse(NINE), v.bind((), "", "p"), v.execute("p", 2)])
    said = [v.pipeline([v.parse("select pg_sleep(5)"), v.bind((), "", "q")]), v.q("savepoint b")]
    v.send(v.execute("q", 1), v.sync())
    c.wait_for("select count(*) from pg_stat_activity where query = 'select pg_sleep(5)' and state = 'active'", ("1",))
    c.cancel(v)
    said += [v.read(), v.q("rollback to b"), v.pipeline([v.execute("q", 1)]), v.q("rollback to b")]
    return said, v.pipeline([v.execute("p", 1)])


def case_portals_without_a_block(c):
    v = c.connect()
    said = v.pipeline([v.parse(ENDLESS), v.bind((), "", "p"), v.execute("p", 2), v.execute("p", 1)])
    return said, v.pipeline([v.execute("p", 2)]), v.q("select 1")


def case_portals_end_with_a_commit_in_the_pipeline(c):
    v, said = opened(c)
    return said, v.pipeline([v.parse("commit"), v.bind(), v.execute(), v.execute("p", 1)])


def case_portals_end_with_a_rollback(c):
    v, said = opened(c, ENDLESS)
    return said, v.q("rollback"), v.pipeline([v.execute("p", 1)]), v.q("select 1")


def case_portals_end_with_an_error(c):
    v, said = opened(c, ENDLESS)
    return said, v.q("selec 1"), v.pipeline([v.execute("p", 1)]), v.q("rollback"), v.pipeline([v.execute("p", 1)])


def case_portals_unnamed(c):
    v = block(c)
    said = [v.pipeline([v.parse(NINE, "s"), v.bind((), "s"), v.execute("", 2)]), v.pipeline([v.execute("", 2)])]
    said.append(v.pipeline([v.bind((), "s"), v.execute("", 2)]))
    return said, v.q("select 1"), v.pipeline([v.execute("", 2)])


def case_portals_outlive_their_statement(c):
    v = block(c)
    said = v.pipeline([v.parse(NINE, "s"), v.bind((), "s", "p"), v.execute("p", 2)])
    return said, v.q("deallocate s"), v.pipeline([v.execute("p", 1)]), v.q("close p"), v.pipeline([v.execute("p", 1)])


def case_portals_are_fetched_by_both_protocols(c):
    v, said = opened(c)
    return said, v.q("fetch 2 from p"), v.pipeline([v.execute("p", 1)]), v.q("move p"), v.q("close p")


def case_portals_with_a_killed_session(c):
    v, said = opened(c, ENDLESS)
    c.kill(v)
    return said, v.read(), c.gone(v)


def case_portals_without_their_client(c):
    v, said = opened(c, ENDLESS)
    v.hang_up()
    return said, c.gone(v)


def case_portals_cancelled_in_a_fetch(c):
    v = block(c)
    v.send(v.parse(ENDLESS), v.bind((), "", "p"), v.execute("p", 3), v.execute("p", 2**31 - 1), v.sync())
    v.read(until="s")
    c.cancel(v)
    return c.brief(v.read())[-2:], v.q("rollback")


def case_cursors_forward(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare c no scroll cursor for " + ENDLESS, "fetch 3 from c", "fetch c", "fetch next from c",
        "fetch forward 2 in c", "fetch relative 1 from c", "fetch absolute 12 c", "move 2 from c", "move c",
        "fetch 1 from c", "close c", "fetch c")]


def case_cursors_to_the_end(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare c cursor for " + NINE, "fetch 0 c", "fetch 2 c", "fetch 0 c", "fetch relative 0 c", "fetch all c",
        "fetch 0 c", "fetch c", "move all c", "close c")]


def case_cursors_do_not_go_back(c):
    v = block(c)
    said = []
    for back in ("fetch prior c", "fetch 0 c", "move backward all c"):
        said += [v.q(sql) for sql in ("declare c no scroll cursor for " + NINE, "fetch 2 c", back, "rollback", "begin")]
    return said


def case_cursors_scroll(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare c scroll cursor for " + NINE, "fetch 3 c", "fetch prior c", "fetch backward 2 c", "fetch last c",
        "fetch first c", "fetch absolute 4 c", "fetch relative -2 c", "fetch backward all c", "move absolute 5 c",
        "fetch 0 c", "move backward 2 c", "fetch absolute 0 c", "fetch c", "fetch -2 c", "fetch absolute 20 c",
        "fetch relative 0 c", "fetch prior c", "fetch absolute -9 c", "fetch absolute -10 c", "fetch all c",
        "fetch backward all c")]


def case_cursors_scroll_without_end(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare c scroll cursor for " + ENDLESS, "fetch 2 c", "fetch absolute 5 c", "fetch backward 3 c")]


def case_cursors_of_one_name(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare C insensitive cursor without hold for values (1), (2)", "FETCH c",
        "declare \"C\" cursor for select 1", "fetch \"C\"", "declare c cursor for select 1", "rollback", "fetch c")]


def case_cursors_need_a_block(c):
    v = c.connect()
    said = [v.q("declare c cursor for select 1"), v.q("fetch c"), v.q("close c"), v.q("move c")]
    said.append(v.q("declare c cursor for %s; fetch 2 c" % NINE))
    said.append(v.q("fetch c"))
    return said, v.pipeline([v.parse("declare c cursor for " + NINE), v.bind(), v.execute()])


def case_cursors_in_one_message(c):
    v = block(c)
    return v.q("declare c cursor for %s; fetch 2 c; fetch 2 c; select 1; close c" % ENDLESS)


def case_cursors_of_other_statements(c):
    t = c.table("(a integer)")
    v = c.connect()
    said = []
    for query in ("insert into %s values (1)" % t, "selec 1", "select * from truth_nosuch", "show all", ""):
        said += [v.q("begin"), v.q("declare c cursor for " + query), v.q("rollback")]
    return said, c.count(t)


def case_cursors_unknown(c):
    v = c.connect()
    said = [v.q("begin; declare c cursor for selec 1")]
    for sql in ("fetch nosuch", "close nosuch", "move nosuch", "fetch 3", "fetch", "declare c cursor"):
        said += [v.q("begin"), v.q(sql), v.q("rollback")]
    return said


def case_cursors_with_hold(c):
    t = c.table("(a integer)")
    v = block(c)
    said = [v.q(sql % t if "%" in sql else sql) for sql in (
        "insert into %s values (1), (2), (3), (4)", "declare c cursor with hold for select a from %s order by a",
        "fetch 1 c", "commit", "fetch 1 c", "begin", "delete from %s", "fetch 1 c", "rollback", "fetch 1 c",
        "fetch 1 c", "close c", "fetch c")]
    return said, c.count(t)


def case_cursors_with_hold_and_a_rollback(c):
    v = block(c)
    said = [v.q("declare c cursor with hold for " + NINE), v.q("fetch 2 c"), v.q("rollback"), v.q("fetch c")]
    said += [v.q("declare c cursor with hold for " + NINE), v.q("fetch 2 c"), v.q("close all"), v.q("fetch c")]
    return said


def case_cursors_with_hold_that_scroll(c):
    v = c.connect()
    return [v.q(sql) for sql in (
        "declare c scroll cursor with hold for " + NINE, "fetch last c", "fetch prior c", "fetch first c", "discard all",
        "fetch c")]


def case_cursors_with_parameters(c):
    v = block(c)
    declared = v.pipeline([v.parse("declare d cursor for select $1 || ' b'", "", (25,)), v.bind(("a",)), v.execute()])
    return declared, v.q("fetch 2 d")


def case_cursors_by_the_extended_protocol(c):
    v = block(c)
    v.q("declare c cursor for " + NINE)
    said = [v.pipeline([v.parse("fetch 2 c", "f"), v.bind((), "f"), v.execute("", 1), v.execute("", 1), v.execute("", 1)])]
    said += [v.pipeline([v.execute("c", 2)]), v.q("fetch c"), v.pipeline([v.bind((), "f"), v.execute()])]
    return said, v.pipeline([v.parse(NINE, "s"), v.bind((), "s", "c")])


def case_cursors_and_savepoints(c):
    v = block(c)
    return [v.q(sql) for sql in (
        "declare c cursor for " + NINE, "savepoint a", "fetch 2 c", "declare d cursor for " + NINE, "rollback to a",
        "fetch 2 c", "selec 1", "fetch c", "rollback to a", "fetch c", "fetch d")]


def case_cursors_read_what_was_there(c):
    t = c.table("(a integer)")
    c.others("insert into %s values (1), (2)" % t)
    v = block(c)
    v.q("declare c cursor for select a from %s order by a" % t)
    c.others("insert into %s values (3)" % t)
    said = [v.q("insert into %s values (4)" % t), v.q("fetch all c")]
    v.q("declare d cursor for select a from %s order by a" % t)
    return said, v.q("delete from " + t), v.q("fetch all d"), v.q("commit")


def case_timeouts_over_flush(c):
    """The timeout counts from the first message, while the client is silent too."""
    v = c.connect()
    v.q("set statement_timeout = '200ms'")
    v.send(v.parse("select 1"), v.flush())
    time.sleep(0.4)
    v.send(v.bind(), v.execute(), v.sync())
    return v.read(), v.pipeline([])


def case_timeouts_of_a_run_after_a_parse(c):
    """Each takes less than the timeout, and both take more."""
    v = c.connect()
    v.q("set statement_timeout = '1s'")
    v.send(v.parse("select pg_sleep(0.7)"), v.flush())
    time.sleep(0.6)
    v.send(v.bind(), v.execute(), v.sync())
    return v.read()


def case_timeouts_at_sync(c):
    v = c.connect()
    v.q("set statement_timeout = '200ms'")
    v.send(v.parse("select 1"), v.flush())
    time.sleep(0.4)
    v.send(v.sync())
    return v.read(), v.pipeline([])


def case_timeouts_end_with_an_execute(c):
    v = c.connect()
    v.q("set statement_timeout = '3s'")
    v.send(v.parse("select 1"), v.bind(), v.execute(), v.flush())
    said = v.read(until="C")
    time.sleep(3.2)
    v.send(v.parse("select 1"), v.bind(), v.execute(), v.sync())
    return said, v.read()


def case_timeouts_of_fetches_without_sync(c):
    v = block(c)
    v.q("set statement_timeout = '3s'")
    v.send(v.parse(ENDLESS), v.bind((), "", "p"), v.execute("p", 1), v.flush())
    said = v.read(until="s")
    time.sleep(3.2)
    v.send(v.execute("p", 1), v.sync())
    return said, v.read()


def case_timeouts_of_fetches_with_sync(c):
    v = block(c)
    v.q("set statement_timeout = '3s'")
    said = v.pipeline([v.parse(ENDLESS), v.bind((), "", "p"), v.execute("p", 1)])
    time.sleep(3.2)
    return said, v.pipeline([v.execute("p", 1)])


def case_timeouts_of_a_long_fetch(c):
    v = block(c)
    v.q("set statement_timeout = '1s'")
    v.q("declare c cursor for " + ENDLESS)
    return v.q("move all c"), v.q("rollback")


def case_timeouts_of_a_part_of_a_message(c):
    v = c.connect()
    v.q("set statement_timeout = '3s'")
    return c.brief(v.q("select pg_sleep(0.01); select pg_sleep(60); select 1"))


def case_timeouts_set_in_a_message(c):
    v = c.connect()
    said = [c.brief(v.q("set statement_timeout = '1s'; select pg_sleep(5)"))]
    v.q("set statement_timeout = 0")
    one = [v.parse("set statement_timeout = '1s'"), v.bind(), v.execute()]
    said.append(v.pipeline(one + [v.parse("select pg_sleep(5)"), v.bind(), v.execute()]))
    return said, v.q("show statement_timeout")


def case_temporary_tables_in_a_read_only_block(c):
    v = c.connect()
    v.q("create temporary table temporary_rows (a integer)")
    v.q("begin read only")
    said = [v.q(sql) for sql in (
        "insert into temporary_rows values (1), (2)", "update temporary_rows set a = 3 where a = 1",
        "delete from temporary_rows where a = 2", "select a from temporary_rows", "commit", "select a from temporary_rows")]
    v.send(v.simple("begin read only; copy temporary_rows from stdin"))
    said += [v.read(until="G"), (v.send(message(b"d", b"4\n"), message(b"c")), v.read())[1], v.q("rollback")]
    return said, v.q("select a from temporary_rows")


def case_temporary_tables_and_others_in_a_read_only_block(c):
    t = c.table("(a integer)")
    v = c.connect()
    v.q("create temporary table temporary_rows (a integer)")
    said = []
    for sql in ("create temporary table more_rows (a integer)", "truncate temporary_rows", "drop table temporary_rows",
                "alter table temporary_rows add column b integer", "insert into %s select a from temporary_rows" % t,
                "insert into temporary_rows select a from " + t, "create index more_rows on temporary_rows (a)"):
        said += [v.q("begin read only"), v.q(sql), v.q("rollback")]
    return said, c.count(t)
