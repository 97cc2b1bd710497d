//! Splits a query into statements, and returns their first words and command tags.

mod lex;

pub(crate) use lex::{Kind, Token, tokens};

/// Returns the statements of a simple query, in order, without the blanks and comments around them.
pub(crate) fn split(sql: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut span: Option<(usize, usize)> = None;
    let mut trigger = Trigger::default();
    for token in tokens(sql) {
        if token.is_punct(";") && !trigger.in_body() {
            statements.extend(span.take().map(|(start, end)| &sql[start..end]));
            trigger = Trigger::default();
            continue;
        }
        trigger.see(&token);
        span = Some((span.map_or(token.start, |(start, _)| start), token.end()));
    }
    statements.extend(span.map(|(start, end)| &sql[start..end]));
    statements
}

/// Tracks a statement that may be a CREATE TRIGGER, whose body contains semicolons.
#[derive(Default)]
struct Trigger {
    state: State,
    /// The number of ENDs still expected: one for the body, and one for each CASE in it.
    depth: usize,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Start,
    Create,
    Header,
    Other,
}

impl Trigger {
    fn in_body(&self) -> bool {
        self.depth > 0
    }

    fn see(&mut self, token: &Token<'_>) {
        self.state = match self.state {
            State::Start if token.is("CREATE") => State::Create,
            State::Create if token.is("TRIGGER") => State::Header,
            State::Create if token.is("TEMP") || token.is("TEMPORARY") => State::Create,
            State::Header => State::Header,
            _ => State::Other,
        };
        if self.state != State::Header {
            return;
        }
        if self.depth == 0 {
            if token.is("BEGIN") {
                self.depth = 1;
            }
        } else if token.is("CASE") {
            self.depth += 1;
        } else if token.is("END") {
            self.depth -= 1;
            if self.depth == 0 {
                self.state = State::Other;
            }
        }
    }
}

/// Returns the words at the beginning of a statement, up to the first other token.
pub(crate) fn words(stmt: &str) -> impl Iterator<Item = &str> {
    tokens(stmt).take_while(|t| t.kind == Kind::Word).map(|t| t.text)
}

/// Returns whether a statement begins with these words, in upper or lower case.
pub(crate) fn starts_with(stmt: &str, expected: &[&str]) -> bool {
    let mut words = words(stmt);
    expected.iter().all(|e| words.next().is_some_and(|w| w.eq_ignore_ascii_case(e)))
}

/// Returns whether one of these words, in lower case, is somewhere in a text, also within other words,
/// strings and comments. This is faster than to look for tokens.
pub(crate) fn mentions(text: &str, words: &[&str]) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        words.iter().map(|word| word.as_bytes()).any(|word| {
            let found = bytes.get(at..at + word.len());
            word.first() == Some(&byte.to_ascii_lowercase())
                && found.is_some_and(|found| found.eq_ignore_ascii_case(word))
        })
    })
}

/// Returns an identifier as PostgreSQL folds it.
pub(crate) fn folded(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// Returns the tag in CommandComplete for a statement that returned or changed `rows` rows.
pub(crate) fn command_tag(stmt: &str, rows: u64) -> String {
    let mut words = words(stmt);
    let first = words.next().unwrap_or_default();
    let selects = ["SELECT", "VALUES", "TABLE", "PRAGMA", ""];
    if selects.iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return format!("SELECT {rows}");
    }
    let mut words = words.map(str::to_ascii_uppercase);
    let verb = if first.eq_ignore_ascii_case("WITH") {
        main_verb(stmt).unwrap_or_else(|| "SELECT".to_owned())
    } else {
        first.to_ascii_uppercase()
    };
    match verb.as_str() {
        "SELECT" | "VALUES" => format!("SELECT {rows}"),
        "INSERT" | "REPLACE" => format!("INSERT 0 {rows}"),
        "UPDATE" | "DELETE" | "COPY" => format!("{verb} {rows}"),
        "CREATE" => create_tag(stmt),
        "DROP" | "ALTER" => match words.next() {
            Some(kind) => format!("{verb} {kind}"),
            None => verb,
        },
        "END" => "COMMIT".to_owned(),
        "ABORT" => "ROLLBACK".to_owned(),
        "START" => "START TRANSACTION".to_owned(),
        "TRUNCATE" => "TRUNCATE TABLE".to_owned(),
        "DISCARD" | "DEALLOCATE" => match words.next() {
            Some(all) if all == "ALL" || verb == "DISCARD" => format!("{verb} {all}"),
            _ => verb,
        },
        _ => verb,
    }
}

