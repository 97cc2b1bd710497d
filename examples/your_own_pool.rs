//! A pool that the server already has: plain threads that take jobs from a channel. A session is
//! attached for as long as one of them runs a job of its. `cargo run --example your_own_pool`

use crossbeam_channel::unbounded;
use safepoint::{
    Attached, Author, Description, Interrupt, Session, SessionManager, Terminate, ThreadModel, When,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Job = fn(&mut Attached<'_>) -> Result<u64, Interrupt>;

/// A client's session lies here while no thread runs it.
type Seat = Arc<Mutex<Session>>;

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
    let (submit, jobs) = unbounded::<(Seat, Job)>();
    let (answer, answers) = unbounded();
    let workers: Vec<_> = (1..=2)
        .map(|number| {
            // Once for each thread; the session ids that it runs are seen beside its own.
            let thread = manager.register_worker(&format!("worker {number}"))?;
            let (jobs, answer) = (jobs.clone(), answer.clone());
            Ok(std::thread::spawn(move || {
                for (seat, job) in jobs {
                    let mut session = seat.lock().expect("nobody panics");
                    let result = match session.attach(&thread) {
                        Ok(mut attached) => {
                            let result = job(&mut attached);
                            // What falls due between two jobs is reported here.
                            attached.detach().and(result)
                        }
                        Err(error) => panic!("{error}: a thread runs one session at a time"),
                    };
                    let _ = answer.send((session.id(), result));
                }
            }))
        })
        .collect::<Result<_, safepoint::OpenError>>()?;

    let open = |user: &str| manager.open(Description { user: user.into(), ..Default::default() });
    let (ann, bob) = (Arc::new(Mutex::new(open("ann")?)), Arc::new(Mutex::new(open("bob")?)));
    let victim = bob.lock().expect("nobody panics").id();
    submit.send((ann, sum))?;
    submit.send((bob, endless))?;

    let (_, first) = answers.recv()?;
    println!("ann's job: {}", first.expect("nobody ends it"));
    let kill = Terminate::new(When::Immediate, Author::system()).text("it never ends");
    let receipt = manager.terminate(victim, kill)?;
    println!("bob's session was {}", receipt.found().doing);
    let (session, second) = answers.recv_timeout(Duration::from_secs(60))?;
    println!("bob's job, session {session}: {}", second.expect_err("it never ends"));

    drop(submit);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    Ok(())
}
