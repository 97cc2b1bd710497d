//! Just enough of SQL's lexical structure to find where a statement ends.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted identifier.
    Word,
    /// An identifier in double quotes, backquotes or brackets.
    Quoted,
    /// A string constant, dollar-quoted ones included.
    String,
    Number,
    /// `$1`
    Parameter,
    /// Any other single character.
    Punct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// Where the token starts, in bytes.
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    pub(crate) fn is_punct(&self, punct: &str) -> bool {
        self.kind == Kind::Punct && self.text == punct
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }

    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Returns the tokens of `sql`, without blanks and comments. An unterminated token extends to the
/// end.
pub(crate) fn tokens(sql: &str) -> Tokens<'_> {
    Tokens { sql, at: 0 }
}

#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    sql: &'a str,
    at: usize,
}

const fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || !b.is_ascii()
}

/// The bytes of words. Most of a statement is words.
const WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        word[at] = is_word_start(b) || b.is_ascii_digit() || b == b'$';
        at += 1;
    }
    word
};

fn is_word(b: u8) -> bool {
    WORD[usize::from(b)]
}

impl<'a> Tokens<'a> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.as_bytes().get(at).copied()
    }

    fn run(&self, from: usize, keep: impl Fn(u8) -> bool) -> usize {
        let bytes = self.sql.as_bytes();
        bytes[from..].iter().position(|&b| !keep(b)).map_or(bytes.len(), |n| from + n)
    }

    fn skip_blanks(&mut self) {
        while let Some(b) = self.byte(self.at) {
            match (b, self.byte(self.at + 1)) {
                (b'-', Some(b'-')) => self.at = self.run(self.at, |b| b != b'\n' && b != b'\r'),
                (b'/', Some(b'*')) => self.skip_comment(),
                (b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c', _) => self.at += 1,
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0usize;
        while let Some(b) = self.byte(self.at) {
            match (b, self.byte(self.at + 1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Returns the end of the token that starts at `from`. In it a doubled `quote` means the quote
    /// itself.
    fn quoted(&self, from: usize, quote: u8, backslashes: bool) -> usize {
        let mut at = from + 1;
        while let Some(b) = self.byte(at) {
            if b == b'\\' && backslashes {
                at += 2;
            } else if b != quote {
                at += 1;
            } else if self.byte(at + 1) == Some(quote) {
                at += 2;
            } else {
                return at + 1;
            }
        }
        self.sql.len()
    }

    fn dollar(&self, from: usize) -> (Kind, usize) {
        match self.byte(from + 1) {
            Some(b) if b.is_ascii_digit() => {
                return (Kind::Parameter, self.run(from + 1, |b| b.is_ascii_digit()));
            }
            Some(b) if b == b'$' || is_word_start(b) => {}
            _ => return (Kind::Punct, from + 1),
        }
        let tag_end = self.run(from + 1, |b| is_word(b) && b != b'$');
        if self.byte(tag_end) != Some(b'$') {
            return (Kind::Word, tag_end);
        }
        let tag = &self.sql[from..=tag_end];
        let body = tag_end + 1;
        let end = self.sql[body..].find(tag).map_or(self.sql.len(), |n| body + n + tag.len());
        (Kind::String, end)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let start = self.at;
        let first = self.byte(start)?;
        let prefixed = self.byte(start + 1) == Some(b'\'');
        let (kind, end) = match first {
            b'\'' => (Kind::String, self.quoted(start, b'\'', false)),
            b'e' | b'E' if prefixed => (Kind::String, self.quoted(start + 1, b'\'', true)),
            b'x' | b'X' | b'b' | b'B' | b'n' | b'N' if prefixed => {
                (Kind::String, self.quoted(start + 1, b'\'', false))
            }
            b'"' | b'`' => (Kind::Quoted, self.quoted(start, first, false)),
            b'[' => {
                let close = self.run(start, |b| b != b']');
                (Kind::Quoted, (close + 1).min(self.sql.len()))
            }
            b'$' => self.dollar(start),
            b if is_word_start(b) => (Kind::Word, self.run(start, is_word)),
            b if b.is_ascii_digit() => {
                let part = |b: u8| is_word(b) && b != b'$' || b == b'.';
                (Kind::Number, self.run(start, part))
            }
            _ => (Kind::Punct, start + 1),
        };
        self.at = end;
        Some(Token { kind, text: &self.sql[start..end], start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(sql: &str) -> Vec<(Kind, &str)> {
        tokens(sql).map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn every_kind_of_token() {
        use Kind::*;
        assert_eq!(
            lex("a$1 \"q\"\"x\" [b;c] `d` 'it''s' E'\\'' x'ff' $1::int $$;$$ $t$ $$;$t$ 1.5e3 $v"),
            [
                (Word, "a$1"),
                (Quoted, "\"q\"\"x\""),
                (Quoted, "[b;c]"),
                (Quoted, "`d`"),
                (String, "'it''s'"),
                (String, "E'\\''"),
                (String, "x'ff'"),
                (Parameter, "$1"),
                (Punct, ":"),
                (Punct, ":"),
                (Word, "int"),
                (String, "$$;$$"),
                (String, "$t$ $$;$t$"),
                (Number, "1.5e3"),
                (Word, "$v"),
            ]
        );
    }

    #[test]
    fn comments_are_no_tokens() {
        assert_eq!(lex("-- a\n/* b /* c */ ' */ - /").len(), 2);
        assert_eq!(lex("/* /* */ still"), []);
        assert_eq!(lex("-- a\rb -- c\r\nd").len(), 2, "a carriage return ends a line, too");
    }

    #[test]
    fn unterminated_tokens_end_with_the_input() {
        for sql in ["'a", "\"a", "E'\\", "$a$ b", "[a", "$", "/*", "E'\\\u{e9}", "é'é", "x'"] {
            let end = tokens(sql).last().map_or(sql.len(), |t| t.end());
            assert_eq!(end, sql.len(), "{sql}");
        }
    }
}
