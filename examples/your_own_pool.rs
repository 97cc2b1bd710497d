//! A pool that the server already has: plain threads that take jobs from a channel. A session is
//! attached only while a thread runs one of its jobs. An idle session is ended on the requester's
//! thread. `cargo run --example your_own_pool`

use crossbeam_channel::{Sender, unbounded};
use safepoint::view::SessionState;
use safepoint::{
    Attached, ClientInfo, Interrupt, Requester, Session, SessionManager, Terminate, TerminateMode,
    ThreadModel,
};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

type Job = fn(&mut Attached<'_>) -> Result<u64, Interrupt>;

/// A client, which sends one job at a time.
struct ClientSlot {
    /// The session, while no thread runs it. Its waker refers to this slot, so the thread that ends
    /// the session takes it out.
    session: Mutex<Option<Session>>,
    /// The sending side to the client, instead of a socket.
    client: Sender<String>,
}

impl Wake for ClientSlot {
    /// Runs on the requester's thread if no thread runs the session.
    fn wake(self: Arc<Self>) {
        self.end_if_due();
    }
}

impl ClientSlot {
    fn put(&self, session: Session, answer: Option<String>) {
        let mut slot = self.session.lock().expect("no panic");
        *slot = Some(session);
        // Sent under the lock, so that neither the answer of the next job nor the FATAL message
        // comes first.
        answer.into_iter().for_each(|answer| drop(self.client.send(answer)));
        drop(slot);
        // A requester that came before the session was back in its slot found no session to end.
        self.end_if_due();
    }

    fn end_if_due(&self) {
        let mut slot = self.session.lock().expect("no panic");
        let Some(Err(interrupt)) = slot.as_ref().map(Session::check) else { return };
        let session = slot.take();
        drop(slot);
        let _ = self.client.send(format!("FATAL: {interrupt}"));
        drop(session); // Last, so a completed receipt implies that the client was notified.
    }
}

fn sum(session: &mut Attached<'_>) -> Result<u64, Interrupt> {
    let statement = session.begin()?.with_text("sum");
    let mut sum = 0;
    for number in 0..1000 {
        statement.check()?;
        sum += number;
    }
    Ok(sum)
}

fn endless(session: &mut Attached<'_>) -> Result<u64, Interrupt> {
    let statement = session.begin()?.with_text("endless");
    loop {
        statement.check()?;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = SessionManager::new(ThreadModel::Pool);
    let (submit, jobs) = unbounded::<(Arc<ClientSlot>, Job)>();
    let workers: Vec<_> = (1..=2)
        .map(|number| {
            // Once for each thread. Activity views list the thread with the session that it runs.
            let thread = manager.register_worker(&format!("worker {number}"))?;
            let jobs = jobs.clone();
            Ok(std::thread::spawn(move || {
                for (slot, job) in jobs {
                    // Continues if a requester was faster.
                    let taken = slot.session.lock().expect("no panic").take();
                    let Some(mut session) = taken else { continue };
                    let mut attached = session.attach(&thread).expect("it runs no other");
                    let answer = match job(&mut attached) {
                        Ok(answer) => Some(answer.to_string()),
                        // The client is notified when the session ends in its slot.
                        Err(interrupt) if interrupt.is_terminate() => None,
                        Err(cancel) => Some(format!("ERROR: {cancel}")),
                    };
                    drop(attached);
                    slot.put(session, answer);
                }
            }))
        })
        .collect::<Result<_, safepoint::manager::OpenError>>()?;

    for (user, job) in [("ann", sum as Job), ("bob", endless)] {
        let session = manager.open(ClientInfo::new(user))?;
        let (id, (client, messages)) = (session.id(), unbounded());
        let slot = Arc::new(ClientSlot { session: Mutex::default(), client });
        session.set_detached_waker(Some(Waker::from(slot.clone())));
        slot.put(session, None);
        submit.send((slot, job))?;
        if user == "ann" {
            println!("ann's job: {}", messages.recv_timeout(Duration::from_secs(60))?);
        }
        // A request for an idle, queued or running session has the same effect. The example shows a
        // running one.
        while user == "bob"
            && manager.session_info(id).is_some_and(|row| row.state != SessionState::Running)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let kill = Terminate::new(TerminateMode::Immediate, Requester::system()).comment("enough");
        let mut receipt = manager.terminate(id, kill)?;
        assert!(receipt.wait_timeout(Duration::from_secs(60)).is_some());
        println!("{user}'s session was {}: {}", receipt.target().state, messages.try_recv()?);
    }

    drop(submit);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    Ok(())
}