fn main_verb(stmt: &str) -> Option<String> {
    let mut depth = 0usize;
    for token in tokens(stmt) {
        if token.is_punct("(") {
            depth += 1;
        } else if token.is_punct(")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.kind == Kind::Word {
            let word = token.text.to_ascii_uppercase();
            if matches!(
                word.as_str(),
                "SELECT" | "VALUES" | "INSERT" | "REPLACE" | "UPDATE" | "DELETE"
            ) {
                return Some(word);
            }
        }
    }
    None
}

fn create_tag(stmt: &str) -> String {
    let kind = words(stmt)
        .skip(1)
        .map(str::to_ascii_uppercase)
        .find(|w| !matches!(w.as_str(), "TEMP" | "TEMPORARY" | "UNLOGGED" | "UNIQUE" | "VIRTUAL"));
    match kind.as_deref() {
        Some("TABLE") if is_create_as(stmt) => "CREATE TABLE AS".to_owned(),
        Some(kind) => format!("CREATE {kind}"),
        None => "CREATE".to_owned(),
    }
}

fn is_create_as(stmt: &str) -> bool {
    let mut depth = 0usize;
    tokens(stmt).any(|token| {
        if token.is_punct("(") {
            depth += 1;
        } else if token.is_punct(")") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.is("AS")
    })
}

