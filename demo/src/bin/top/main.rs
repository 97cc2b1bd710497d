//! A live view of a server's sessions and threads, for operators. It connects to the demo server as
//! an ordinary client, sorts and filters the sessions, and ends them.

#![forbid(unsafe_code)]

mod app;
mod source;
mod view;

use app::{Action, App};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use source::{Connected, Source};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it queries the server, and how often while a kill is pending.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_OFTEN: Duration = Duration::from_millis(100);

const USAGE: &str = "\
Sessions and threads of a server, refreshed each second

usage: top [OPTION]...

  --address ADDRESS:PORT    the server [127.0.0.1:5433]
  --user USER               the user; only an administrator can end other users' sessions [omm]
  -h, --help                print this help
";

fn main() -> ExitCode {
    match args(std::env::args_os().skip(1)).and_then(|args| args.map_or(Ok(()), |args| run(&args)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("top: {wrong}");
            ExitCode::FAILURE
        }
    }
}

struct Args {
    address: String,
    user: String,
}

/// Parses the arguments. Returns `None` if only the usage was requested.
fn args(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Option<Args>, String> {
    use lexopt::ValueExt;
    use lexopt::prelude::{Long, Short};
    let mut parser = lexopt::Parser::from_args(words);
    let mut args = Args { address: "127.0.0.1:5433".into(), user: "omm".into() };
    while let Some(word) = parser.next().map_err(|e| e.to_string())? {
        let place = match word {
            Long("address") => &mut args.address,
            Long("user") => &mut args.user,
            Long("help") | Short('h') => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("{}\n\n{USAGE}", other.unexpected())),
        };
        let value = parser.value().and_then(|value| value.string());
        *place = value.map_err(|e| e.to_string())?;
    }
    Ok(Some(args))
}

fn run(args: &Args) -> Result<(), String> {
    let mut source = Connected::to(&args.address, &args.user)?;
    let mut app = App::new(&args.address);
    app.looked(source.look());
    let mut terminal = ratatui::try_init().map_err(|e| format!("no terminal: {e}"))?;
    let result = serve(&mut terminal, &mut app, &mut source);
    ratatui::restore();
    result.map_err(|e| e.to_string())
}

fn serve(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    source: &mut dyn Source,
) -> std::io::Result<()> {
    let mut looked = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, app))?;
        let every = if app.is_killing() { LOOK_OFTEN } else { LOOK_EVERY };
        let left = every.saturating_sub(looked.elapsed());
        if event::poll(left)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match app.key(key) {
                Action::Quit => return Ok(()),
                Action::Kill(target) => {
                    let answer = source.kill(&target);
                    app.killed(target, answer);
                }
                Action::Refuse(target) => {
                    app.killed(target, Err("refused: it is this view's own session".into()));
                    continue;
                }
                Action::Nothing => continue,
            }
        }
        app.looked(source.look());
        looked = Instant::now();
    }
}
