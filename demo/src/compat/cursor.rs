use crate::split::{Token, tokens};

/// A cursor over the tokens of a statement.
pub(super) struct Cursor<'a> {
    pub(super) stmt: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(stmt: &'a str) -> Self {
        Self { stmt, tokens: tokens(stmt).collect(), at: 0 }
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    pub(super) fn done(&self) -> bool {
        self.at == self.tokens.len()
    }

    /// Skips these keywords if all of them come next, or else none.
    pub(super) fn take(&mut self, keywords: &[&str]) -> bool {
        let found = keywords
            .iter()
            .enumerate()
            .all(|(i, k)| self.tokens.get(self.at + i).is_some_and(|t| t.is(k)));
        if found {
            self.at += keywords.len();
        }
        found
    }

    pub(super) fn take_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|k| self.take(&[k]))
    }

    pub(super) fn take_punct(&mut self, punct: &str) -> bool {
        let found = self.peek().is_some_and(|t| t.is_punct(punct));
        self.at += usize::from(found);
        found
    }

    /// Skips a string that is spelled in one of these forms.
    pub(super) fn take_string(&mut self, ways: &[&str]) -> bool {
        let Some(token) = self.peek() else { return false };
        // `E'...'` may be two tokens.
        let count = if token.is("E") { 2 } else { 1 };
        let Some(last) = self.tokens.get(self.at + count - 1) else { return false };
        let found = ways.contains(&&self.stmt[token.start..last.end()]);
        self.at += if found { count } else { 0 };
        found
    }

    pub(super) fn ident(&mut self) -> Option<&'a str> {
        let token = self.peek().filter(Token::is_name)?;
        self.at += 1;
        Some(token.text)
    }

    /// Skips a name with or without a schema. Returns the start of its last part, and the whole
    /// name.
    pub(super) fn name(&mut self) -> Option<(usize, &'a str)> {
        let start = self.peek()?.start;
        let mut last = start;
        self.ident()?;
        while self.take_punct(".") {
            last = self.peek()?.start;
            self.ident()?;
        }
        let end = self.tokens[self.at - 1].end();
        Some((last - start, &self.stmt[start..end]))
    }

    /// Parses `(a, b)`.
    pub(super) fn columns(&mut self) -> Option<Vec<&'a str>> {
        let mut columns = Vec::new();
        if !self.take_punct("(") {
            return None;
        }
        loop {
            columns.push(self.ident()?);
            if self.take_punct(")") {
                return Some(columns);
            }
            if !self.take_punct(",") {
                return None;
            }
        }
    }

    /// Skips a pair of parentheses and everything in it.
    pub(super) fn skip_parenthesis(&mut self) -> bool {
        let mut depth = 0usize;
        while let Some(token) = self.peek() {
            if token.is_punct("(") {
                depth += 1;
            } else if token.is_punct(")") && depth > 0 {
                depth -= 1;
            }
            if depth == 0 {
                self.at += usize::from(token.is_punct(")"));
                return token.is_punct(")");
            }
            self.at += 1;
        }
        false
    }

    pub(super) fn source_after(&self, at: usize) -> &'a str {
        let start = self.tokens.get(at).map_or(self.stmt.len(), |t| t.start);
        &self.stmt[start..]
    }
}
