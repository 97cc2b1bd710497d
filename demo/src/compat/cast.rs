//! Casts, and names of PostgreSQL that SQLite does not have: `a::int`, `cast(a as date)`,
//! `current_user`.
//!
//! A cast becomes a call of a function that converts as PostgreSQL does. SQLite's own cast takes any text
//! for a number, and has no dates and no Booleans.

use crate::split::{Kind, Token, mentions, starts_with, tokens};
use crate::times;
use crate::types::{PgType, SqlError, Steps};
use std::borrow::Cow;

/// The beginning of the names of the functions that cast.
pub(crate) const CAST: &str = "cast_to_";

/// The types that have such a function, with its name after [`CAST`], which is PostgreSQL's name of the
/// type.
pub(crate) const CASTS: [(&str, PgType); 13] = [
    ("bool", PgType::Bool),
    ("bytea", PgType::Bytea),
    ("int2", PgType::Int2),
    ("int4", PgType::Int4),
    ("int8", PgType::Int8),
    ("text", PgType::Text),
    ("float4", PgType::Float4),
    ("float8", PgType::Float8),
    ("varchar", PgType::Varchar),
    ("date", PgType::Date),
    ("timestamp", PgType::Timestamp),
    ("timestamptz", PgType::Timestamptz),
    ("numeric", PgType::Numeric),
];

/// Types of PostgreSQL that have none.
const OTHERS: [&str; 18] = [
    "bit",
    "bpchar",
    "char",
    "character",
    "cidr",
    "inet",
    "interval",
    "json",
    "jsonb",
    "money",
    "name",
    "oid",
    "regclass",
    "regtype",
    "time",
    "timetz",
    "uuid",
    "xml",
];

/// The names that PostgreSQL has without parentheses, and SQLite as functions.
const NAMES: [&str; 3] = ["current_user", "session_user", "current_role"];

/// The number of bytes that casts within casts may move. Each moves all that it casts.
const MOVED: usize = 64 << 20;

/// A type that a cast names.
struct Target {
    name: &'static str,
    /// The maximum number of characters of a text.
    length: Option<usize>,
    /// The number of tokens.
    tokens: usize,
}

/// Something that is open, and where the text of it begins in the output.
enum Open {
    Parenthesis(usize),
    Cast(usize),
    Case(usize),
}

/// Returns a statement in SQLite's words.
pub(crate) fn translate(statement: &str) -> Result<Cow<'_, str>, SqlError> {
    if !may_have_any(statement) {
        return Ok(Cow::Borrowed(statement));
    }
    let all: Vec<Token<'_>> = tokens(statement).collect();
    let mut out = Translation {
        statement,
        all: &all,
        out: String::with_capacity(statement.len() + 64),
        copied: 0,
        open: Vec::new(),
        operand: None,
        // SQLite keeps the text of these, and other programs cannot call functions of this server.
        keeps_text: starts_with(statement, &["CREATE"]) || starts_with(statement, &["ALTER"]),
        moved: 0,
    };
    let mut steps = Steps::default();
    let mut at = 0;
    while at < all.len() {
        steps.step()?;
        at = out.token(at)?;
    }
    out.copy_to(statement.len());
    Ok(Cow::Owned(out.out))
}

/// Returns whether a search of the tokens is worth its time.
fn may_have_any(statement: &str) -> bool {
    mentions(statement, &["::", "cast", "current_", "session_user"])
}

struct Translation<'a> {
    statement: &'a str,
    all: &'a [Token<'a>],
    out: String,
    /// How much of the statement is in the output.
    copied: usize,
    open: Vec<Open>,
    /// Where the operand of a cast that came next would begin in the output.
    operand: Option<usize>,
    keeps_text: bool,
    moved: usize,
}

