//! The SQL commands on arbitrary text: the body of the fuzz target `sql_face`, and its corpus,
//! replayed.

use safepoint::TerminateMode;
use safepoint::sql;
use safepoint::sql::Command;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match sql::parse(&text) {
        Ok(Some(command)) => {
            let printed = print(command);
            assert_eq!(sql::parse(&printed), Ok(Some(command)), "{printed}");
            let ended = format!("/* 1 */{printed} ;--");
            assert_eq!(sql::parse(&ended), Ok(Some(command)), "{ended}");
            assert_eq!(sql::parse(&text.to_ascii_lowercase()), Ok(Some(command)));
            assert_eq!(sql::parse(&text.to_ascii_uppercase()), Ok(Some(command)));
        }
        Err(error) => {
            assert!(matches!(error.sqlstate(), "42601" | "42704"));
            assert!(error.hint().is_some());
            assert!(
                error.message().chars().count() < 100,
                "what was sent is not repeated at length"
            );
        }
        Ok(None) => {}
    }
}

fn print(command: Command) -> String {
    let (verb, when) = match command.mode {
        TerminateMode::AfterStatement => ("KILL", ""),
        TerminateMode::Immediate => ("KILL", " IMMEDIATE"),
        TerminateMode::AfterTransaction => ("DISCONNECT", " POST_TRANSACTION"),
    };
    format!("ALTER SYSTEM {verb} SESSION '{}'{when}", command.address)
}

#[cfg(test)]
#[test]
fn the_corpus_of_sql_face() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/sql_face");
    let files = std::fs::read_dir(folder).expect("a corpus");
    let ran = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap())).count();
    assert!(ran > 10, "{ran} files in {folder}");
}
