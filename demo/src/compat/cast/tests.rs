use super::*;

#[test]
fn casts_become_calls() {
    for (sql, expected) in [
        ("select 1", "select 1"),
        ("select $1::int", "select cast_to_int4($1)"),
        ("select '7' :: bigint + 1", "select cast_to_int8('7') + 1"),
        ("select -1::int2", "select -cast_to_int2(1)"),
        ("select a.b::text, c from a", "select cast_to_text(a.b), c from a"),
        ("select \"a b\".\"c\"::varchar(8)", "select cast_to_varchar(\"a b\".\"c\", 8)"),
        ("select (a + 1)::double precision", "select cast_to_float8((a + 1))"),
        ("select f(a, (b))::int", "select cast_to_int4(f(a, (b)))"),
        ("select s.f(a)::int", "select cast_to_int4(s.f(a))"),
        ("select a in (1, 2)", "select a in (1, 2)"),
        ("select x::int::text", "select cast_to_text(cast_to_int4(x))"),
        ("select (x::int + 1)::text", "select cast_to_text((cast_to_int4(x) + 1))"),
        (
            "select case when a then 1 else 2 end::text",
            "select cast_to_text(case when a then 1 else 2 end)",
        ),
        (
            "select count(*) over (order by a)::int",
            "select cast_to_int4(count(*) over (order by a))",
        ),
        ("select count(*) filter (where a)::int", "select cast_to_int4(count(*) filter (where a))"),
        ("select count(*) over w::int", "select cast_to_int4(count(*) over w)"),
        ("select cast(a as int)", "select cast_to_int4(a)"),
        (
            "select CAST ( a + 1 AS timestamp with time zone ) x",
            "select cast_to_timestamptz( a + 1) x",
        ),
        ("select cast(cast(a as text) as date)", "select cast_to_date(cast_to_text(a))"),
        ("select cast(a as blob), cast(b as x)", "select cast(a as blob), cast(b as x)"),
        ("select cast(b::text as varchar(2))", "select cast_to_varchar(cast_to_text(b), 2)"),
        ("select a::pg_catalog.int4", "select cast_to_int4(a)"),
        ("select a::timestamp without time zone, b", "select cast_to_timestamp(a), b"),
        ("select a::decimal", "select cast_to_numeric(a)"),
        ("select current_user, SESSION_USER", "select current_user(), session_user()"),
        ("select current_user::text", "select cast_to_text(current_user())"),
        ("select t.current_user, 1 as current_user", "select t.current_user, 1 as current_user"),
        ("select ':: cast(' -- ::", "select ':: cast(' -- ::"),
        (
            "create view v as select a::int, b::text",
            "create view v as select CAST(a AS INTEGER), CAST(b AS TEXT)",
        ),
        ("create view v as select cast(a as date)", "create view v as select cast(a as date)"),
    ] {
        assert_eq!(translate(sql).unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_cast() {
    for (sql, sqlstate) in [
        ("select ::int", "42601"),
        ("select where::int", "42601"),
        ("select 1::", "42601"),
        ("select 1::'a'", "42601"),
        ("select 1::nosuch", "42704"),
        ("select 'a'::UUID", "0A000"),
        ("select 1::numeric(10, 2)", "0A000"),
        ("select 1::timestamp(3)", "0A000"),
        ("select '{1}'::int[]", "0A000"),
        ("create view v as select a::date", "0A000"),
    ] {
        assert_eq!(translate(sql).map_err(|error| error.sqlstate), Err(sqlstate), "{sql}");
    }
}

#[test]
fn many_casts_take_no_long_time() {
    let chain = format!("select a{}", "::int".repeat(100_000));
    assert_eq!(translate(&chain).unwrap_err().sqlstate, "54001");
    let list = format!("select a{}", ", b::int".repeat(100_000));
    assert!(translate(&list).is_ok());
    for odd in
        ["case", "end", "(", ")", "cast", "cast(", "cast(a as", "a::int(", "over ::", ":::", "as"]
    {
        let _ = translate(&format!("{odd} :: cast"));
        let _ = translate(odd);
    }
}

#[test]
fn names_of_columns() {
    for (name, shown) in [
        ("a", "a"),
        ("current_user()", "current_user"),
        ("cast_to_int4($1)", "int4"),
        ("cast_to_int4(a)", "a"),
        ("cast_to_int4(t.\"A b\")", "A b"),
        ("cast_to_text(cast_to_int4('1'))", "text"),
        ("cast_to_int4(Count(*))", "count"),
        ("cast_to_int4(a) + 1", "int4(a) + 1"),
        ("safepoint_now()", "now"),
        ("safepoint_now() - query_start", "?column?"),
        ("safepoint_epoch( safepoint_now() - a)", "extract"),
        ("safepoint_epoch(a) + safepoint_epoch(b)", "?column?"),
        ("((safepoint_now()))", "now"),
        ("(safepoint_now()) - (a)", "?column?"),
        ("cast_to_text(safepoint_now())", "now"),
        ("cast_to_text((safepoint_now() - a))", "text"),
        ("Max(safepoint_now() - a)", "max"),
        ("safepoint_now", "safepoint_now"),
        ("a.safepoint_now", "a.safepoint_now"),
        ("safepoint_test_stall()", "safepoint_test_stall()"),
    ] {
        assert_eq!(column_name(name), shown);
    }
}
