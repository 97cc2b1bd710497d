//! A pool that the server already has: plain threads that take jobs from a channel. A session is
//! attached for as long as one of them runs a job of its, and whoever kills an idle one ends it.
//! `cargo run --example your_own_pool`

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

/// A client, who sends one job at a time.
struct Seat {
    /// It lies here while no thread runs it. Whoever closes it takes it out, as it refers to the
    /// seat by its waker.
    session: Mutex<Option<Session>>,
    /// In place of a socket.
    client: Sender<String>,
}

impl Wake for Seat {
    /// On the killer's thread, where no thread runs the session.
    fn wake(self: Arc<Self>) {
        self.end_if_due();
    }
}

impl Seat {
    fn put(&self, session: Session, answer: Option<String>) {
        let mut seat = self.session.lock().expect("nobody panics");
        *seat = Some(session);
        // In the lock, so that neither the next job nor the last words come before it.
        answer.into_iter().for_each(|answer| drop(self.client.send(answer)));
        drop(seat);
        // Whoever killed it on its way here has found no session to end.
        self.end_if_due();
    }

    fn end_if_due(&self) {
        let mut seat = self.session.lock().expect("nobody panics");
        let Some(Err(interrupt)) = seat.as_ref().map(Session::check) else { return };
        let session = seat.take();
        drop(seat);
        let _ = self.client.send(format!("FATAL: {interrupt}"));
        drop(session); // The last: who killed it then knows that its client has been told.
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
    let (submit, jobs) = unbounded::<(Arc<Seat>, Job)>();
    let workers: Vec<_> = (1..=2)
        .map(|number| {
            // Once for each thread; the session ids that it runs are seen beside its own.
            let thread = manager.register_worker(&format!("worker {number}"))?;
            let jobs = jobs.clone();
            Ok(std::thread::spawn(move || {
                for (seat, job) in jobs {
                    // Unless its killer was faster.
                    let taken = seat.session.lock().expect("nobody panics").take();
                    let Some(mut session) = taken else { continue };
                    let mut attached = session.attach(&thread).expect("it runs no other");
                    let answer = match job(&mut attached) {
                        Ok(answer) => Some(answer.to_string()),
                        // It is told as it ends in its seat.
                        Err(interrupt) if interrupt.is_terminate() => None,
                        Err(cancel) => Some(format!("ERROR: {cancel}")),
                    };
                    drop(attached);
                    seat.put(session, answer);
                }
            }))
        })
        .collect::<Result<_, safepoint::manager::OpenError>>()?;

    for (user, job) in [("ann", sum as Job), ("bob", endless)] {
        let session = manager.open(ClientInfo::new(user))?;
        let (id, (client, told)) = (session.id(), unbounded());
        let seat = Arc::new(Seat { session: Mutex::default(), client });
        session.set_detached_waker(Some(Waker::from(seat.clone())));
        seat.put(session, None);
        submit.send((seat, job))?;
        if user == "ann" {
            println!("ann's job: {}", told.recv_timeout(Duration::from_secs(60))?);
        }
        // Idle, queued or running: it makes no difference. This is for the story.
        while user == "bob"
            && manager.session_info(id).is_some_and(|row| row.state != SessionState::Running)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let kill = Terminate::new(TerminateMode::Immediate, Requester::system()).comment("enough");
        let mut receipt = manager.terminate(id, kill)?;
        assert!(receipt.wait_timeout(Duration::from_secs(60)).is_some());
        println!("{user}'s session was {}: {}", receipt.target().state, told.try_recv()?);
    }

    drop(submit);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    Ok(())
}
