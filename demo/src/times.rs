//! PostgreSQL's times in SQL: `now()`, `interval '5 minutes'` and the like.

use crate::functions::Define;
use crate::settings::{SETTINGS, Settings};
use crate::split::{Kind, Token, mentions, tokens};
use crate::types::{PgType, parse_interval, parse_timestamp};
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use std::borrow::Cow;

/// Returns the type of a function of this file.
pub(crate) fn returns(name: &str) -> Option<PgType> {
    Some(match name {
        "safepoint_now" | "safepoint_clock" | "safepoint_timestamptz" => PgType::Instant,
        "age" | "safepoint_interval" => PgType::Interval,
        "safepoint_epoch" => PgType::Float8,
        _ => return None,
    })
}

pub(crate) fn define(define: &Define<'_>) -> rusqlite::Result<()> {
    define.harmless("safepoint_now", 0, |_, _| {
        Ok(SETTINGS.with_borrow(Settings::unit_began).as_microsecond())
    })?;
    define.harmless("safepoint_clock", 0, |_, _| Ok(Timestamp::now().as_microsecond()))?;
    define.harmless("safepoint_timestamptz", 1, |call, left| match call.get_raw(0) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(micros) => Ok(Some(micros)),
        other => {
            let text = String::from_utf8_lossy(other.as_bytes().unwrap_or_default());
            parse_timestamp(&text).map(Some).or_else(|e| left.fail(e.sqlstate, &e.message))
        }
    })?;
    define.harmless("safepoint_interval", 1, |call, left| {
        let text = call.get::<String>(0)?;
        parse_interval(&text).or_else(|e| left.fail(e.sqlstate, &e.message))
    })?;
    define.harmless("safepoint_epoch", 1, |call, _| {
        Ok(call.get::<Option<i64>>(0)?.map(|micros| micros as f64 / 1e6))
    })?;
    define.harmless("age", 2, |call, _| {
        let (at, since) = (call.get::<Option<i64>>(0)?, call.get::<Option<i64>>(1)?);
        Ok(at.zip(since).map(|(at, since)| at.saturating_sub(since)))
    })
}

/// The functions that [`rewrite`] writes, and the names that PostgreSQL gives to their columns.
const WRITTEN: [(&str, &str); 5] = [
    ("safepoint_now", "now"),
    ("safepoint_clock", "clock_timestamp"),
    ("safepoint_interval", "interval"),
    ("safepoint_timestamptz", "timestamptz"),
    ("safepoint_epoch", "extract"),
];

/// Returns PostgreSQL's name of a column that is an expression with functions that [`rewrite`] has
/// written: the name of the function if the whole is a call.
pub(crate) fn column_name(expression: &str) -> Option<String> {
    if !WRITTEN.iter().any(|(function, _)| expression.contains(function)) {
        return None;
    }
    let all: Vec<Token<'_>> = tokens(expression).collect();
    let shown = |name: &Token<'_>| WRITTEN.iter().find(|(function, _)| name.text == *function);
    all.windows(2).find(|pair| pair[1].is_punct("(") && shown(&pair[0]).is_some())?;
    let mut inner = all.as_slice();
    while let [open, rest @ .., _] = inner
        && open.is_punct("(")
        && is_closed(inner)
    {
        inner = rest;
    }
    match inner {
        [name, call @ ..] if name.is_name() && is_closed(call) => {
            Some(shown(name).map_or(name.text.to_ascii_lowercase(), |(_, name)| name.to_string()))
        }
        _ => Some("?column?".to_string()),
    }
}

