//! `pg_stat_activity_helpers`, and a statement that computes on two threads.

use crate::support::{CANCELLED, MODELS, Server, until_value};

/// The columns, with the numbers of their types.
const COLUMNS: [(&str, u32); 9] = [
    ("sessionid", 20),
    ("pid", 23),
    ("name", 25),
    ("known_since", 1184),
    ("at", 25),
    ("is_on_thread", 16),
    ("is_waiting", 16),
    ("last_safe_point", 25),
    ("hold_off", 25),
];

const ALL: &str = "select count(*) from pg_stat_activity_helpers";

/// A statement that ends only if it is made to.
const PARALLEL: &str = "select safepoint_test_parallel(1000000000000000)";

#[test]
fn the_view_shows_the_helpers_of_a_statement() {
    for model in MODELS {
        let options =
            ["--test-functions", "--watchdog", "100", "--reader", "mon", "--workers", "2"];
        let server = Server::start(model, &options);
        let (mut admin, mut ann) = (server.admin(), server.user("ann"));
        assert_eq!(ann.ok("select safepoint_test_parallel(10)").value(), "55");
        until_value(&mut admin, ALL, "0");
        let (session, pid) = (ann.session().to_string(), ann.pid.to_string());
        ann.start(PARALLEL);
        until_value(&mut admin, ALL, "2");
        // The watchdog probes them.
        let probed = format!("{ALL} where last_safe_point like 'demo/src/test_functions.rs:%'");
        until_value(&mut admin, &probed, "2");
        let answer = admin.ok("select * from pg_stat_activity_helpers");
        let columns: Vec<_> =
            answer.columns.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        assert_eq!(columns, COLUMNS);
        for row in &answer.rows {
            let text = |at: usize| row[at].as_deref().unwrap_or("NULL");
            assert_eq!([text(0), text(1), text(2)], [&session, &pid, "sum"]);
            assert!(text(4).starts_with("demo/src/test_functions.rs:"), "{row:?}");
            assert_eq!([text(5), text(6), text(8)], ["t", "f", "NULL"]);
        }
        for condition in [
            "is_on_thread and not is_waiting",
            "known_since > now() - interval '5 minutes'",
            "pid in (select pid from pg_stat_activity where usename = 'ann')",
        ] {
            let sql = format!("{ALL} where {condition}");
            assert_eq!(admin.ok(&sql).value(), "2", "{condition}");
        }
        // As the text of the statement.
        for (user, count) in [("ann", "2"), ("bob", "0"), ("mon", "2")] {
            assert_eq!(server.user(user).ok(ALL).value(), count, "{user}");
        }
    }
}

#[test]
fn a_cancel_and_a_termination_end_both_helpers() {
    for model in MODELS {
        let server = Server::start(model, &["--test-functions", "--workers", "2"]);
        let (mut admin, mut ann) = (server.admin(), server.user("ann"));
        ann.start(PARALLEL);
        until_value(&mut admin, ALL, "2");
        assert_eq!(admin.ok(&format!("select pg_cancel_backend({})", ann.pid)).value(), "t");
        ann.finish().error().expect("ERROR", "57014", CANCELLED);
        until_value(&mut admin, ALL, "0");
        ann.start(PARALLEL);
        until_value(&mut admin, ALL, "2");
        assert_eq!(admin.ok(&format!("select pg_terminate_backend({})", ann.pid)).value(), "t");
        ann.rest().expect_killed();
        until_value(&mut admin, ALL, "0");
    }
}
