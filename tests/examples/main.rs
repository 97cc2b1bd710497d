//! The small examples run, and do what their comments promise.

mod binary;
#[allow(dead_code, reason = "the end-to-end tests of the demo need the rest")]
mod child;
mod example;

use binary::built;
use child::{DEADLINE, Said, join, run, wait_for, wait_until};
use example::Example;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn examples_that_exit() {
    for (example, said) in [
        ("your_own_pool", "ann's session was idle: FATAL: terminating connection"),
        ("your_own_pool", "bob's session was running: FATAL: terminating connection"),
        ("existing_engine", "with one: canceling statement due to user request"),
        ("interruptible_wait", "a condition variable: was waiting, and ended with"),
        ("limits", "idle: terminating connection due to idle-session timeout (57P05)"),
    ] {
        let ran = run(&mut Command::new(built(example)));
        assert_eq!(ran.code, Some(0), "{example}: {}", ran.err);
        assert!(ran.out.contains(said), "{example}: {}", ran.out);
    }
}

fn address(server: &Example) -> SocketAddr {
    server.address.parse().expect("an address")
}

fn client(server: &Example) -> Client {
    let socket = TcpStream::connect_timeout(&address(server), DEADLINE).expect("it listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a limit");
    socket.set_write_timeout(Some(DEADLINE)).expect("a limit");
    Client(BufReader::new(socket))
}

/// With the smallest send and receive buffers. The socket is non-blocking.
fn narrow_client(server: &Example) -> Client {
    let connect = async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        socket.set_send_buffer_size(4096).expect("an option");
        let connected = tokio::time::timeout(DEADLINE, socket.connect(address(server))).await;
        connected.expect("it accepts in time").expect("it listens").into_std()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let socket = runtime.expect("a runtime").block_on(connect).expect("a socket");
    Client(BufReader::new(socket))
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
fn examples_that_serve() {
    for example in ["thread_per_session", "worker_pool", "tasks"] {
        let server = Example::start(example);
        let [mut requester, mut busy, mut idle] = [(); 3].map(|()| client(&server));
        // Each has been served once, so all three are there.
        for client in [&mut requester, &mut busy, &mut idle] {
            client.say("kill nobody");
            assert!(client.hear().starts_with("ERROR: expected"), "{example}");
        }
        busy.say("count");
        let mut id_of = |what: &str| {
            let mut id = None;
            wait_until(what, || {
                requester.say("who");
                let rows = [(); 3].map(|()| requester.hear());
                let row = rows.iter().find(|row| row.ends_with(what));
                id = row.map(|row| row.split(' ').next().expect("an id").to_string());
                id.is_some()
            });
            id.expect("it is there")
        };
        let (counts, waits) = (id_of("running: count"), id_of(": kill nobody"));
        for (id, mut target) in [(counts, busy), (waits, idle)] {
            requester.say(&format!("kill {id}"));
            let answer = requester.hear();
            assert!(answer.starts_with(&format!("session {id} was ")), "{example}: {answer}");
            let message = "FATAL: terminating connection due to administrator command";
            assert_eq!((&*target.hear(), &*target.hear()), (message, ""), "{example}");
        }
        requester.say("bye");
        assert_eq!(requester.hear(), "");
    }
}

/// Two sessions use all threads of one rayon pool. A kill of one ends its work on each thread, and the sum of
/// the other is right. The answer to the kill comes after the last thread has left the job.
#[test]
fn a_kill_reaches_each_thread_of_a_rayon_pool() {
    let server = Example::start("rayon");
    let [mut requester, mut endless, mut other] = [(); 3].map(|()| client(&server));
    // Each has been served once, so all three are there.
    for client in [&mut requester, &mut endless, &mut other] {
        client.say("kill nobody");
        assert!(client.hear().starts_with("ERROR: expected"));
    }
    endless.say(&format!("sum {}", u64::MAX));
    let mut id = String::new();
    wait_until("the threads of the pool help", || {
        requester.say("who");
        let rows = [(); 3].map(|()| requester.hear());
        let row = rows.iter().find(|row| row.contains(": sum") && !row.contains("with 0 helpers"));
        row.map(|row| id = row.split(' ').next().expect("an id").to_string()).is_some()
    });
    other.say("sum 1000000");
    requester.say(&format!("kill {id}"));
    let answer = requester.hear();
    assert!(answer.starts_with(&format!("session {id}: ended in ")), "{answer}");
    let message = "FATAL: terminating connection due to administrator command";
    assert_eq!((&*endless.hear(), &*endless.hear()), (message, ""));
    assert_eq!(other.hear(), "499999500000");
    requester.say("who");
    let rows = [(); 2].map(|()| requester.hear());
    assert!(rows.iter().all(|row| row.contains("with 0 helpers")), "{rows:?}");
}

/// Statements whose clients do not read hold neither of the two workers. They can be seen, cancelled and killed, and
/// continue as their clients read.
#[test]
fn slow_readers_hold_no_worker() {
    // Eleven megabytes, which is more than the buffers of two sockets.
    const ROWS: usize = 1_000_000;
    let server = Example::start("slow_readers");
    let mut requester = client(&server);
    let mut slow: Vec<_> = (0..10).map(|_| client(&server)).collect();
    slow.iter_mut().for_each(|client| client.say(&format!("rows {ROWS}")));
    let mut ids = Vec::new();
    wait_until("all wait for their clients", || {
        requester.say("who");
        let rows: Vec<_> = (0..11).map(|_| requester.hear()).collect();
        let waiting = rows.iter().filter(|row| row.contains(" waiting rows "));
        ids = waiting.map(|row| row.split(' ').next().expect("an id").to_string()).collect();
        ids.len() == 10
    });
    for (request, id) in [("cancel", &ids[0]), ("kill", &ids[1])] {
        requester.say(&format!("{request} {id}"));
        assert_eq!(requester.hear(), "done");
    }
    let mut ends = Vec::new();
    for mut client in slow {
        let mut row = 0;
        let last = loop {
            let line = client.hear();
            // A killed client's last line may be cut.
            if line != format!("row {row}") {
                break line;
            }
            row += 1;
        };
        let is_whole = row == ROWS;
        match &*last {
            "done" => assert!(is_whole),
            "ERROR: canceling statement due to user request" => assert!(!is_whole),
            cut => assert!(cut.is_empty() || "row ".starts_with(&cut[..cut.len().min(4)]), "{cut}"),
        }
        ends.push(last);
        if ends.last().is_some_and(|last| last == "done" || last.starts_with("ERROR")) {
            client.say("nothing");
            assert!(client.hear().starts_with("ERROR: expected"));
        }
    }
    assert_eq!(ends.iter().filter(|end| *end == "done").count(), 8, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| end.starts_with("ERROR")).count(), 1, "{ends:?}");
}