/// Returns whether these tokens are one pair of parentheses, and what is in it.
fn is_closed(all: &[Token<'_>]) -> bool {
    let mut depth = 0;
    let end = all.iter().position(|token| {
        depth += i32::from(token.is_punct("(")) - i32::from(token.is_punct(")"));
        depth <= 0
    });
    end.is_some_and(|end| end > 0 && end + 1 == all.len())
}

/// The views with times that are numbers.
const SOURCES: [&str; 3] = ["pg_stat_activity", "pg_stat_activity_helpers", "threadpool_workers"];

/// The first words of what makes a statement one that computes with times.
const LITERALS: [&str; 3] = ["interval", "timestamp", "extract"];

/// Functions and words for the present, the functions for them, and whether they are called.
const PRESENT: [(&str, &str, bool); 4] = [
    ("now", "safepoint_now", true),
    ("transaction_timestamp", "safepoint_now", true),
    ("clock_timestamp", "safepoint_clock", true),
    ("current_timestamp", "safepoint_now()", false),
];

/// A part of a statement, and what SQLite gets for it.
struct Part {
    start: usize,
    end: usize,
    written: String,
}

/// Writes a statement that computes with times, with functions in place of PostgreSQL's literals, of
/// `now()`, and of `extract(epoch from …)`. Other statements stay: there `now()` is a text, which can be
/// stored.
pub(crate) fn rewrite(statement: &str) -> Cow<'_, str> {
    if !mentions(statement, &LITERALS) && !mentions(statement, &SOURCES) {
        return Cow::Borrowed(statement);
    }
    let all: Vec<Token<'_>> = tokens(statement).collect();
    let reads = all.first().is_some_and(|first| {
        ["SELECT", "WITH", "VALUES", "EXPLAIN"].iter().any(|word| first.is(word))
    });
    let has_source =
        all.iter().any(|token| SOURCES.iter().any(|name| token.text.eq_ignore_ascii_case(name)));
    if !reads && !has_source {
        return Cow::Borrowed(statement);
    }
    let (mut parts, mut computes, mut at) = (Vec::new(), has_source, 0);
    while at < all.len() {
        match literal(&all, at).or_else(|| epoch(&all, at)) {
            Some((part, count)) => {
                computes = true;
                parts.push(part);
                at += count;
            }
            None => {
                parts.extend(present(&all, at));
                at += 1;
            }
        }
    }
    if !computes {
        return Cow::Borrowed(statement);
    }
    let mut written = String::with_capacity(statement.len());
    let mut copied = 0;
    for part in parts {
        written.push_str(&statement[copied..part.start]);
        written.push_str(&part.written);
        copied = part.end;
    }
    written.push_str(&statement[copied..]);
    Cow::Owned(written)
}

/// Returns whether a token is a word that is no column of a table.
fn is_word(all: &[Token<'_>], at: usize) -> bool {
    all[at].kind == Kind::Word && (at == 0 || !all[at - 1].is_punct("."))
}

/// Returns the function for `interval '…'` and the like, and the number of tokens.
fn literal(all: &[Token<'_>], at: usize) -> Option<(Part, usize)> {
    let token = all.get(at).filter(|_| is_word(all, at))?;
    let is = |n: usize, word: &str| all.get(at + n).is_some_and(|token| token.is(word));
    let zoned = is(1, "WITH") && is(2, "TIME") && is(3, "ZONE");
    let (function, count) = if token.is("INTERVAL") {
        ("safepoint_interval", 2)
    } else if token.is("TIMESTAMPTZ") {
        ("safepoint_timestamptz", 2)
    } else if token.is("TIMESTAMP") && zoned {
        ("safepoint_timestamptz", 5)
    } else {
        return None;
    };
    let text = all.get(at + count - 1).filter(|token| token.text.starts_with('\''))?;
    let written = format!("{function}({})", text.text);
    Some((Part { start: token.start, end: text.end(), written }, count))
}

/// Returns the function for `extract(epoch from`, and the number of tokens.
fn epoch(all: &[Token<'_>], at: usize) -> Option<(Part, usize)> {
    let token = all.get(at).filter(|token| token.is("EXTRACT") && is_word(all, at))?;
    let opens = all.get(at + 1)?.is_punct("(");
    let from = all.get(at + 3).filter(|token| token.is("FROM"))?;
    let matches = opens && all.get(at + 2)?.is("EPOCH");
    let written = "safepoint_epoch(".to_string();
    matches.then(|| (Part { start: token.start, end: from.end(), written }, 4))
}

/// Returns the function for the present.
fn present(all: &[Token<'_>], at: usize) -> Option<Part> {
    let token = all.get(at).filter(|_| is_word(all, at))?;
    let called = all.get(at + 1).is_some_and(|next| next.is_punct("("));
    let (_, function, _) =
        PRESENT.iter().find(|(name, _, calls)| token.is(name) && *calls == called)?;
    Some(Part { start: token.start, end: token.end(), written: (*function).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_functions() {
        for (sql, written) in [
            ("select interval '5 min'", "select safepoint_interval('5 min')"),
            (
                "select a < timestamp with time zone '2020-01-01' - INTERVAL  '1 d'",
                "select a < safepoint_timestamptz('2020-01-01') - safepoint_interval('1 d')",
            ),
            ("select timestamptz 'x'", "select safepoint_timestamptz('x')"),
            (
                "select extract ( epoch from now() - a)",
                "select safepoint_epoch( safepoint_now() - a)",
            ),
            ("select now()", ""),
            ("insert into t values (interval '1 day', now())", ""),
            (
                "select now(), current_timestamp, a.now from pg_stat_activity",
                "select safepoint_now(), safepoint_now(), a.now from pg_stat_activity",
            ),
            ("select a.interval 'x', 'interval ''1''', interval", ""),
            ("select extract(day from a)", ""),
        ] {
            assert_eq!(rewrite(sql), if written.is_empty() { sql } else { written });
        }
    }
}
