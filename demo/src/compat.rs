//! Rewrites statements of PostgreSQL's tools for which SQLite has another syntax.

mod cast;
mod copy;
mod cursor;

use crate::settings::Modes;
use crate::split::{Kind, Token, tokens};
use crate::transaction::Control;
use crate::types::SqlError;

pub(crate) use cast::{CAST, CASTS, column_name, translate};
pub(crate) use copy::CopyDecoder;
use cursor::Cursor;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rewrite<'a> {
    /// SQLite accepts the statement unchanged.
    Same,
    /// Run these statements instead, in order.
    Statements(Vec<String>),
    /// The statement begins, ends or divides a transaction.
    Control(Control),
    /// `COPY table [(columns)] FROM STDIN` in text format, names quoted as they were written.
    Copy { table: &'a str, columns: Vec<&'a str> },
    /// SQLite has no similar statement.
    Unsupported(SqlError),
}

/// Rewrites one statement of `split`.
pub(crate) fn rewrite(stmt: &str) -> Rewrite<'_> {
    let Some(first) = tokens(stmt).next() else {
        return Rewrite::Same;
    };
    type Rule = for<'a> fn(&mut Cursor<'a>) -> Option<Rewrite<'a>>;
    let rule: Rule = match first.text.to_ascii_lowercase().as_str() {
        "begin" | "start" => begin,
        "commit" | "end" => commit,
        "rollback" | "abort" => rollback,
        "savepoint" => savepoint,
        "release" => release,
        "drop" => drop_list,
        "truncate" => truncate,
        "create" => create_table,
        "alter" => alter_table,
        "vacuum" | "analyze" | "analyse" => vacuum,
        "copy" => copy_from,
        "table" => table,
        _ => return Rewrite::Same,
    };
    rule(&mut Cursor::new(stmt)).unwrap_or(Rewrite::Same)
}

fn unsupported<'a>(message: &str) -> Option<Rewrite<'a>> {
    Some(Rewrite::Unsupported(SqlError::new("0A000", message)))
}

fn control<'a>(control: Control) -> Option<Rewrite<'a>> {
    Some(Rewrite::Control(control))
}

fn begin<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    let (mut modes, mut writer) = (Modes::default(), false);
    if !c.take(&["START", "TRANSACTION"]) {
        if !c.take(&["BEGIN"]) {
            return None;
        }
        if c.take_any(&["IMMEDIATE", "EXCLUSIVE"]) {
            writer = true;
        } else {
            c.take(&["DEFERRED"]);
        }
        c.take_any(&["WORK", "TRANSACTION"]);
    }
    while !c.done() {
        if c.take(&["ISOLATION", "LEVEL", "SERIALIZABLE"]) {
            modes.isolation = Some("serializable");
        } else if c.take(&["ISOLATION", "LEVEL", "REPEATABLE", "READ"]) {
            modes.isolation = Some("repeatable read");
        } else if c.take(&["ISOLATION", "LEVEL", "READ", "COMMITTED"]) {
            modes.isolation = Some("read committed");
        } else if c.take(&["ISOLATION", "LEVEL", "READ", "UNCOMMITTED"]) {
            modes.isolation = Some("read uncommitted");
        } else if c.take(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if c.take(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else if !(c.take(&["NOT", "DEFERRABLE"]) || c.take(&["DEFERRABLE"])) {
            return None;
        }
        c.take_punct(",");
    }
    control(Control::Begin { modes, writer })
}

/// Parses `[AND [NO] CHAIN]` at the end of a statement, and returns whether there is a chain.
fn chain(c: &mut Cursor<'_>) -> Option<bool> {
    let chained = c.take(&["AND", "CHAIN"]);
    if !chained {
        c.take(&["AND", "NO", "CHAIN"]);
    }
    c.done().then_some(chained)
}

fn commit<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    c.take_any(&["WORK", "TRANSACTION"]);
    control(Control::Commit { chain: chain(c)? })
}

fn rollback<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    c.take_any(&["WORK", "TRANSACTION"]);
    if c.take(&["TO"]) {
        c.take(&["SAVEPOINT"]);
        return named(c, Control::RollbackTo);
    }
    control(Control::Rollback { chain: chain(c)? })
}

