//! Mistakes in the SQL commands, and in the setting of the pool.

use super::*;

#[rustfmt::skip] // So that each mistake is added, and moved, by lines of its own.
pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "SignedZero",
        about: "'-0, 1' is taken for two numbers.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn number",
                find: "text.parse().ok().filter(|_| digits)",
                replace: "text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok())",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "PlusTaken",
        about: "'+1, 1' is taken for two numbers.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn number",
                find: "text.parse().ok().filter(|_| digits)",
                replace: "text.parse().ok()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "TooLargeTaken",
        about: "2^63 is taken for a number.",
        edits: &[
            Edit {
                file: "types/id.rs",
                within: "pub(crate) fn from_raw",
                find: "NonZeroU64::new(raw).filter(|n| n.get() <= i64::MAX as u64)",
                replace: "NonZeroU64::new(raw)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "LargestRefused",
        about: "2^63 - 1 is no number.",
        edits: &[
            Edit {
                file: "types/id.rs",
                within: "pub(crate) fn from_raw",
                find: "NonZeroU64::new(raw).filter(|n| n.get() <= i64::MAX as u64)",
                replace: "NonZeroU64::new(raw).filter(|n| n.get() < i64::MAX as u64)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::numbers_up_to_what_a_bigint_holds"],
    },
    Mutation {
        name: "OtherBlanksInIds",
        about: "What other alphabets have for blanks is one around a number.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "impl FromStr for SessionAddress",
                find: "part.trim_matches(is_blank)",
                replace: "part.trim()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "SessionZero",
        about: "Session 0 is session 1.",
        edits: &[
            Edit {
                file: "sql/command.rs",
                within: "fn of",
                find: "SessionId::from_raw(session)",
                replace: "SessionId::from_raw(session.max(1))",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "NoVerticalTab",
        about: "A vertical tab is no blank.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn is_blank",
                find: "matches!(char, ' ' | '\\t' | '\\n' | '\\r' | '\\x0b' | '\\x0c')",
                replace: "matches!(char, ' ' | '\\t' | '\\n' | '\\r' | '\\x0c')",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::blanks_comments_and_case"],
    },
    Mutation {
        name: "NulIsBlank",
        about: "A NUL is a blank.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn is_blank",
                find: "matches!(char, ' ' | '\\t' | '\\n' | '\\r' | '\\x0b' | '\\x0c')",
                replace: "matches!(char, ' ' | '\\t' | '\\n' | '\\r' | '\\x0b' | '\\x0c' | '\\0')",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::malformed_ids"],
    },
    Mutation {
        name: "OtherBlanks",
        about: "What other alphabets have for blanks is one.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn is_blank",
                find: "matches!(char, ' ' | '\\t' | '\\n' | '\\r' | '\\x0b' | '\\x0c')",
                replace: "char.is_whitespace()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::other_statements_are_not_parsed"],
    },
    Mutation {
        name: "KeywordsOfOtherAlphabets",
        about: "A Kelvin sign is a k.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "pub fn parse(statement",
                find: "word.eq_ignore_ascii_case(\"KILL\")",
                replace: "word.to_lowercase() == \"kill\"",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::other_statements_are_not_parsed"],
    },
    Mutation {
        name: "TwoSemicolons",
        about: "Several semicolons may end a statement.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn command",
                find: "if matches!(last, Token::Other(';')) { rest.next() } else { last }",
                replace: "if matches!(last, Token::Other(';')) { let mut next = rest.next(); while matches!(next, Token::Other(';')) { next = rest.next(); } next } else { last }",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::syntax_errors_name_the_position"],
    },
    Mutation {
        name: "NoCarriageReturn",
        about: "A carriage return does not end a comment.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn skip_blanks",
                find: "self.0.find(['\\n', '\\r'])",
                replace: "self.0.find('\\n')",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::blanks_comments_and_case"],
    },
    Mutation {
        name: "CommentsDoNotNest",
        about: "A comment within a comment ends it.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn comment_end",
                find: "depth += 1;",
                replace: "depth = 1;",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::blanks_comments_and_case"],
    },
    Mutation {
        name: "OpenCommentIsBlank",
        about: "A comment that does not end is the end of the statement.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn skip_blanks",
                find: "let Some(end) = comment_end(self.0) else { return }; self.0 = &self.0[end..];",
                replace: "self.0 = &self.0[comment_end(self.0).unwrap_or(self.0.len())..];",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::syntax_errors_name_the_position"],
    },
    Mutation {
        name: "DoubledQuoteEnds",
        about: "A quote that is doubled ends its string.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn quoted",
                find: "bytes.get(at + 1) == Some(&b'\\'')",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::strings_of_each_kind"],
    },
    Mutation {
        name: "TagIsADigit",
        about: "A number may be the tag of a string between dollars.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn quoted",
                find: "!tag.starts_with(|char: char| char.is_ascii_digit())",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::strings_of_each_kind"],
    },
    Mutation {
        name: "LongWordRepeated",
        about: "An error repeats all of what was sent.",
        edits: &[
            Edit {
                file: "sql/grammar.rs",
                within: "fn unexpected",
                find: "text.chars().take(REPEATED_CHARS).collect()",
                replace: "text.to_string()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::sql::grammar::tests::a_long_word_is_cut_short"],
    },
    Mutation {
        name: "SignedId",
        about: "An id may have a sign.",
        edits: &[
            Edit {
                file: "types/id.rs",
                within: "fn from_str",
                find: "text.parse().ok().filter(|_| digits)",
                replace: "text.parse().ok()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::types::id::tests::ids_are_parsed_from_digits_only"],
    },
    Mutation {
        name: "NegativeSession",
        about: "A session's number may have a sign.",
        edits: &[
            Edit {
                file: "sql/command.rs",
                within: "fn try_from",
                find: "u64::try_from(session)",
                replace: "Ok::<u64, std::num::TryFromIntError>(session.unsigned_abs())",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::numbers_that_are_not_ids"],
    },
    Mutation {
        name: "NegativeThread",
        about: "A thread's number may have a sign.",
        edits: &[
            Edit {
                file: "sql/command.rs",
                within: "fn try_from",
                find: "u64::try_from(thread)",
                replace: "Ok::<u64, std::num::TryFromIntError>(thread.unsigned_abs())",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::numbers_that_are_not_ids"],
    },
    Mutation {
        name: "AnyThreadWillDo",
        about: "The thread's number is not checked.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn resolve",
                find: "manager.could_run(thread, session)",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::in_a_pool_the_session_s_number_decides"],
    },
    Mutation {
        name: "OneNumberTwiceIsASession",
        about: "In a pool one number twice names a session.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn resolve",
                find: "thread.get() == session.get()",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::two_equal_numbers_name_the_session_on_that_thread"],
    },
    Mutation {
        name: "FunctionWaits",
        about: "The function ends a session after its statement.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "pub fn terminate_session",
                find: "TerminateMode::Immediate",
                replace: "TerminateMode::AfterStatement",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::requests_of_the_sql_functions"],
    },
    Mutation {
        name: "FunctionForgetsItsText",
        about: "What the author of a termination has to say is not passed on.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn terminate(",
                find: "request.comment(comment)",
                replace: "request",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::requests_of_the_sql_functions"],
    },
    Mutation {
        name: "CancelForgetsItsText",
        about: "What the author of a cancel has to say is not passed on.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "pub fn cancel_session",
                find: "cancel.comment(comment)",
                replace: "cancel",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::requests_of_the_sql_functions"],
    },
    Mutation {
        name: "WorkerIsNoSession",
        about: "A worker's number, where a session's belongs, is that of a background thread.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn known_thread",
                find: "row.is_worker",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::in_a_pool_the_session_s_number_decides"],
    },
    Mutation {
        name: "CancelKnowsNoThread",
        about: "A cancel does not say whose number it was given.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "pub fn cancel_session",
                find: "known_thread(manager, error)",
                replace: "error.into()",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::in_a_pool_the_session_s_number_decides"],
    },
    Mutation {
        name: "NoticeOfTheWeaker",
        about: "A notice says when a weaker request would have ended the session.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn notice",
                find: "target.pending_mode.map_or(mode, |pending| pending.max(mode))",
                replace: "mode",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::a_notice_in_each_state"],
    },
    Mutation {
        name: "NoticeNeverAgain",
        about: "A notice does not say that the session had been told before.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn notice",
                find: "target.pending_mode >= Some(mode)",
                replace: "target.pending_mode > Some(mode)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::a_notice_in_each_state"],
    },
    Mutation {
        name: "NoticeOfNoEnd",
        about: "A notice does not say that the session has ended.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn notice",
                find: "receipt.try_get().is_some()",
                replace: "false",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::a_notice_in_each_state"],
    },
    Mutation {
        name: "NoticeOfNoWait",
        about: "A notice takes a statement that waits for none.",
        edits: &[
            Edit {
                file: "sql/execute.rs",
                within: "fn notice",
                find: "matches!(target.state, SessionState::Running | SessionState::Waiting)",
                replace: "matches!(target.state, SessionState::Running)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::sql_commands::a_notice_in_each_state"],
    },
    Mutation {
        name: "AnyManagersWorker",
        about: "A worker of any manager runs a session.",
        edits: &[
            Edit {
                file: "core/thread.rs",
                within: "fn is_of",
                find: "Arc::ptr_eq(&self.slots, slots)",
                replace: "true",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["it::kill_targets::the_thread_of_another_managers_session_is_rejected"],
    },
    Mutation {
        name: "SignIsCutOff",
        about: "All signs of a number are cut off before it is looked at.",
        edits: &[
            Edit {
                file: "pool/attr.rs",
                within: "fn number",
                find: "text.strip_prefix(['-', '+']).unwrap_or(text)",
                replace: "text.trim_start_matches(['-', '+'])",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::pool::attr::tests::errors_name_the_mistake"],
    },
    Mutation {
        name: "BoundIsCutOff",
        about: "A bound on sessions that does not fit is what is left of it.",
        edits: &[
            Edit {
                file: "core/admission.rs",
                within: "fn new",
                find: "u64::from(u32::try_from(number).unwrap_or(u32::MAX))",
                replace: "u64::from(number as u32)",
            },
        ],
        loom: &[],
        shuttle: &[],
        tests: &["lib::core::admission::tests::large_limits_are_not_truncated"],
    },
];
