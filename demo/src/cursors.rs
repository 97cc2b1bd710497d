//! `DECLARE`, `FETCH`, `MOVE` and `CLOSE`: their syntax, and the rows that each form names.

use crate::split::{Kind, Token, folded, tokens};
use crate::wire::Fields;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    Declare(Declare),
    Fetch { name: String, rows: Rows, moves: bool },
    Close(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declare {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) binary: bool,
    /// Whether `SCROLL` or `NO SCROLL` was said.
    pub(crate) scroll: Option<bool>,
    /// Whether the cursor outlives its transaction.
    pub(crate) hold: bool,
}

/// The rows that a `FETCH` names, relative to the row that was fetched last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// The next rows; 0 means the present row again.
    Forward(u64),
    /// The rows before the present one, in reverse order.
    Backward(u64),
    /// One row, counted from the first row, or from the end if the number is negative.
    Absolute(i64),
    /// One row, counted from the present one.
    Relative(i64),
}

/// All rows in one direction.
pub(crate) const ALL: u64 = u64::MAX;

impl Cursor {
    pub(crate) fn tag(&self, rows: u64) -> String {
        match self {
            Cursor::Declare(_) => "DECLARE CURSOR".into(),
            Cursor::Fetch { moves: true, .. } => format!("MOVE {rows}"),
            Cursor::Fetch { .. } => format!("FETCH {rows}"),
            Cursor::Close(_) => "CLOSE CURSOR".into(),
        }
    }
}

impl Rows {
    /// Returns the numbers of the rows that are named, and the new position. There are `length` rows,
    /// numbered from 1, or so many have been read as are needed. The position is a number, 0 before the
    /// first row, and `length + 1` after the last.
    pub(crate) fn of(self, length: u64, position: u64) -> (Vec<u64>, u64) {
        let one = |row: u64| match row {
            0 => (Vec::new(), 0),
            _ if row > length => (Vec::new(), length + 1),
            _ => (vec![row], row),
        };
        match self {
            Rows::Forward(0) | Rows::Backward(0) | Rows::Relative(0) => (one(position).0, position),
            Rows::Forward(count) => {
                let end = position.saturating_add(count);
                ((position + 1..=end.min(length)).collect(), end.min(length + 1))
            }
            Rows::Backward(count) => {
                let end = position.saturating_sub(count);
                ((end.max(1)..position).rev().collect(), end)
            }
            Rows::Absolute(row) if row < 0 => one((length + 1).saturating_sub(row.unsigned_abs())),
            Rows::Absolute(row) => one(row.unsigned_abs()),
            Rows::Relative(rows) => one(position.saturating_add_signed(rows)),
        }
    }

    fn forward(count: i64) -> Rows {
        if count < 0 { Rows::Backward(count.unsigned_abs()) } else { Rows::Forward(count as u64) }
    }

    fn backward(count: i64) -> Rows {
        if count > 0 { Rows::Backward(count as u64) } else { Rows::Forward(count.unsigned_abs()) }
    }
}

/// Parses a statement about a cursor. Returns `None` if it is about something else.
pub(crate) fn parse(statement: &str) -> Option<Result<Cursor, Fields>> {
    let first = tokens(statement).next().filter(|first| first.kind == Kind::Word)?;
    // Most statements are others, and are known by their first word.
    let is = |word: &str| first.is(word);
    if !["DECLARE", "FETCH", "MOVE", "CLOSE"].into_iter().any(is) {
        return None;
    }
    let mut words = Words { statement, tokens: tokens(statement).collect(), at: 1 };
    let parsed = if is("DECLARE") {
        words.declare()
    } else if is("CLOSE") {
        words.name().map(Cursor::Close)
    } else {
        words.fetch(is("MOVE"))
    };
    let whole = parsed.filter(|parsed| matches!(parsed, Cursor::Declare(_)) || words.is_at_end());
    Some(whole.ok_or_else(|| words.error()))
}