impl<'a> Translation<'a> {
    fn get(&self, at: usize) -> Option<Token<'a>> {
        self.all.get(at).copied()
    }

    fn is_punct(&self, at: usize, punct: &str) -> bool {
        self.get(at).is_some_and(|token| token.is_punct(punct))
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.get(at).is_some_and(|token| token.is(word))
    }

    /// Returns whether the token follows the one before it without a blank.
    fn is_joined(&self, at: usize) -> bool {
        at > 0 && self.all[at - 1].end() == self.all[at].start
    }

    fn copy_to(&mut self, end: usize) {
        self.out.push_str(&self.statement[self.copied..end]);
        self.copied = end;
    }

    fn syntax(&self, at: usize) -> SqlError {
        let near = match self.get(at) {
            Some(token) => format!("syntax error at or near \"{}\"", token.text),
            None => "syntax error at end of input".to_string(),
        };
        SqlError::new("42601", near)
    }

    /// Takes the token at `at`, and returns the index of the next one.
    fn token(&mut self, at: usize) -> Result<usize, SqlError> {
        let token = self.all[at];
        if token.is_punct(":") && self.is_punct(at + 1, ":") && self.is_joined(at + 1) {
            return self.double_colon(at);
        }
        self.copy_to(token.start);
        let begins = self.out.len();
        let after_dot = at > 0 && self.is_punct(at - 1, ".");
        match token.kind {
            Kind::Punct => match token.text {
                "(" => {
                    let call = self.operand.take().filter(|_| at > 0 && self.calls(at - 1));
                    self.open.push(match call {
                        Some(call) if self.is(at - 1, "CAST") => Open::Cast(call),
                        Some(call) => Open::Parenthesis(call),
                        None => Open::Parenthesis(begins),
                    });
                }
                ")" => {
                    self.operand = match self.open.pop() {
                        Some(Open::Parenthesis(start) | Open::Cast(start)) => Some(start),
                        _ => None,
                    };
                }
                "." => {}
                _ => self.operand = None,
            },
            Kind::Word if !after_dot && NAMES.iter().any(|name| token.is(name)) => {
                self.operand = Some(begins);
                let is_name = self.is_punct(at + 1, "(")
                    || self.is_punct(at + 1, ".")
                    || self.is(at - at.min(1), "AS");
                if !is_name {
                    self.out.push_str(&token.text.to_ascii_lowercase());
                    self.out.push_str("()");
                    self.copied = token.end();
                    return Ok(at + 1);
                }
            }
            Kind::Word if token.is("CASE") => {
                self.open.push(Open::Case(begins));
                self.operand = None;
            }
            Kind::Word if token.is("END") && matches!(self.open.last(), Some(Open::Case(_))) => {
                if let Some(Open::Case(start)) = self.open.pop() {
                    self.operand = Some(start);
                }
            }
            Kind::Word if token.is("AS") && matches!(self.open.last(), Some(Open::Cast(_))) => {
                if let Some(next) = self.cast(at)? {
                    return Ok(next);
                }
                self.operand = None;
            }
            // These belong to the call before them.
            Kind::Word
                if (token.is("OVER") || token.is("FILTER"))
                    && self.is_punct(at - at.min(1), ")") => {}
            Kind::Word | Kind::Quoted if after_dot || (at > 0 && self.is(at - 1, "OVER")) => {}
            Kind::Word if is_keyword(token.text) => self.operand = None,
            _ => self.operand = Some(begins),
        }
        self.copy_to(token.end());
        Ok(at + 1)
    }

    /// Returns whether a parenthesis after this token belongs to a call.
    fn calls(&self, at: usize) -> bool {
        let token = self.all[at];
        token.is_name() && (!is_keyword(token.text) || token.is("OVER") || token.is("FILTER"))
    }

    fn double_colon(&mut self, at: usize) -> Result<usize, SqlError> {
        let Some(start) = self.operand else { return Err(self.syntax(at)) };
        // Without the blanks before the colons.
        self.copy_to(self.all[at - 1].end().max(self.copied));
        let Some(target) = self.target(at + 2)? else {
            let name = self.get(at + 2).map_or("", |token| token.text);
            let name = name.trim_matches('"').to_ascii_lowercase();
            return Err(if OTHERS.contains(&name.as_str()) {
                SqlError::new("0A000", format!("a cast to the type {name} is not supported"))
            } else {
                SqlError::new("42704", format!("type \"{name}\" does not exist"))
            });
        };
        let next = at + 2 + target.tokens;
        self.copied = self.all[next - 1].end();
        self.wrap(start, start, &target)?;
        Ok(next)
    }

    /// Takes `AS type )` at the end of a cast. Returns `None` if the cast is SQLite's.
    fn cast(&mut self, at: usize) -> Result<Option<usize>, SqlError> {
        let Some(target) = self.target(at + 1)? else { return Ok(None) };
        let end = at + 1 + target.tokens;
        if !self.is_punct(end, ")") || self.keeps_text {
            return Ok(None);
        }
        let Some(Open::Cast(start)) = self.open.pop() else { return Ok(None) };
        let operand = self.out[start..].find('(').map_or(start, |at| start + at + 1);
        self.copied = self.all[end].end();
        self.wrap(start, operand, &target)?;
        self.operand = Some(start);
        Ok(Some(end + 1))
    }

    /// Makes the output from `operand` on the argument of a cast, which replaces what begins at `start`.
    fn wrap(&mut self, start: usize, operand: usize, target: &Target) -> Result<(), SqlError> {
        self.moved += self.out.len() - start;
        if self.moved > MOVED {
            return Err(SqlError::new("54001", "statement too complex: casts within casts"));
        }
        let (head, tail) = match (self.keeps_text, target.length) {
            (true, _) => match target.name {
                "int2" | "int4" | "int8" => ("CAST(".to_string(), " AS INTEGER)".to_string()),
                "float8" => ("CAST(".to_string(), " AS REAL)".to_string()),
                "text" => ("CAST(".to_string(), " AS TEXT)".to_string()),
                name => {
                    let message = format!("a cast to {name} in a definition is not supported");
                    return Err(SqlError::new("0A000", message));
                }
            },
            (false, Some(length)) => (format!("{CAST}{}(", target.name), format!(", {length})")),
            (false, None) => (format!("{CAST}{}(", target.name), ")".to_string()),
        };
        self.out.replace_range(start..operand, &head);
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        self.out.push_str(&tail);
        Ok(())
    }

    /// Parses the name of a type. Returns `None` for a type that has no function.
    fn target(&self, at: usize) -> Result<Option<Target>, SqlError> {
        let schema = self.is(at, "PG_CATALOG") && self.is_punct(at + 1, ".");
        let first = if schema { at + 2 } else { at };
        let Some(word) = self.get(first).filter(Token::is_name) else {
            return Err(self.syntax(first));
        };
        let word = word.text.trim_matches('"').to_ascii_lowercase();
        let second =
            self.get(first + 1).map_or(String::new(), |token| token.text.to_ascii_lowercase());
        let (name, mut next) = match (word.as_str(), second.as_str()) {
            ("double", "precision") => ("float8", first + 2),
            ("character", "varying") => ("varchar", first + 2),
            ("bool" | "boolean", _) => ("bool", first + 1),
            ("int2" | "smallint", _) => ("int2", first + 1),
            ("int4" | "int" | "integer", _) => ("int4", first + 1),
            ("int8" | "bigint", _) => ("int8", first + 1),
            ("float4" | "real", _) => ("float4", first + 1),
            ("float8" | "float", _) => ("float8", first + 1),
            ("decimal" | "dec", _) => ("numeric", first + 1),
            (other, _) => match CASTS.iter().find(|(name, _)| *name == other) {
                Some((name, _)) => (*name, first + 1),
                None => return Ok(None),
            },
        };
        let mut length = None;
        if self.is_punct(next, "(") {
            let number = self.get(next + 1).and_then(|token| token.text.parse().ok());
            match (name, number) {
                ("varchar", Some(number)) if self.is_punct(next + 2, ")") => length = Some(number),
                _ => {
                    let message = format!("a cast to {name} with a precision is not supported");
                    return Err(SqlError::new("0A000", message));
                }
            }
            next += 3;
        }
        let zone = self.is(next + 1, "TIME") && self.is(next + 2, "ZONE");
        let name = match name {
            "timestamp" if zone && self.is(next, "WITH") => "timestamptz",
            name => name,
        };
        if word == "timestamp" && zone && (self.is(next, "WITH") || self.is(next, "WITHOUT")) {
            next += 3;
        }
        if self.get(next).is_some_and(|token| token.text.starts_with('[')) {
            return Err(SqlError::new("0A000", "arrays are not supported"));
        }
        Ok(Some(Target { name, length, tokens: next - at }))
    }
}

