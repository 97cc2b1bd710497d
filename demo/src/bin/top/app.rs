//! The state of the live view, and the effect of each key.

use crate::source::{Look, SessionLine, Target};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Instant;

/// The number of kills that are kept.
const KILLS: usize = 5;

/// The column by which the sessions are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Session,
    User,
    State,
    Time,
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Session => Sort::User,
            Sort::User => Sort::State,
            Sort::State => Sort::Time,
            Sort::Time => Sort::Session,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Sort::Session => "session",
            Sort::User => "user",
            Sort::State => "state",
            Sort::Time => "time",
        }
    }
}

/// One kill, from its keystroke to the end of its target.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) target: Target,
    /// The server's answer: the state of the target, and when the request takes effect.
    pub(crate) answer: Result<String, String>,
    sent: Instant,
    /// Milliseconds until the session was missing from the list.
    pub(crate) gone_after: Option<u128>,
}

impl Kill {
    fn is_pending(&self) -> bool {
        self.answer.is_ok() && self.gone_after.is_none()
    }
}

/// The action for a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    Quit,
    Kill(Target),
    /// A kill of the view's own session, which is refused.
    Refuse(Target),
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) address: String,
    pub(crate) look: Look,
    /// The error of the last query.
    pub(crate) trouble: Option<String>,
    pub(crate) sort: Sort,
    pub(crate) filter: String,
    /// Whether the operator is typing the filter.
    pub(crate) typing: bool,
    /// The selected session, which stays selected when rows come and go.
    chosen: Option<i64>,
    pub(crate) kills: Vec<Kill>,
}

impl App {
    pub(crate) fn new(address: &str) -> App {
        App {
            address: address.to_owned(),
            look: Look::default(),
            trouble: None,
            sort: Sort::Session,
            filter: String::new(),
            typing: false,
            chosen: None,
            kills: Vec::new(),
        }
    }

    pub(crate) fn is_killing(&self) -> bool {
        self.kills.iter().any(Kill::is_pending)
    }

    /// Returns the sessions that match the filter, in order.
    pub(crate) fn lines(&self) -> Vec<&SessionLine> {
        let part = self.filter.to_lowercase();
        let shows = |line: &&SessionLine| {
            let SessionLine { user, application, client, state, query, session, pid, .. } = line;
            let all = format!("{pid} {session} {user} {application} {client} {state} {query}");
            all.to_lowercase().contains(&part)
        };
        let mut lines: Vec<_> = self.look.sessions.iter().filter(shows).collect();
        lines.sort_by(|a, b| {
            let by = match self.sort {
                Sort::Session => std::cmp::Ordering::Equal,
                Sort::User => a.user.cmp(&b.user),
                Sort::State => a.state.cmp(&b.state),
                Sort::Time => b.seconds.cmp(&a.seconds),
            };
            by.then(a.session.cmp(&b.session))
        });
        lines
    }

    /// Returns the index of the selected session among the lines.
    pub(crate) fn position(&self) -> Option<usize> {
        let lines = self.lines();
        lines.iter().position(|line| Some(line.session) == self.chosen)
    }

