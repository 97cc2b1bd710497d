//! The grammar of the two SQL statements.

use crate::sql::command::{Command, SessionAddress, SqlError, invalid_id};
use crate::types::request::TerminateMode;
use std::str::FromStr;

impl Command {
    /// Parses the ids of a command with a grammar of the server's own: the text is
    /// `thread_id, session_id`, as between the quotes of the other commands.
    ///
    /// # Errors
    /// [`SqlError`] for anything but two whole numbers and a comma.
    pub fn parse(ids: &str, mode: TerminateMode) -> Result<Command, SqlError> {
        Ok(Command { address: ids.parse()?, mode })
    }
}

impl FromStr for SessionAddress {
    type Err = SqlError;

    /// # Errors
    /// [`SqlError`] for anything but two whole numbers and a comma.
    fn from_str(text: &str) -> Result<SessionAddress, SqlError> {
        let mut parts = text.split(',').map(|part| number(part.trim_matches(is_blank)));
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Some(thread)), Some(Some(session)), None) => SessionAddress::of(thread, session),
            _ => Err(invalid_id()),
        }
    }
}

/// The number of characters that an error repeats of an unexpected word.
const REPEATED_CHARS: usize = 40;

/// Parses one statement. Returns `None` if it is none of these commands, so that the server runs
/// it.
///
/// Keywords are case-insensitive. Blanks and comments are allowed as in SQL, and one semicolon at
/// the end.
///
/// # Errors
/// [`SqlError`] if it begins as one of these commands, and does not continue as one.
pub fn parse(statement: &str) -> Result<Option<Command>, SqlError> {
    let mut rest = Tokens(statement);
    let mut word =
        |expected: &str| matches!(rest.next(), Token::Word(w) if w.eq_ignore_ascii_case(expected));
    if !(word("ALTER") && word("SYSTEM")) {
        return Ok(None);
    }
    let disconnect = match rest.next() {
        Token::Word(word) if word.eq_ignore_ascii_case("KILL") => false,
        Token::Word(word) if word.eq_ignore_ascii_case("DISCONNECT") => true,
        _ => return Ok(None),
    };
    command(rest, disconnect).map(Some)
}

fn command(mut rest: Tokens<'_>, disconnect: bool) -> Result<Command, SqlError> {
    match rest.next() {
        Token::Word(word) if word.eq_ignore_ascii_case("SESSION") => {}
        other => return Err(unexpected(other, disconnect)),
    }
    let address = match rest.next() {
        Token::Text(text) => text.parse()?,
        other => return Err(unexpected(other, disconnect)),
    };
    let (mode, last) = match (rest.next(), disconnect) {
        (Token::Word(word), false) if word.eq_ignore_ascii_case("IMMEDIATE") => {
            (TerminateMode::Immediate, rest.next())
        }
        (Token::Word(word), true) if word.eq_ignore_ascii_case("POST_TRANSACTION") => {
            (TerminateMode::AfterTransaction, rest.next())
        }
        (other, true) => return Err(unexpected(other, disconnect)),
        (other, false) => (TerminateMode::AfterStatement, other),
    };
    let last = if matches!(last, Token::Other(';')) { rest.next() } else { last };
    match last {
        Token::End => Ok(Command { address, mode }),
        other => Err(unexpected(other, disconnect)),
    }
}

/// Parses a number of digits only.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn unexpected(token: Token<'_>, disconnect: bool) -> SqlError {
    let near = match token {
        Token::Text("") => "''".to_string(),
        Token::Word(text) | Token::Text(text) => text.chars().take(REPEATED_CHARS).collect(),
        Token::Other(char) => char.to_string(),
        Token::Unterminated => "'".to_string(),
        Token::End => String::new(),
    };
    let message = if near.is_empty() {
        "syntax error at end of input".into()
    } else {
        format!("syntax error at or near \"{near}\"").into()
    };
    let hint = if disconnect {
        "Write ALTER SYSTEM DISCONNECT SESSION 'thread_id, session_id' POST_TRANSACTION."
    } else {
        "Write ALTER SYSTEM KILL SESSION 'thread_id, session_id' [IMMEDIATE]."
    };
    SqlError { sqlstate: "42601", message, hint: Some(hint), rejection: None }
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

enum Token<'a> {
    Word(&'a str),
    /// The text between the quotes of a string constant, with its escapes. Two numbers contain no
    /// quote and no backslash, so escapes need no decoding.
    Text(&'a str),
    Other(char),
    Unterminated,
    End,
}

struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    fn skip_blanks(&mut self) {
        loop {
            self.0 = self.0.trim_start_matches(is_blank);
            if self.0.starts_with("--") {
                let end = self.0.find(['\n', '\r']).unwrap_or(self.0.len());
                self.0 = &self.0[end..];
            } else if self.0.starts_with("/*") {
                let Some(end) = comment_end(self.0) else { return };
                self.0 = &self.0[end..];
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Token<'a> {
        self.skip_blanks();
        let Some(first) = self.0.chars().next() else { return Token::End };
        if let Some(quoted) = quoted(self.0) {
            let Some((text, rest)) = quoted else { return Token::Unterminated };
            self.0 = rest;
            return Token::Text(text);
        }
        let is_word = |char: char| char.is_alphanumeric() || char == '_' || char == '$';
        let end = self.0.find(|char| !is_word(char)).unwrap_or(self.0.len());
        let (token, end) = if end == 0 {
            (Token::Other(first), first.len_utf8())
        } else {
            (Token::Word(&self.0[..end]), end)
        };
        self.0 = &self.0[end..];
        token
    }
}

/// Returns the text between the quotes of a string constant that starts here, and the text after
/// it. The constant is `'…'`, `E'…'`, `U&'…'` or `$tag$…$tag$`. Returns `None` if none starts here,
/// and `Some(None)` if the constant does not end.
fn quoted(text: &str) -> Option<Option<(&str, &str)>> {
    let starts = |prefix: &str| {
        let (start, rest) = text.split_at_checked(prefix.len())?;
        if start.eq_ignore_ascii_case(prefix) { Some(rest) } else { None }
    };
    if let Some(rest) = starts("$") {
        let (tag, rest) = rest.split_once('$')?;
        let is_tag = tag.chars().all(|char| char.is_alphanumeric() || char == '_');
        let quote = &text[..tag.len() + 2];
        return (is_tag && !tag.starts_with(|char: char| char.is_ascii_digit()))
            .then(|| rest.split_once(quote));
    }
    let (rest, escapes) = starts("'")
        .or_else(|| starts("U&'"))
        .map(|rest| (rest, false))
        .or_else(|| starts("E'").map(|rest| (rest, true)))?;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            // A doubled quote means one quote in the string.
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(Some((&rest[..at], &rest[at + 1..]))),
            b'\\' if escapes => at += 2,
            _ => at += 1,
        }
    }
    Some(None)
}

/// Returns the end of a comment that starts here, or `None` if it does not end. Comments nest.
fn comment_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(all(test, not(any(safepoint_loom, safepoint_shuttle))))]
#[path = "grammar_tests.rs"]
mod tests;
