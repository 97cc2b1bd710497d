"""Neighbours of the cases in truth_cases.py, by the same kinds."""

from truth_wire import message


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


def case_settings_client_connection_check_interval(c):
    v = c.connect()
    said = []
    for value in ("'100ms'", "100", "'2s'", "0", "'x'", "-1", "'1 week'"):
        said.append(v.q("set client_connection_check_interval = %s" % value))
        said.append(c.rows(v.q("show client_connection_check_interval")))
    return said, v.q("reset client_connection_check_interval"), v.q("select pg_sleep(0.2)")


def case_settings_temp_file_limit(c):
    v = c.connect(user="omm")
    said = []
    for value in ("'1MB'", "2048", "'1.5GB'", "'3000kB'", "-1", "0", "'512B'", "'x'", "'1 mb'", "-2", "'3TB'"):
        said.append(v.q("set temp_file_limit = %s" % value))
        said.append(c.rows(v.q("show temp_file_limit")))
    u = c.connect(user="ann")
    said += [u.q(sql) for sql in (
        "set temp_file_limit = -1", "set local temp_file_limit = '1MB'", "reset temp_file_limit", "reset all",
        "select set_config('temp_file_limit', '1MB', false)", "discard all")]
    return said, c.connect(user="ann", options="-c temp_file_limit=1MB").greeting


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


def case_settings_limits_of_what_follows(c):
    """A limit that a statement sets holds for the next one of the message, and not for itself."""
    v = c.connect()
    sets = "select set_config('statement_timeout', '500', true)"
    said = [c.brief(v.q(sets + "; select pg_sleep(60)"))]
    said.append(c.brief(v.pipeline([v.parse(sets), v.bind(), v.execute(), v.parse("select pg_sleep(60)"), v.bind(),
                                    v.execute()])))
    said.append(c.brief(v.q("select set_config('statement_timeout', '1', true), pg_sleep(0.1)")))
    said.append([v.q("set local statement_timeout = 1") for _ in range(20)])
    return said, v.q("show statement_timeout")


def case_settings_limit_of_a_suspended_portal(c):
    v = c.connect()
    v.q("begin")
    sets = [v.parse("select set_config('statement_timeout', '500', true)"), v.bind((), "", "p"), v.execute("p", 1)]
    return c.brief(v.pipeline(sets + [v.parse("select pg_sleep(60)"), v.bind(), v.execute()])), v.q("rollback")


def case_settings_limits_that_have_ended(c):
    v = c.connect()
    said = [c.brief(v.q("begin; set local statement_timeout = '500ms'; %s; select pg_sleep(1)" % end))
            for end in ("commit", "rollback")]
    v.q("set statement_timeout = '500ms'")
    said.append(c.brief(v.q("set statement_timeout = 0; select pg_sleep(1)")))
    v.q("set statement_timeout = '500ms'")
    said.append(c.brief(v.q("reset statement_timeout; select pg_sleep(1)")))
    return said, v.q("show statement_timeout")


def case_settings_lock_limit_of_what_follows(c):
    t = c.table("(a integer)")
    v, w = c.connect(), c.connect()
    w.q("begin")
    w.q("insert into %s values (1)" % t)
    said = v.q("begin; select set_config('lock_timeout', '300', true); drop table " + t)
    w.q("rollback")
    return said, v.q("rollback")


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
# Integers of the server have 64 bits, whatever their declared size is, and its other numbers are doubles.
KINDS = {20: "integer", 21: "integer", 23: "integer", 700: "float", 701: "float"}


def kinds(oids):
    return [KINDS.get(oid, oid) for oid in oids]


def case_drivers_types_of_parameters(c):
    t = c.table("(a integer primary key, b text, c double precision, d boolean, e numeric, f date, "
                "g timestamp, h timestamp with time zone, i bytea)")
    v, said = c.connect(), []
    for sql in (
            "insert into {0} values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            "insert into {0} (b, a) values ($1, $2), ($4, $3), ('x', $5)",
            "insert into {0} (a, b) select a + $1, $2 from {0} where c < $3",
            "insert into {0} (a, b) values ($1, $2) on conflict (a) do update set b = $3 returning c",
            "update {0} set b = $1, g = $2 where a = $3 and h > $4",
            "delete from {0} where d = $1 or f between $2 and $3",
            "select a from {0} where b in ($1, $2, $3) and a in ($4, $5) limit $6 offset $7",
            "select a from {0} where $1 = b and a > $2 and b like $3",
            "select s.x from (select a as x, b as y from {0}) as s where s.y = $1",
            "select l.a from {0} l join {0} r on l.a = r.a and r.b = $1 where r.e = $2",
            "select case when a = $1 then $2 else b end from {0}",
            "select coalesce($1, 5), coalesce(b, $2), upper($3), length($4) from {0}",
            "select $1 + 1, 1 + $2, $3 || 'a', $4",
            "select $1::int, $2::text, $3::double precision, cast($4 as date), cast($5 as boolean)",
            "select $1::numeric, $2::timestamp, $3::timestamptz, $4::bytea, $5::varchar(3)"):
        v.pipeline([v.parse(sql.format(t)), v.describe("S")])
        said.append(kinds(v.parameter_types))
    return said


