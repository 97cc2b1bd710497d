//! Tasks on a real runtime, and threads that terminate and cancel them.

use crate::common::{TEST_TIMEOUT, admin, kill, of, outcome, rounds, supervised, until};
use safepoint::request::EndReason;
use safepoint::task::RunError;
use safepoint::{Cancel, SessionId, SessionManager, TerminateMode, ThreadModel};
use std::time::{Duration, Instant};

#[test]
fn no_kill_and_no_cancel_is_lost() {
    supervised(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(3)
            .enable_time()
            .build()
            .unwrap();
        let manager = SessionManager::new(ThreadModel::Pool);
        let mut tasks = Vec::new();
        let mut ids = Vec::new();
        for number in rounds(200).map(|number| number as u64) {
            let mut session = manager.open(of("ann")).unwrap();
            ids.push(session.id());
            tasks.push(runtime.spawn(async move {
                let (mut ran, mut cancelled) = (0_u64, 0_u64);
                loop {
                    let command = async {
                        for turn in 0..3 {
                            if (number + turn).is_multiple_of(3) {
                                tokio::task::yield_now().await;
                            } else {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                            }
                            safepoint::check()?;
                        }
                        Ok::<_, safepoint::Interrupt>(())
                    };
                    match session.run(command).await {
                        Ok(Ok(())) => ran += 1,
                        Ok(Err(interrupt)) | Err(RunError::Interrupted(interrupt)) => {
                            if interrupt.is_terminate() {
                                break;
                            }
                            cancelled += 1;
                        }
                        Err(other) => panic!("{other}"),
                    }
                    tokio::select! {
                        _ = session.interrupted() => break,
                        () = tokio::time::sleep(Duration::from_micros(300)) => {}
                    }
                }
                session.close();
                (ran, cancelled)
            }));
        }
        // Until each has been cancelled some ten times.
        let mut cancels = Vec::new();
        let deadline = Instant::now() + TEST_TIMEOUT;
        for round in 0.. {
            if cancels.len() >= 10 * ids.len() {
                break;
            }
            assert!(Instant::now() < deadline, "only {} cancels", cancels.len());
            let cancel = |id: &SessionId| manager.cancel(*id, Cancel::running(admin("root"))).ok();
            cancels.extend(ids.iter().skip(round % 7).step_by(7).filter_map(cancel));
            std::thread::sleep(Duration::from_micros(500));
        }
        let whens = [
            TerminateMode::Immediate,
            TerminateMode::AfterStatement,
            TerminateMode::AfterTransaction,
        ];
        let mut receipts: Vec<_> = ids
            .iter()
            .zip(whens.iter().cycle())
            .map(|(id, when)| manager.terminate(*id, kill(*when)).unwrap())
            .collect();
        for receipt in &mut receipts {
            let ended = outcome(receipt);
            assert!(matches!(ended.reason, EndReason::Terminated(_)), "no kill is lost");
        }
        let (mut ran, mut cancelled) = (0, 0);
        for task in tasks {
            let (more, fewer) = until("its task ends", || runtime.block_on(task)).unwrap();
            ran += more;
            cancelled += fewer;
        }
        let interrupt =
            cancels.iter().filter(|receipt| receipt.try_get().unwrap().cancelled).count() as u64;
        assert!(interrupt >= cancelled, "{interrupt} {cancelled}");
        println!("{ran} ran, {cancelled} cancelled, {} cancels", cancels.len());
        until("the runtime has stopped", || drop(runtime));
        assert_eq!(manager.threads().iter().filter(|row| row.is_worker).count(), 0);
    });
}
