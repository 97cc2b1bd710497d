//! An operating system's thread that runs sessions, one order at a time.

use safepoint::id::StatementId;
use safepoint::session::{AttachError, WaitMode};
use safepoint::{Attached, Interrupt, Session, Statement, Thread};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender};
use std::task::Waker;

#[derive(Debug)]
pub(crate) enum Order {
    Attach(Session),
    Check,
    Transaction(bool),
    Hold,
    Release,
    ForgetHold,
    Wait(bool, Waker),
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

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Said(Result<(), Interrupt>),
    Began(Result<StatementId, Interrupt>),
    Busy(Session, AttachError),
    Back(Session, Result<(), Interrupt>),
}

pub(crate) struct Port {
    /// In a pool: the registered thread.
    pub(crate) worker: Option<Thread>,
    pub(crate) orders: Receiver<Order>,
    pub(crate) replies: Sender<Reply>,
}

impl Port {
    fn next(&self) -> Order {
        // No more orders arrive.
        self.orders.recv().unwrap_or(Order::Panic)
    }

    fn reply(&self, reply: Reply) {
        // If the receiver is gone, the test has failed already.
        let _ = self.replies.send(reply);
    }

    pub(crate) fn run(&self) {
        while let Ok(order) = self.orders.recv() {
            let Order::Attach(mut session) = order else {
                panic!("{order:?} while detached");
            };
            let said = catch_unwind(AssertUnwindSafe(|| self.attached(&mut session)));
            self.reply(Reply::Back(session, said.unwrap_or(Ok(()))));
        }
    }

    fn attached(&self, session: &mut Session) -> Result<(), Interrupt> {
        let own = session.own_thread();
        let thread = own.as_ref().or(self.worker.as_ref()).expect("one of the two");
        let mut attached = session.attach(thread).expect("the thread is free");
        self.reply(Reply::Done);
        loop {
            match self.next() {
                Order::Begin => match attached.begin() {
                    Ok(statement) => {
                        self.reply(Reply::Began(Ok(statement.statement_id())));
                        self.running(statement);
                    }
                    Err(interrupt) => self.reply(Reply::Began(Err(interrupt))),
                },
                Order::Detach => return attached.detach(),
                Order::DetachQueued => return attached.detach_to_queue(),
                Order::DropAttached => return Ok(()),
                order => self.either(&attached, order),
            }
        }
    }

    fn running(&self, statement: Statement<'_>) {
        loop {
            match self.next() {
                Order::Finish => return self.reply(Reply::Said(statement.finish())),
                Order::DropStatement => {
                    drop(statement);
                    return self.reply(Reply::Done);
                }
                Order::ForgetStatement => {
                    std::mem::forget(statement);
                    return self.reply(Reply::Done);
                }
                order => self.either(&statement, order),
            }
        }
    }

    /// In a statement or not.
    fn either(&self, attached: &Attached<'_>, order: Order) {
        match order {
            Order::Check => {
                let said = attached.check();
                assert_eq!(safepoint::check(), said);
                self.reply(Reply::Said(said));
            }
            Order::Transaction(open) => {
                attached.set_in_transaction(open);
                self.reply(Reply::Done);
            }
            Order::Hold => self.holding(attached),
            Order::Wait(deaf, waker) => {
                let by = if deaf { WaitMode::Killable } else { WaitMode::Interruptible };
                let said = attached.wait(by, &waker, || {
                    self.reply(Reply::Done);
                    match self.next() {
                        Order::Wake => {}
                        Order::Panic => resume_unwind(Box::new(())),
                        order => panic!("{order:?} in a sleep"),
                    }
                });
                self.reply(Reply::Said(said));
            }
            Order::Attach(mut other) => {
                let own = other.own_thread();
                let thread = own.as_ref().or(self.worker.as_ref()).expect("one of the two");
                let busy = other.attach(thread).expect_err("the thread runs a session");
                self.reply(Reply::Busy(other, busy));
            }
            Order::Panic => resume_unwind(Box::new(())),
            order => panic!("{order:?} is out of place"),
        }
    }

    fn holding(&self, attached: &Attached<'_>) {
        let hold = attached.hold_off("a test");
        self.reply(Reply::Done);
        loop {
            match self.next() {
                Order::Release => {
                    drop(hold);
                    return self.reply(Reply::Done);
                }
                Order::ForgetHold => {
                    std::mem::forget(hold);
                    return self.reply(Reply::Done);
                }
                order => self.either(attached, order),
            }
        }
    }
}
