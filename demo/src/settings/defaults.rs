//! The values with which sessions begin, from a file that is read again on request: lines of
//! `name = value`, as in PostgreSQL's `postgresql.conf`.

use super::catalog::{Values, alias, find, unknown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
pub(crate) struct Defaults {
    file: Option<PathBuf>,
    values: Mutex<Arc<Values>>,
    /// The number of changes. A session compares it with the one that it has seen.
    version: AtomicU64,
}

impl Defaults {
    /// Reads the file, if there is one.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Defaults, String> {
        let defaults = Defaults { file, ..Defaults::default() };
        if let Some(values) = defaults.read()? {
            *defaults.lock() = Arc::new(values);
        }
        Ok(defaults)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Values>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn version(&self) -> u64 {
        // Relaxed: the lock orders the values. A session that misses a change sees it at its next
        // message.
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn values(&self) -> Arc<Values> {
        self.lock().clone()
    }

    /// Reads the file again, and writes to standard error what has changed. If the file has an error,
    /// nothing changes.
    pub(crate) fn reload(&self) {
        let Some(file) = &self.file else {
            eprintln!("server: nothing to reload, because the server has no --config");
            return;
        };
        eprintln!("server: reloading {}", file.display());
        let values = match self.read() {
            Ok(values) => values.unwrap_or_default(),
            Err(error) => {
                eprintln!("server: {error}; no changes were applied");
                return;
            }
        };
        let mut now = self.lock();
        for (name, value) in &values {
            if now.get(name) != Some(value) {
                eprintln!("server: parameter \"{name}\" changed to \"{value}\"");
            }
        }
        for name in now.keys().filter(|name| !values.contains_key(*name)) {
            eprintln!(
                "server: parameter \"{name}\" removed from configuration file, reset to default"
            );
        }
        *now = Arc::new(values);
        drop(now);
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Result<Option<Values>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| format!("--config: {}: {error}", file.display()))?;
        let values = parse(&text);
        let at = |(line, why)| format!("{why} in file \"{}\" line {line}", file.display());
        values.map(Some).map_err(at)
    }
}

/// Returns the values of a file, or the number of a line with what is wrong there.
fn parse(text: &str) -> Result<Values, (usize, String)> {
    let mut values = Values::new();
    for (at, line) in text.lines().enumerate() {
        let at = |why: String| (at + 1, why);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || at("syntax error: expected name = value".into());
        let end = line.find(|char: char| char == '=' || char.is_whitespace()).ok_or_else(wrong)?;
        let (name, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        let value = value(rest).ok_or_else(wrong)?;
        let name = name.to_ascii_lowercase();
        let name = alias(&name);
        let shown = match find(name) {
            // A transaction begins with what default_transaction_* says.
            Some(_) if name.starts_with("transaction_") && name != "transaction_timeout" => {
                return Err(at(format!("parameter \"{name}\" cannot be set")));
            }
            Some(known) => known.check(&value).map_err(|error| at(error.message))?,
            None if name.contains('.') => value,
            None => return Err(at(unknown(name).message)),
        };
        values.insert(name.into(), shown);
    }
    Ok(values)
}

/// Returns a value, which may be in quotes, and may be followed by a comment.
fn value(text: &str) -> Option<String> {
    let (value, rest) = match text.strip_prefix('\'') {
        None => {
            let end = text.find(|char: char| char.is_whitespace() || char == '#');
            let (value, rest) = text.split_at(end.unwrap_or(text.len()));
            (value.to_string(), rest)
        }
        Some(text) => {
            let mut value = String::new();
            let mut chars = text.char_indices().peekable();
            loop {
                match chars.next()? {
                    (_, '\'') if chars.next_if(|(_, next)| *next == '\'').is_some() => {
                        value.push('\'');
                    }
                    (at, '\'') => break (value, &text[at + 1..]),
                    (_, char) => value.push(char),
                }
            }
        }
    };
    let rest = rest.trim_start();
    let quoted = text.starts_with('\'');
    ((quoted || !value.is_empty()) && (rest.is_empty() || rest.starts_with('#'))).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_postgresql_reads_them() {
        let text = "# a comment\n\nlock_timeout = 5000 # ms\nStatement_Timeout '1min'\n\
                    application_name='it''s # a name'\nlock_timeout=7s\nmy.own = ''\n";
        let values = parse(text).unwrap();
        let expected = [
            ("application_name", "it's # a name"),
            ("lock_timeout", "7s"),
            ("my.own", ""),
            ("statement_timeout", "1min"),
        ];
        assert!(values.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected), "{values:?}");
        for (text, line, why) in [
            ("\nnosuch = 1", 2, "unrecognized configuration parameter \"nosuch\""),
            ("lock_timeout = x", 1, "invalid value for parameter \"lock_timeout\": \"x\""),
            ("bad line here", 1, "syntax error"),
            ("lock_timeout", 1, "syntax error"),
            ("lock_timeout =", 1, "syntax error"),
            ("lock_timeout = 'x", 1, "syntax error"),
            ("server_version = 16", 1, "cannot be changed"),
            ("transaction_read_only = on", 1, "cannot be set"),
        ] {
            let (at, said) = parse(text).unwrap_err();
            assert!(at == line && said.contains(why), "{text}: {at} {said}");
        }
    }
}
