//! The small examples run, and do what they say.

mod server_common;

use server_common::{built, run};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

#[test]
fn those_that_come_to_an_end() {
    for (example, said) in [
        ("your_own_pool", "bob's job, session"),
        ("existing_engine", "with one: canceling statement due to user request"),
        ("interruptible_wait", "a condition variable: was waiting, and ended with"),
        ("limits", "idle: terminating connection due to idle-session timeout (57P05)"),
    ] {
        let ran = run(&mut Command::new(built(example)));
        assert_eq!(ran.code, Some(0), "{example}: {}", ran.err);
        assert!(ran.out.contains(said), "{example}: {}", ran.out);
    }
}

struct Server(Child, String);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(example: &str) -> Server {
        let mut command = Command::new(built(example));
        let mut child = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_string();
        Server(child, address)
    }

    fn client(&self) -> Client {
        let socket = TcpStream::connect(&self.1).expect("it listens");
        socket.set_read_timeout(Some(server_common::DEADLINE)).expect("a limit");
        Client(BufReader::new(socket))
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, line: &str) {
        writeln!(self.0.get_ref(), "{line}").expect("it reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        line.trim().into()
    }
}

#[test]
fn those_that_serve() {
    for example in ["thread_per_session", "worker_pool"] {
        let server = Server::start(example);
        let [mut killer, mut busy, mut idle] = [(); 3].map(|()| server.client());
        // Each has been served once, so all three are there.
        for client in [&mut killer, &mut busy, &mut idle] {
            client.say("kill nobody");
            assert!(client.hear().starts_with("ERROR: expected"), "{example}");
        }
        busy.say("count");
        let mut id_of = |what: &str| loop {
            killer.say("who");
            let rows = [(); 3].map(|()| killer.hear());
            if let Some(row) = rows.iter().find(|row| row.ends_with(what)) {
                break row.split(' ').next().expect("an id").to_string();
            }
        };
        let (counts, waits) = (id_of("running: count"), id_of(": kill nobody"));
        for (id, mut victim) in [(counts, busy), (waits, idle)] {
            killer.say(&format!("kill {id}"));
            let answer = killer.hear();
            assert!(answer.starts_with(&format!("session {id} was ")), "{example}: {answer}");
            let told = "FATAL: terminating connection due to administrator command";
            assert_eq!((&*victim.hear(), &*victim.hear()), (told, ""), "{example}");
        }
        killer.say("bye");
        assert_eq!(killer.hear(), "");
    }
}
