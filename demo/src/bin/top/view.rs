//! The screen.

use crate::app::{App, Kill};
use crate::source::{SessionLine, ThreadLine};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

const KEYS: &str = "k kill  K kill now  / filter  s sort  arrows choose  q quit";

pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let threads = (app.look.threads.len() as u16 + 1).min(frame.area().height / 3);
    let kills = app.kills.len() as u16;
    let [head, sessions, under, said, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(threads),
        Constraint::Length(kills),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    frame.render_widget(head_line(app), head);
    let lines = app.lines();
    let rows = lines.iter().map(|line| session_row(line, line.session == app.look.own));
    let pids = lines.iter().map(|line| line.pid);
    let ids = lines.iter().map(|line| line.session);
    let widths = [id_width(pids), id_width(ids)].into_iter().chain(OTHER_WIDTHS);
    let table = Table::new(rows, widths)
        .header(header(&["PID", "SESSION", "USER", "APPLICATION", "STATE", "TIME", "QUERY"]))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(app.position());
    frame.render_stateful_widget(table, sessions, &mut state);

    let rows = app.look.threads.iter().map(thread_row);
    let pids = id_width(app.look.threads.iter().map(|line| line.pid));
    let table = Table::new(rows, [pids, Constraint::Length(24), Constraint::Min(8)])
        .header(header(&["THREAD", "NAME", "RUNS"]));
    frame.render_widget(table, under);

    let said_lines: Vec<_> = app.kills.iter().map(kill_line).collect();
    frame.render_widget(Paragraph::new(said_lines), said);
    frame.render_widget(foot_line(app), foot);
}

/// Returns the width for ids. An id has up to 19 digits; shorter ids leave more width for the next
/// columns.
fn id_width(ids: impl Iterator<Item = i64>) -> Constraint {
    let digits = ids.map(|id| id.to_string().len()).max().unwrap_or_default();
    Constraint::Length(digits.max("SESSION".len()) as u16)
}

const OTHER_WIDTHS: [Constraint; 5] = [
    Constraint::Length(10),
    Constraint::Length(14),
    Constraint::Length(20),
    Constraint::Length(8),
    Constraint::Min(10),
];

fn header(names: &[&'static str]) -> Row<'static> {
    Row::new(names.to_vec()).style(Style::new().add_modifier(Modifier::BOLD))
}

fn head_line(app: &App) -> Line<'static> {
    let running = app.look.sessions.iter().filter(|line| line.state == "active").count();
    let queued = app.look.sessions.iter().filter(|line| line.state == "queued").count();
    let all = app.look.sessions.len();
    let sort = app.sort.name();
    Line::from(format!(
        "{}   {all} sessions, {running} active, {queued} queued   by {sort}",
        app.address
    ))
}

fn foot_line(app: &App) -> Line<'static> {
    match (&app.trouble, app.typing, app.filter.is_empty()) {
        (Some(trouble), ..) => Line::styled(trouble.clone(), Modifier::REVERSED),
        (None, true, _) => Line::from(format!("filter: {}_", app.filter)),
        (None, false, false) => {
            Line::from(format!("filter: {} (Esc ends it)   {KEYS}", app.filter))
        }
        (None, false, true) => Line::from(KEYS),
    }
}

fn session_row(line: &SessionLine, own: bool) -> Row<'static> {
    let user = if own { format!("{} (you)", line.user) } else { line.user.clone() };
    Row::new([
        Cell::from(line.pid.to_string()),
        Cell::from(line.session.to_string()),
        Cell::from(user),
        Cell::from(line.application.clone()),
        Cell::from(line.state.clone()),
        Cell::from(time(line.seconds)),
        // A statement may have line breaks and other control characters.
        Cell::from(line.query.replace(char::is_control, " ")),
    ])
}

fn thread_row(line: &ThreadLine) -> Row<'static> {
    let runs = line.session.map_or_else(|| "-".into(), |session| format!("session {session}"));
    Row::new([line.pid.to_string(), line.name.clone(), runs])
}

fn kill_line(kill: &Kill) -> Line<'static> {
    let session = kill.target.session;
    let what = if kill.target.immediate { "kill now" } else { "kill" };
    Line::from(match (&kill.answer, kill.gone_after) {
        (Err(wrong), _) => format!("{what} {session}: {wrong}"),
        (Ok(said), None) => format!("{what} {session}: {said} … not yet gone"),
        (Ok(said), Some(after)) => {
            format!("{what} {session}: {said} … gone, seen after {after} ms")
        }
    })
}

fn time(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Look, Target};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(app: &App) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(100, 14)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        let buffer = terminal.backend().buffer();
        let width = buffer.area.width as usize;
        let symbols: Vec<_> = buffer.content.iter().map(|cell| cell.symbol()).collect();
        symbols.chunks(width).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    fn app() -> App {
        let mut app = App::new("127.0.0.1:5433");
        let line = |session, user: &str, state: &str, seconds, query: &str| SessionLine {
            session,
            user: user.into(),
            application: "psql".into(),
            state: state.into(),
            seconds,
            query: query.into(),
            ..SessionLine::default()
        };
        let mut busy = line(34, "ann", "active", 3725, "select\n\x1b[2Jcount(*) from t");
        busy.pid = 7;
        let idle = line(33, "omm", "idle", 5, "show all");
        let worker = ThreadLine { pid: 7, name: "worker 1".into(), session: Some(34) };
        let listener = ThreadLine { pid: 8, name: "listener".into(), session: None };
        let sessions = vec![busy, idle];
        app.looked(Ok(Look { own: 33, sessions, threads: vec![worker, listener] }));
        app
    }

    #[test]
    fn sessions_and_threads() {
        let lines = screen(&app());
        let has = |at: usize, parts: &[&str]| {
            assert!(parts.iter().all(|part| lines[at].contains(part)), "{parts:?}: {lines:#?}");
        };
        has(0, &["127.0.0.1:5433", "2 sessions, 1 active, 0 queued", "by session"]);
        has(1, &["PID", "SESSION", "USER", "STATE", "QUERY"]);
        has(2, &["33", "omm (you)", "psql", "idle", "5s", "show all"]);
        has(3, &["7", "34", "ann", "active", "1h02m", "select  [2Jcount"]);
        let threads = lines.iter().position(|line| line.starts_with("THREAD")).unwrap();
        has(threads + 1, &["7", "worker 1", "session 34"]);
        has(threads + 2, &["8", "listener", "-"]);
        has(13, &[KEYS]);
        assert!(!lines.concat().contains('\x1b'), "a client's text moves no cursor");
    }

    #[test]
    fn a_kill_as_it_proceeds() {
        let mut app = app();
        let target = Target { pid: 7, session: 34, immediate: true };
        app.killed(target.clone(), Ok("session 34 was running".into()));
        let shows = |app: &App, part: &str| {
            let lines = screen(app);
            assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
        };
        shows(&app, "kill now 34: session 34 was running … not yet gone");
        app.looked(Ok(Look::default()));
        shows(&app, "kill now 34: session 34 was running … gone, seen after");
        app.killed(
            Target { immediate: false, ..target },
            Err("refused: no such session: 34".into()),
        );
        shows(&app, "kill 34: refused: no such session: 34");
        app.looked(Err("connection closed".into()));
        shows(&app, "connection closed");
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        let mut app = app();
        let target = Target { pid: 0, session: 1, immediate: false };
        (0..9).for_each(|_| app.killed(target.clone(), Ok(String::new())));
        for (width, height) in [(1, 1), (5, 2), (20, 4), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &app)).unwrap();
        }
    }
}
