//! The gateway over sockets: its own program, and curl. Each test starts a server on its own ports.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whom people know, over so many others: 4 to the power of 13 for each of 2,000 people.
macro_rules! chain {
    () => {
        concat!(
            "{ ?a <http://example.com/knows> ?b . ?b <http://example.com/knows> ?c . ",
            "?c <http://example.com/knows> ?d . ?d <http://example.com/knows> ?e . ",
            "?e <http://example.com/knows> ?f . ?f <http://example.com/knows> ?g . ",
            "?g <http://example.com/knows> ?h . ?h <http://example.com/knows> ?i . ",
            "?i <http://example.com/knows> ?j . ?j <http://example.com/knows> ?k . ",
            "?k <http://example.com/knows> ?l . ?l <http://example.com/knows> ?m . ",
            "?m <http://example.com/knows> ?n }"
        )
    };
}

/// Never ends.
const ENDLESS: &str = concat!("SELECT (COUNT(*) AS ?number) ", chain!());
/// Yields rows without end.
const STREAM: &str = concat!("SELECT * ", chain!());
const COUNT: &str = "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }";
const LONG_UPDATE: &str = concat!("INSERT { ?a <http://example.com/new> ?n } WHERE ", chain!());

/// Waits until `ready` returns a value. Fails after a minute.
#[track_caller]
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The file with the data of all tests.
fn data() -> PathBuf {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("people.nt");
        let people = Command::new("./people.sh").arg("16000").output().expect("people.sh runs");
        assert!(people.status.success(), "{people:?}");
        std::fs::write(&path, people.stdout).expect("the folder of the tests is writable");
        path
    };
    DATA.get_or_init(make).clone()
}

struct Server {
    child: Child,
    clients: String,
    operators: String,
    _output: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_safepoint-oxigraph"))
            .args(["--bind", "127.0.0.1:0", "--operators", "127.0.0.1:0"])
            .args(options)
            .arg(data())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut address = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("the gateway prints its addresses");
            let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
            address.unwrap_or_else(|| panic!("no address in '{line}'")).to_owned()
        };
        let (clients, operators) = (address(), address());
        Server { child, clients, operators, _output: output }
    }

    /// Starts curl with a query or an update. It prints the answer, and then the status in a line of its own.
    fn begin(&self, operation: &str, text: &str, more: &[&str]) -> Child {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "--data-urlencode"])
            .arg(format!("{operation}={text}"))
            .args(more)
            .arg(format!("http://{}/{operation}", self.clients));
        curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl is installed")
    }

    /// Returns the status and the answer.
    fn ask(&self, operation: &str, text: &str, more: &[&str]) -> (u16, String) {
        status_and_body(&self.begin(operation, text, more).wait_with_output().expect("curl ends"))
    }

    fn quads(&self) -> String {
        self.ask("query", COUNT, &["-H", "Accept: text/csv"]).1
    }

    fn operator(&self, method: &str, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.operators);
        let curl =
            Command::new("curl").args(["-sS", "-w", "\n%{http_code}", "-X", method, &url]).output();
        let (status, body) = status_and_body(&curl.expect("curl is installed"));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    fn activity(&self) -> Vec<Value> {
        let (status, rows) = self.operator("GET", "/activity");
        assert_eq!(status, 200, "{rows}");
        rows.as_array().expect("a list of sessions").clone()
    }

    /// Waits for a session that runs this text with this helper, and returns its id.
    #[track_caller]
    fn running(&self, text: &str, helper: &str) -> String {
        until(&format!("{helper} for {text}"), || {
            let rows = self.activity();
            let has = |row: &&Value| {
                row["text"] == text
                    && row["helpers"].as_array().expect("a list").iter().any(|h| h == helper)
            };
            rows.iter().find(has).map(|row| row["session"].as_str().expect("a text").to_owned())
        })
    }

    #[track_caller]
    fn kill(&self, session: &str) {
        let (status, receipt) = self.operator("DELETE", &format!("/sessions/{session}"));
        assert_eq!((status, &receipt["ended"]), (200, &Value::Bool(true)), "{receipt}");
        assert_eq!(receipt["session"], session);
        assert!(self.activity().iter().all(|row| row["session"] != session), "the receipt is true");
    }

    #[track_caller]
    fn until_idle(&self) {
        until("no session is left", || self.activity().is_empty().then_some(()));
    }

    fn threads(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.expect("the gateway runs").count()
    }
}

#[track_caller]
fn status_and_body(output: &Output) -> (u16, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
    (status.parse().unwrap_or_else(|_| panic!("{output:?}")), body.to_owned())
}

/// Returns the answer of a curl that was started before.
#[track_caller]
fn ended(curl: Child) -> (u16, String) {
    status_and_body(&curl.wait_with_output().expect("curl ends"))
}

const KILLED: &str = "terminating connection due to administrator command\n";

