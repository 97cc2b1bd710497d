//! What a thread works for, in random sequences of entering, attaching and hiding, against a plain list.

use crate::common::{kill_now, of, supervised, until};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use safepoint::session::StatementHandle;
use safepoint::{
    Cancel, Requester, Session, SessionId, SessionManager, Thread, ThreadModel, current,
};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Something that a thread does, and what it does within.
#[derive(Clone, Debug)]
enum Step {
    Enter(usize, Vec<Step>),
    Attach(Vec<Step>),
    Hide(Vec<Step>),
    Cancel(usize),
    /// Something else raises the thread's flag.
    Raise,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![(0..2_usize).prop_map(Step::Cancel), Just(Step::Raise)];
    let step = leaf.prop_recursive(5, 40, 4, |inner| {
        let inner = prop::collection::vec(inner, 0..4);
        prop_oneof![
            4 => (0..2_usize, inner.clone()).prop_map(|(at, inner)| Step::Enter(at, inner)),
            2 => inner.clone().prop_map(Step::Attach),
            2 => inner.prop_map(Step::Hide),
        ]
    });
    prop::collection::vec(step, 1..5)
}

/// A thread that runs a statement of its own session, until the sender is dropped.
struct Runner {
    handle: StatementHandle,
    _runs: Sender<()>,
}

fn runner(manager: &SessionManager) -> Runner {
    let (runs, ends): (Sender<()>, Receiver<()>) = channel();
    let (gives, handle) = channel();
    let manager = manager.clone();
    std::thread::spawn(move || {
        let mut session = manager.open(of("ann")).unwrap();
        let thread = manager.register_worker("runner").unwrap();
        let mut attached = session.attach(&thread).unwrap();
        let statement = attached.begin().unwrap();
        gives.send(statement.handle("stack")).unwrap();
        let _ = ends.recv();
    });
    Runner { handle: until("the statement has begun", || handle.recv()).unwrap(), _runs: runs }
}

struct World {
    manager: SessionManager,
    runners: [Runner; 2],
    cancelled: [bool; 2],
    /// The session that this thread may attach.
    own: Option<Session>,
    worker: Option<Thread>,
    /// What the thread works for; `None`: for nothing. The last one is on top.
    stack: Vec<Option<SessionId>>,
}

impl World {
    fn new() -> World {
        let manager = SessionManager::new(ThreadModel::Pool);
        World {
            runners: [runner(&manager), runner(&manager)],
            cancelled: [false; 2],
            own: Some(manager.open(of("bob")).unwrap()),
            worker: Some(manager.register_worker("this").unwrap()),
            stack: vec![None],
            manager,
        }
    }

    fn check(&self) {
        let top = *self.stack.last().unwrap();
        assert_eq!(current::session_id(), top);
        let cancelled = self
            .runners
            .iter()
            .zip(self.cancelled)
            .any(|(runner, cancelled)| cancelled && Some(runner.handle.session_id()) == top);
        assert_eq!(safepoint::check().is_err(), cancelled, "of {top:?}");
        let statement = current::statement("top").map(|handle| handle.session_id());
        assert_eq!(
            statement,
            top.filter(|id| self.own.as_ref().is_none_or(|own| own.id() != *id)
                && self.runners.iter().any(|runner| runner.handle.session_id() == *id))
        );
    }

    fn run(&mut self, steps: &[Step]) {
        self.check();
        for step in steps {
            match step {
                Step::Enter(at, inner) => {
                    let handle = self.runners[*at].handle.clone();
                    match handle.enter() {
                        Ok(helper) => {
                            assert!(!self.cancelled[*at]);
                            self.stack.push(Some(handle.session_id()));
                            self.run(inner);
                            self.stack.pop();
                            drop(helper);
                        }
                        Err(_) => assert!(self.cancelled[*at]),
                    }
                }
                Step::Attach(inner) => self.attach(inner),
                Step::Hide(inner) => {
                    self.stack.push(None);
                    current::without_session(|| self.run(inner));
                    self.stack.pop();
                }
                Step::Cancel(at) => {
                    let session = self.runners[*at].handle.session_id();
                    let request = Cancel::running(Requester::system());
                    self.manager.cancel(session, request).unwrap();
                    self.cancelled[*at] = true;
                }
                Step::Raise => current::without_session(|| ()),
            }
            self.check();
        }
    }

    fn attach(&mut self, inner: &[Step]) {
        // It is attached further out already.
        let Some(mut own) = self.own.take() else { return };
        let worker = self.worker.take().unwrap();
        let free = self.stack.last().unwrap().is_none();
        match own.attach(&worker) {
            Ok(attached) => {
                assert!(free, "a thread that helps attaches no session");
                self.stack.push(Some(attached.id()));
                self.run(inner);
                self.stack.pop();
                drop(attached);
            }
            Err(_) => assert!(!free),
        }
        (self.own, self.worker) = (Some(own), Some(worker));
    }
}

#[test]
fn a_thread_works_for_what_is_on_top() {
    supervised(|| {
        let mut runner = TestRunner::new(Config::default());
        runner
            .run(&steps(), |steps| {
                let mut world = World::new();
                world.run(&steps);
                let manager = world.manager.clone();
                drop(world);
                for mut receipt in manager.shutdown(kill_now()) {
                    until("the runners end", || receipt.wait());
                }
                Ok(())
            })
            .unwrap();
    });
}