    pub(crate) fn looked(&mut self, look: Result<Look, String>) {
        match look {
            Ok(look) => {
                self.look = look;
                self.trouble = None;
                let sessions = &self.look.sessions;
                for kill in self.kills.iter_mut().filter(|kill| kill.is_pending()) {
                    if !sessions.iter().any(|line| line.session == kill.target.session) {
                        kill.gone_after = Some(kill.sent.elapsed().as_millis());
                    }
                }
                // If the selected session has ended, none is selected, so that a second keystroke
                // does not kill another one.
                let sessions = &self.look.sessions;
                let gone = |chosen| !sessions.iter().any(|line| line.session == chosen);
                if self.position().is_none() && !self.chosen.is_some_and(gone) {
                    let mut lines = self.lines().into_iter();
                    let other = lines.find(|line| line.session != self.look.own);
                    self.chosen = other.map(|line| line.session);
                }
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    pub(crate) fn killed(&mut self, target: Target, answer: Result<String, String>) {
        self.kills.insert(0, Kill { target, answer, sent: Instant::now(), gone_after: None });
        self.kills.truncate(KILLS);
    }

    pub(crate) fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => {
                    self.typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(letter) => self.filter.push(letter),
                _ => {}
            }
            return Action::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Up => self.choose(-1),
            KeyCode::Char('k') => return self.kill(false),
            KeyCode::Char('K') => return self.kill(true),
            _ => {}
        }
        Action::Nothing
    }

    fn choose(&mut self, by: isize) {
        let lines = self.lines();
        let at = self.position().map_or(0, |at| at.saturating_add_signed(by));
        self.chosen = lines.get(at.min(lines.len().saturating_sub(1))).map(|line| line.session);
    }

    fn kill(&self, immediate: bool) -> Action {
        let lines = self.lines();
        let line = self.position().and_then(|at| lines.get(at));
        line.map_or(Action::Nothing, |line| {
            let target = Target { pid: line.pid, session: line.session, immediate };
            let own = line.session == self.look.own;
            if own { Action::Refuse(target) } else { Action::Kill(target) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, keys: &str) -> Vec<Action> {
        let code = |letter| match letter {
            '\n' => KeyCode::Enter,
            '<' => KeyCode::Backspace,
            'v' => KeyCode::Down,
            '^' => KeyCode::Up,
            letter => KeyCode::Char(letter),
        };
        keys.chars().map(|letter| app.key(KeyEvent::from(code(letter)))).collect()
    }

    fn line(session: i64, user: &str, seconds: i64) -> SessionLine {
        SessionLine { session, user: user.into(), seconds, ..SessionLine::default() }
    }

    fn app(sessions: Vec<SessionLine>) -> App {
        let mut app = App::new("here");
        app.looked(Ok(Look { sessions, ..Look::default() }));
        app
    }

    fn shown(app: &App) -> Vec<i64> {
        app.lines().iter().map(|line| line.session).collect()
    }

    #[test]
    fn sessions_are_sorted_and_filtered() {
        let mut app = app(vec![line(3, "ann", 5), line(1, "bob", 9), line(2, "ann", 7)]);
        assert_eq!(shown(&app), [1, 2, 3]);
        press(&mut app, "s");
        assert_eq!(shown(&app), [2, 3, 1]);
        press(&mut app, "ss");
        assert_eq!((app.sort, shown(&app)), (Sort::Time, vec![1, 2, 3]));
        press(&mut app, "/ANx<\n");
        assert_eq!((app.typing, shown(&app)), (false, vec![2, 3]));
        app.key(KeyEvent::from(KeyCode::Esc));
        assert_eq!(shown(&app).len(), 3);
    }

    #[test]
    fn the_selected_session_stays_selected() {
        let mut app = app(vec![line(1, "a", 0), line(2, "b", 0), line(3, "c", 0)]);
        press(&mut app, "v");
        assert_eq!(app.position(), Some(1));
        let fewer = vec![line(2, "b", 0), line(3, "c", 0)];
        app.looked(Ok(Look { sessions: fewer, ..Look::default() }));
        let target = Target { pid: 0, session: 2, immediate: true };
        assert_eq!(press(&mut app, "K"), [Action::Kill(target)]);
        press(&mut app, "vvvv^");
        assert_eq!(
            press(&mut app, "k"),
            [Action::Kill(Target { pid: 0, session: 2, immediate: false })]
        );
    }

    #[test]
    fn a_kill_is_followed_until_its_target_is_gone() {
        let mut app = app(vec![line(1, "a", 0)]);
        let target = Target { pid: 0, session: 1, immediate: true };
        app.killed(target.clone(), Ok("session 1 was running".into()));
        app.looked(Ok(app.look.clone()));
        assert!(app.is_killing());
        app.looked(Ok(Look::default()));
        assert!(!app.is_killing() && app.kills[0].gone_after.is_some());
        app.killed(target, Err("refused: no such session: 1".into()));
        assert!(!app.is_killing(), "a refusal is over at once");
        assert_eq!(press(&mut app, "K"), [Action::Nothing], "there is nobody");
        assert_eq!(press(&mut app, "q"), [Action::Quit]);
    }

    /// A second keystroke does not kill the next session in the list either.
    #[test]
    fn its_own_session_is_not_killed() {
        let mut app = App::new("here");
        let look = |sessions| Ok(Look { own: 1, sessions, ..Look::default() });
        app.looked(look(vec![line(1, "omm", 0), line(2, "a", 0), line(3, "b", 0)]));
        let target = |session| Target { pid: 0, session, immediate: true };
        assert_eq!(press(&mut app, "K"), [Action::Kill(target(2))]);
        app.looked(look(vec![line(1, "omm", 0), line(3, "b", 0)]));
        assert_eq!((app.position(), press(&mut app, "K")), (None, vec![Action::Nothing]));
        press(&mut app, "v");
        assert_eq!(press(&mut app, "K"), [Action::Refuse(target(1))]);
        press(&mut app, "v");
        assert_eq!(press(&mut app, "K"), [Action::Kill(target(3))]);
    }

    #[test]
    fn a_lost_connection_keeps_the_last_rows() {
        let mut app = app(vec![line(1, "a", 0)]);
        app.looked(Err("connection closed".into()));
        assert_eq!((shown(&app), app.trouble.as_deref()), (vec![1], Some("connection closed")));
    }
}
