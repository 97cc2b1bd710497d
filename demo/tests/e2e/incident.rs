//! `docs/incident.md`, played: what is typed there is typed into real `psql`s, and what they show
//! has to be what stands there, numbers and times apart. `UPDATE_DOCS=1` writes it anew.

use crate::support::psql::Psql;
use crate::support::{PROGRAM, Said, Server, is_installed, wait_within};
use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/incident.md");

/// Where the server's standard error goes.
const LOG: &str = "server.log";

/// How long what is written anew has to stay the same, before it is believed.
const SETTLED: Duration = Duration::from_millis(1500);

/// Something typed, and what it shows before the next.
struct Step {
    prompt: String,
    typed: String,
    shown: String,
}

/// What stands between two lines with a prompt, or outside of the consoles.
enum Part {
    Prose(String),
    Step(Step),
}

fn parts(doc: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut inside = false;
    for line in doc.split_inclusive('\n') {
        let fence = line.starts_with("```");
        let typed = ["$ ", "=> ", "=# "]
            .iter()
            .filter_map(|end| line.find(end).map(|at| line.split_at(at + end.len())))
            .find(|(prompt, _)| prompt.len() < 8 && !prompt.starts_with(' '));
        match (inside && !fence, typed, parts.last_mut()) {
            (true, Some((prompt, typed)), _) => parts.push(Part::Step(Step {
                prompt: prompt.into(),
                typed: typed.trim_end().into(),
                shown: String::new(),
            })),
            (true, None, Some(Part::Step(step))) => step.shown += line,
            (_, _, Some(Part::Prose(prose))) => *prose += line,
            _ => parts.push(Part::Prose(line.into())),
        }
        inside ^= fence;
    }
    parts
}

/// What has to be the same: neither ids, times, places in the source, and the widths that they
/// lead to, nor what `psql` itself has to say of a lost connection.
fn essence(shown: &str) -> String {
    let own = |line: &&str| {
        ["server closed the connection", "\tThis probably", "\tbefore or while", "The connection"]
            .iter()
            .chain(&["psql (", "connection to server was lost", "(Attempting", "Attempting reset"])
            .any(|start| line.trim_start_matches(' ').starts_with(start))
    };
    let same = |word: &str| {
        let mut digits: Vec<_> =
            word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        digits.dedup_by(|a, b| (*a, *b) == ('9', '9'));
        digits.into_iter().collect::<String>()
    };
    let words = |line: &str| {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let (date, time) = (word.matches('-').count() == 2, word.matches(':').count() == 2);
            let digits = word.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
            if word.contains("+-") || word.starts_with("--") {
                words.push("-".into());
            } else if date || time || digits > Some(5) {
                words.push(same(word));
            } else if let ("ms" | "ms,", Some(count)) = (word, words.last_mut()) {
                *count = same(count) + " ms";
            } else {
                words.push(word.into());
            }
        }
        words.join(" ")
    };
    // The notice is of the moment at which it is written, and either may be true by then.
    let shown = shown.replace("it ends at its next safe point", "it has ended");
    let lines: Vec<_> = shown.lines().filter(|line| !own(line)).map(words).collect();
    lines.join("\n").trim_end().into()
}

struct Scene {
    server: Option<Server>,
    people: HashMap<String, Psql>,
    /// What has been typed and is not answered.
    pending: HashMap<String, String>,
    shells: HashMap<String, (Child, Said)>,
    writes: bool,
}

