"""Neighbours of the cases in truth_cases.py, by the same kinds."""


def case_failed_parse_of_a_missing_table_while_failed(c):
    """A failed block rejects a statement before it looks at its tables, and after its syntax."""
    v = c.connect()
    v.q("begin")
    v.q("selec 1")
    said = [v.pipeline([v.parse("select * from truth_nosuch")]), v.pipeline([v.parse("selec 1")]),
            v.q("select * from truth_nosuch"), v.q("selec 1")]
    return said, v.q("rollback")


def case_failed_bind_while_failed(c):
    v = c.connect()
    v.pipeline([v.parse("select 1", "kept"), v.parse("rollback", "end")])
    v.q("begin")
    v.q("selec 1")
    return v.pipeline([v.bind((), "kept"), v.execute()]), v.pipeline([v.bind((), "end"), v.execute()])


def case_failed_savepoints_by_name(c):
    v = c.connect()
    return [v.q(sql) for sql in (
        "savepoint a", "release a", "rollback to a", "begin", "savepoint a", "savepoint A", "release a",
        "rollback to \"a\"", "release nosuch", "rollback to a", "release a", "rollback to a", "commit")]


def case_implicit_savepoint_in_a_message(c):
    t = c.table("(a integer)")
    return c.connect().q("insert into {0} values (1); savepoint a; insert into {0} values (2)".format(t)), c.count(t)


def case_implicit_rollback_inside(c):
    t = c.table("(a integer)")
    answer = c.connect().q("insert into {0} values (1); rollback; insert into {0} values (2)".format(t))
    return answer, c.numbers_in(t)


def case_implicit_chain_needs_a_block(c):
    v = c.connect()
    return [v.q(sql) for sql in ("commit and chain", "rollback and chain", "begin", "commit and chain",
                                 "rollback and no chain")]


def case_implicit_copy_and_an_error(c):
    t = c.table("(a integer)")
    v = c.connect()
    v.send(v.simple("copy %s from stdin; selec 1" % t))
    return v.read(), c.count(t)


def case_settings_set_local_outside(c):
    v = c.connect()
    return v.q("set local lock_timeout = '2s'"), c.rows(v.q("show lock_timeout"))


def case_settings_isolation_of_a_block(c):
    v = c.connect()
    said = [v.q(sql) for sql in (
        "show transaction_isolation", "begin isolation level serializable", "show transaction_isolation",
        "commit", "show transaction isolation level", "begin", "set transaction isolation level repeatable read",
        "show transaction_isolation", "rollback", "set session characteristics as transaction read only",
        "show default_transaction_read_only", "show transaction_read_only")]
    return said


def case_settings_modes_after_a_query(c):
    t = c.table("(a integer)")
    v = c.connect()
    said = []
    for mode in ("isolation level serializable", "read only", "read write"):
        said += [v.q("begin"), v.q("select count(*) from " + t), v.q("set transaction " + mode), v.q("rollback")]
    said += [v.q("begin read only"), v.q("select count(*) from " + t), v.q("set transaction read write"),
             v.q("rollback"), v.q("set transaction read only")]
    return said


def case_settings_chain_keeps_the_modes(c):
    v = c.connect()
    return [v.q(sql) for sql in (
        "begin isolation level repeatable read, read only", "commit and chain", "show transaction_isolation",
        "show transaction_read_only", "rollback", "show transaction_read_only")]


def case_settings_local_and_then_for_the_session(c):
    v = c.connect()
    said = [v.q(sql) for sql in (
        "begin", "set local lock_timeout = '1s'", "set lock_timeout = '2s'", "show lock_timeout", "commit",
        "show lock_timeout", "begin", "set lock_timeout = '3s'", "set local lock_timeout = '4s'", "commit",
        "show lock_timeout")]
    return said


def case_settings_options_of_two_forms(c):
    v = c.connect(options="--lock-timeout=2s -cstatement_timeout=3s")
    return [c.rows(v.q("show " + name)) for name in ("lock_timeout", "statement_timeout")]


def case_settings_deallocate_one(c):
    v = c.connect()
    v.pipeline([v.parse("select 1", "kept")])
    return [v.q(sql) for sql in ("deallocate nosuch", "deallocate kept", "deallocate prepare kept", "deallocate")]


def case_settings_booleans(c):
    v = c.connect()
    said = []
    for value in ("yes", "f", "'1'", "0", "tru", "o", "2", "'on '"):
        said += [v.q("set default_transaction_read_only = " + value),
                 c.rows(v.q("show default_transaction_read_only"))]
    return said


def case_settings_set_config_of_a_transaction(c):
    v = c.connect()
    return [v.q(sql) for sql in (
        "begin", "select set_config('lock_timeout', '3s', true)", "show lock_timeout", "commit",
        "show lock_timeout", "select current_setting('nosuch')", "select current_setting('nosuch', true)",
        "select set_config('nosuch', '1', false)")]


def case_cancel_with_stale_and_wrong_keys(c):
    """A key of a session that has ended hits nothing, however often it comes."""
    gone = c.connect(user="ann")
    gone.hang_up(polite=True)
    c.gone(gone)
    v = c.connect(user="ann")
    for _ in range(15):
        c.cancel(gone)
    return c.brief(v.q("select pg_sleep(0.1)"))


def case_settings_discard_temporary_in_a_block(c):
    """Nothing of the block is lost with the temporary tables."""
    t = c.table("(a integer)")
    v = c.connect()
    v.q("begin")
    v.q("insert into %s values (1)" % t)
    v.q("discard temp")
    return v.q("commit"), c.numbers_in(t)


def case_settings_set_local_of_what_is_unknown(c):
    v = c.connect()
    return v.q("set local nosuch = 1"), v.q("set local lock_timeout = 'x'"), v.q("select 1")


def case_settings_set_local_in_a_message(c):
    return c.connect().q("set local lock_timeout = '2s'; show lock_timeout"), c.connect().q("show lock_timeout")


def case_settings_alone_in_a_message(c):
    v = c.connect()
    return v.q("select 1; discard all"), v.q("select 1; vacuum"), v.q("vacuum")


def case_settings_read_only_neighbours(c):
    t = c.table("(a integer)")
    v = c.connect()
    v.q("set default_transaction_read_only = on")
    said = [v.q(sql % t) for sql in (
        "truncate %s", "with x as (select 1) insert into %s select * from x", "copy %s from stdin",
        "create table no_%s as select 1", "alter table %s add column b integer")]
    return said, v.q("vacuum"), c.count(t)


def case_settings_keep_alive(c):
    v = c.connect()
    said = []
    for sql in ("set tcp_keepalives_idle = '1min'", "show tcp_keepalives_idle",
                "set tcp_keepalives_idle = '1500ms'", "show tcp_keepalives_idle",
                "set tcp_keepalives_idle = 0", "show tcp_keepalives_idle",
                "set tcp_keepalives_idle = -1", "set tcp_keepalives_idle = 'x'",
                "set tcp_keepalives_count = 2.5", "show tcp_keepalives_count",
                "set tcp_keepalives_count = '5s'", "set tcp_keepalives_interval = '2min'",
                "show tcp_keepalives_interval", "set tcp_user_timeout = '2s'", "show tcp_user_timeout",
                "reset tcp_user_timeout", "show tcp_user_timeout",
                "begin", "set local tcp_keepalives_interval = 77", "show tcp_keepalives_interval",
                "commit", "select current_setting('tcp_keepalives_interval')"):
        said.append(v.q(sql))
    return said


def case_settings_reload(c):
    return c.connect().q("select pg_reload_conf()"), c.connect(user="ann").q("select pg_reload_conf()")
