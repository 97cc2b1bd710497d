//! The known settings: their types, initial values and checks.

use super::lengths;
use crate::keepalive::KeepAlive;
use crate::types::SqlError;
use std::collections::BTreeMap;
use std::path::Path;

/// The maximum length of a name, as in PostgreSQL.
pub(crate) const NAME_BYTES: usize = 63;

/// Values of settings, by their names.
pub(crate) type Values = BTreeMap<String, String>;

/// One known setting.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) first: &'static str,
    kind: Kind,
}

/// What values a setting has, and how they are shown.
enum Kind {
    /// No client may change it.
    Fixed,
    Bool,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A word that must be this one, since the server does nothing else.
    Only(&'static [&'static str]),
    Int(i64, i64),
    /// A length of time.
    Time,
    /// A size in kilobytes; -1 means no limit. Only an administrator may change it.
    Size,
    /// A number in this unit, for an option of the socket. 0 stands for the value of the system.
    Socket(&'static str),
    /// A text that is only shown, cut to the length of a name.
    Name,
    Text,
    Encoding,
    DateStyle,
    TimeZone,
}

const fn known(name: &'static str, first: &'static str, kind: Kind) -> Known {
    Known { name, first, kind }
}

pub(super) const ISOLATION: &[&str] =
    &["serializable", "repeatable read", "read committed", "read uncommitted"];

const MESSAGES: &[&str] = &[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error",
];

pub(crate) const KNOWN: &[Known] = &[
    known("application_name", "", Kind::Name),
    known("bytea_output", "hex", Kind::Only(&["hex"])),
    known("client_connection_check_interval", "0", Kind::Time),
    known("client_encoding", "UTF8", Kind::Encoding),
    known("client_min_messages", "notice", Kind::Words(MESSAGES)),
    known("datestyle", "ISO, MDY", Kind::DateStyle),
    known("default_transaction_isolation", "read committed", Kind::Words(ISOLATION)),
    known("default_transaction_read_only", "off", Kind::Bool),
    known("enable_thread_pool", "off", Kind::Fixed),
    known("extra_float_digits", "1", Kind::Int(-15, 3)),
    known("idle_in_transaction_session_timeout", "0", Kind::Time),
    known("idle_session_timeout", "0", Kind::Time),
    known("integer_datetimes", "on", Kind::Fixed),
    known("intervalstyle", "postgres", Kind::Only(&["postgres"])),
    known("is_superuser", "off", Kind::Fixed),
    known("lock_timeout", "0", Kind::Time),
    known("max_connections", "100", Kind::Fixed),
    known("search_path", "\"$user\", public", Kind::Text),
    known("server_encoding", "UTF8", Kind::Fixed),
    known("server_version", "15.0", Kind::Fixed),
    known("server_version_num", "150000", Kind::Fixed),
    known("session_authorization", "", Kind::Fixed),
    known("standard_conforming_strings", "on", Kind::Only(&["on", "true", "yes", "1"])),
    known("statement_timeout", "0", Kind::Time),
    known(
        "synchronous_commit",
        "on",
        Kind::Words(&["on", "off", "local", "remote_write", "remote_apply"]),
    ),
    known("tcp_keepalives_count", "0", Kind::Socket("")),
    known("tcp_keepalives_idle", "0", Kind::Socket("s")),
    known("tcp_keepalives_interval", "0", Kind::Socket("s")),
    known("tcp_user_timeout", "0", Kind::Socket("ms")),
    known("temp_file_limit", "1GB", Kind::Size),
    known("timezone", "UTC", Kind::TimeZone),
    known("transaction_isolation", "read committed", Kind::Words(ISOLATION)),
    known("transaction_read_only", "off", Kind::Bool),
    known("transaction_timeout", "0", Kind::Time),
];

/// The settings that PostgreSQL reports to the client, in its spelling.
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

/// Returns the canonical name of a setting: openGauss calls one of them `session_timeout`.
pub(super) fn alias(name: &str) -> &str {
    if name == "session_timeout" { "idle_session_timeout" } else { name }
}

pub(super) fn unknown(name: &str) -> SqlError {
    SqlError::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

/// Returns the values of all settings with which a session begins.
pub(super) fn first(defaults: &Values) -> Values {
    let mut values: Values =
        KNOWN.iter().map(|known| (known.name.into(), known.initial())).collect();
    values.extend(defaults.iter().map(|(name, value)| (name.clone(), value.clone())));
    values
}

/// Returns the setting with this name, in lower case.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    let name = alias(name);
    KNOWN.iter().find(|known| known.name == name)
}

impl Known {
    /// Returns whether only an administrator may change it.
    pub(super) fn is_for_administrators(&self) -> bool {
        matches!(self.kind, Kind::Size)
    }

    /// Returns the value of a session that has not been told another.
    pub(super) fn initial(&self) -> String {
        match self.kind {
            Kind::Socket(_) => KeepAlive::limits(self.name).0.to_string(),
            _ => self.first.into(),
        }
    }