struct Words<'a> {
    statement: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl Words<'_> {
    fn is_at_end(&self) -> bool {
        self.at == self.tokens.len()
    }

    fn error(&self) -> Fields {
        let message = match self.tokens.get(self.at) {
            Some(token) => format!("syntax error at or near \"{}\"", token.text),
            None => "syntax error at end of input".into(),
        };
        Fields::new("ERROR", "42601", message)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(word));
        self.at += usize::from(found);
        found
    }

    /// Skips a word, after which another must follow.
    fn both(&mut self, word: &str, next: &str) -> Option<bool> {
        let found = self.take(word);
        (!found || self.take(next)).then_some(found)
    }

    fn name(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).filter(|token| token.is_name())?;
        self.at += 1;
        Some(folded(token.text))
    }

    fn number(&mut self) -> Option<i64> {
        let start = self.at;
        let negative = self.tokens.get(self.at).is_some_and(|token| token.is_punct("-"));
        let signed = negative || self.tokens.get(self.at).is_some_and(|token| token.is_punct("+"));
        self.at += usize::from(signed);
        let token = self.tokens.get(self.at).filter(|token| token.kind == Kind::Number);
        let Some(number) = token.and_then(|token| token.text.parse::<i64>().ok()) else {
            self.at = start;
            return None;
        };
        self.at += 1;
        Some(if negative { -number } else { number })
    }

    fn declare(&mut self) -> Option<Cursor> {
        let mut declare = Declare { name: self.name()?, ..Declare::default() };
        loop {
            if self.take("BINARY") {
                declare.binary = true;
            } else if self.take("SCROLL") {
                declare.scroll = Some(true);
            } else if self.both("NO", "SCROLL")? {
                declare.scroll = Some(false);
            } else if !(self.take("INSENSITIVE") || self.take("ASENSITIVE")) {
                break;
            }
        }
        if !self.take("CURSOR") {
            return None;
        }
        declare.hold = self.both("WITH", "HOLD")?;
        if !declare.hold {
            self.both("WITHOUT", "HOLD")?;
        }
        if !self.take("FOR") {
            return None;
        }
        declare.query = self.statement[self.tokens.get(self.at)?.start..].to_string();
        Some(Cursor::Declare(declare))
    }

    fn fetch(&mut self, moves: bool) -> Option<Cursor> {
        let start = self.at;
        let rows = self.rows();
        // The word may be the name of a cursor: `FETCH next` fetches from the cursor "next".
        let named = self.source();
        let (rows, name) = match named {
            Some(name) => (rows?, name),
            None => {
                let reached = std::mem::replace(&mut self.at, start);
                let name = self.source().filter(|_| self.is_at_end());
                if name.is_none() {
                    self.at = reached;
                }
                (Rows::Forward(1), name?)
            }
        };
        Some(Cursor::Fetch { name, rows, moves })
    }

    fn source(&mut self) -> Option<String> {
        let _ = self.take("FROM") || self.take("IN");
        self.name()
    }

    fn rows(&mut self) -> Option<Rows> {
        Some(if self.take("NEXT") {
            Rows::Forward(1)
        } else if self.take("PRIOR") {
            Rows::Backward(1)
        } else if self.take("FIRST") {
            Rows::Absolute(1)
        } else if self.take("LAST") {
            Rows::Absolute(-1)
        } else if self.take("ABSOLUTE") {
            Rows::Absolute(self.number()?)
        } else if self.take("RELATIVE") {
            Rows::Relative(self.number()?)
        } else if self.take("ALL") {
            Rows::Forward(ALL)
        } else if self.take("FORWARD") {
            self.count()
                .map_or(Rows::Forward(1), |count| count.map_or(Rows::Forward(ALL), Rows::forward))
        } else if self.take("BACKWARD") {
            self.count().map_or(Rows::Backward(1), |count| {
                count.map_or(Rows::Backward(ALL), Rows::backward)
            })
        } else {
            self.number().map_or(Rows::Forward(1), Rows::forward)
        })
    }

    /// Parses the count after a direction. The outer `None` means no count, and the inner one all.
    fn count(&mut self) -> Option<Option<i64>> {
        if self.take("ALL") { Some(None) } else { self.number().map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(text: &str) -> (String, Rows) {
        match parse(text) {
            Some(Ok(Cursor::Fetch { name, rows, .. })) => (name, rows),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn each_form_of_fetch_is_parsed() {
        for (text, rows) in [
            ("fetch c", Rows::Forward(1)),
            ("fetch from c", Rows::Forward(1)),
            ("fetch next in c", Rows::Forward(1)),
            ("fetch next c", Rows::Forward(1)),
            ("fetch prior from c", Rows::Backward(1)),
            ("fetch first from c", Rows::Absolute(1)),
            ("fetch last c", Rows::Absolute(-1)),
            ("fetch absolute -3 c", Rows::Absolute(-3)),
            ("fetch relative +2 c", Rows::Relative(2)),
            ("fetch 7 c", Rows::Forward(7)),
            ("fetch -7 from c", Rows::Backward(7)),
            ("fetch all c", Rows::Forward(ALL)),
            ("fetch forward c", Rows::Forward(1)),
            ("fetch forward 2 from c", Rows::Forward(2)),
            ("fetch forward all in c", Rows::Forward(ALL)),
            ("fetch backward c", Rows::Backward(1)),
            ("fetch backward -2 c", Rows::Forward(2)),
            ("FETCH BACKWARD ALL FROM C", Rows::Backward(ALL)),
        ] {
            assert_eq!(fetched(text), ("c".to_string(), rows), "{text}");
        }
        assert_eq!(fetched("fetch next"), ("next".to_string(), Rows::Forward(1)));
        assert_eq!(fetched("fetch \"C d\""), ("C d".to_string(), Rows::Forward(1)));
    }

    #[test]
    fn declarations_are_parsed() {
        let plain = Declare { name: "c".into(), query: "select 1".into(), ..Declare::default() };
        for (text, declare) in [
            ("declare C cursor for select 1", plain.clone()),
            ("declare c asensitive cursor without hold for select 1", plain.clone()),
            (
                "declare c binary insensitive no scroll cursor with hold for select 1",
                Declare { binary: true, scroll: Some(false), hold: true, ..plain.clone() },
            ),
            ("declare c scroll cursor for select 1", Declare { scroll: Some(true), ..plain }),
        ] {
            assert_eq!(parse(text), Some(Ok(Cursor::Declare(declare))), "{text}");
        }
    }

    #[test]
    fn other_forms_are_syntax_errors() {
        for text in [
            "fetch",
            "fetch 3",
            "fetch c d",
            "fetch absolute c",
            "declare c cursor",
            "declare c cursor for",
            "declare c no cursor for select 1",
            "declare c cursor with for select 1",
            "close",
            "close a b",
            "move 1.5 c",
        ] {
            let error = parse(text).expect(text).expect_err(text);
            assert_eq!(error.sqlstate, "42601", "{text}");
        }
        assert_eq!(parse("select 1"), None);
    }
}