impl Scene {
    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server comes first")
    }

    fn shell(&mut self, step: &Step) -> String {
        let words: Vec<_> = step.typed.split_whitespace().collect();
        match words.as_slice() {
            [
                "cargo",
                "run",
                "--release",
                "-p",
                "safepoint-demo",
                "--",
                options @ ..,
                "2>",
                LOG,
            ] => {
                self.server = Some(Server::start("on", options));
            }
            [application, "psql", "-U", user] => {
                let application = application.trim_start_matches("PGAPPNAME=");
                let psql = Psql::start(self.server(), user, application);
                self.people.insert(user.to_string(), psql);
            }
            ["grep", word, LOG] => {
                // Where it is not there yet, this is how it is waited for.
                self.server().until_says(word);
                let log = self.server().said();
                let found = log.lines().filter(|line| line.contains(word));
                return found.collect::<Vec<_>>().join("\n");
            }
            _ if self.shells.contains_key(&step.typed) => {
                let (mut child, said) = self.shells.remove(&step.typed).expect("it is there");
                wait_within(PROGRAM, &mut child);
                return said.all();
            }
            _ => {
                let child = Command::new("sh")
                    .args(["-c", &step.typed])
                    .env("PGHOST", "127.0.0.1")
                    .env("PGPORT", self.server().port())
                    .env("PGDATABASE", "postgres")
                    .env("LC_ALL", "C")
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn();
                let mut child = child.expect("a shell");
                let output = Said::on(child.stdout.take().expect("its output"));
                self.shells.insert(step.typed.clone(), (child, output));
            }
        }
        String::new()
    }

    fn person(&mut self, step: &Step) -> String {
        let name = step.prompt.split('=').next().expect("a name").to_string();
        let psql = self.people.get_mut(&name).unwrap_or_else(|| panic!("who is {name}?"));
        if self.pending.get(&name) == Some(&step.typed) {
            self.pending.remove(&name);
            return psql.answer();
        }
        let looks = step.typed.starts_with("select")
            && !["pg_terminate", "pg_cancel", "safepoint_test"]
                .iter()
                .any(|does| step.typed.contains(does));
        let mut start = Instant::now();
        psql.start_line(&step.typed);
        if self.writes {
            let waits = || -> Option<String> {
                std::thread::sleep(Duration::from_millis(50));
                psql.answer_so_far()
            };
            let answered = std::iter::repeat_with(waits)
                .take_while(|_| start.elapsed() < SETTLED)
                .find_map(|answer| answer);
            let Some(mut shown) = answered else {
                self.pending.insert(name, step.typed.clone());
                return String::new();
            };
            while looks && start.elapsed() < SETTLED {
                let again = psql.line(&step.typed);
                if essence(&again) != essence(&shown) {
                    start = Instant::now();
                }
                shown = again;
                std::thread::sleep(Duration::from_millis(50));
            }
            return shown;
        }
        if step.shown.trim().is_empty() {
            self.pending.insert(name, step.typed.clone());
            return String::new();
        }
        let mut shown = psql.answer();
        // Where something has to happen first, this is how it is waited for.
        while looks && essence(&shown) != essence(&step.shown) && start.elapsed() < PROGRAM {
            std::thread::sleep(Duration::from_millis(20));
            shown = psql.line(&step.typed);
        }
        shown
    }
}

#[test]
fn three_in_the_morning() {
    if !is_installed("three_in_the_morning", "psql") {
        return;
    }
    let doc = std::fs::read_to_string(DOC).expect("the page");
    let writes = std::env::var_os("UPDATE_DOCS").is_some();
    let mut scene = Scene {
        server: None,
        people: HashMap::new(),
        pending: HashMap::new(),
        shells: HashMap::new(),
        writes,
    };
    let mut written = String::new();
    let mut steps = 0;
    for part in parts(&doc) {
        match part {
            Part::Prose(prose) => written += &prose,
            Part::Step(step) => {
                steps += 1;
                let Step { prompt, typed, .. } = &step;
                let shown = if prompt == "$ " { scene.shell(&step) } else { scene.person(&step) };
                if !writes {
                    assert_eq!(essence(&shown), essence(&step.shown), "{prompt}{typed}\n{shown}");
                }
                written += &format!("{prompt}{typed}\n{}", shown.trim_end_matches('\n'));
                if !shown.is_empty() {
                    written += "\n";
                }
            }
        }
    }
    assert!(steps > 20, "the page is played: {steps} steps");
    assert!(scene.pending.is_empty(), "without an answer: {:?}", scene.pending);
    if writes {
        std::fs::write(DOC, written).expect("the page can be written");
    }
}