def case_drivers_types_of_results(c):
    v, said = c.connect(), []
    for sql, oids, exact in (
            ("select $1", (23,), True), ("select $1", (20,), True), ("select $1", (16,), True),
            ("select $1", (701,), True), ("select $1", (25,), True), ("select $1", (1700,), True),
            ("select $1", (1082,), True), ("select $1", (1184,), True), ("select $1", (17,), True),
            ("select $1", (), True), ("select $1 + 1", (21,), True), ("select $1 + 1", (23,), True),
            ("select $1 + 1", (20,), True), ("select $1 + 1", (701,), True), ("select $1 + 1", (1700,), True),
            ("select $1 + 1", (), True), ("select $1 * $2", (21, 21), True), ("select $1 * $2", (701, 1700), True),
            ("select $1 || 'a'", (25,), True), ("select 1, 3000000000, 'a', null", (), True),
            ("select $1::int8, $1::text, '7'::int, '1'::float8", (23,), True),
            ("select now(), '2024-01-01'::date, cast('1' as numeric)", (), True)):
        v.pipeline([v.parse(sql, "", oids), v.describe("S")])
        said.append(v.column_types)
    return said


def case_drivers_casts(c):
    v = c.connect()
    return [v.q("select " + sql) for sql in (
        "'7'::int", "' 7 '::int + 1", "'7x'::int", "'70000'::int2", "70000::int2", "2.5::int", "3.5::int", "-1.5::int",
        "1::text", "'yes'::bool", "'maybe'::bool", "'1.5'::float8", "'x'::float8",
        "'1.25'::numeric", "'x'::numeric", "(5::numeric / 2 + 0.25)::float8", "'2024-02-29'::date", "'2024-02-30'::date",
        "'x'::date", "'2024-02-29 10:20:30.500'::timestamp", "'2024-02-29 10:20:30+02'::timestamptz",
        "'2024-02-29 10:20:30.5'::date", "'abcdef'::varchar(3)", "cast('7' as int)", "cast('7x' as int)",
        "cast('t' as boolean)", "cast('2024-02-29' as date)::text", "null::int", "'\\xff'::bytea", "1::",
        "::int", "'7'::int::text || 'a'", "(1 + 1)::text", "case when 1 = 1 then 2 end::text", "1::nosuch")]


def case_drivers_numbers_and_times_as_parameters(c):
    v, said = c.connect(), []
    for oid, value in ((1700, "1.5"), (1700, "x"), (1700, "-0.001"), (1082, "2024-02-29"), (1082, "2024-02-30"),
                       (1082, "x"), (1114, "2024-02-29 10:20:30.5"), (1114, "2024-02-29T10:20"),
                       (1184, "2024-02-29 10:20:30.5+02"), (1184, "2024-02-29 10:20:30Z"), (1184, "soon"),
                       (16, "yes"), (16, "2"), (17, "\\x00ff"), (20, "9223372036854775808"), (701, "1e400")):
        said.append(v.pipeline([v.parse("select $1", "", (oid,)), v.bind((value,)), v.execute()]))
    return said


def case_drivers_times_of_columns(c):
    t = c.table("(a integer, f date, g timestamp, h timestamptz, e numeric)")
    v = c.connect()
    said = [v.pipeline([v.parse("insert into %s values ($1, $2, $3, $4, $5)" % t),
                        v.bind(("1", "2024-02-29", "2024-02-29 10:20", "2024-02-29 10:20+02", "12.5")), v.execute()])]
    for where in ("f = $1", "f < $1 and a = 2"):
        said.append(v.pipeline([v.parse("select f, g, h, e + 1 from %s where %s" % (t, where)),
                                v.bind(("2024-02-29",)), v.execute()]))
    said.append(v.pipeline([v.parse("select a from %s where h = $1 and g > $2 and e = $3" % t),
                            v.bind(("2024-02-29 08:20Z", "2024-02-28", "12.5")), v.execute()]))
    return said


