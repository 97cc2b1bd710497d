//! Ends the statements of an engine that has no sessions. The engine has one ambient safe point in
//! its innermost loop, and waits by `safepoint::current::sleep`. `cargo run --example existing_engine`

use safepoint::{Cancel, ClientInfo, Interrupt, Requester, SessionManager, ThreadModel};
use std::time::Duration;

/// The engine. None of its functions takes a session.
mod engine {
    use safepoint::Interrupt;

    pub(crate) struct Table(pub(crate) Vec<u64>);

    impl Table {
        /// Returns the number of pairs of rows with this sum.
        pub(crate) fn pairs(&self, sum: u64) -> Result<u64, Interrupt> {
            let mut count = 0;
            for a in &self.0 {
                for b in &self.0 {
                    count += u64::from(a + b == sum);
                }
                // Once for each row of the outer loop, which takes some microseconds.
                safepoint::check()?;
            }
            Ok(count)
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = engine::Table((0..3000).collect());
    println!("without a session: {:?} pairs", table.pairs(10)?);

    let manager = SessionManager::new(ThreadModel::PerSession);
    let mut session = manager.open(ClientInfo::new("ann"))?;
    let id = session.id();
    let runner = std::thread::spawn(move || -> Result<u64, Interrupt> {
        let thread = session.own_thread().expect("one thread per session");
        let mut attached = session.attach(&thread).expect("its own thread");
        let _statement = attached.begin()?.with_text("select count(*) from a, b");
        let mut all = 0;
        for sum in 0.. {
            all += table.pairs(sum)?;
        }
        Ok(all)
    });
    // Repeated until the statement runs: a cancel that comes too early is rejected, not lost.
    let cancel = || manager.cancel(id, Cancel::running(Requester::system()).comment("too slow"));
    let mut receipt = loop {
        match cancel() {
            Ok(receipt) => break receipt,
            Err(refused) => println!("not yet: {refused}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(receipt.wait_timeout(Duration::from_secs(60)).is_some_and(|over| over.cancelled));
    println!("with one: {}", runner.join().expect("no panic").expect_err("it was cancelled"));
    Ok(())
}
