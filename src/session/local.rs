//! Statics with one value for each session.

use crate::core::locals::Value;
use crate::session::current::{runs, without_session};
use crate::sync::ReentrantMutex;
use crate::types::error::NoSessionError;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Declares statics with one value for each session, as `thread_local!` does for threads.
///
/// An engine with a thread for each connection keeps a client's state in thread-locals. In a pool
/// these would mix up the clients; session-locals move with the session from worker to worker. Each
/// static becomes a [`SessionLocal`], whose type must be `Send`, but not `Sync`. Several may be
/// declared at once, with attributes and visibility.
///
/// ```
/// use safepoint::{ClientInfo, SessionManager, ThreadModel, session_local};
/// use std::cell::{Cell, RefCell};
///
/// session_local! {
///     /// Where names are looked for.
///     pub static SEARCH_PATH: RefCell<String> = RefCell::new("public".into());
///     static ROWS_READ: Cell<u64> = Cell::new(0);
/// }
///
/// /// Deep in an engine, without a reference to the session.
/// fn scan() -> String {
///     ROWS_READ.set(ROWS_READ.get() + 1);
///     SEARCH_PATH.with_borrow(|path| format!("scanning {path}"))
/// }
///
/// let manager = SessionManager::new(ThreadModel::Pool);
/// let workers = [manager.register_worker("one")?, manager.register_worker("two")?];
/// let mut ann = manager.open(ClientInfo::default())?;
/// let mut bob = manager.open(ClientInfo::default())?;
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
            $vis static $name: $crate::local::SessionLocal<$type> = $crate::local::SessionLocal::new(|| $first);
        )*
    };
}

/// A static with one value for each session, declared by [`session_local!`](crate::session_local).
///
/// A session's value is created on first use. The thread that ends the session drops it before the
/// receipts complete. The values of one session are dropped in the reverse order of their creation,
/// with no session attached and no lock held. If a destructor panics, the other values are still
/// dropped, and the session ends. A destructor that waits for a receipt of the same session never
/// returns.
///
/// If the initializer of a value uses the same static, the value is created twice: the inner value
/// is kept, and the outer one is dropped. An endless recursion overflows the stack.
///
/// A closure that uses a value keeps it locked. If the session moves to another thread during the
/// closure, that thread blocks on the same value until the closure returns. If the session ends
/// while the closure runs, the value is dropped after the closure returns.
pub struct SessionLocal<T: 'static> {
    first: fn() -> T,
    /// Assigned on first use.
    number: OnceLock<usize>,
}

impl<T: Send + 'static> SessionLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(first: fn() -> T) -> SessionLocal<T> {
        SessionLocal { first, number: OnceLock::new() }
    }

    /// Calls `f` with the value of the session that is attached to the calling thread. Creates the
    /// value on first use. Calls may be nested.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, or if that session has ended.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(none) => panic!("{none}"),
        }
    }

    /// Calls `f` as [`with`](Self::with) does, and returns an error instead of panicking.
    ///
    /// # Errors
    /// Returns [`NoSessionError`] if no session is attached to the calling thread, or if that
    /// session has ended. Then `f` is not called.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, NoSessionError> {
        let value = self.value()?;
        let result = f(&value.lock());
        // This is the last reference if the session has ended.
        if let Some(last) = Arc::into_inner(value) {
            without_session(|| drop(last));
        }
        Ok(result)
    }

    fn value(&'static self) -> Result<Arc<ReentrantMutex<T>>, NoSessionError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: the numbers only need to be unique.
        let number = *self.number.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let session = runs().ok_or(NoSessionError)?;
        let kept = session.value(number).or_else(|| {
            let first: Value = Arc::new(ReentrantMutex::new((self.first)()));
            let kept = session.insert_value_if_open(number, &first);
            // Dropped here if another value was stored first, or if the session has ended.
            without_session(|| drop(first));
            kept
        });
        Ok(kept.ok_or(NoSessionError)?.downcast().expect("a static's values are of its type"))
    }
}

impl<T: Copy + Send + 'static> SessionLocal<Cell<T>> {
    /// Returns a copy of the value in the session's cell.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, or if that session has ended.
    #[track_caller]
    #[must_use]
    pub fn get(&'static self) -> T {
        self.with(Cell::get)
    }
}

impl<T: Send + 'static> SessionLocal<Cell<T>> {
    /// Sets the value in the session's cell. The initial value is created first if it does not
    /// exist.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, or if that session has ended.
    #[track_caller]
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Replaces the value in the session's cell, and returns the old one.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, or if that session has ended.
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    /// Takes the value out of the session's cell, and leaves the type's default.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, or if that session has ended.
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }
}

impl<T: Send + 'static> SessionLocal<RefCell<T>> {
    /// Borrows the value in the session's cell.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, if that session has ended, or if the
    /// value is mutably borrowed.
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Borrows the value in the session's cell mutably.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, if that session has ended, or if the
    /// value is borrowed.
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value in the session's cell. The initial value is created first if it does not
    /// exist.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, if that session has ended, or if the
    /// value is borrowed.
    #[track_caller]
    pub fn set(&'static self, value: T) {
        drop(self.replace(value));
    }

    /// Replaces the value in the session's cell, and returns the old one.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, if that session has ended, or if the
    /// value is borrowed.
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    /// Takes the value out of the session's cell, and leaves the type's default.
    ///
    /// # Panics
    /// Panics if no session is attached to the calling thread, if that session has ended, or if the
    /// value is borrowed.
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }
}

impl<T> fmt::Debug for SessionLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLocal").finish_non_exhaustive()
    }
}