#[test]
fn a_stopping_pool_notifies_its_clients() {
    let mut server = Example::start("worker_pool");
    let [mut idle, mut busy] = [(); 2].map(|()| client(&server));
    for client in [&mut idle, &mut busy] {
        client.say("kill nobody");
        assert!(client.hear().starts_with("ERROR: expected"));
    }
    busy.say("count");
    wait_until("it counts", || others(&server).iter().any(|row| row.ends_with("running: count")));
    assert_eq!(server.stop(), Some(0));
    for mut client in [idle, busy] {
        let message = "FATAL: terminating connection due to administrator command";
        assert_eq!((&*client.hear(), &*client.hear()), (message, ""));
    }
}

/// It has been served once.
fn here(server: &Example) -> Client {
    let mut client = client(server);
    client.say("kill nobody");
    assert!(client.hear().starts_with("ERROR: expected"));
    client
}

/// They may be gone before they are taken in.
#[tokio::test]
async fn a_reset_connection_ends_no_other() {
    for example in ["thread_per_session", "worker_pool", "tasks"] {
        let server = Example::start(example);
        let mut other = here(&server);
        for _ in 0..20 {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_zero_linger().expect("an option");
            let connected = tokio::time::timeout(DEADLINE, socket.connect(address(&server))).await;
            drop(connected.expect("it accepts in time").expect("it listens"));
        }
        other.say("kill nobody");
        assert!(other.hear().starts_with("ERROR: expected"), "{example}");
        here(&server);
    }
}

#[test]
fn a_new_connection_does_not_shorten_a_drain() {
    let mut server = Example::start("worker_pool");
    let mut busy = client(&server);
    busy.say("count");
    wait_until("it counts", || others(&server).iter().any(|row| row.ends_with("running: count")));
    let (address, ended) = (address(&server), Arc::new(AtomicBool::new(false)));
    let stop = ended.clone();
    let newcomers = std::thread::spawn(move || {
        let patience = Duration::from_millis(100);
        wait_until("the server ends", || {
            let _ = TcpStream::connect_timeout(&address, patience);
            stop.load(Ordering::Relaxed)
        });
    });
    assert_eq!(server.stop(), Some(0));
    ended.store(true, Ordering::Relaxed);
    join("the newcomers stop", newcomers);
    let message = "FATAL: terminating connection due to administrator command";
    assert_eq!((&*busy.hear(), &*busy.hear()), (message, ""));
}