    /// Returns the value as it is shown.
    pub(super) fn check(&self, value: &str) -> Result<String, SqlError> {
        let name = self.name;
        let refused = |why: &str| {
            let text = format!("invalid value for parameter \"{name}\": \"{value}\"{why}");
            Err(SqlError::new("22023", text))
        };
        let word = value.to_ascii_lowercase();
        match &self.kind {
            Kind::Fixed => {
                Err(SqlError::new("55P02", format!("parameter \"{name}\" cannot be changed")))
            }
            Kind::Bool => match truth(&word) {
                Some(true) => Ok("on".into()),
                Some(false) => Ok("off".into()),
                None => {
                    let text = format!("parameter \"{name}\" requires a Boolean value");
                    Err(SqlError::new("22023", text))
                }
            },
            Kind::Words(words) => match words.iter().find(|known| **known == word) {
                Some(word) => Ok((*word).into()),
                // A Boolean is accepted where on and off are.
                None if words.contains(&"on") && truth(&word).is_some() => {
                    Ok(if truth(&word) == Some(true) { "on" } else { "off" }.into())
                }
                None => refused(""),
            },
            Kind::Only(words) => match words.contains(&word.as_str()) {
                true => Ok(words[0].into()),
                false => refused(&format!(": only \"{}\" is supported", words[0])),
            },
            Kind::Int(least, most) => match word.trim().parse::<i64>() {
                Ok(number) if (*least..=*most).contains(&number) => Ok(number.to_string()),
                Ok(number) => {
                    let text = format!(
                        "{number} is outside the valid range for parameter \"{name}\" ({least} .. {most})"
                    );
                    Err(SqlError::new("22023", text))
                }
                Err(_) => refused(""),
            },
            Kind::Time => lengths::shown(name, value),
            Kind::Size => lengths::shown_size(name, value),
            Kind::Socket(unit) => {
                let (system, most) = KeepAlive::limits(name);
                match lengths::number(name, value, unit)? {
                    0 => Ok(system.to_string()),
                    number if number <= u64::from(most) => Ok(number.to_string()),
                    _ => refused(&format!(": the system accepts at most {most}")),
                }
            }
            Kind::Name => Ok(name_of(value).to_string()),
            Kind::Text => Ok(value.to_string()),
            Kind::Encoding => {
                let plain = word.trim_matches('\'').replace(['-', '_'], "");
                match plain.as_str() {
                    "utf8" | "unicode" => Ok("UTF8".into()),
                    "sqlascii" => Ok("SQL_ASCII".into()),
                    _ => refused(": only UTF8 is supported"),
                }
            }
            Kind::DateStyle => {
                let mut order = "MDY";
                for part in word.split(',').map(str::trim) {
                    match part {
                        "iso" => {}
                        "mdy" | "us" | "noneuro" => order = "MDY",
                        "dmy" | "euro" | "european" => order = "DMY",
                        "ymd" => order = "YMD",
                        _ => return refused(": only the style ISO is supported"),
                    }
                }
                Ok(format!("ISO, {order}"))
            }
            Kind::TimeZone => match zone(value) {
                Some(zone) => Ok(zone),
                None => refused(""),
            },
        }
    }
}

/// Returns a Boolean as PostgreSQL reads it: also an unambiguous beginning of its words.
fn truth(word: &str) -> Option<bool> {
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(word);
    if word == "1" || word == "on" || begins("true", 1) || begins("yes", 1) {
        Some(true)
    } else if word == "0" || begins("off", 2) || begins("false", 1) || begins("no", 1) {
        Some(false)
    } else {
        None
    }
}

/// Returns the name of a time zone that the system knows. The server shows each time with its offset,
/// so the zone changes no meaning.
fn zone(name: &str) -> Option<String> {
    if ["UTC", "GMT", "Z"].iter().any(|utc| name.eq_ignore_ascii_case(utc)) {
        return Some(name.to_ascii_uppercase());
    }
    let plain = name.chars().all(|char| char.is_ascii_alphanumeric() || "/_+-".contains(char));
    let file = Path::new("/usr/share/zoneinfo").join(name);
    (plain && !name.is_empty() && !name.starts_with('/') && file.is_file())
        .then(|| name.to_string())
}

/// Returns at most the length of a name of a text that is only shown.
fn name_of(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_shown_as_in_postgresql() {
        for (name, value, shown) in [
            ("default_transaction_read_only", "YES", Some("on")),
            ("default_transaction_read_only", "f", Some("off")),
            ("default_transaction_read_only", "o", None),
            ("default_transaction_read_only", "on ", None),
            ("client_min_messages", "WARNING", Some("warning")),
            ("client_min_messages", "blah", None),
            ("synchronous_commit", "true", Some("on")),
            ("synchronous_commit", "maybe", None),
            ("extra_float_digits", "3", Some("3")),
            ("extra_float_digits", "4", None),
            ("bytea_output", "zz", None),
            ("datestyle", "iso, dmy", Some("ISO, DMY")),
            ("datestyle", "xx", None),
            ("timezone", "utc", Some("UTC")),
            ("timezone", "Nope/Zone", None),
            ("timezone", "../etc/passwd", None),
            ("client_encoding", "'utf-8'", Some("UTF8")),
            ("client_encoding", "latin1", None),
            ("statement_timeout", "600s", Some("10min")),
            ("server_version", "16", None),
        ] {
            let checked = find(name).expect("a known setting").check(value);
            assert_eq!(checked.as_deref().ok(), shown, "{name} = {value}");
        }
    }
}
