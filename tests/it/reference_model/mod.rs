//! Sequences of all operations on sessions, on the real manager and on a plain model. After each
//! operation the visible state of the two must be the same.

mod model;
mod ops;
mod runner;

use crate::common::{CountingWaker, Scope, admin, of, scope, supervised, until, user};
use model::{Found, Said, Wait, World};
use ops::{Act, At, By, Named, Op, acts, op};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use runner::{Order, Port, Reply};
use safepoint::id::{StatementId, ThreadId};
use safepoint::manager::OpenError;
use safepoint::request::{InterruptReason, Request, SessionEnd, StatementEnd, Target};
use safepoint::session::AttachError;
use safepoint::{
    Cancel, Interrupt, Receipt, Requester, Session, SessionId, SessionManager, Terminate,
    TerminateMode, Thread, ThreadModel,
};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

const RUNNERS: usize = 3;
const SESSIONS: usize = 5;

/// An operating system's thread; in a pool it has one number for all that it runs.
struct Runner {
    orders: Sender<Order>,
    replies: Receiver<Reply>,
    worker: Option<ThreadId>,
    runs: Option<usize>,
}

impl Runner {
    fn ask(&self, order: Order) -> Reply {
        self.orders.send(order).unwrap();
        until("the runner replies", || self.replies.recv()).expect("the runner lives")
    }
}

/// The handles of the real sessions.
struct Seat {
    detached: Option<Session>,
    runner: Option<usize>,
    woken: Arc<CountingWaker>,
    assert_woken_by_the_end: Arc<CountingWaker>,
    kills: Vec<Receipt<SessionEnd>>,
    cancels: Vec<(Receipt<StatementEnd>, usize)>,
}

struct Test {
    manager: SessionManager,
    world: World,
    runners: Vec<Runner>,
    seats: Vec<Seat>,
    background: Thread,
    closed: bool,
    requests: usize,
    /// The operations until now, for the message of a failure.
    log: Vec<String>,
}

impl Drop for Test {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\n", self.log.join("\n"));
        }
    }
}

fn said(real: Result<(), Interrupt>) -> Said {
    real.map_err(of_interrupt)
}

fn of_interrupt(interrupt: Interrupt) -> (safepoint::request::InterruptKind, Request) {
    (interrupt.kind(), interrupt.request().clone())
}

