use super::*;
use proptest::prelude::*;

fn parsed(statement: &str) -> Result<Command, SqlError> {
    parse(statement).expect("a statement of this face")
}

fn kill(thread: u64, session: u64, when: When) -> Command {
    Command { thread, session: SessionId::from_raw(session).unwrap(), when }
}

#[test]
fn the_reference_pages_example() {
    let statement = "ALTER SYSTEM KILL SESSION '140114517817088, 140114517817088';";
    let expected = kill(140_114_517_817_088, 140_114_517_817_088, When::AfterStatement);
    assert_eq!(parsed(statement), Ok(expected));
}

#[test]
fn each_form_and_its_when() {
    for (tail, when) in [
        ("KILL SESSION '0, 7'", When::AfterStatement),
        ("KILL SESSION '0, 7' IMMEDIATE", When::Immediate),
        ("DISCONNECT SESSION '0, 7' POST_TRANSACTION", When::AfterTransaction),
    ] {
        assert_eq!(parsed(&format!("ALTER SYSTEM {tail}")), Ok(kill(0, 7, when)));
    }
}

#[test]
fn ids_of_a_server_with_words_of_its_own() {
    assert_eq!(Command::new(" 0,7 ", When::Immediate), Ok(kill(0, 7, When::Immediate)));
    for ids in ["", "7", "0, 7, 7", "'0, 7'", "0, 0"] {
        assert_eq!(Command::new(ids, When::Immediate), Err(invalid_id()), "{ids}");
    }
}

#[test]
fn blanks_comments_and_case() {
    let statement = "\n/* who /* nested */ */ aLTER\tsystem -- now\n kill/**/session ' 1 ,\n2 '\
                     immediate ; -- done";
    assert_eq!(parsed(statement), Ok(kill(1, 2, When::Immediate)));
}

#[test]
fn malformed_ids() {
    for ids in [
        "",
        " ",
        "1",
        "s",
        "1 1",
        "1,",
        ",1",
        ",",
        "1,1,1",
        "-1, 1",
        "1, -1",
        "+1, 1",
        "1.0, 1",
        "1,\u{661}",
        "0x1, 1",
        "1, 0",
        "9223372036854775808, 1",
        "1, 9223372036854775808",
        "1, 99999999999999999999999",
        "1\0, 1",
        "1, 1\0",
        "\u{a0}1, 1",
    ] {
        let error = parsed(&format!("ALTER SYSTEM KILL SESSION '{ids}'")).expect_err(ids);
        assert_eq!(error, invalid_id(), "{ids:?}");
    }
    let digits = "1".repeat(1 << 20);
    let error = parsed(&format!("ALTER SYSTEM KILL SESSION '{digits}, 1'"));
    assert_eq!(error, Err(invalid_id()));
    let largest = format!("ALTER SYSTEM KILL SESSION '0, {}'", i64::MAX);
    assert!(parsed(&largest).is_ok());
}

#[test]
fn syntax_errors_name_the_place() {
    for (tail, near) in [
        ("KILL", "at end of input"),
        ("KILL SESSION", "at end of input"),
        ("KILL SESSION 1, 2", "near \"1\""),
        ("KILL SESSION '1, 2", "near \"'\""),
        ("KILL SESSION '1, 2' NOW", "near \"NOW\""),
        ("KILL SESSION '1, 2' IMMEDIATE IMMEDIATE", "near \"IMMEDIATE\""),
        ("KILL SESSION '1, 2'; SELECT 1", "near \"SELECT\""),
        ("KILL SESSION '1, 2'''", "syntax error"),
        ("KILL SYSTEM '1, 2'", "near \"SYSTEM\""),
        ("DISCONNECT SESSION '1, 2'", "at end of input"),
        ("DISCONNECT SESSION '1, 2' IMMEDIATE", "near \"IMMEDIATE\""),
        ("KILL SESSION '1, 2' /* open", "near \"/\""),
    ] {
        let error = parsed(&format!("ALTER SYSTEM {tail}")).expect_err(tail);
        assert_eq!(error.sqlstate, "42601", "{tail}");
        assert!(error.message.contains(near), "{tail}: {error}");
    }
}

#[test]
fn other_statements_are_not_ours() {
    for statement in
        ["", ";", "SELECT 1", "ALTER SYSTEM", "ALTER SYSTEM SET x = 1", "ALTER TABLE t"]
    {
        assert_eq!(parse(statement), None, "{statement}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(tail in "\\PC{0,40}", quoted in any::<bool>()) {
        let text = if quoted { format!("'{tail}'") } else { tail };
        let _ = parse(&text);
        let _ = parse(&format!("ALTER SYSTEM KILL SESSION {text}"));
        let _ = parse(&format!("ALTER SYSTEM DISCONNECT {text}"));
    }

    #[test]
    fn every_pair_of_ids_comes_through(
        thread in 0..=i64::MAX as u64,
        session in 1..=i64::MAX as u64,
        blanks in "[ \t\n]{0,3}",
    ) {
        let statement =
            format!("alter system kill session '{blanks}{thread}{blanks},{blanks}{session}{blanks}'");
        prop_assert_eq!(parsed(&statement), Ok(kill(thread, session, When::AfterStatement)));
    }
}