#[test]
fn each_format() {
    let server = Server::start(&[]);
    let one = "SELECT ?n { <http://example.com/person/1> <http://example.com/name> ?n }";
    let csv = server.ask("query", one, &["-H", "Accept: text/csv"]);
    assert!(csv.0 == 200 && csv.1.starts_with("n\r\nPerson "), "{csv:?}");
    let known = "Accept: text/unknown, application/sparql-results+xml;q=0.9";
    let xml = server.ask("query", one, &["-H", known]).1;
    assert!(xml.contains("<literal>Person "), "{xml}");
    let json = server.ask("query", one, &[]).1;
    let json: Value = serde_json::from_str(&json).expect("JSON is the default");
    assert_eq!(json["head"]["vars"][0], "n");
    let ask = server.ask("query", "ASK { ?s ?p 'nothing' }", &[]).1;
    assert_eq!(serde_json::from_str::<Value>(&ask).expect("JSON")["boolean"], false);
    let construct = "CONSTRUCT { ?s <http://example.com/is> ?o } { ?s ?p ?o } LIMIT 2";
    let triples = server.ask("query", construct, &[]).1;
    assert_eq!(triples.lines().filter(|line| line.ends_with(" .")).count(), 2, "{triples}");
}

#[test]
fn requests_that_are_not_understood() {
    let server = Server::start(&[]);
    let text = ["-H", "Content-Type: application/sparql-query", "--data", COUNT];
    for (operation, query, more, wrong) in [
        ("query", "SELECT", [].as_slice(), "error at"),
        ("update", "SELECT * {}", &[], "error at"),
        ("query", COUNT, &["-d", "timeout=soon"], "timeout: expected seconds, got 'soon'"),
        ("query", COUNT, &["-d", "timeout=-1"], "timeout: expected seconds, got '-1'"),
        (
            "query",
            COUNT,
            &["-d", "timeout=1", "-d", "timeout=2"],
            "expected one 'query' and 'timeout', got 'timeout'",
        ),
        ("query", COUNT, &["-d", "graph=a"], "expected one 'query' and 'timeout', got 'graph'"),
        ("query", COUNT, &["-d", "query=b"], "expected one 'query' and 'timeout', got 'query'"),
        ("update", COUNT, &text, "expected application/sparql-update or a form"),
    ] {
        let (status, answer) = server.ask(operation, query, more);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.starts_with(wrong), "{answer}");
    }
    let direct = ["-H", "Content-Type: application/sparql-query", "--data", COUNT];
    let url = format!("http://{}/query", server.clients);
    let output = Command::new("curl").args(direct).arg(&url).output().expect("curl is installed");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"n\""), "{output:?}");
    for (id, status) in [("0", 400), ("some", 400), ("1", 404)] {
        assert_eq!(server.operator("DELETE", &format!("/sessions/{id}")).0, status, "{id}");
    }
    server.until_idle();
}

#[test]
fn a_query_is_killed() {
    let server = Server::start(&[]);
    let curl = server.begin("query", ENDLESS, &[]);
    server.kill(&server.running(ENDLESS, "evaluate"));
    assert_eq!(ended(curl), (503, KILLED.into()));
}

#[test]
fn a_query_times_out() {
    let server = Server::start(&["--timeout-s", "1"]);
    let text = "canceling statement due to statement timeout\n";
    for shorter in [[].as_slice(), &["-d", "timeout=0.1"], &["-d", "timeout=1000"]] {
        assert_eq!(server.ask("query", ENDLESS, shorter), (504, text.into()));
        server.until_idle();
    }
}

#[test]
fn an_update_that_is_ended_changes_nothing() {
    let server = Server::start(&[]);
    let before = server.quads();
    let curl = server.begin("update", LONG_UPDATE, &[]);
    server.kill(&server.running(LONG_UPDATE, "evaluate"));
    assert_eq!(ended(curl), (503, KILLED.into()));
    assert_eq!(server.ask("update", LONG_UPDATE, &["-d", "timeout=0.2"]).0, 504);
    let mut curl = server.begin("update", LONG_UPDATE, &[]);
    server.running(LONG_UPDATE, "evaluate");
    curl.kill().expect("it runs");
    curl.wait().expect("it was killed");
    server.until_idle();
    assert_eq!(server.quads(), before);
    // The lock of the store is free.
    let insert = "INSERT DATA { <http://example.com/a> <http://example.com/b> 1 }";
    assert_eq!(server.ask("update", insert, &[]), (204, String::new()));
    assert_ne!(server.quads(), before);
}