def case_drivers_names_without_parentheses(c):
    v = c.connect(user="ann")
    return [v.q("select " + sql) for sql in (
        "current_user", "session_user", "current_role", "current_user || 'x'", "current_user::text", "upper(session_user)")]


def case_drivers_now_is_of_the_transaction(c):
    v = c.connect()
    v.q("begin")
    first = c.rows(v.q("select now()"))
    v.q("select pg_sleep(0.01)")
    same = first == c.rows(v.q("select now()")) == c.rows(v.q("select transaction_timestamp()"))
    v.q("commit")
    return same, first == c.rows(v.q("select now()"))


def case_drivers_copy_in_a_pipeline(c):
    t = c.table("(a integer, b text)")
    v = c.connect()
    v.send(v.parse("copy %s from stdin" % t), v.bind(), v.execute(), v.sync())
    said = [v.read("G")]
    v.send(message(b"d", b"1\tx\n2\ty\n"), message(b"c"), v.sync())
    said += [v.read(), c.count(t)]
    v.send(v.parse("copy %s from stdin" % t), v.bind(), v.execute(), v.sync())
    said.append(v.read("G"))
    v.send(message(b"d", b"1\n"), message(b"c"), v.sync())
    said += [v.read(), c.count(t)]
    return said


def case_drivers_show(c):
    v = c.connect()
    return [c.brief(v.q("show " + name)) for name in (
        "max_connections", "server_version", "server_version_num", "client_encoding", "standard_conforming_strings",
        "transaction_isolation", "DateStyle", "TimeZone", "is_superuser", "integer_datetimes", "search_path")]


def case_dialect_table(c):
    """TABLE is a query of one table, and may not have all clauses of a SELECT."""
    t = c.table("(a integer)")
    v = c.connect()
    v.q("insert into {0} values (2), (1)".format(t))
    return [v.q(sql.format(t)) for sql in (
        "table {0} order by a", "TABLE {0} order by a limit 1", "table only {0} order by a desc limit 1 offset 1",
        "table {0} union select 3 order by 1", "table {0} where a = 1", "table truth_nosuch", "table")], \
        v.pipeline([v.parse("table {0} order by a".format(t)), v.bind(), v.execute()])


COLUMNS = ("datid, datname, pid, leader_pid, usesysid, usename, application_name, client_addr, client_hostname, "
           "client_port, backend_start, xact_start, query_start, state_change, wait_event_type, wait_event, state, "
           "backend_xid, backend_xmin, query_id, query, backend_type")


def named_session(c, user="ann", database="postgres"):
    name = c.fresh_name()
    return c.connect(user, database, application_name=name), name


def seen(c, name, columns, user="omm"):
    return c.rows(c.others("select %s from pg_stat_activity where application_name = '%s'" % (columns, name), user))


def case_settings_unknown_database_comes_first(c):
    """The server looks for the database before it reads the settings."""
    return [c.connect(database="Postgres").greeting, c.connect(database="truth_nosuch", bytea_output="x").greeting]


def case_activity_names_of_computed_columns(c):
    names = []
    v = c.connect()
    for columns in ("now() - query_start", "now()", "(now())", "max(now() - query_start)", "clock_timestamp()",
                    "extract(epoch from now() - query_start)", "now() as a, clock_timestamp()",
                    "interval '5 minutes'", "now() - interval '5 minutes'",
                    "age(now(), query_start)", "coalesce(query_start, now())"):
        v.q("select %s from pg_stat_activity" % columns)
        names.append((columns, v.column_names))
    return names


def case_activity_types_of_columns(c):
    v = c.connect()
    v.pipeline([v.parse("select %s from pg_stat_activity" % COLUMNS), v.describe("S")])
    return v.column_types


def case_activity_columns_that_others_see(c):
    """Of each column, whether another user, a reader of one's own, or a superuser sees a value."""
    v, name = named_session(c)
    v.q("begin")
    v.q("select 1")
    parts = [part for part in COLUMNS.split(", ") if part not in ("backend_xid", "backend_xmin", "query_id")]
    columns = ", ".join("case when %s is null then 'null' else 'value' end" % part for part in parts)
    return [list(zip(parts, seen(c, name, columns, user)[0])) for user in ("bob", "ann", "omm")]


def case_activity_hidden_text(c):
    v, name = named_session(c)
    v.q("select 'of ann'")
    return seen(c, name, "datname, usename, query, state", "bob"), seen(c, name, "datname, usename, query, state")


