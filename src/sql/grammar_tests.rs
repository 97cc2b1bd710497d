use super::*;
use proptest::prelude::*;

fn parsed(statement: &str) -> Result<Command, SqlError> {
    parse(statement).map(|command| command.expect("a command of this module"))
}

fn kill(thread: u64, session: u64, when: TerminateMode) -> Command {
    Command { address: SessionAddress::of(thread, session).unwrap(), mode: when }
}

#[test]
fn the_reference_pages_example() {
    let statement = "ALTER SYSTEM KILL SESSION '140114517817088, 140114517817088';";
    let expected = kill(140_114_517_817_088, 140_114_517_817_088, TerminateMode::AfterStatement);
    assert_eq!(parsed(statement), Ok(expected));
}

#[test]
fn each_form_and_its_mode() {
    for (tail, when) in [
        ("KILL SESSION '0, 7'", TerminateMode::AfterStatement),
        ("KILL SESSION '0, 7' IMMEDIATE", TerminateMode::Immediate),
        ("DISCONNECT SESSION '0, 7' POST_TRANSACTION", TerminateMode::AfterTransaction),
    ] {
        assert_eq!(parsed(&format!("ALTER SYSTEM {tail}")), Ok(kill(0, 7, when)));
        assert_eq!(parsed(&format!("ALTER SYSTEM {tail};")), Ok(kill(0, 7, when)));
    }
}

#[test]
fn ids_of_a_servers_own_command() {
    assert_eq!(
        Command::parse(" 0,7 ", TerminateMode::Immediate),
        Ok(kill(0, 7, TerminateMode::Immediate))
    );
    for ids in ["", "7", "0, 7, 7", "'0, 7'", "0, 0"] {
        assert_eq!(Command::parse(ids, TerminateMode::Immediate), Err(invalid_id()), "{ids}");
    }
}

#[test]
fn blanks_comments_and_case() {
    let statement = "\n/* who /* nested */ */ aLTER\tsystem -- now\n kill/**/session ' 1 ,\n2 '\
                     immediate ; -- done";
    let expected = Ok(kill(1, 2, TerminateMode::Immediate));
    assert_eq!(parsed(statement), expected);
    for between in [
        " ",
        "\t",
        "\n",
        "\r",
        "\x0b",
        "\x0c",
        "\r\n",
        "/**/",
        "/***/",
        "/*/*/**/*/*/",
        "/* ' */",
        "/* -- */",
        "--\n",
        "-- ' /* \n",
        "--\r",
        "----\n",
        " -- a\n-- b\r\n",
        "/* \u{1f600} */",
        "/*\0*/",
    ] {
        let words = ["", "ALTER", "SYSTEM", "KILL", "SESSION", "'1, 2'", "IMMEDIATE", ";", ""];
        assert_eq!(parsed(&words.join(between)), expected, "{between:?}");
        let words =
            ["", "ALTER", "SYSTEM", "DISCONNECT", "SESSION", "'1, 2'", "POST_TRANSACTION", ""];
        let expected = Ok(kill(1, 2, TerminateMode::AfterTransaction));
        assert_eq!(parsed(&words.join(between)), expected, "{between:?}");
    }
    // A comment to the end of the line may be the end of the statement.
    for end in ["", ";", " ;", ";--", "--", "-- x", ";/**/ -- ;", "\n"] {
        let statement = format!("ALTER SYSTEM KILL SESSION '1, 2' IMMEDIATE{end}");
        assert_eq!(parsed(&statement), expected, "{end:?}");
    }
}