impl Test {
    fn new<'scope>(model: ThreadModel, scope: Scope<'scope, '_>) -> Test {
        let manager = SessionManager::new(model);
        let background = manager.register_background("timer").unwrap();
        let runner = |_| {
            let ((orders, from), (to, replies)) = (channel(), channel());
            let pool = model == ThreadModel::Pool;
            let worker = pool.then(|| manager.register_worker("worker").unwrap());
            let id = worker.as_ref().map(Thread::id);
            scope.spawn(move || Port { worker, orders: from, replies: to }.run());
            Runner { orders, replies, worker: id, runs: None }
        };
        let runners: Vec<Runner> = (0..RUNNERS).map(runner).collect();
        let workers = runners.iter().filter_map(|runner| runner.worker);
        let world = World {
            sessions: Vec::new(),
            workers: workers.collect(),
            background: (background.id(), "timer".into()),
        };
        let (seats, log) = (Vec::new(), Vec::new());
        Test { manager, world, runners, seats, background, closed: false, requests: 0, log }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Open { user } => self.open(["ann", "bob", ""][user % 3]),
            Op::Act { session, act } => {
                let open: Vec<usize> = self.world.open().collect();
                if !open.is_empty() {
                    let index = open[session % open.len()];
                    let acts = acts(&self.world.sessions[index]);
                    self.act(index, acts[act % acts.len()]);
                }
            }
            Op::Terminate { when, at, by } => self.terminate(when, self.target(at), by),
            Op::Cancel { named, at, by } => self.cancel(named, self.target(at), by),
            Op::ShutDown { when } => self.shut_down(when),
        }
        self.compare();
    }

    fn open(&mut self, name: &str) {
        if self.world.open().count() == SESSIONS {
            return;
        }
        self.log.push(format!("open {}", self.seats.len()));
        let opened = self.manager.open(of(name));
        if self.closed {
            assert_eq!(opened.unwrap_err(), OpenError::Closed);
            return;
        }
        let session = opened.unwrap();
        let own = session.own_thread().map(|thread| thread.id());
        assert_eq!(own.map(ThreadId::get), own.map(|_| session.id().get()));
        self.world.sessions.push(model::Session::new(session.id(), own, name.into()));
        let (woken, waker) = CountingWaker::waker();
        session.set_detached_waker(Some(waker));
        self.seats.push(Seat {
            detached: Some(session),
            runner: None,
            woken,
            assert_woken_by_the_end: Arc::default(),
            kills: Vec::new(),
            cancels: Vec::new(),
        });
    }

    fn order(&self, index: usize, order: Order) -> Reply {
        self.runners[self.seats[index].runner.unwrap()].ask(order)
    }

    fn done(&self, index: usize, order: Order) {
        let reply = self.order(index, order);
        assert!(matches!(reply, Reply::Done), "{reply:?}");
    }

    fn said(&self, index: usize, order: Order) -> Said {
        match self.order(index, order) {
            Reply::Said(real) => said(real),
            reply => panic!("{reply:?}"),
        }
    }

    fn back(&mut self, index: usize, order: Order) -> Said {
        let Reply::Back(session, real) = self.order(index, order) else { panic!() };
        let slot = &mut self.seats[index];
        slot.detached = Some(session);
        self.runners[slot.runner.take().unwrap()].runs = None;
        said(real)
    }

    fn act(&mut self, index: usize, act: Act) {
        self.log.push(format!("{act:?} {index}"));
        let detached = self.seats[index].detached.as_ref();
        match act {
            Act::Attach => self.attach(index),
            Act::Misplace => {
                let session = self.seats[index].detached.as_mut().unwrap();
                let refused = session.attach(&self.background).err();
                assert_eq!(
                    refused,
                    Some(match self.manager.model() == ThreadModel::Pool {
                        true => AttachError::BackgroundThread,
                        false => AttachError::WrongThread,
                    })
                );
            }
            Act::Intrude => self.intrude(index),
            Act::Queue => {
                assert_eq!(detached.unwrap().reserve_statement(), self.model(index).queue())
            }
            Act::Due => {
                let real = said(detached.unwrap().check());
                assert_eq!(real, self.model(index).due());
            }
            Act::Close => {
                let real = self.seats[index].detached.take().unwrap().close();
                assert_eq!(real.reason, self.model(index).close());
            }
            Act::Drop => {
                self.seats[index].detached = None;
                self.model(index).close();
            }
            Act::Check => {
                let real = self.said(index, Order::Check);
                assert_eq!(real, self.model(index).check());
            }
            Act::Transaction => {
                let open = !self.world.sessions[index].transaction;
                self.done(index, Order::Transaction(open));
                self.model(index).transaction = open;
            }
            Act::Hold => {
                self.done(index, Order::Hold);
                self.model(index).held += 1;
                self.model(index).guards += 1;
            }
            Act::Release => {
                self.done(index, Order::Release);
                self.model(index).held -= 1;
                self.model(index).guards -= 1;
            }
            Act::ForgetHold => {
                self.done(index, Order::ForgetHold);
                self.model(index).guards -= 1;
            }
            Act::Wait { deaf } => {
                let (assert_woken_by_the_end, waker) = CountingWaker::waker();
                self.seats[index].assert_woken_by_the_end = assert_woken_by_the_end;
                let real = match self.order(index, Order::Wait(deaf, waker)) {
                    Reply::Done => None,
                    Reply::Said(real) => Some(said(real)),
                    reply => panic!("{reply:?}"),
                };
                assert_eq!(real, self.model(index).wait(deaf));
            }
            Act::Wake => {
                let real = self.said(index, Order::Wake);
                assert_eq!(real, self.model(index).wake());
            }
            Act::Begin => {
                let Reply::Began(real) = self.order(index, Order::Begin) else { panic!() };
                assert_eq!(real.map_err(of_interrupt), self.model(index).begin());
            }
            Act::Finish => {
                let real = self.said(index, Order::Finish);
                assert_eq!(real, self.model(index).finish());
            }
            Act::DropStatement => {
                self.done(index, Order::DropStatement);
                self.model(index).drop_statement();
            }
            Act::ForgetStatement => {
                self.done(index, Order::ForgetStatement);
                self.model(index).forget_statement();
            }
            Act::Detach => {
                let real = self.back(index, Order::Detach);
                assert_eq!(real, self.model(index).detach());
            }
            Act::DetachQueued => {
                let real = self.back(index, Order::DetachQueued);
                assert_eq!(real, self.model(index).detach_queued());
            }
            Act::DropAttached => {
                assert_eq!(self.back(index, Order::DropAttached), Ok(()));
                self.model(index).drop_attached();
            }
            Act::Panic => {
                assert_eq!(self.back(index, Order::Panic), Ok(()));
                self.model(index).panic();
            }
        }
    }

    fn model(&mut self, index: usize) -> &mut model::Session {
        &mut self.world.sessions[index]
    }

    fn attach(&mut self, index: usize) {
        let Some(at) = self.runners.iter().position(|runner| runner.runs.is_none()) else {
            return;
        };
        let session = self.seats[index].detached.take().unwrap();
        let own = session.own_thread().as_ref().map(Thread::id);
        let thread = own.or(self.runners[at].worker).expect("one of the two");
        self.model(index).attach(thread);
        self.seats[index].runner = Some(at);
        self.runners[at].runs = Some(index);
        self.done(index, Order::Attach(session));
    }

    /// Tries to attach it to a thread that runs another.
    fn intrude(&mut self, index: usize) {
        let busy = self.runners.iter().position(|runner| {
            runner.runs.is_some_and(|other| self.world.sessions[other].wait.is_none())
        });
        let Some(at) = busy else { return };
        let session = self.seats[index].detached.take().unwrap();
        let Reply::Busy(session, refused) = self.runners[at].ask(Order::Attach(session)) else {
            panic!("attached to a busy thread");
        };
        assert_eq!(refused, AttachError::ThreadBusy);
        self.seats[index].detached = Some(session);
    }

    // Killers.

    /// One of all that ever were, or a number that was never given out.
    fn session_id(&self, choice: usize) -> SessionId {
        let ids = self.world.sessions.iter().map(|session| session.id);
        let ids: Vec<SessionId> = ids.chain(SessionId::try_from(i64::MAX as u64)).collect();
        ids[choice % ids.len()]
    }

    fn thread_id(&self, choice: usize) -> ThreadId {
        let own = self.world.sessions.iter().filter_map(|session| session.own);
        let workers = self.world.workers.iter().copied();
        let others = [self.background.id(), ThreadId::try_from(i64::MAX as u64).unwrap()];
        let ids: Vec<ThreadId> = own.chain(workers).chain(others).collect();
        ids[choice % ids.len()]
    }

    fn target(&self, at: At) -> Target {
        match at {
            At::Session(choice) => Target::Session(self.session_id(choice)),
            At::Thread(choice) => Target::AttachedTo(self.thread_id(choice)),
            At::Pair(thread, session) => {
                Target::Pair(self.thread_id(thread), self.session_id(session))
            }
            At::Matching(choice) => {
                let id = self.session_id(choice);
                let thread = self.world.sessions.iter().find(|session| session.id == id);
                match thread.and_then(|session| session.place) {
                    Some(thread) => Target::Pair(thread, id),
                    None => Target::Session(id),
                }
            }
        }
    }

    fn request(&mut self, by: By, reason: InterruptReason) -> Request {
        let requester = match by {
            By::Admin => admin("root"),
            By::User(name) => user(["ann", "bob", ""][name % 3]),
            By::Nobody => Requester::system().with_admin(false),
            By::Session(choice) => {
                let id = self.session_id(choice);
                let session = self.world.sessions.iter().find(|session| session.id == id);
                let user = session.map(|session| session.user.clone());
                let requester = Requester::default().with_session(id);
                user.into_iter().fold(requester, Requester::with_user)
            }
        };
        self.requests += 1;
        Request::new(requester, reason).with_comment(format!("request {}", self.requests))
    }

    fn terminate(&mut self, when: TerminateMode, target: Target, by: By) {
        let request = self.request(by, InterruptReason::AdministratorCommand);
        self.log.push(format!("terminate {when:?} {target:?} {request:?}"));
        let real =
            Terminate::new(when, request.requester().clone()).comment(request.comment().unwrap());
        let real = self.manager.terminate(target, real);
        let aim = self.world.aim(target, request.requester());
        assert_eq!(real.as_ref().err(), aim.as_ref().err());
        if let (Ok(receipt), Ok(index)) = (real, aim) {
            let found = self.model(index).terminate(when, request);
            self.pending(index, receipt, found);
        }
    }

    fn pending(&mut self, index: usize, receipt: Receipt<SessionEnd>, found: Found) {
        assert_eq!(receipt.session(), self.world.sessions[index].id);
        assert_eq!(Found::from(receipt.target()), found);
        self.seats[index].kills.push(receipt);
    }

    fn cancel(&mut self, named: Named, target: Target, by: By) {
        let request = self.request(by, InterruptReason::UserRequest);
        let meant = match target {
            Target::Session(id) | Target::Pair(_, id) => {
                self.world.sessions.iter().find(|session| session.id == id)
            }
            Target::AttachedTo(thread) => {
                self.world.on(thread).map(|index| &self.world.sessions[index])
            }
            _ => unreachable!("there is no other target"),
        };
        let given = meant.map_or(0, |session| session.given);
        let named = match named {
            Named::Running => None,
            Named::Last => Some(given.max(1)),
            Named::Before => Some(given.saturating_sub(1).max(1)),
            Named::Future => Some(given + 1),
        };
        let named = named.map(|number| StatementId::try_from(number).unwrap());
        self.log.push(format!("cancel {named:?} {target:?} {request:?}"));
        let real = match named {
            None => Cancel::running(request.requester().clone()),
            Some(id) => Cancel::statement(id, request.requester().clone()),
        };
        let real = self.manager.cancel(target, real.comment(request.comment().unwrap()));
        let expected = self.world.cancel(target, named, request);
        assert_eq!(real.as_ref().err(), expected.as_ref().err());
        if let (Ok(receipt), Ok((index, found, cancel))) = (real, expected) {
            assert_eq!(Found::from(receipt.target()), found);
            self.seats[index].cancels.push((receipt, cancel));
        }
    }

    fn shut_down(&mut self, when: TerminateMode) {
        self.closed = true;
        let request = self.request(By::Nobody, InterruptReason::AdministratorCommand);
        self.log.push(format!("shut down {when:?}"));
        let real =
            Terminate::new(when, request.requester().clone()).comment(request.comment().unwrap());
        let mut receipts = self.manager.shutdown(real.clone());
        for index in self.world.open().collect::<Vec<_>>() {
            let id = self.world.sessions[index].id;
            let at = receipts.iter().position(|receipt| receipt.session() == id);
            let receipt = receipts.swap_remove(at.expect("every session is told"));
            let found = self.model(index).terminate(when, request.clone());
            self.pending(index, receipt, found);
        }
        assert!(receipts.is_empty());
    }

    /// All that can be seen without a safe point.
    fn compare(&self) {
        let mut open: Vec<SessionId> = Vec::new();
        for (session, slot) in self.world.sessions.iter().zip(&self.seats) {
            let how = session.ended.as_ref();
            for receipt in &slot.kills {
                assert_eq!(receipt.try_get().map(|ended| ended.reason).as_ref(), how);
            }
            for (receipt, cancel) in &slot.cancels {
                let over = receipt.try_get().map(|over| over.cancelled);
                assert_eq!(over, session.cancels[*cancel].over);
            }
            assert_eq!(slot.woken.get(), session.woken, "wakes of the holder");
            if matches!(session.wait, Some(Wait::Any | Wait::TerminateOnly)) {
                assert_eq!(
                    slot.assert_woken_by_the_end.get(),
                    session.assert_woken_by_the_end,
                    "wakes of the sleeper"
                );
            } else if session.wait.is_some() {
                assert_eq!(slot.assert_woken_by_the_end.get(), 0, "woken in a hold-off");
            }
            let row = self.manager.session_info(session.id);
            assert_eq!(row.is_none(), how.is_some());
            let Some(row) = row else { continue };
            open.push(session.id);
            assert_eq!(row.state, session.doing());
            assert_eq!(row.thread_id, session.own.or(session.place));
            assert_eq!(row.statement_id, session.statement());
            assert_eq!(row.pending_mode, session.pending.as_ref().map(|(when, _)| *when));
            assert_eq!(row.waiting, session.asleep());
            assert_eq!(row.transaction_started_at.is_some(), session.transaction);
            assert_eq!(row.client.user(), &*session.user);
        }
        assert_eq!(self.manager.len(), open.len());
        let mut seen: Vec<SessionId> = self.manager.sessions().map(|row| row.id).collect();
        seen.sort();
        open.sort();
        assert_eq!(seen, open);
        for row in self.manager.threads() {
            let runs = self.world.on(row.id).map(|index| self.world.sessions[index].id);
            assert_eq!(row.session_id, runs);
            assert_eq!(row.is_worker, row.id != self.background.id());
        }
    }

    /// Ends all open sessions, in any state.
    fn close(mut self) {
        for index in self.world.open().collect::<Vec<_>>() {
            if self.world.sessions[index].place.is_some() {
                self.act(index, Act::Panic);
            }
            self.act(index, Act::Close);
        }
        self.compare();
        assert!(self.manager.is_empty());
    }
}

fn run(model: ThreadModel, ops: Vec<Op>) {
    supervised(move || {
        scope(|scope| {
            let mut test = Test::new(model, scope);
            test.open("ann");
            test.open("bob");
            ops.into_iter().for_each(|op| test.apply(op));
            test.close();
        });
    });
}

fn config() -> Config {
    // A counterexample becomes a test with a name in `regressions.rs`.
    let default = Config::default();
    // A sequence that hangs takes long to fail, and cannot be shortened.
    let max_shrink_time = 30_000;
    Config { failure_persistence: None, cases: default.cases * 2, max_shrink_time, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_pool_follows_the_model(ops in vec(op(), 1..150)) {
        run(ThreadModel::Pool, ops);
    }

    #[test]
    fn own_threads_follow_the_model(ops in vec(op(), 1..150)) {
        run(ThreadModel::PerSession, ops);
    }
}
