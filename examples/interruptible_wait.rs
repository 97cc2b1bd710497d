//! Interruptible waits: crossbeam's `select!`, and a condition variable. The method is always the
//! same: pass a waker that makes the wait return to `Attached::wait`. `cargo run --example
//! interruptible_wait`

use crossbeam_channel::{bounded, select};
use safepoint::session::WaitMode;
use safepoint::view::SessionState;
use safepoint::{
    Attached, ClientInfo, Interrupt, Requester, SessionManager, Terminate, TerminateMode,
    ThreadModel,
};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Waits by `select!` for the server's own channels, and for one more channel that wakes the wait.
fn either(session: &Attached<'_>) -> Result<&'static str, Interrupt> {
    struct Signal(crossbeam_channel::Sender<()>);
    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }
    let (_work, works) = bounded::<&str>(0);
    let (_news, newses) = bounded::<&str>(0);
    let (signal, signalled) = bounded(1);
    let waker = Waker::from(Arc::new(Signal(signal)));
    let got = session.wait(WaitMode::Interruptible, &waker, || {
        select! {
            recv(works) -> work => work.ok(),
            recv(newses) -> news => news.ok(),
            recv(signalled) -> _ => None,
        }
    })?;
    match got {
        // A received message is not lost: the next safe point still reports the interrupt.
        Some(message) => Ok(message),
        None => session.check().map(|()| "woken"),
    }
}

/// Waits for a condition variable, such as the one of a lock manager.
fn condition(session: &Attached<'_>) -> Result<(), Interrupt> {
    #[derive(Default)]
    struct Lock {
        /// Whether the lock is granted, and whether the waker was woken.
        state: Mutex<(bool, bool)>,
        changed: Condvar,
    }
    struct WakeUp(Arc<Lock>);
    impl Wake for WakeUp {
        fn wake(self: Arc<Self>) {
            self.0.state.lock().expect("no panic").1 = true;
            self.0.changed.notify_all();
        }
    }
    let lock = Arc::new(Lock::default());
    let waker = Waker::from(Arc::new(WakeUp(lock.clone())));
    session.wait(WaitMode::Interruptible, &waker, || {
        let state = lock.state.lock().expect("no panic");
        let waits = |state: &mut (bool, bool)| !state.0 && !state.1;
        drop(lock.changed.wait_while(state, waits));
    })?;
    session.check()
}

type Wait = fn(&Attached<'_>) -> Result<(), Interrupt>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = SessionManager::new(ThreadModel::PerSession);
    let waits: [(&str, Wait); 2] =
        [("select!", |session| either(session).map(drop)), ("a condition variable", condition)];
    for (name, wait) in waits {
        let mut session = manager.open(ClientInfo::default())?;
        let id = session.id();
        let runner = std::thread::spawn(move || {
            let thread = session.own_thread().expect("one thread per session");
            let mut attached = session.attach(&thread).expect("its own thread");
            let statement = attached.begin()?.with_text(name);
            wait(&statement)
        });
        // A request before, in or after the wait has the same effect. The example shows the one in
        // the wait.
        while manager.session_info(id).is_some_and(|row| row.state != SessionState::Waiting) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let kill = Terminate::new(TerminateMode::Immediate, Requester::system()).comment("enough");
        let mut receipt = manager.terminate(id, kill)?;
        let found = receipt.target();
        assert!(receipt.wait_timeout(Duration::from_secs(60)).is_some());
        let interrupt = runner.join().expect("no panic").expect_err("it was told to end");
        println!("{name}: was {}, and ended with: {interrupt}", found.state);
    }
    Ok(())
}
