//! The statements about settings, and those by which a client tidies its session up.

use crate::split::{Kind, Token, folded, tokens};
use crate::types::SqlError;

/// A statement that this module parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Show(String),
    ShowAll,
    /// The value from the startup message if it is `None`.
    Set {
        name: String,
        value: Option<String>,
        local: bool,
        tag: &'static str,
    },
    ResetAll,
    /// `SET TRANSACTION`, or what the next transactions begin with.
    Transaction {
        modes: Modes,
        next: bool,
    },
    DiscardAll,
    DiscardTemporary,
    /// Forgets a prepared statement, or all of them.
    Deallocate(Option<String>),
    /// Closes all portals.
    CloseAll,
    /// Changes nothing, since there is nothing of the kind.
    Nothing(&'static str),
}

/// The modes of a transaction that a statement names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) isolation: Option<&'static str>,
    pub(crate) read_only: Option<bool>,
}

impl Setting {
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Setting::Show(_) | Setting::ShowAll => "SHOW",
            Setting::Set { tag, .. } => tag,
            Setting::Transaction { .. } => "SET",
            Setting::ResetAll => "RESET",
            Setting::DiscardAll => "DISCARD ALL",
            Setting::DiscardTemporary => "DISCARD TEMP",
            Setting::Deallocate(None) => "DEALLOCATE ALL",
            Setting::Deallocate(Some(_)) => "DEALLOCATE",
            Setting::CloseAll => "CLOSE CURSOR ALL",
            Setting::Nothing(tag) => tag,
        }
    }
}

struct Words<'a>(Vec<Token<'a>>);

type Parsed = Result<Setting, SqlError>;

