//! What can be done, as proptest makes it up.

use crate::common::MODES;
use crate::reference_model::model::{self, Command};
use proptest::prelude::*;
use safepoint::TerminateMode;

/// Numbers select one of the choices at that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Open { user: usize },
    Act { session: usize, act: usize },
    Terminate { when: TerminateMode, at: At, by: By },
    Cancel { named: Named, at: At, by: By },
    ShutDown { when: TerminateMode },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Session(usize),
    Thread(usize),
    Pair(usize, usize),
    /// A session and the thread that it is on.
    Matching(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Admin,
    User(usize),
    Nobody,
    Session(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Running,
    Last,
    Before,
    Future,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let any = || 0..64_usize;
    let when = || prop::sample::select(MODES.to_vec());
    let at = || {
        prop_oneof![
            4 => any().prop_map(At::Session),
            1 => any().prop_map(At::Thread),
            1 => (any(), any()).prop_map(|(thread, session)| At::Pair(thread, session)),
            1 => any().prop_map(At::Matching),
        ]
    };
    let by = || {
        prop_oneof![
            4 => Just(By::Admin),
            2 => any().prop_map(By::User),
            1 => Just(By::Nobody),
            1 => any().prop_map(By::Session),
        ]
    };
    let named = prop_oneof![
        3 => Just(Named::Running),
        3 => Just(Named::Last),
        1 => Just(Named::Before),
        1 => Just(Named::Future),
    ];
    prop_oneof![
        3 => any().prop_map(|user| Op::Open { user }),
        80 => (any(), any()).prop_map(|(session, act)| Op::Act { session, act }),
        8 => (when(), at(), by()).prop_map(|(when, at, by)| Op::Terminate { when, at, by }),
        16 => (named, at(), by()).prop_map(|(named, at, by)| Op::Cancel { named, at, by }),
        1 => when().prop_map(|when| Op::ShutDown { when }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Attach,
    Misplace,
    Intrude,
    Queue,
    Due,
    Close,
    Drop,
    Check,
    Transaction,
    Hold,
    Release,
    ForgetHold,
    Wait { deaf: bool },
    Wake,
    Begin,
    Finish,
    DropStatement,
    ForgetStatement,
    Detach,
    DetachQueued,
    DropAttached,
    Panic,
}

/// The operations that the types permit in this state of the session. Likelier operations are
/// listed more often.
pub(crate) fn acts(session: &model::Session) -> Vec<Act> {
    use Act::*;
    const WAITS: [Act; 2] = [Wait { deaf: false }, Wait { deaf: true }];
    let mut acts = match (session.place, &session.command) {
        (None, _) => {
            return vec![
                Attach, Attach, Attach, Attach, Queue, Queue, Due, Close, Drop, Misplace, Intrude,
            ];
        }
        _ if session.wait.is_some() => return vec![Wake, Wake, Wake, Wake, Panic],
        _ if session.guards > 0 => {
            vec![Check, Check, Transaction, Hold, Release, Release, Release, ForgetHold]
        }
        (_, Command::Running { forgotten: false, .. }) => {
            vec![Check, Check, Check, Transaction, Hold, Finish, DropStatement, ForgetStatement]
        }
        _ => vec![
            Check,
            Transaction,
            Hold,
            Begin,
            Begin,
            Begin,
            Begin,
            Begin,
            Detach,
            DetachQueued,
            DropAttached,
        ],
    };
    acts.extend(WAITS);
    acts.push(Panic);
    acts
}