def case_activity_types_of_times(c):
    v = c.connect()
    types = []
    for sql in ("now() - query_start", "now() - interval '5 minutes'", "interval '1 day' + interval '1 hour'",
                "max(state_change)", "now()", "clock_timestamp()", "timestamptz '2020-01-01'",
                "pg_blocking_pids(1)", "pg_backend_pid()", "age(now(), backend_start)", "count(query_start)"):
        v.q("select %s from pg_stat_activity group by query_start, backend_start limit 1" % sql)
        types.append((sql, v.column_types))
    return types


def case_activity_intervals(c):
    v = c.connect()
    return [c.rows(v.q("select interval '%s'" % text)) for text in (
        "5 minutes", "1 day", "1 day 2 hours 3 min 4.5 s", "-1 day -00:00:01", "00:00:00.25", "90 sec", "10", "1 week",
        "-3 hours", "1:30", "nonsense", "5 apples", "")]


def case_activity_intervals_of_days_and_hours(c):
    v = c.connect()
    return [c.rows(v.q("select interval '%s'" % text)) for text in ("2 days -1 hours", "25 hours", "1 month")]


def case_activity_times(c):
    v = c.connect()
    return [c.rows(v.q("select timestamptz '%s'" % text)) for text in (
        "2020-01-02 03:04:05", "2020-01-02", "2020-01-02 03:04:05.25+02", "2020-01-02 03:04", "1969-12-31 23:59:59.5Z",
        "nonsense")] + [c.rows(v.q("select %s" % sql)) for sql in (
            "timestamptz '2020-01-02' - timestamptz '2020-01-01 01:00'",
            "timestamptz '2020-01-01' - timestamptz '2020-01-02 00:00:01'",
            "timestamptz '2020-01-02' - interval '5 minutes'", "interval '5 minutes' + timestamptz '2020-01-02'",
            "interval '1 hour' * 2")]


def case_activity_operators_that_do_not_exist(c):
    v = c.connect()
    return [v.q("select " + sql) for sql in ("now() + now()", "now() + 1", "now() < 1", "interval '1 day' - now()")]


def case_activity_now_is_the_transaction(c):
    v = c.connect()
    v.q("begin")
    first = c.rows(v.q("select now()"))
    v.q("select pg_sleep(0.01)")
    same = c.rows(v.q("select now()")) == first
    v.q("commit")
    return same, c.rows(v.q("select now()")) == first


def case_activity_waits(c):
    v, name = named_session(c)
    columns = "state, wait_event_type, wait_event"
    said = [seen(c, name, columns)]
    v.send(v.simple("select pg_sleep(60)"))
    look = "select state, wait_event_type, wait_event from pg_stat_activity where application_name = '%s'" % name
    said.append(c.wait_for(look, ("active", "Timeout", "PgSleep")))
    return said


def case_activity_whom_a_waiter_waits_for(c):
    t = c.table("(a integer)")
    c.others("insert into %s values (1)" % t)
    a, _ = named_session(c)
    b, name = named_session(c, user="bob")
    c.others("grant all on %s to public" % t)
    a.q("begin")
    a.q("update %s set a = a + 1" % t)
    b.send(b.simple("update %s set a = a + 1" % t))
    look = "select wait_event_type, wait_event from pg_stat_activity where application_name = '%s'" % name
    waits = c.wait_for(look, ("Lock", "transactionid"))
    blocked = c.rows(c.others("select pg_blocking_pids(%s)" % b.pid)) == [("{%s}" % a.pid,)]
    nobody = c.rows(c.others("select pg_blocking_pids(%s)" % a.pid))
    told = c.others("select pg_terminate_backend(%s)" % a.pid)
    return waits, blocked, nobody, told, a.read(), b.read(), c.numbers_in(t)


def case_activity_blocking_pids_of_nobody(c):
    v = c.connect()
    return [v.q("select pg_blocking_pids(%s)" % pid) for pid in ("0", "-1", "999999999", "null", "pg_backend_pid()")]


def case_activity_cancel_by_key_pid(c):
    v, name = named_session(c)
    v.send(v.simple("select pg_sleep(60)"))
    c.wait_for("select wait_event from pg_stat_activity where application_name = '%s'" % name, ("PgSleep",))
    return c.others("select pg_cancel_backend(%s)" % v.pid), v.read()


def case_activity_database_of_the_connection(c):
    """Each database has its number, and a user too."""
    v, name = named_session(c)
    w, other = named_session(c, user="bob")
    one, two = seen(c, name, "datid, usesysid")[0], seen(c, other, "datid, usesysid")[0]
    return one[0] == two[0], one[1] == two[1], c.rows(v.q("select current_database()"))