impl Words<'_> {
    fn text(&self, at: usize) -> &str {
        self.0.get(at).map_or("", |token| token.text)
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.text(at).eq_ignore_ascii_case(word)
    }

    fn are(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(index, word)| self.is(at + index, word))
    }

    fn ends_at(&self, at: usize) -> bool {
        self.0.len() == at
    }

    fn syntax<T>(&self, at: usize) -> Result<T, SqlError> {
        let near = match self.text(at) {
            "" => "syntax error at end of input".to_string(),
            near => format!("syntax error at or near \"{near}\""),
        };
        Err(SqlError::new("42601", near))
    }

    /// Returns a statement that must end here.
    fn end(&self, at: usize, setting: Setting) -> Parsed {
        if self.ends_at(at) { Ok(setting) } else { self.syntax(at) }
    }

    /// Returns a name, in lower case, and where the next word is.
    fn name(&self, at: usize) -> (String, usize) {
        let mut name = self.text(at).trim_matches('"').to_ascii_lowercase();
        let mut next = at + 1;
        while self.text(next) == "." {
            name = name + "." + &self.text(next + 1).to_ascii_lowercase();
            next += 2;
        }
        (name, next)
    }

    fn show(&self) -> Parsed {
        if self.is(1, "ALL") && self.ends_at(2) {
            Ok(Setting::ShowAll)
        } else if self.are(1, &["TRANSACTION", "ISOLATION", "LEVEL"]) {
            self.end(4, Setting::Show("transaction_isolation".into()))
        } else if self.are(1, &["TIME", "ZONE"]) {
            self.end(3, Setting::Show("timezone".into()))
        } else {
            match self.name(1) {
                (name, end) if !name.is_empty() => self.end(end, Setting::Show(name)),
                _ => self.syntax(1),
            }
        }
    }

    fn discard(&self) -> Parsed {
        match self.text(1).to_ascii_uppercase().as_str() {
            "ALL" => self.end(2, Setting::DiscardAll),
            "TEMP" | "TEMPORARY" => self.end(2, Setting::DiscardTemporary),
            "PLANS" => self.end(2, Setting::Nothing("DISCARD PLANS")),
            "SEQUENCES" => self.end(2, Setting::Nothing("DISCARD SEQUENCES")),
            _ => self.syntax(1),
        }
    }

    fn deallocate(&self) -> Parsed {
        let at = if self.is(1, "PREPARE") { 2 } else { 1 };
        if self.is(at, "ALL") {
            return self.end(at + 1, Setting::Deallocate(None));
        }
        match self.text(at) {
            "" => self.syntax(at),
            name => self.end(at + 1, Setting::Deallocate(Some(folded(name)))),
        }
    }

    fn reset(&self) -> Parsed {
        if self.is(1, "ALL") {
            return self.end(2, Setting::ResetAll);
        }
        if self.is(1, "ROLE") {
            return self.end(2, Setting::Nothing("RESET"));
        }
        if self.are(1, &["SESSION", "AUTHORIZATION"]) {
            return self.end(3, Setting::Nothing("RESET"));
        }
        let (name, end) = if self.are(1, &["TIME", "ZONE"]) {
            ("timezone".to_string(), 3)
        } else if self.are(1, &["TRANSACTION", "ISOLATION", "LEVEL"]) {
            ("transaction_isolation".to_string(), 4)
        } else {
            self.name(1)
        };
        if name.is_empty() {
            return self.syntax(1);
        }
        self.end(end, Setting::Set { name, value: None, local: false, tag: "RESET" })
    }

    /// Parses the modes of a transaction from here to the end.
    fn modes(&self, mut at: usize) -> Result<Modes, SqlError> {
        let mut modes = Modes::default();
        loop {
            if self.are(at, &["ISOLATION", "LEVEL"]) {
                let levels: [(&[&str], &'static str); 4] = [
                    (&["SERIALIZABLE"], "serializable"),
                    (&["REPEATABLE", "READ"], "repeatable read"),
                    (&["READ", "COMMITTED"], "read committed"),
                    (&["READ", "UNCOMMITTED"], "read uncommitted"),
                ];
                let Some((words, level)) = levels.iter().find(|(words, _)| self.are(at + 2, words))
                else {
                    return self.syntax(at + 2);
                };
                modes.isolation = Some(level);
                at += 2 + words.len();
            } else if self.are(at, &["READ", "ONLY"]) || self.are(at, &["READ", "WRITE"]) {
                modes.read_only = Some(self.is(at + 1, "ONLY"));
                at += 2;
            } else if self.are(at, &["NOT", "DEFERRABLE"]) {
                at += 2;
            } else if self.is(at, "DEFERRABLE") {
                at += 1;
            } else {
                return self.syntax(at);
            }
            at += usize::from(self.text(at) == ",");
            if self.ends_at(at) {
                return Ok(modes);
            }
        }
    }

    fn set(&self) -> Parsed {
        if self.are(1, &["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return Ok(Setting::Transaction { modes: self.modes(5)?, next: true });
        }
        let session = self.is(1, "SESSION") && !self.is(2, "AUTHORIZATION");
        let local = self.is(1, "LOCAL");
        let at = if session || local { 2 } else { 1 };
        if self.is(at, "TRANSACTION") {
            return Ok(Setting::Transaction { modes: self.modes(at + 1)?, next: false });
        }
        if self.are(at, &["ROLE", "NONE"]) {
            return self.end(at + 2, Setting::Nothing("SET"));
        }
        if self.are(at, &["SESSION", "AUTHORIZATION", "DEFAULT"]) {
            return self.end(at + 3, Setting::Nothing("SET"));
        }
        let (name, value_at) = if self.are(at, &["TIME", "ZONE"]) {
            ("timezone".to_string(), at + 2)
        } else if self.is(at, "NAMES") {
            ("client_encoding".to_string(), at + 1)
        } else {
            let (name, after) = self.name(at);
            if !(self.text(after) == "=" || self.is(after, "TO")) {
                return self.syntax(after);
            }
            (name, after + 1)
        };
        let values: Vec<String> = self.0[value_at.min(self.0.len())..]
            .iter()
            .filter(|token| token.text != ",")
            .map(|token| match token.kind {
                Kind::String => unquote(token.text),
                _ => token.text.trim_matches('"').to_string(),
            })
            .collect();
        let value = match values.as_slice() {
            [] => return self.syntax(value_at),
            [only] if only.eq_ignore_ascii_case("DEFAULT") => None,
            // A sign is a token of its own.
            [sign, number] if sign == "-" || sign == "+" => Some(format!("{sign}{number}")),
            values => Some(values.join(", ")),
        };
        Ok(Setting::Set { name, value, local, tag: "SET" })
    }
}

/// The first words of the statements below.
const VERBS: [&str; 7] = ["SHOW", "SET", "RESET", "DISCARD", "DEALLOCATE", "CLOSE", "UNLISTEN"];

/// Parses a statement. Returns `None` if it is none of these statements.
pub(crate) fn parse(statement: &str) -> Option<Parsed> {
    // Most statements are others, and are known by their first word.
    let first = tokens(statement).find(|token| token.text != ";")?;
    if !VERBS.iter().any(|verb| first.is(verb)) {
        return None;
    }
    let words = Words(tokens(statement).filter(|token| token.text != ";").collect());
    Some(match words.text(0).to_ascii_uppercase().as_str() {
        "SHOW" => words.show(),
        "SET" => words.set(),
        "RESET" => words.reset(),
        "DISCARD" => words.discard(),
        "DEALLOCATE" => words.deallocate(),
        "CLOSE" if words.is(1, "ALL") => words.end(2, Setting::CloseAll),
        // No client can listen, so there is nothing to stop.
        "UNLISTEN" if words.text(1) == "*" => words.end(2, Setting::Nothing("UNLISTEN")),
        _ => return None,
    })
}

fn unquote(text: &str) -> String {
    let inner = text.trim_start_matches(['e', 'E']);
    let inner = inner.strip_prefix('\'').unwrap_or(inner);
    inner.strip_suffix('\'').unwrap_or(inner).replace("''", "'")
}

/// Parses the command-line options in a startup message, such as `-c name=value --name=value`. Returns
/// the names and values in order. A backslash takes the next character as it is.
pub(crate) fn options(text: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => words.last_mut().into_iter().for_each(|word| word.extend(chars.next())),
            char if char.is_whitespace() => words.push(String::new()),
            char => words.last_mut().into_iter().for_each(|word| word.push(char)),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let invalid = || {
            let text = format!("invalid command-line argument for server process: {word}");
            SqlError::new("42601", text)
        };
        let pair = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(pair), _) => pair.to_string(),
            (None, Some("")) => words.next().ok_or_else(invalid)?,
            (None, Some(pair)) => pair.to_string(),
            (None, None) => return Err(invalid()),
        };
        let Some((name, value)) = pair.split_once('=') else {
            return Err(SqlError::new("42601", format!("-c {pair} requires a value")));
        };
        found.push((name.replace('-', "_"), value.to_string()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(statement: &str) -> Setting {
        parse(statement).expect("one of these").expect("well formed")
    }

    #[test]
    fn forms_that_drivers_send() {
        let set = |name: &str, value: &str| Setting::Set {
            name: name.into(),
            value: Some(value.into()),
            local: false,
            tag: "SET",
        };
        let reset = |tag| Setting::Set { name: "datestyle".into(), value: None, local: false, tag };
        let committed = Modes { isolation: Some("read committed"), read_only: None };
        let read_only = Modes { isolation: Some("repeatable read"), read_only: Some(true) };
        for (statement, expected) in [
            ("show enable_thread_pool;", Setting::Show("enable_thread_pool".into())),
            ("SHOW TRANSACTION ISOLATION LEVEL", Setting::Show("transaction_isolation".into())),
            ("SHOW ALL", Setting::ShowAll),
            ("SET datestyle TO 'ISO'", set("datestyle", "ISO")),
            ("SET extra_float_digits = 3", set("extra_float_digits", "3")),
            ("SET extra_float_digits = -3", set("extra_float_digits", "-3")),
            ("SET SESSION search_path TO a, b", set("search_path", "a, b")),
            ("SET application_name = 'it''s'", set("application_name", "it's")),
            ("SET TIME ZONE 'UTC'", set("timezone", "UTC")),
            ("SET NAMES 'utf8'", set("client_encoding", "utf8")),
            ("SET my.own = 1", set("my.own", "1")),
            (
                "SET LOCAL lock_timeout = '1s'",
                Setting::Set {
                    name: "lock_timeout".into(),
                    value: Some("1s".into()),
                    local: true,
                    tag: "SET",
                },
            ),
            ("RESET ALL", Setting::ResetAll),
            ("RESET datestyle", reset("RESET")),
            ("SET datestyle TO DEFAULT", reset("SET")),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
                Setting::Transaction { modes: committed, next: true },
            ),
            (
                "set transaction isolation level repeatable read, read only",
                Setting::Transaction { modes: read_only, next: false },
            ),
            ("RESET ROLE", Setting::Nothing("RESET")),
            ("RESET SESSION AUTHORIZATION", Setting::Nothing("RESET")),
            ("SET ROLE NONE", Setting::Nothing("SET")),
            ("DISCARD ALL", Setting::DiscardAll),
            ("discard temp", Setting::DiscardTemporary),
            ("DEALLOCATE ALL", Setting::Deallocate(None)),
            ("deallocate prepare \"A\"", Setting::Deallocate(Some("A".into()))),
            ("close all", Setting::CloseAll),
            ("UNLISTEN *", Setting::Nothing("UNLISTEN")),
        ] {
            assert_eq!(parsed(statement), expected, "{statement}");
        }
        assert_eq!(parse("select 1"), None);
        for wrong in [
            "SHOW",
            "SET",
            "SET x",
            "SET x TO",
            "SHOW a b",
            "RESET",
            "DISCARD",
            "DISCARD SOME",
            "DEALLOCATE",
            "SET TRANSACTION",
            "SET TRANSACTION READ",
            "RESET ALL x",
        ] {
            assert_eq!(parse(wrong).unwrap().unwrap_err().sqlstate, "42601", "{wrong}");
        }
    }

    #[test]
    fn options_of_a_startup_message() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        for (text, expected) in [
            ("", vec![]),
            ("-c statement_timeout=200ms", vec![pair("statement_timeout", "200ms")]),
            (
                "-clock_timeout=2s  --application-name=two",
                vec![pair("lock_timeout", "2s"), pair("application_name", "two")],
            ),
            (r"-c application_name=a\ b\\c", vec![pair("application_name", r"a b\c")]),
        ] {
            assert_eq!(options(text).unwrap(), expected, "{text}");
        }
        for wrong in ["garbage", "-x 1", "-c", "-c name", "--name"] {
            assert_eq!(options(wrong).unwrap_err().sqlstate, "42601", "{wrong}");
        }
    }
}
