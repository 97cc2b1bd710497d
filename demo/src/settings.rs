//! `SHOW` and `SET` for the names that drivers send at the start.

use crate::limits;
use crate::split::{Kind, tokens};
use crate::types::SqlError;
use safepoint::session_local;
use std::cell::RefCell;
use std::collections::BTreeMap;

session_local! {
    /// The settings of the session that the calling thread runs. They are created when the startup
    /// message names the user.
    pub(crate) static SETTINGS: RefCell<Settings> = RefCell::default();
}

/// The maximum length of a name, as in PostgreSQL.
pub(crate) const NAME_BYTES: usize = 63;

/// The settings of one session.
#[derive(Default)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, String>,
    /// Names with a dot, which a client may choose freely.
    custom: BTreeMap<String, String>,
}

/// Name, initial value, and whether a client may change it.
const KNOWN: &[(&str, &str, bool)] = &[
    ("application_name", "", true),
    ("bytea_output", "hex", true),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", true),
    ("datestyle", "ISO, MDY", true),
    ("default_transaction_isolation", "serializable", true),
    ("default_transaction_read_only", "off", true),
    ("enable_thread_pool", "off", false),
    ("extra_float_digits", "1", true),
    ("idle_in_transaction_session_timeout", "0", true),
    ("idle_session_timeout", "0", true),
    ("integer_datetimes", "on", false),
    ("intervalstyle", "postgres", true),
    ("is_superuser", "off", false),
    ("lock_timeout", "0", true),
    ("search_path", "\"$user\", public", true),
    ("server_encoding", "UTF8", false),
    ("server_version", "15.0", false),
    ("server_version_num", "150000", false),
    ("session_authorization", "", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", true),
    ("synchronous_commit", "on", true),
    ("timezone", "UTC", true),
    ("transaction_isolation", "serializable", true),
    ("transaction_read_only", "off", true),
    ("transaction_timeout", "0", true),
];

/// The settings that PostgreSQL reports to the client at the start, in its spelling.
pub(crate) const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// A statement that this module handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Show(String),
    ShowAll,
    /// The initial value if it is `None`.
    Set(String, Option<String>),
    /// Resets all settings, with the tag of the command.
    ResetAll(&'static str),
    /// Changes nothing, since the value is fixed.
    Nothing(&'static str),
}

impl Setting {
    pub(crate) fn tag(&self) -> &'static str {
        match self {
            Setting::Show(_) | Setting::ShowAll => "SHOW",
            Setting::Set(_, Some(_)) => "SET",
            Setting::Set(_, None) => "RESET",
            Setting::ResetAll(tag) | Setting::Nothing(tag) => tag,
        }
    }
}

/// Parses a statement. Returns `None` if it is none of these statements.
pub(crate) fn parse(statement: &str) -> Option<Result<Setting, SqlError>> {
    let words: Vec<_> = tokens(statement).filter(|token| token.text != ";").collect();
    let text = |at: usize| words.get(at).map_or("", |token| token.text);
    let is = |at: usize, word: &str| text(at).eq_ignore_ascii_case(word);
    let syntax = |at: usize| {
        let near = match text(at) {
            "" => "syntax error at end of input".to_string(),
            near => format!("syntax error at or near \"{near}\""),
        };
        Some(Err(SqlError::new("42601", near)))
    };
    let name = |at: usize| {
        let mut name = text(at).trim_matches('"').to_ascii_lowercase();
        let mut next = at + 1;
        while text(next) == "." {
            name = name + "." + &text(next + 1).to_ascii_lowercase();
            next += 2;
        }
        (name, next)
    };
    if is(0, "SHOW") {
        return if is(1, "ALL") && words.len() == 2 {
            Some(Ok(Setting::ShowAll))
        } else if is(1, "TRANSACTION") && is(2, "ISOLATION") {
            Some(Ok(Setting::Show("transaction_isolation".into())))
        } else if is(1, "TIME") && is(2, "ZONE") {
            Some(Ok(Setting::Show("timezone".into())))
        } else {
            match name(1) {
                (name, end) if !name.is_empty() && end == words.len() => {
                    Some(Ok(Setting::Show(name)))
                }
                (_, end) => syntax(end.min(words.len())),
            }
        };
    }
    if is(0, "DISCARD") {
        return Some(match is(1, "ALL") {
            true => Ok(Setting::ResetAll("DISCARD ALL")),
            false => Ok(Setting::Nothing("DISCARD")),
        });
    }
    if is(0, "RESET") {
        return if is(1, "ALL") {
            Some(Ok(Setting::ResetAll("RESET")))
        } else if words.len() < 2 {
            syntax(1)
        } else {
            Some(Ok(Setting::Set(name(1).0, None)))
        };
    }
    if !is(0, "SET") {
        return None;
    }
    let at = if (is(1, "SESSION") || is(1, "LOCAL")) && !is(2, "CHARACTERISTICS") { 2 } else { 1 };
    if is(at, "TRANSACTION") || is(at, "CHARACTERISTICS") || is(at + 1, "CHARACTERISTICS") {
        return Some(Ok(Setting::Nothing("SET")));
    }
    if is(1, "LOCAL") {
        let message = "SET LOCAL is not supported: a setting is its session's, use SET";
        return Some(Err(SqlError::new("0A000", message.to_string())));
    }
    let (name, value_at) = if is(at, "TIME") && is(at + 1, "ZONE") {
        ("timezone".to_string(), at + 2)
    } else if is(at, "NAMES") {
        ("client_encoding".to_string(), at + 1)
    } else {
        let (name, after) = name(at);
        if !(text(after) == "=" || is(after, "TO")) {
            return syntax(after);
        }
        (name, after + 1)
    };
    let values: Vec<String> = words[value_at.min(words.len())..]
        .iter()
        .filter(|token| token.text != ",")
        .map(|token| match token.kind {
            Kind::String => unquote(token.text),
            _ => token.text.trim_matches('"').to_string(),
        })
        .collect();
    match values.as_slice() {
        [] => syntax(value_at),
        [only] if only.eq_ignore_ascii_case("DEFAULT") => Some(Ok(Setting::Set(name, None))),
        values => Some(Ok(Setting::Set(name, Some(values.join(", "))))),
    }
}

fn unquote(text: &str) -> String {
    let inner = text.trim_start_matches(['e', 'E']);
    let inner = inner.strip_prefix('\'').unwrap_or(inner);
    inner.strip_suffix('\'').unwrap_or(inner).replace("''", "'")
}

impl Settings {
    pub(crate) fn new(thread_pool: bool, user: &str, admin: bool) -> Settings {
        let mut values: BTreeMap<_, _> =
            KNOWN.iter().map(|(name, value, _)| (*name, (*value).to_string())).collect();
        values.insert("enable_thread_pool", if thread_pool { "on" } else { "off" }.into());
        values.insert("session_authorization", user.into());
        values.insert("is_superuser", if admin { "on" } else { "off" }.into());
        Settings { values, custom: BTreeMap::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str, SqlError> {
        let name = name.to_ascii_lowercase();
        let value = self.values.get(limits::alias(&name)).or_else(|| self.custom.get(&name));
        value.map(String::as_str).ok_or_else(|| unknown(&name))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let custom = self.custom.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.values.iter().map(|(name, value)| (*name, value.as_str())).chain(custom)
    }

    /// Sets a value, and returns the value as it is shown.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<String, SqlError> {
        let name = name.to_ascii_lowercase();
        let known = limits::alias(&name);
        let Some((known, first, may)) = KNOWN.iter().find(|(name, ..)| *name == known) else {
            return match (name.contains('.'), value) {
                (true, value) => {
                    let value = value.unwrap_or_default().to_string();
                    self.custom.insert(name, value.clone());
                    Ok(value)
                }
                (false, _) => Err(unknown(&name)),
            };
        };
        if !may {
            return Err(SqlError::new("55P02", format!("parameter \"{name}\" cannot be changed")));
        }
        let value = value.unwrap_or(first);
        let refused = |why: &str| {
            let text = format!("invalid value for parameter \"{name}\": \"{value}\"{why}");
            Err(SqlError::new("22023", text))
        };
        match *known {
            "client_encoding"
                if !matches!(
                    value.to_ascii_lowercase().replace(['-', '_'], "").as_str(),
                    "utf8" | "unicode" | "sqlascii"
                ) =>
            {
                return refused(": only UTF8 is spoken here");
            }
            "standard_conforming_strings" if !matches!(value, "on" | "true" | "1") => {
                return refused(": only on is supported");
            }
            _ => {}
        }
        let value = match limits::NAMES.contains(known) {
            true => limits::shown(known, value)?,
            false if *known == "application_name" => name_of(value).to_string(),
            false => value.to_string(),
        };
        self.values.insert(known, value.clone());
        Ok(value)
    }

    pub(crate) fn reset(&mut self) {
        for (name, value, may) in KNOWN {
            if *may {
                self.values.insert(name, (*value).to_string());
            }
        }
        self.custom.clear();
    }
}

/// Returns at most the length of a name of a text that is only shown.
fn name_of(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn unknown(name: &str) -> SqlError {
    SqlError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(statement: &str) -> Setting {
        parse(statement).expect("one of these").expect("well formed")
    }

    #[test]
    fn forms_that_drivers_send() {
        let set = |name: &str, value: &str| Setting::Set(name.into(), Some(value.into()));
        for (statement, expected) in [
            ("show enable_thread_pool;", Setting::Show("enable_thread_pool".into())),
            ("SHOW TRANSACTION ISOLATION LEVEL", Setting::Show("transaction_isolation".into())),
            ("SHOW ALL", Setting::ShowAll),
            ("SET datestyle TO 'ISO'", set("datestyle", "ISO")),
            ("SET extra_float_digits = 3", set("extra_float_digits", "3")),
            ("SET SESSION search_path TO a, b", set("search_path", "a, b")),
            ("SET application_name = 'it''s'", set("application_name", "it's")),
            ("SET TIME ZONE 'UTC'", set("timezone", "UTC")),
            ("SET NAMES 'utf8'", set("client_encoding", "utf8")),
            ("SET my.own = 1", set("my.own", "1")),
            ("RESET ALL", Setting::ResetAll("RESET")),
            ("RESET datestyle", Setting::Set("datestyle".into(), None)),
            ("SET datestyle TO DEFAULT", Setting::Set("datestyle".into(), None)),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
                Setting::Nothing("SET"),
            ),
        ] {
            assert_eq!(parsed(statement), expected, "{statement}");
        }
        assert_eq!(parse("select 1"), None);
        for wrong in ["SHOW", "SET", "SET x", "SET x TO", "SHOW a b"] {
            assert_eq!(parse(wrong).unwrap().unwrap_err().sqlstate, "42601", "{wrong}");
        }
    }

    #[test]
    fn wrong_values_are_rejected() {
        let mut settings = Settings::new(true, "omm", true);
        assert_eq!(settings.get("Enable_Thread_Pool").unwrap(), "on");
        assert_eq!(settings.set("enable_thread_pool", Some("off")).unwrap_err().sqlstate, "55P02");
        assert_eq!(settings.set("nothing", Some("1")).unwrap_err().sqlstate, "42704");
        assert_eq!(settings.set("client_encoding", Some("LATIN1")).unwrap_err().sqlstate, "22023");
        assert_eq!(settings.set("statement_timeout", Some("5 x")).unwrap_err().sqlstate, "22023");
        assert_eq!(settings.set("session_timeout", Some("600s")).unwrap(), "10min");
        assert_eq!(settings.get("idle_session_timeout").unwrap(), "10min");
        assert_eq!(settings.set("my.own", Some("1")).unwrap(), "1");
        settings.reset();
        assert!(settings.get("my.own").is_err());
    }
}