/// Texts that are no ids, as the thread or the session.
#[test]
fn malformed_ids() {
    let not_numbers = "|s|-0|-1|+0|+1|--1|- 1|1-|1+|1.0|1.|.1|1e0|0x1|0b1|0o1|1_0|1 1|1\t1|1;\
        |1\u{661}|\u{661}|\u{ff11}|\u{b9}|\u{2460}|1\0|\0|\u{a0}1|1\u{a0}|1\u{2003}|1\u{85}\
        |\u{feff}1|\u{200b}1|1\x08|\x1f1|1\\|\\1|/**/1|1--|(1)|\"1\"|''1|1''|null|immediate\
        |9223372036854775808|9223372036854775809|18446744073709551615|18446744073709551616\
        |18446744073709551617|99999999999999999999999|00000000009223372036854775808";
    // No session has the id 0.
    let whole = "| |1|,|,,|1,|,1|,1,|1,,1|1,1,|,1,1|1,1,1|1, 1, @node|1, 1, n1|1;1|1.1|1 1|1/1\
        |1\u{ff0c}1|1\u{60c}1|1, 0|0, 0|1, 00|1, -0";
    let pairs =
        not_numbers.split('|').flat_map(|part| [format!("{part}, 1"), format!("1, {part}")]);
    for ids in pairs.chain(whole.split('|').map(String::from)) {
        let error = parsed(&format!("ALTER SYSTEM KILL SESSION '{ids}'")).expect_err(&ids);
        assert_eq!(error, invalid_id(), "{ids:?}");
        let disconnect = format!("ALTER SYSTEM DISCONNECT SESSION '{ids}' POST_TRANSACTION");
        assert_eq!(parsed(&disconnect), Err(invalid_id()), "{ids:?}");
    }
    let digits = "1".repeat(1 << 20);
    let error = parsed(&format!("ALTER SYSTEM KILL SESSION '{digits}, 1'"));
    assert_eq!(error, Err(invalid_id()));
}

#[test]
fn numbers_up_to_what_a_bigint_holds() {
    let largest = i64::MAX as u64;
    for (ids, thread, session) in [
        ("0,1", 0, 1),
        ("00,01", 0, 1),
        ("0000000000000000000000000000000000000000007, 0008", 7, 8),
        ("9223372036854775807, 9223372036854775807", largest, largest),
        ("0009223372036854775807,1", largest, 1),
        ("9223372036854775806,9223372036854775806", largest - 1, largest - 1),
        // Each of SQL's blanks, around each of the numbers.
        (" \t\n\r\x0b\x0c1 \t\n\r\x0b\x0c,\x0c\x0b\r\n\t 2\x0c\x0b\r\n\t ", 1, 2),
    ] {
        let expected = Ok(kill(thread, session, TerminateMode::AfterStatement));
        assert_eq!(parsed(&format!("ALTER SYSTEM KILL SESSION '{ids}'")), expected, "{ids:?}");
        assert_eq!(Command::parse(ids, TerminateMode::AfterStatement), expected, "{ids:?}");
    }
}

/// Every string constant of SQL is accepted.
#[test]
fn strings_of_each_kind() {
    let expected = Ok(kill(1, 2, TerminateMode::Immediate));
    for string in [
        "'1, 2'",
        "E'1, 2'",
        "e'1, 2'",
        "U&'1, 2'",
        "u&'1, 2'",
        "$$1, 2$$",
        "$a_1$1, 2$a_1$",
        "$_$1, 2$_$",
        "$\u{e4}$1, 2$\u{e4}$",
    ] {
        for statement in [
            format!("ALTER SYSTEM KILL SESSION {string} IMMEDIATE"),
            format!("ALTER SYSTEM KILL SESSION\n{string}/**/IMMEDIATE;"),
        ] {
            assert_eq!(parsed(&statement), expected, "{statement}");
        }
    }
    assert_eq!(parsed("ALTER SYSTEM KILL SESSION'1, 2'IMMEDIATE"), expected);
    // A doubled or escaped quote is part of the string, and the string continues after it.
    for string in [
        "''",
        "'1, 2'''",
        "'''1, 2'",
        "'1'', 2'",
        "'1, 2'' IMMEDIATE; --'",
        "'1, 1'' ; --'",
        r"'1, 2\'",
        r"E'1, 2\' --'",
        r"E'1, 2\\'",
        r"E'1, 2\\\''",
        r"E'1, 2\é'",
        "E'1, 2'' IMMEDIATE'",
        r"U&'1, 2\'",
        "$$$$",
        "$$1, 2'$$",
        "$$'1, 2'$$",
        "$a$1, 2$$$a$",
        "$a$1, 2$b$$a$",
    ] {
        let statement = format!("ALTER SYSTEM KILL SESSION {string} IMMEDIATE");
        assert_eq!(parsed(&statement), Err(invalid_id()), "{statement}");
    }
    // Strings without an end, and texts that are no strings.
    for string in [
        "'1, 2",
        "'",
        "'1, 2''",
        "'1, 2''''",
        r"E'1, 2\'",
        r"E'1, 2\",
        r"E'1, 2\\\'",
        "E '1, 2'",
        "U& '1, 2'",
        "U'1, 2'",
        "N'1, 2'",
        "X'12'",
        "\"1, 2\"",
        "`1, 2`",
        "\u{2019}1, 2\u{2019}",
        "$$1, 2",
        "$a$1, 2$$",
        "$a$1, 2$A$",
        "$1$1, 2$1$",
        "$a b$1, 2$a b$",
        "$ $1, 2$ $",
        "$a-$1, 2$a-$",
        "$1, 2",
        "1, 2",
        "(1, 2)",
    ] {
        let statement = format!("ALTER SYSTEM KILL SESSION {string}");
        let error = parsed(&statement).expect_err(&statement);
        assert_eq!(error.sqlstate, "42601", "{statement}: {error}");
    }
}