fn savepoint<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    named(c, Control::Savepoint)
}

fn release<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    c.take(&["SAVEPOINT"]);
    named(c, Control::Release)
}

fn named<'a>(c: &mut Cursor<'a>, of: impl FnOnce(String) -> Control) -> Option<Rewrite<'a>> {
    let name = c.ident()?.to_owned();
    if c.done() { control(of(name)) } else { None }
}

/// `TABLE name` is short for `SELECT * FROM name`, and may not have all clauses of a SELECT.
fn table<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    c.take(&["ONLY"]);
    let (_, name) = c.name()?;
    c.take_punct("*");
    const NEXT: [&str; 6] = ["ORDER", "LIMIT", "OFFSET", "UNION", "INTERSECT", "EXCEPT"];
    if c.peek().is_some_and(|token| !NEXT.iter().any(|word| token.is(word))) {
        return None;
    }
    Some(Rewrite::Statements(vec![format!("SELECT * FROM {name} {}", c.source_after(c.at))]))
}

fn drop_list<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    let kind = ["TABLE", "VIEW", "INDEX"].into_iter().find(|k| c.take(&[k]))?;
    let if_exists = if c.take(&["IF", "EXISTS"]) { "IF EXISTS " } else { "" };
    let mut statements = Vec::new();
    loop {
        statements.push(format!("DROP {kind} {if_exists}{}", c.name()?.1));
        if !c.take_punct(",") {
            break;
        }
    }
    c.take_any(&["CASCADE", "RESTRICT"]);
    c.done().then_some(Rewrite::Statements(statements))
}

fn truncate<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    c.take(&["TABLE"]);
    let mut statements = Vec::new();
    loop {
        if c.tokens.get(c.at + 1).is_some_and(Token::is_name) {
            c.take(&["ONLY"]);
        }
        statements.push(format!("DELETE FROM {}", c.name()?.1));
        c.take_punct("*");
        if !c.take_punct(",") {
            break;
        }
    }
    if c.take(&["RESTART", "IDENTITY"]) || c.take(&["CASCADE"]) {
        return unsupported("TRUNCATE does no more than delete the rows of the tables it names");
    }
    c.take(&["CONTINUE", "IDENTITY"]);
    c.take(&["RESTRICT"]);
    c.done().then_some(Rewrite::Statements(statements))
}

/// Removes UNLOGGED, storage parameters and the tablespace.
fn create_table<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    let unlogged = c.take(&["UNLOGGED"]);
    c.take_any(&["TEMP", "TEMPORARY"]);
    let table = c.at;
    if !c.take(&["TABLE"]) {
        return None;
    }
    c.take(&["IF", "NOT", "EXISTS"]);
    c.name()?;
    let head_from = if unlogged { table } else { 1 };
    if c.peek().is_some_and(|t| t.is_punct("(")) && !c.skip_parenthesis() {
        return None;
    }
    let head_end = c.tokens[c.at - 1].end();
    let mut stripped = unlogged;
    loop {
        let parenthesis = c.tokens.get(c.at + 1).is_some_and(|t| t.is_punct("("));
        if parenthesis && c.take(&["WITH"]) {
            if !c.skip_parenthesis() {
                return None;
            }
        } else if !(c.take(&["TABLESPACE"]) && c.ident().is_some()) {
            break;
        }
        stripped = true;
    }
    if !stripped {
        return None;
    }
    let head = &c.stmt[c.tokens[head_from].start..head_end];
    let statement = format!("CREATE {head} {}", c.source_after(c.at));
    Some(Rewrite::Statements(vec![statement.trim_end().to_owned()]))
}

