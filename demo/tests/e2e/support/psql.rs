//! The real `psql`, on a terminal.

use super::{PROGRAM, Server};
use rexpect::session::{PtySession, spawn_command};
use std::process::Command;

const PROMPT: &str = "ready> ";

/// A `psql` that a person sits at.
pub(crate) struct Psql(PtySession);

impl Psql {
    /// The terminal does not repeat what is typed.
    pub(crate) fn start(server: &Server, user: &str, application: &str) -> Psql {
        let mut command = Command::new("psql");
        // Without a file of the person's own, a line editor, or a pager.
        command.args(["-X", "-n", "-P", "pager=off", "-v", &format!("PROMPT1={PROMPT}")]);
        command.args(["-h", "127.0.0.1", "-p", &server.port(), "-U", user, "-d", "postgres"]);
        command.env("PGAPPNAME", application).env("TERM", "dumb").env("LC_ALL", "C");
        // It has to start first, and what it is asked may take a while.
        let limit = PROGRAM.as_millis().try_into().expect("short enough");
        let mut psql = Psql(spawn_command(command, Some(limit)).expect("psql starts"));
        psql.answer();
        psql
    }

    /// What it says up to its next prompt.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> String {
        self.0.exp_string(PROMPT).unwrap_or_else(|e| panic!("no prompt: {e}")).replace('\r', "")
    }

    /// The same, if that is there by now.
    pub(crate) fn answer_so_far(&mut self) -> Option<String> {
        let mut said = String::new();
        while let Some(character) = self.0.try_read() {
            said.push(character);
        }
        (!said.is_empty()).then(|| {
            let rest = if said.ends_with(PROMPT) { String::new() } else { self.answer() };
            (said + &rest).replace(['\r'], "").replace(PROMPT, "")
        })
    }

    pub(crate) fn start_line(&mut self, line: &str) {
        self.0.send_line(line).expect("psql reads");
    }

    #[track_caller]
    pub(crate) fn line(&mut self, line: &str) -> String {
        self.start_line(line);
        self.answer()
    }

    pub(crate) fn control_c(&mut self) {
        self.0.send_control('c').expect("psql reads");
    }

    /// The cells of the rows of a table.
    #[track_caller]
    pub(crate) fn rows(&mut self, line: &str) -> Vec<Vec<String>> {
        let answer = self.line(line);
        let (_, body) = answer.split_once("-\n").unwrap_or_else(|| panic!("no table: {answer}"));
        let body: Vec<_> = body.lines().take_while(|line| !line.starts_with('(')).collect();
        let cells = |line: &&str| line.split('|').map(|cell| cell.trim().to_string()).collect();
        let rows: Vec<Vec<String>> = body.iter().map(cells).collect();
        assert!(answer.contains(&format!("({} row", rows.len())), "{answer}");
        rows
    }

    #[track_caller]
    pub(crate) fn session(&mut self) -> i64 {
        self.rows("select pg_current_sessid();")[0][0].parse().expect("a session id")
    }
}
