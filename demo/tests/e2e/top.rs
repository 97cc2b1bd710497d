//! The live view in a terminal, against the server.

use crate::support::{MODELS, PROGRAM, Server, Wire, built};
use rexpect::session::{PtySession, spawn_command};
use std::process::Command;
use std::time::{Duration, Instant};

/// Room for all that is said of a kill.
const SIZE: (usize, usize) = (40, 240);

/// The view in a terminal of that size, and what can be seen there: only what has changed is drawn,
/// which need not be a word.
struct Top {
    pty: PtySession,
    cells: Vec<Vec<u8>>,
    at: (usize, usize),
    /// As much as has come of a sequence that moves the cursor, or does something else.
    sequence: String,
}

impl Top {
    fn start(server: &Server) -> Top {
        // A new terminal has no size.
        let (rows, columns) = SIZE;
        let size = format!("stty rows {rows} cols {columns} && exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &size]).arg(built("top"));
        command.args(["--address", &server.address.to_string(), "--user", "omm"]);
        command.env("TERM", "xterm");
        let limit = PROGRAM.as_millis().try_into().expect("short enough");
        let pty = spawn_command(command, Some(limit)).expect("it starts");
        let cells = vec![vec![b' '; columns]; rows];
        Top { pty, cells, at: (0, 0), sequence: String::new() }
    }

    /// Each byte comes as a character.
    fn take(&mut self, byte: char) {
        match byte {
            '\x1b' => self.sequence = "\x1b".into(),
            _ if !self.sequence.is_empty() => {
                self.sequence.push(byte);
                let begins = self.sequence == "\x1b[";
                if !begins && byte.is_ascii_alphabetic() {
                    let sequence = std::mem::take(&mut self.sequence);
                    if let Some(place) = sequence[2..].strip_suffix('H') {
                        let (row, column) = place.split_once(';').unwrap_or(("1", "1"));
                        let number = |text: &str| text.parse::<usize>().expect("a number") - 1;
                        self.at = (number(row), number(column));
                    }
                }
            }
            // The rest of a character that has its place already.
            '\u{80}'..='\u{bf}' => {}
            _ if !byte.is_control() => {
                let (row, column) = self.at;
                let cell = self.cells.get_mut(row).and_then(|row| row.get_mut(column));
                *cell.expect("within the terminal") = u8::try_from(byte).unwrap_or(b'?');
                self.at.1 += 1;
            }
            _ => {}
        }
    }

    /// Waits until this can be read somewhere.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PROGRAM;
        loop {
            while let Some(byte) = self.pty.try_read() {
                self.take(byte);
            }
            let lines = self.cells.iter().map(|line| String::from_utf8_lossy(line));
            let screen = lines.map(|line| format!("{}\n", line.trim_end())).collect::<String>();
            if screen.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text} is not to be seen:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) {
        self.pty.send(keys).expect("a terminal");
        self.pty.flush().expect("a terminal");
    }

    fn quit(mut self) {
        self.press("q");
        self.pty.exp_eof().expect("it ends");
    }
}

#[test]
fn an_operator_finds_a_session_and_ends_it() {
    for model in MODELS {
        let server = Server::start(model, &["--workers", "2"]);
        let parameters = [("user", "ann"), ("application_name", "runaway")];
        let mut victim = Wire::connect_as(server.address, &parameters);
        victim.start(crate::support::ENDLESS);

        let mut top = Top::start(&server);
        top.shows("runaway");
        // Filtered, the victim is the one that is chosen.
        top.press("/runaway\r");
        top.shows("filter: runaway (Esc ends it)");
        top.press("K");
        victim.expect_killed();
        top.shows("gone, seen after");
        top.quit();
    }
}

#[test]
fn a_lost_connection_is_said_to_be_one() {
    let server = Server::start("on", &[]);
    let mut top = Top::start(&server);
    top.shows("(you)");
    let mut admin = server.admin();
    let own = "select sessionid from pg_stat_activity where application_name = 'top'";
    let session = admin.ok(own).value().parse().expect("a session id");
    admin.ok(&crate::support::kill_now("on", session));
    top.shows("the connection is lost");
    top.quit();
}