/// Returns the name of the table that `CREATE TABLE name AS` creates. With `IF NOT EXISTS` it may be
/// another table, so there is no name.
pub(crate) fn created_from_query(stmt: &str) -> Option<&str> {
    let mut words = tokens(stmt).peekable();
    words.next_if(|word| word.is("CREATE"))?;
    words.next_if(|word| word.is("TEMP") || word.is("TEMPORARY"));
    words.next_if(|word| word.is("TABLE"))?;
    let first = words.next_if(|word| word.is_name() && !word.is("IF"))?;
    let mut last = first;
    while words.next_if(|word| word.is_punct(".")).is_some() {
        last = words.next()?;
    }
    words.next_if(|word| word.is("AS"))?;
    Some(&stmt[first.start..last.end()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: &[&str] = &[
        "create", "trigger", "temp", "begin", "case", "end", ";", "'", "\"", "$$", "$a$", "$1",
        "--", "\n", "/*", "*/", "e'", "\\", "[", "]", "(", ")", "é", " ", "x", "1.5", "`", ",",
        "table", "with", "drop", "truncate", "alter", "add", "primary", "key", "copy", "from",
        "stdin", "vacuum", "only", ".", "rollback", "to", "start", "as", "unlogged",
    ];

    proptest! {
        #[test]
        fn no_text_panics(picked in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
            for sql in [picked.concat(), picked.join(" ")] {
                let mut rest = sql.as_str();
                for stmt in split(&sql) {
                    let at = rest.find(stmt);
                    prop_assert!(at.is_some(), "statements come in order");
                    rest = &rest[at.unwrap() + stmt.len()..];
                    prop_assert!(!stmt.is_empty());
                    command_tag(stmt, 1);
                    crate::compat::rewrite(stmt);
                }
            }
        }
    }

    #[test]
    fn semicolons_at_the_top_level_split() {
        assert_eq!(split("select 1;select 2 ; "), ["select 1", "select 2"]);
        assert_eq!(split(""), Vec::<&str>::new());
        assert_eq!(split(" ; -- x\n; /* ; */ ;"), Vec::<&str>::new());
        assert_eq!(split("-- a;\n select 1 -- b"), ["select 1"]);
    }

    #[test]
    fn quotes_and_comments_hide_semicolons() {
        for one in [
            "select 'a;b''c;'",
            "select E'\\';' || 'x'",
            "select \"a;\"\"b\"",
            "select 1 /* ; /* ; */ ; */ + 1",
            "select 1 -- ;\n + 1",
            "select $$;$$, $x$ $$;$y$;$x$",
        ] {
            assert_eq!(split(&format!("{one};select 2")), [one, "select 2"], "{one}");
        }
        assert_eq!(split("select '\\';select 2"), ["select '\\'", "select 2"]);
        assert_eq!(split("select 'a;b"), ["select 'a;b"]);
    }

    #[test]
    fn a_trigger_keeps_its_body() {
        let trigger = "create temp trigger t after insert on a when case 1 when 1 then 1 end begin \
             update b set x = case when 1 then 2 end; delete from c where \"end\" = 1; end";
        assert_eq!(
            split(&format!("{trigger};begin;select 1;end")),
            [trigger, "begin", "select 1", "end"]
        );
    }

    #[test]
    fn leading_words() {
        let found: Vec<_> = words("/* x */ alter -- y\n SYSTEM set a = 1").collect();
        assert_eq!(found, ["alter", "SYSTEM", "set", "a"]);
        assert!(starts_with("Start  Transaction read only", &["START", "TRANSACTION"]));
        assert!(!starts_with("start", &["START", "TRANSACTION"]));
    }

    #[test]
    fn words_that_are_mentioned() {
        for (text, found) in
            [("", false), ("select Now()", true), ("know", true), ("no", false), ("nno now", true)]
        {
            assert_eq!(mentions(text, &["extract", "now"]), found, "{text}");
        }
    }

    #[test]
    fn tags() {
        for (stmt, tag) in [
            ("select 1", "SELECT 3"),
            ("values (1)", "SELECT 3"),
            ("table t", "SELECT 3"),
            ("pragma table_info(t)", "SELECT 3"),
            ("insert into t values (1) returning a", "INSERT 0 3"),
            ("replace into t values (1)", "INSERT 0 3"),
            ("update t set a = 1", "UPDATE 3"),
            ("delete from t", "DELETE 3"),
            ("copy t from stdin", "COPY 3"),
            ("with a as (select 1) insert into t select * from a", "INSERT 0 3"),
            ("with a as (delete from t) select 1", "SELECT 3"),
            ("with recursive a(x) as (values (1)) update t set a = 1", "UPDATE 3"),
            ("explain select 1", "EXPLAIN"),
            ("create table t (a int, b as (a))", "CREATE TABLE"),
            ("create table t as select 1", "CREATE TABLE AS"),
            ("create unique index i on t(a)", "CREATE INDEX"),
            ("create unlogged table t(a)", "CREATE TABLE"),
            ("drop table if exists t", "DROP TABLE"),
            ("alter table t add b", "ALTER TABLE"),
            ("alter system set x = 1", "ALTER SYSTEM"),
            ("begin", "BEGIN"),
            ("start transaction", "START TRANSACTION"),
            ("end", "COMMIT"),
            ("commit", "COMMIT"),
            ("abort", "ROLLBACK"),
            ("rollback to x", "ROLLBACK"),
            ("savepoint x", "SAVEPOINT"),
            ("set a = 1", "SET"),
            ("show a", "SHOW"),
            ("vacuum analyze t", "VACUUM"),
            ("truncate t", "TRUNCATE TABLE"),
            ("discard all", "DISCARD ALL"),
            ("deallocate all", "DEALLOCATE ALL"),
            ("deallocate x", "DEALLOCATE"),
        ] {
            assert_eq!(command_tag(stmt, 3), tag, "{stmt}");
        }
    }

    #[test]
    fn tables_created_from_queries() {
        for (stmt, name) in [
            ("create table t as select 1", Some("t")),
            ("CREATE TEMP TABLE main . \"a b\" AS select 1", Some("main . \"a b\"")),
            ("create table if not exists t as select 1", None),
            ("create table t (a int)", None),
            ("create view t as select 1", None),
            ("create table", None),
            ("select 1", None),
        ] {
            assert_eq!(created_from_query(stmt), name, "{stmt}");
        }
    }
}