#[test]
fn an_update_that_waits_for_another() {
    let server = Server::start(&["--threads", "3"]);
    let first = server.begin("update", LONG_UPDATE, &[]);
    let first_id = server.running(LONG_UPDATE, "evaluate");
    let insert = "INSERT DATA { <http://example.com/a> <http://example.com/b> 2 }";
    let second = server.begin("update", insert, &[]);
    server.kill(&server.running(insert, "wait for a thread, waiting"));
    assert_eq!(ended(second), (503, KILLED.into()));
    assert_eq!(server.ask("update", insert, &["-d", "timeout=0.1"]).0, 504);
    let third = server.begin("update", insert, &[]);
    server.running(insert, "wait for a thread, waiting");
    server.kill(&first_id);
    assert_eq!(ended(first).0, 503);
    assert_eq!(ended(third).0, 204);
}

#[test]
fn a_client_that_has_gone() {
    let server = Server::start(&[]);
    for text in [ENDLESS, STREAM] {
        let mut curl = server.begin("query", text, &[]);
        server.running(text, if text == ENDLESS { "evaluate" } else { "evaluate, waiting" });
        curl.kill().expect("it runs");
        curl.wait().expect("it was killed");
        server.until_idle();
    }
}

/// The answer has begun, and then the engine finds nothing for long: no write shows that the client has gone.
#[test]
fn a_client_that_goes_while_nothing_is_sent() {
    // The people from 1999 to 1000 come first.
    const SILENT: &str = concat!(
        "SELECT ?s ?o { ?s <http://example.com/name> ?o ",
        "FILTER(STRSTARTS(STR(?s), 'http://example.com/person/1') || EXISTS ",
        "{ ",
        chain!(),
        " FILTER(?a = ?n && ?a != ?n) }) }"
    );
    let server = Server::start(&[]);
    let mut curl = server.begin("query", SILENT, &["--no-buffer"]);
    let mut first = [0; 1000];
    curl.stdout.as_mut().expect("it is piped").read_exact(&mut first).expect("the answer begins");
    // All that was found is read, so the helper does not wait for the client.
    let mut output = curl.stdout.take().expect("it is piped");
    let reads = std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    server.running(SILENT, "evaluate");
    curl.kill().expect("it runs");
    curl.wait().expect("it was killed");
    reads.join().expect("it does not panic").expect("the pipe is read to its end");
    server.until_idle();
}

/// Curl's code 18: the transfer closed with outstanding data.
#[test]
fn an_answer_that_is_killed_does_not_look_complete() {
    let server = Server::start(&[]);
    let mut curl = server.begin("query", STREAM, &["--no-buffer"]);
    let mut first = [0; 1000];
    curl.stdout.as_mut().expect("it is piped").read_exact(&mut first).expect("the answer begins");
    server.kill(&server.running(STREAM, "evaluate, waiting"));
    let output = curl.wait_with_output().expect("curl ends");
    assert_eq!(output.status.code(), Some(18), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_client_that_does_not_read() {
    let server = Server::start(&["--threads", "1"]);
    let body = format!("query={}", STREAM.replace(' ', "+").replace('?', "%3F"));
    let mut socket = TcpStream::connect(&server.clients).expect("the gateway listens");
    write!(
        socket,
        "POST /query HTTP/1.1\r\nHost: gateway\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    )
    .expect("the gateway reads");
    server.kill(&server.running(STREAM, "evaluate, waiting"));
    // Its thread serves others.
    assert_eq!(server.ask("query", COUNT, &[]).0, 200);
    drop(socket);
}

#[test]
fn a_query_that_waits_for_a_thread() {
    let server = Server::start(&["--threads", "1"]);
    let first = server.begin("query", ENDLESS, &[]);
    let first_id = server.running(ENDLESS, "evaluate");
    let second = server.begin("query", COUNT, &[]);
    server.kill(&server.running(COUNT, "wait for a thread, waiting"));
    assert_eq!(ended(second), (503, KILLED.into()));
    assert_eq!(server.ask("query", COUNT, &["-d", "timeout=0.1"]).0, 504);
    let third = server.begin("query", COUNT, &[]);
    server.running(COUNT, "wait for a thread, waiting");
    server.kill(&first_id);
    assert_eq!((ended(first).0, ended(third).0), (503, 200));
}

#[test]
fn many_queries_on_few_threads() {
    let server = Server::start(&["--threads", "3"]);
    let before = server.threads();
    let curls: Vec<_> = (0..50).map(|_| server.begin("query", ENDLESS, &[])).collect();
    until("all are there", || (server.activity().len() == 50).then_some(()));
    // Three that evaluate, and the timer.
    assert!(server.threads() <= before + 4, "{} threads, {before} before", server.threads());
    for row in server.activity() {
        server.kill(row["session"].as_str().expect("a text"));
    }
    for curl in curls {
        assert_eq!(ended(curl).0, 503);
    }
}

#[test]
fn a_signal_ends_the_sessions() {
    let mut server = Server::start(&[]);
    let curl = server.begin("query", ENDLESS, &[]);
    server.running(ENDLESS, "evaluate");
    let kill = Command::new("kill").arg(server.child.id().to_string()).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(ended(curl).0, 503);
    assert!(until("it ends", || server.child.try_wait().expect("it is ours")).success());
}
