//! The auto traits of the public types. A changed field cannot change these unnoticed.

use safepoint::audit::Event;
use safepoint::diagnose::Watchdog;
use safepoint::local::SessionLocal;
use safepoint::manager::{BulkResult, OpenError, SessionManagerBuilder, StartError};
use safepoint::request::{Request, RequestError, SessionEnd, StatementEnd};
use safepoint::session::{
    HelperGuard, HoldOff, RollbackGuard, StatementHandle, SuspendedStatement, Timeouts,
};
use safepoint::sql::{Command, SqlError};
use safepoint::view::{SessionInfo, Sessions, ThreadInfo};
use safepoint::{
    Attached, Cancel, ClientInfo, Interrupt, Receipt, Requester, Session, SessionId,
    SessionManager, Statement, Terminate, Thread,
};
use static_assertions::{assert_impl_all as is, assert_not_impl_any as is_not};
use std::error::Error;
use std::fmt::Debug;
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};

is!(SessionManager: Send, Sync, Clone, Unpin, UnwindSafe, RefUnwindSafe, Debug);
is!(SessionManagerBuilder: Send, Debug);
is!(Session: Send, Unpin, Debug);
is_not!(Session: Sync, Clone);
is!(Thread: Send, Debug);
is_not!(Thread: Sync, Clone);
is!(Attached<'static>: Debug);
is_not!(Attached<'static>: Send, Sync, Clone);
is!(Statement<'static>: Debug);
is_not!(Statement<'static>: Send, Sync, Clone);
is!(StatementHandle: Send, Sync, Clone, Unpin, UnwindSafe, RefUnwindSafe, Debug);
is!(HelperGuard<'static>: Debug);
is_not!(HelperGuard<'static>: Send, Sync, Clone);
is!(SuspendedStatement: Send, Debug);
is_not!(SuspendedStatement: Clone);
// The guard of a task may be dropped on any thread.
is!(HoldOff<'static>: Send, Sync, Debug);
is!(RollbackGuard<'static>: Debug);

is!(Receipt<SessionEnd>: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug);
is!(Receipt<StatementEnd>: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug);
is_not!(Receipt<SessionEnd>: Clone);
is!(BulkResult<SessionEnd>: Send, Sync, Unpin, Debug);
is_not!(BulkResult<SessionEnd>: std::future::Future);

is!(Interrupt: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Error);
is!(Request: Send, Sync, Clone, Eq);
is!(RequestError: Send, Sync, Clone, Eq, Error);
is!(OpenError: Send, Sync, Copy, Eq, Error);
is!(StartError: Send, Sync, Error);
is!(SqlError: Send, Sync, Clone, Eq, Error);
is!(Event<'static>: Send, Sync, Clone, Debug);

is!(SessionId: Send, Sync, Copy, Ord, Hash, UnwindSafe);
is!(ClientInfo: Send, Sync, Clone, Eq, Hash, Default);
is!(Requester: Send, Sync, Clone, Eq, Hash, Default);
is!(Terminate: Send, Sync, Clone, Eq);
is!(Cancel: Send, Sync, Clone, Eq);
is!(Timeouts: Send, Sync, Copy, Eq, Hash, Default);
is!(Command: Send, Sync, Copy, Eq, Hash);
is!(SessionInfo: Send, Sync, Clone, Eq);
is!(ThreadInfo: Send, Sync, Clone, Eq);
is!(Sessions: Send, Iterator<Item = SessionInfo>);
is!(SessionLocal<std::cell::Cell<u64>>: Send, Sync);
is!(Watchdog: Send, Sync, Debug);

#[cfg(feature = "async")]
mod tasks {
    use super::*;
    use safepoint::task::{Interrupted, Run, RunError};
    use std::future::{Future, Ready};

    is!(Run<'static, Ready<()>>: Send, Future);
    // A future that stays on its thread keeps the run there.
    is_not!(Run<'static, std::rc::Rc<Ready<()>>>: Send);
    is!(Interrupted<'static>: Send, Unpin, Future<Output = Interrupt>);
    is!(RunError: Send, Sync, Clone, Eq, Error);
}

#[cfg(target_os = "linux")]
mod pool {
    use super::*;
    use safepoint::pool::{
        GroupStatus, InvalidAttrError, PoolBuilder, ServeErrorKind, ThreadLayout, ThreadPoolAttr,
    };

    is!(PoolBuilder: Send, Sync, Clone, Debug);
    is!(ThreadPoolAttr: Send, Sync, Clone, Eq, Default);
    is!(ThreadLayout: Send, Sync, Clone, Eq);
    is!(InvalidAttrError: Send, Sync, Clone, Eq, Error);
    is!(ServeErrorKind: Send, Sync, Debug);
    is!(GroupStatus: Send, Sync, Clone, Eq);
}
