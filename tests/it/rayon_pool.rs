//! A pool whose threads run the jobs of others while they wait: rayon.

use crate::common::{Fixture, each_model, supervised, until, wait_until};
use rayon::ThreadPoolBuilder;
use safepoint::session::StatementHandle;
use safepoint::{Cancel, Interrupt, Requester, Statement, current};
use std::sync::Barrier;
use std::sync::mpsc::channel;

/// The first worker of the pool helps with a statement, waits in `join`, and runs the job of another
/// client on top. Returns what that job's safe point reports after `ask`.
fn bystander(
    handle: &StatementHandle,
    join: fn(&(dyn Fn() + Sync)),
    ask: impl FnOnce(),
) -> Result<(), Interrupt> {
    let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let (stolen, goes) = (Barrier::new(3), Barrier::new(2));
    let (reports, reported) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pool.install(|| {
                let helper = handle.enter().unwrap();
                join(&|| {
                    let second_half = || {
                        stolen.wait();
                        goes.wait();
                    };
                    rayon::join(|| stolen.wait(), second_half);
                });
                drop(helper);
            });
        });
        // The other worker has the second half. The first one has no more to do than to wait for it.
        until("the second half is stolen", || stolen.wait());
        ask();
        pool.spawn(move || reports.send(safepoint::check()).unwrap());
        let report = until("the job of another client runs", || reported.recv()).unwrap();
        until("the second half ends", || goes.wait());
        report
    })
}

fn in_statement(scene: impl Fn(&Statement<'_>, &dyn Fn()) + Send + Sync + 'static) {
    supervised(move || {
        each_model(|Fixture { manager, mut session, thread, id }| {
            let mut attached = session.attach(&thread).unwrap();
            scene(&attached.begin().unwrap(), &|| {
                manager.cancel(id, Cancel::running(Requester::system())).unwrap();
            });
        });
    });
}

#[test]
fn without_session_protects_bystanders() {
    in_statement(|statement, cancel| {
        let handle = statement.handle("join");
        bystander(&handle, |halves| current::without_session(halves), cancel).unwrap();
    });
}

/// Shows that the test above can fail.
#[test]
fn a_bystander_is_hit_without_it() {
    in_statement(|statement, cancel| {
        let handle = statement.handle("join");
        bystander(&handle, |halves| halves(), cancel).unwrap_err();
    });
}

/// Jobs that are wrapped work for their own statement on any thread.
#[test]
fn wrapped_jobs_are_stolen_with_their_statement() {
    in_statement(|statement, cancel| {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let handle = statement.handle("join");
        let job = || {
            handle.wrap_fn(|| {
                assert_eq!(current::session_id(), Some(handle.session_id()));
                loop {
                    if let Err(interrupt) = safepoint::check() {
                        return interrupt;
                    }
                }
            })
        };
        let (one, other) = (job(), job());
        std::thread::scope(|scope| {
            let jobs = scope.spawn(|| pool.join(one, other));
            wait_until("both are there", || handle.helper_count() == 2);
            cancel();
            let (one, other) = until("they end", || jobs.join()).unwrap();
            for told in [one, other] {
                // It was told within the job, or before the job began.
                let told = told.unwrap_or_else(|interrupt| interrupt);
                assert_eq!(told.sqlstate(), "57014");
            }
        });
        assert_eq!(handle.helper_count(), 0);
    });
}