#[test]
fn syntax_errors_name_the_position() {
    for (tail, near) in [
        ("KILL", ""),
        ("KILL;", ";"),
        ("KILL SESSION", ""),
        ("KILL SESSION;", ";"),
        ("KILL SESSION 1, 2", "1"),
        ("KILL SESSION '1, 2", "'"),
        ("KILL SESSION '1, 2' NOW", "NOW"),
        ("KILL SESSION '1, 2' IMMEDIATE IMMEDIATE", "IMMEDIATE"),
        ("KILL SESSION '1, 2' IMMEDIATELY", "IMMEDIATELY"),
        ("KILL SESSION '1, 2' IMMEDIATE_", "IMMEDIATE_"),
        ("KILL SESSION '1, 2' 'IMMEDIATE'", "IMMEDIATE"),
        ("KILL SESSION '1, 2' \"IMMEDIATE\"", "\""),
        ("KILL SESSION '1, 2' POST_TRANSACTION", "POST_TRANSACTION"),
        ("KILL SESSION '1, 2' '3, 4'", "3, 4"),
        ("KILL SESSION '1, 2' ''", "''"),
        ("KILL SESSION '1, 2', '3, 4'", ","),
        ("KILL SESSION '1, 2'; SELECT 1", "SELECT"),
        ("KILL SESSION '1, 2';;", ";"),
        ("KILL SESSION '1, 2' ; ;", ";"),
        ("KILL SESSION '1, 2'; IMMEDIATE", "IMMEDIATE"),
        ("KILL SESSION '1, 2' IMMEDIATE;;", ";"),
        ("KILL SESSION '1, 2' IMMEDIATE; COMMIT", "COMMIT"),
        ("KILL SESSION '1, 2'\0", "\0"),
        ("KILL SESSION '1, 2'\u{a0}", "\u{a0}"),
        ("KILL SESSION '1, 2'\u{200b}", "\u{200b}"),
        ("KILL SESSION '1, 2' /* open", "/"),
        ("KILL SESSION '1, 2' /* /* */", "/"),
        ("KILL SESSION '1, 2' /*/", "/"),
        ("KILL SESSION '1, 2' */", "*"),
        ("KILL SESSION '1, 2' - - x", "-"),
        ("KILL SESSION; '1, 2'", ";"),
        ("KILL SESSION SESSION '1, 2'", "SESSION"),
        ("KILL SESSIONS '1, 2'", "SESSIONS"),
        ("KILL SESSION_ '1, 2'", "SESSION_"),
        ("KILL \"SESSION\" '1, 2'", "\""),
        ("KILL '1, 2'", "1, 2"),
        ("KILL SESSION \u{1f600}", "\u{1f600}"),
        ("KILL SYSTEM '1, 2'", "SYSTEM"),
        ("DISCONNECT", ""),
        ("DISCONNECT SESSION", ""),
        ("DISCONNECT SESSION '1, 2'", ""),
        ("DISCONNECT SESSION '1, 2';", ";"),
        ("DISCONNECT SESSION '1, 2' IMMEDIATE", "IMMEDIATE"),
        ("DISCONNECT SESSION '1, 2' POST TRANSACTION", "POST"),
        ("DISCONNECT SESSION '1, 2' POST_TRANSACTIONS", "POST_TRANSACTIONS"),
        ("DISCONNECT SESSION '1, 2' POST_TRANSACTION IMMEDIATE", "IMMEDIATE"),
        ("DISCONNECT SESSION '1, 2' POST_TRANSACTION;;", ";"),
    ] {
        let error = parsed(&format!("ALTER SYSTEM {tail}")).expect_err(tail);
        assert_eq!(error.sqlstate, "42601", "{tail}");
        let expected = match near {
            "" => "syntax error at end of input".to_string(),
            near => format!("syntax error at or near \"{near}\""),
        };
        assert_eq!(error.message, expected, "{tail}");
        let hint = error.hint.expect("a hint");
        assert_eq!(hint.contains("DISCONNECT"), tail.starts_with("DISCONNECT"), "{tail}");
    }
}