fn alter_table<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    if !c.take(&["TABLE"]) {
        return None;
    }
    c.take(&["IF", "EXISTS"]);
    if c.tokens.get(c.at + 1).is_some_and(Token::is_name) && !c.tokens[c.at + 1].is("ADD") {
        c.take(&["ONLY"]);
    }
    let (last, name) = c.name()?;
    if !c.take(&["ADD"]) {
        return None;
    }
    let (schema, table) = name.split_at(last);
    let constraint = if c.take(&["CONSTRAINT"]) { Some(c.ident()?) } else { None };
    if !c.take(&["PRIMARY", "KEY"]) {
        if constraint.is_some() || c.take_any(&["FOREIGN", "UNIQUE", "CHECK"]) {
            return unsupported("a constraint can only be declared with its table");
        }
        return None;
    }
    let columns = c.columns()?;
    if !c.done() {
        return None;
    }
    let index = constraint.map_or_else(|| primary_key_name(table), str::to_owned);
    Some(Rewrite::Statements(vec![format!(
        "CREATE UNIQUE INDEX IF NOT EXISTS {schema}{index} ON {table}({})",
        columns.join(", ")
    )]))
}

fn primary_key_name(table: &str) -> String {
    match table.char_indices().next_back() {
        Some((last, '"' | '`' | ']')) => format!("{}_pkey{}", &table[..last], &table[last..]),
        _ => format!("{table}_pkey"),
    }
}

/// SQLite takes the name after VACUUM for a schema, and rewrites the whole schema. So a table's
/// VACUUM becomes its ANALYZE.
fn vacuum<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    let mut analyze = !c.take(&["VACUUM"]);
    let vacuum = !analyze;
    c.at = 1;
    if c.take(&["INTO"]) {
        return None;
    }
    if c.take_punct("(") {
        while !c.take_punct(")") {
            let token = c.peek()?;
            analyze |= token.is("ANALYZE") || token.is("ANALYSE");
            c.at += 1;
        }
    } else {
        while c.take_any(&["FULL", "FREEZE", "VERBOSE"]) {}
        while c.take_any(&["ANALYZE", "ANALYSE", "VERBOSE"]) {
            analyze = true;
        }
    }
    let mut statements = Vec::new();
    if vacuum && c.done() {
        statements.push("VACUUM".to_owned());
    }
    if analyze && c.done() {
        statements.push("ANALYZE".to_owned());
    }
    while !c.done() {
        statements.push(format!("ANALYZE {}", c.name()?.1));
        if c.peek().is_some_and(|t| t.is_punct("(")) {
            c.columns()?;
        }
        if !c.take_punct(",") && !c.done() {
            return None;
        }
    }
    Some(Rewrite::Statements(statements))
}

fn copy_from<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    const ONLY: &str = "only COPY table FROM STDIN in text format is supported";
    let parsed = copy_target(c);
    Some(parsed.unwrap_or_else(|| Rewrite::Unsupported(SqlError::new("0A000", ONLY))))
}

fn copy_target<'a>(c: &mut Cursor<'a>) -> Option<Rewrite<'a>> {
    c.at = 1;
    let (_, table) = c.name()?;
    let columns = if c.peek()?.is_punct("(") { c.columns()? } else { Vec::new() };
    if !c.take(&["FROM", "STDIN"]) {
        return None;
    }
    c.take(&["WITH"]);
    if c.take_punct("(") {
        loop {
            if c.take(&["FREEZE"]) {
                let value = |t: &Token<'_>| t.is_name() || t.kind == Kind::Number;
                c.at += usize::from(c.peek().as_ref().is_some_and(value));
            } else if c.take(&["FORMAT"]) {
                let format = c.peek()?;
                let plain = format.text.trim_matches(['\'', '"']);
                if !plain.eq_ignore_ascii_case("text") {
                    return None;
                }
                c.at += 1;
            } else {
                return None;
            }
            if c.take_punct(")") {
                break;
            }
            if !c.take_punct(",") {
                return None;
            }
        }
    }
    c.take(&["FREEZE"]);
    // Older clients send options that have their default value.
    for (option, usual) in [("DELIMITER", &["'\t'", "E'\\t'"]), ("NULL", &["'\\N'", "E'\\\\N'"])] {
        if c.take(&[option]) {
            c.take(&["AS"]);
            if !c.take_string(usual) {
                return None;
            }
        }
    }
    c.done().then_some(Rewrite::Copy { table, columns })
}

#[cfg(test)]
mod tests;
