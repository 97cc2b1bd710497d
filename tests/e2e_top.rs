//! The live view in a terminal, against the server.

mod server_common;

use rexpect::session::{PtySession, spawn_command};
use server_common::{MODELS, Server, Wire, built};
use std::process::Command;

const DEADLINE_MS: u64 = 30_000;

#[test]
fn an_operator_finds_a_session_and_ends_it() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let parameters = [("user", "ann"), ("application_name", "runaway")];
        let mut victim = Wire::connect_as(server.address, &parameters);
        victim.start(server_common::ENDLESS);

        let mut top = start_top(&server);
        top.exp_string("runaway").expect("it is listed");
        // Filtered, the victim is the one that is chosen.
        top.send("/runaway\r").expect("a terminal");
        top.flush().expect("a terminal");
        // Only what changes is drawn, so no more than a word is in one piece.
        top.exp_string("(Esc").expect("the filter");
        top.send("K").expect("a terminal");
        top.flush().expect("a terminal");
        victim.expect_killed();
        top.exp_string("after").expect("it is followed to its end");
        top.send("q").expect("a terminal");
        top.flush().expect("a terminal");
        top.exp_eof().expect("it ends");
    }
}

#[test]
fn a_lost_connection_is_said_to_be_one() {
    let server = Server::start("on", &[]);
    let mut top = start_top(&server);
    top.exp_string("(you)").expect("it is listed");
    let mut admin = server.admin();
    let own = "select sessionid from pg_stat_activity where application_name = 'top'";
    let session = admin.ok(own).value().parse().expect("a session id");
    admin.ok(&server_common::kill_now("on", session));
    top.exp_string("lost").expect("it is said");
    top.send("q").expect("a terminal");
    top.flush().expect("a terminal");
    top.exp_eof().expect("it ends");
}

fn start_top(server: &Server) -> PtySession {
    // A new terminal has no size.
    let mut command = Command::new("sh");
    command.args(["-c", "stty rows 40 cols 160 && exec \"$0\" \"$@\""]).arg(built("top"));
    command.args(["--address", &server.address.to_string(), "--user", "omm"]);
    command.env("TERM", "xterm");
    spawn_command(command, Some(DEADLINE_MS)).expect("it starts")
}