/// Returns whether a word is no operand, and no function's name.
fn is_keyword(word: &str) -> bool {
    const WORDS: [&str; 44] = [
        "ALL",
        "AND",
        "AS",
        "BETWEEN",
        "BY",
        "COLLATE",
        "CROSS",
        "DELETE",
        "DISTINCT",
        "ELSE",
        "ESCAPE",
        "EXCEPT",
        "EXISTS",
        "FILTER",
        "FROM",
        "GROUP",
        "HAVING",
        "IN",
        "INNER",
        "INSERT",
        "INTERSECT",
        "INTO",
        "IS",
        "ISNULL",
        "JOIN",
        "LIKE",
        "LIMIT",
        "NOT",
        "NOTNULL",
        "OFFSET",
        "ON",
        "OR",
        "ORDER",
        "OVER",
        "RETURNING",
        "SELECT",
        "SET",
        "THEN",
        "UNION",
        "UPDATE",
        "USING",
        "VALUES",
        "WHEN",
        "WHERE",
    ];
    WORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Returns the name of a result's column, as PostgreSQL names it, if SQLite names it after a function
/// that [`translate`] or [`times::rewrite`] has written.
pub(crate) fn column_name(name: &str) -> Cow<'_, str> {
    if let Some(name) = NAMES.iter().find(|found| name.strip_suffix("()") == Some(**found)) {
        return Cow::Borrowed(name);
    }
    if !name.starts_with(CAST)
        && let Some(name) = times::column_name(name)
    {
        return Cow::Owned(name);
    }
    if !name.contains(CAST) {
        return Cow::Borrowed(name);
    }
    let mut inner = name;
    let mut outermost = None;
    while let Some((kind, rest)) = inner.strip_prefix(CAST).and_then(|call| call.split_once('(')) {
        let Some(argument) = rest.strip_suffix(')') else { break };
        outermost = outermost.or(Some(kind));
        inner = argument;
    }
    let all: Vec<Token<'_>> = tokens(inner).take(4).collect();
    match (all.as_slice(), outermost) {
        // A column, perhaps of a table, or a function.
        ([name] | [_, _, name], Some(_)) if name.is_name() => {
            Cow::Owned(name.text.trim_matches('"').to_string())
        }
        ([name, open, ..], Some(_)) if name.is_name() && open.is_punct("(") => {
            Cow::Owned(times::column_name(inner).unwrap_or(name.text.to_ascii_lowercase()))
        }
        (_, Some(kind)) => Cow::Owned(kind.to_string()),
        // Somewhere within: as it was written, without the prefix.
        (_, None) => Cow::Owned(name.replace(CAST, "")),
    }
}

#[cfg(test)]
mod tests;