/// An error repeats a limited number of characters of the input.
#[test]
fn a_long_word_is_cut_short() {
    for (length, kept) in [(39, 39), (40, 40), (41, 40), (100_000, 40)] {
        let near = "\u{e4}".repeat(kept);
        let word = "\u{e4}".repeat(length);
        for word in [word.clone(), format!("'{word}'")] {
            let error = parsed(&format!("ALTER SYSTEM KILL {word}")).unwrap_err();
            assert_eq!(error.message, format!("syntax error at or near \"{near}\""));
        }
    }
}

#[test]
fn other_statements_are_not_parsed() {
    for statement in [
        "",
        ";",
        " ",
        "--",
        "/*",
        "/* ALTER SYSTEM KILL SESSION '1, 2' */",
        "-- ALTER SYSTEM KILL SESSION '1, 2'",
        "SELECT 1",
        "ALTER",
        "ALTER SYSTEM",
        "ALTER SYSTEM;",
        "ALTER SYSTEM SET x = 1",
        "ALTER TABLE t",
        // Joined words, incomplete words, quoted words, and words after other text.
        "ALTERSYSTEM KILL SESSION '1, 2'",
        "ALTER SYSTEMKILL SESSION '1, 2'",
        "ALTER_SYSTEM KILL SESSION '1, 2'",
        "ALTER SYSTEM KILLSESSION '1, 2'",
        "ALTER SYSTEM KILLED SESSION '1, 2'",
        "ALTER SYSTEM KIL SESSION '1, 2'",
        "ALTER SYSTEM KILL$ SESSION '1, 2'",
        "ALTER SYSTEM DISCONNECTED SESSION '1, 2'",
        "ALTER SYSTEM DISCONNECT_ SESSION '1, 2'",
        "ALTER SYSTEM 'KILL' SESSION '1, 2'",
        "ALTER SYSTEM $$KILL$$ SESSION '1, 2'",
        "ALTER SYSTEM \"KILL\" SESSION '1, 2'",
        "\"ALTER\" SYSTEM KILL SESSION '1, 2'",
        "'ALTER' SYSTEM KILL SESSION '1, 2'",
        "E'ALTER' SYSTEM KILL SESSION '1, 2'",
        "ALTER. SYSTEM KILL SESSION '1, 2'",
        "ALTER\u{a0}SYSTEM KILL SESSION '1, 2'",
        "ALTER\0SYSTEM KILL SESSION '1, 2'",
        "ALTER SYSTEM /* KILL SESSION '1, 2'",
        "ALTER SYSTEM -- KILL SESSION '1, 2'",
        "ALTER - - \nSYSTEM KILL SESSION '1, 2'",
        ";ALTER SYSTEM KILL SESSION '1, 2'",
        "(ALTER SYSTEM KILL SESSION '1, 2')",
        "EXPLAIN ALTER SYSTEM KILL SESSION '1, 2'",
        "\u{feff}ALTER SYSTEM KILL SESSION '1, 2'",
        // A long s and a Kelvin sign, which Unicode case folding maps to s and k.
        "ALTER \u{17f}YSTEM KILL SESSION '1, 2'",
        "ALTER SYSTEM \u{212a}ILL SESSION '1, 2'",
    ] {
        assert_eq!(parse(statement), Ok(None), "{statement}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(tail in "\\PC{0,40}", likely in "[-'$eEuU&a\\\\;/* \n1,é]{0,20}", quoted in any::<bool>()) {
        let text = if quoted { format!("'{tail}'") } else { tail };
        let _ = parse(&text);
        for text in [text, likely] {
            let _ = parse(&format!("ALTER SYSTEM KILL SESSION {text}"));
            let _ = parse(&format!("ALTER SYSTEM DISCONNECT {text}"));
        }
    }

    #[test]
    fn every_pair_of_ids_is_parsed(
        thread in 0..=i64::MAX as u64,
        session in 1..=i64::MAX as u64,
        blanks in "[ \t\n]{0,3}",
    ) {
        let statement =
            format!("alter system kill session '{blanks}{thread}{blanks},{blanks}{session}{blanks}'");
        prop_assert_eq!(parsed(&statement), Ok(kill(thread, session, TerminateMode::AfterStatement)));
    }
}
