//! Statics of which each session has its own.

use crate::current::{current, hidden};
use crate::sync::ReentrantMutex;
use crate::values::Value;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Declares statics of which each session has its own: what `thread_local!` is to threads.
///
/// A thread-per-connection engine keeps a client's state in thread-locals. In a pool they would
/// mix up the clients; as session-locals they follow the session from worker to worker. Each
/// static becomes a [`SessionLocal`], whose type must be `Send` and need not be `Sync`. Any
/// number may be declared at once, with attributes and visibility.
///
/// ```
/// use safepoint::{Description, SessionManager, ThreadModel, session_local};
/// use std::cell::{Cell, RefCell};
///
/// session_local! {
///     /// Where names are looked for.
///     pub static SEARCH_PATH: RefCell<String> = RefCell::new("public".into());
///     static ROWS_READ: Cell<u64> = Cell::new(0);
/// }
///
/// /// Deep in an engine, which was handed no session.
/// fn scan() -> String {
///     ROWS_READ.set(ROWS_READ.get() + 1);
///     SEARCH_PATH.with_borrow(|path| format!("scanning {path}"))
/// }
///
/// let manager = SessionManager::new(ThreadModel::Pool);
/// let workers = [manager.register_worker("one")?, manager.register_worker("two")?];
/// let mut ann = manager.open(Description::default())?;
/// let mut bob = manager.open(Description::default())?;
///
/// let attached = ann.attach(&workers[0])?;
/// SEARCH_PATH.with_borrow_mut(|path| path.insert_str(0, "ann, "));
/// assert_eq!(scan(), "scanning ann, public");
/// drop(attached);
///
/// // The same thread, another session:
/// let attached = bob.attach(&workers[0])?;
/// assert_eq!(scan(), "scanning public");
/// drop(attached);
///
/// // The same session, another thread:
/// let attached = ann.attach(&workers[1])?;
/// assert_eq!(scan(), "scanning ann, public");
/// assert_eq!(ROWS_READ.get(), 2);
/// drop(attached);
///
/// ann.close(); // Here its values are dropped.
/// assert!(SEARCH_PATH.try_with(|_| ()).is_err(), "no session is attached");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! session_local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $first:expr);* $(;)?) => {
        $(
            $(#[$meta])*
            $vis static $name: $crate::SessionLocal<$type> = $crate::SessionLocal::new(|| $first);
        )*
    };
}

/// A static of which each session has its own; made by [`session_local!`](crate::session_local).
///
/// A session's value is made when it is first asked for, and dropped as the session ends,
/// by whichever thread ends it: its receipts complete after that. The values of one session are
/// dropped in the reverse order of their making, with no session attached and no lock held. A
/// destructor that panics keeps neither the other values nor the end of the session from their
/// course. One that waits for its own session's receipt waits in vain.
///
/// A value that makes itself, whose initialiser asks for the same static, is made twice: the
/// inner one is kept and the outer one dropped. Where that never stops, the stack overflows.
///
/// A closure that is given a value holds it. Should the session be detached meanwhile and another
/// thread ask for the same value, that thread blocks until the closure has returned. Should
/// it end meanwhile, the value is dropped when the closure has returned, not before.
pub struct SessionLocal<T: 'static> {
    first: fn() -> T,
    /// Given with the first use.
    number: OnceLock<usize>,
}

/// There is no session that could be meant: none is attached to the calling thread, or it has
/// ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSession;

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no session is attached to this thread")
    }
}

impl std::error::Error for NoSession {}

impl<T: Send + 'static> SessionLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(first: fn() -> T) -> SessionLocal<T> {
        SessionLocal { first, number: OnceLock::new() }
    }

    /// Gives the value of the session that is attached to the calling thread, which it makes
    /// if this is the first time. Calls may be nested.
    ///
    /// # Panics
    /// Where no session is attached to the calling thread, or that has ended.
    #[track_caller]
    pub fn with<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        match self.try_with(look) {
            Ok(result) => result,
            Err(none) => panic!("{none}"),
        }
    }

    /// As [`with`](Self::with), without the panic.
    ///
    /// # Errors
    /// [`NoSession`] where none is attached to the calling thread, or that has ended. `look` is
    /// not called then.
    pub fn try_with<R>(&'static self, look: impl FnOnce(&T) -> R) -> Result<R, NoSession> {
        let value = self.value()?;
        let result = look(&value.lock());
        // The last to hold it where the session has ended meanwhile.
        if let Some(last) = Arc::into_inner(value) {
            hidden(|| drop(last));
        }
        Ok(result)
    }

    fn value(&'static self) -> Result<Arc<ReentrantMutex<T>>, NoSession> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: the numbers need but differ.
        let number = *self.number.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let session = current().ok_or(NoSession)?;
        let kept = session.value(number).or_else(|| {
            let first: Value = Arc::new(ReentrantMutex::new((self.first)()));
            let kept = session.keep_value(number, &first);
            // It goes here if another was kept, or none.
            hidden(|| drop(first));
            kept
        });
        Ok(kept.ok_or(NoSession)?.downcast().expect("a static's values are of its type"))
    }
}

impl<T: Copy + Send + 'static> SessionLocal<Cell<T>> {
    /// A copy of what the session's cell holds.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    #[must_use]
    pub fn get(&'static self) -> T {
        self.with(Cell::get)
    }
}

impl<T: Send + 'static> SessionLocal<Cell<T>> {
    /// Sets what the session's cell holds. Its first value is made even so.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }
}

impl<T: Send + 'static> SessionLocal<RefCell<T>> {
    /// Borrows what the session's cell holds.
    ///
    /// # Panics
    /// As [`with`](Self::with), and where it is mutably borrowed.
    #[track_caller]
    pub fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| look(&cell.borrow()))
    }

    /// Mutably borrows what the session's cell holds.
    ///
    /// # Panics
    /// As [`with`](Self::with), and where it is borrowed.
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| change(&mut cell.borrow_mut()))
    }
}

impl<T> fmt::Debug for SessionLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLocal").finish_non_exhaustive()
    }
}