#[test]
fn a_client_that_does_not_read_is_terminated() {
    let server = Example::start("thread_per_session");
    let slow = narrow_client(&server);
    fill(&server, &slow);
    let mut requester = client(&server);
    requester.say("who");
    let rows = [(); 2].map(|()| requester.hear());
    let row = rows.iter().find(|row| !row.ends_with("running: who")).expect("it is there");
    let id = row.split(' ').next().expect("an id");
    requester.say(&format!("kill {id}"));
    assert!(requester.hear().starts_with("session"));
    wait_until("it is gone", || others(&server).len() == 1);
}

/// A client that sends no end of line gets an error before it has sent much.
#[test]
fn lines_have_a_maximum_length() {
    for example in ["worker_pool", "tasks"] {
        let server = Example::start(example);
        let mut endless = client(&server);
        endless.0.get_ref().write_all(&[b'x'; 64 * 1024]).expect("it reads");
        if example == "worker_pool" {
            endless.0.get_ref().write_all(b"x").expect("it reads");
        }
        assert_eq!((&*endless.hear(), &*endless.hear()), ("FATAL: the line is too long", ""));
        here(&server);
    }
}

#[test]
fn a_task_continues_after_a_cancel() {
    let server = Example::start("tasks");
    let [mut requester, mut busy] = [(); 2].map(|()| client(&server));
    busy.say("count");
    let mut id = None;
    wait_until("it counts", || {
        let rows = others(&server);
        let row = rows.iter().find(|row| row.ends_with("running: count"));
        id = row.and_then(|row| row.split(' ').next()).map(str::to_owned);
        id.is_some()
    });
    let id = id.expect("it counts");
    requester.say(&format!("cancel {id}"));
    // Between two polls it waits.
    assert!(requester.hear().starts_with(&format!("session {id} was ")));
    assert_eq!(busy.hear(), "ERROR: canceling statement due to user request");
    busy.say("kill nobody");
    assert!(busy.hear().starts_with("ERROR: expected"));
}

/// A command with helpers: the number of primes, and how far it came if it is interrupted.
#[test]
fn a_task_with_helpers_cleans_up() {
    let server = Example::start("tasks");
    let mut busy = client(&server);
    for (limit, primes) in [("0", "0"), ("3", "1"), ("30001", "3245")] {
        busy.say(&format!("primes {limit}"));
        assert_eq!(busy.hear(), format!("{primes} primes below {limit}"));
    }
    busy.say("primes many");
    assert_eq!(busy.hear(), "ERROR: no such command: primes");
    for (verb, message) in [
        ("cancel", "canceling statement due to user request"),
        ("kill", "terminating connection due to administrator command"),
    ] {
        busy.say("primes 18446744073709551615");
        let mut id = None;
        wait_until("it waits for helpers", || {
            let rows = others(&server);
            let row = rows.iter().find(|row| row.ends_with("waiting: primes 18446744073709551615"));
            id = row.and_then(|row| row.split(' ').next()).map(str::to_owned);
            id.is_some()
        });
        let mut requester = client(&server);
        requester.say(&format!("{verb} {}", id.expect("it is there")));
        assert!(requester.hear().starts_with("session"));
        let answer = busy.hear();
        assert!(answer.starts_with(&format!("ERROR: {message}, after ")), "{answer}");
    }
    let message = "FATAL: terminating connection due to administrator command";
    assert_eq!((&*busy.hear(), &*busy.hear()), (message, ""));
}

/// The rows of all sessions except the requester's.
fn others(server: &Example) -> Vec<String> {
    let mut asks = client(server);
    asks.say("who\nbye");
    let rows = asks.0.lines().map(|row| row.expect("an answer in time"));
    rows.filter(|row| !row.ends_with("running: who")).collect()
}

/// More of them than the pool has workers; their answers are more than the sockets hold.
#[test]
fn slow_clients_do_not_delay_others() {
    let server = Example::start("worker_pool");
    let slow = [(); 12].map(|()| narrow_client(&server));
    slow.iter().for_each(|slow| fill(&server, slow));
    assert_eq!(others(&server).len(), slow.len());
    wait_until("all have been killed", || {
        let others = others(&server);
        for row in &others {
            let mut requester = client(&server);
            requester.say(&format!("kill {}", row.split(' ').next().expect("an id")));
            requester.hear();
        }
        others.is_empty()
    });
}

/// Sends commands until the server waits for its client to read the results. The server accepts no
/// more commands, and no thread of it has other work.
fn fill(server: &Example, slow: &Client) {
    let line = [&[b'x'; 50_000][..], b"\n"].concat();
    let mut socket = slow.0.get_ref();
    let (mut sent, mut times) = (0, 0);
    wait_until("the server waits for its client", || {
        match socket.write(&line[sent..]) {
            Ok(length) => {
                (sent, times) = ((sent + length) % line.len(), 0);
                return false;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        times = if server.sleeps() { times + 1 } else { 0 };
        times == 3
    });
}
