//! The reference page, played through an interactive `psql` on a terminal.

use crate::support::psql::Psql;
use crate::support::{
    CANCELLED, ENDLESS, MODELS, Server, TOLD, binary, is_installed, run, until_gone, until_runs,
    until_waits,
};
use std::process::Command;

#[test]
fn the_reference_page() {
    if !is_installed("the_reference_page", "psql") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut watch = server.admin();
        let mut psql = Psql::start(&server, "omm", "gsql");

        let shown = psql.line("show enable_thread_pool;");
        let page = format!(" enable_thread_pool \n--------------------\n {model}\n(1 row)\n\n");
        assert_eq!(shown, page);

        let rows = psql.rows(
            "select pid, sessionid, usename, application_name from pg_stat_activity \
             where usename = 'omm';",
        );
        let gsql: Vec<_> = rows.iter().filter(|row| row[3] == "gsql").collect();
        assert_eq!(gsql.len(), 1, "{rows:?}");
        let (pid, session) = (gsql[0][0].clone(), gsql[0][1].clone());
        let background: Vec<_> =
            rows.iter().filter(|row| !["gsql", "omm"].contains(&row[3].as_str())).collect();
        assert!(background.iter().any(|row| row[3] == "acceptor"), "{rows:?}");
        for row in &background {
            assert_eq!(row[0], row[1], "background threads have pid = sessionid: {rows:?}");
        }
        assert_ne!(pid, session, "{rows:?}");

        let killed = psql.line(&format!("ALTER SYSTEM KILL SESSION '{pid}, {session}';"));
        assert!(killed.starts_with(&format!("FATAL:  {TOLD}\n")), "{killed}");
        let reset = "The connection to the server was lost. Attempting reset: Succeeded.";
        assert!(killed.contains(reset), "{killed}");
        assert!(!killed.contains("pg_terminate_session"), "there is no row: {killed}");

        assert_eq!(psql.rows("select 6 * 7;"), [["42"]]);
        assert_ne!(psql.session().to_string(), session);
        until_gone(&mut watch, session.parse().expect("a number"));
    }
}

#[test]
fn another_session_is_killed() {
    if !is_installed("another_session_is_killed", "psql") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut watch = server.admin();
        let mut admin = Psql::start(&server, "omm", "gsql");
        let mut victim = Psql::start(&server, "ann", "report");
        let session = victim.session();
        let thread = if model == "on" { 0 } else { session };

        let answer = admin.line(&format!("alter system kill session '{thread}, {session}';"));
        assert!(answer.starts_with(&format!("NOTICE:  session {session} was ")), "{answer}");
        let row = " pg_terminate_session \n----------------------\n t\n(1 row)\n";
        assert!(answer.contains(row), "{answer}");

        until_gone(&mut watch, session);

        // It learns of it with its next statement, and comes back by itself.
        let told = victim.line("select 1;");
        assert!(told.starts_with(&format!("FATAL:  {TOLD}\n")), "{told}");
        assert!(told.contains("Attempting reset: Succeeded."), "{told}");
        assert_eq!(victim.rows("select 1;"), [["1"]]);

        let again = admin.line(&format!("alter system kill session '{thread}, {session}';"));
        assert!(again.starts_with("ERROR:  "), "{again}");
        let wrong = admin.line("alter system kill session 's';");
        assert!(wrong.starts_with("ERROR:  missing or invalid session ID\nHINT:  "), "{wrong}");
    }
}

#[test]
fn control_c_ends_the_statement_and_not_the_session() {
    if !is_installed("control_c_ends_the_statement_and_not_the_session", "psql") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let mut watch = server.admin();
        let mut psql = Psql::start(&server, "ann", "psql");
        let session = psql.session();
        for statement in ["select pg_sleep(3600)", ENDLESS] {
            psql.start_line(&format!("{statement};"));
            match statement {
                ENDLESS => until_runs(&mut watch, session, statement),
                _ => until_waits(&mut watch, session),
            };
            psql.control_c();
            let answer = psql.answer();
            assert!(answer.contains(&format!("ERROR:  {CANCELLED}\n")), "{answer}");
            assert_eq!(psql.session(), session, "the session goes on");
        }
    }
}

#[test]
fn the_tables_that_psql_lists_and_loads() {
    if !is_installed("the_tables_that_psql_lists_and_loads", "psql") {
        return;
    }
    for model in MODELS {
        let server = Server::start(model, &[]);
        let mut psql = Psql::start(&server, "ann", "psql");
        assert_eq!(psql.line("create table t (a int, b text);"), "CREATE TABLE\n");
        psql.start_line("copy t from stdin;");
        psql.start_line("1\tone");
        psql.start_line("2\t\\N");
        let loaded = psql.line("\\.");
        assert!(loaded.contains("COPY 2\n"), "{loaded}");
        assert_eq!(psql.rows("select * from t order by a;"), [["1", "one"], ["2", ""]]);
        let error = psql.line("select missing from t;");
        assert!(error.starts_with("ERROR:  no such column: missing\n"), "{error}");
    }
}

#[test]
fn the_transcript() {
    let ran = run(Command::new(binary()).arg("--transcript"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out.matches(&format!("FATAL:  {TOLD}\n")).count(), 2, "{}", ran.out);
    for shown in [" off\n", " on\n", "| listener\n", "Attempting reset: Succeeded."] {
        assert!(ran.out.contains(shown), "{shown:?} is not in {}", ran.out);
    }
}
