//! A few threads, many clients: each thread runs statements for its share of them.

use crate::client::{Client, End, Progress};
use crate::measure::{Errors, Latencies};
use crate::wire::Failure;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

const EVENTS: usize = 1024;

/// When a client sends no other statement.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Answered,
    At(Instant),
}

#[derive(Clone)]
pub(crate) struct Driven {
    pub(crate) latencies: Latencies,
    pub(crate) errors: Errors,
}

impl Driven {
    fn new() -> Driven {
        Driven { latencies: Latencies::new(), errors: Errors::default() }
    }
}

/// Each client sends the statement, and again as soon as it is answered.
pub(crate) fn closed_loop(
    clients: &mut [Client],
    threads: usize,
    statement: &str,
    until: Until,
    timeout: Duration,
) -> Driven {
    let share = clients.len().div_ceil(threads).max(1);
    let mut sum = Driven::new();
    thread::scope(|scope| {
        let drive = |share| scope.spawn(move || drive(share, statement, until, timeout));
        let threads: Vec<_> = clients.chunks_mut(share).map(drive).collect();
        for thread in threads {
            let driven = thread.join().expect("a driver does not panic");
            sum.latencies.merge(&driven.latencies);
            sum.errors.merge(driven.errors);
        }
    });
    sum
}

fn drive(clients: &mut [Client], statement: &str, until: Until, timeout: Duration) -> Driven {
    let mut driven = Driven::new();
    if let Err(failure) = try_drive(clients, statement, until, timeout, &mut driven) {
        driven.errors.add("driver", failure);
    }
    driven
}

fn try_drive(
    clients: &mut [Client],
    statement: &str,
    until: Until,
    timeout: Duration,
    driven: &mut Driven,
) -> Result<(), Failure> {
    let mut poll = watch(clients)?;
    // When each sent the statement whose answer it waits for.
    let mut sent = vec![None; clients.len()];
    let mut running = 0;
    for (client, sent) in clients.iter_mut().zip(&mut sent) {
        let now = Instant::now();
        match client.send(statement) {
            Ok(()) => {
                *sent = Some(now);
                running += 1;
            }
            Err(failure) => driven.errors.add("statement", failure),
        }
    }
    let mut events = Events::with_capacity(EVENTS);
    while running > 0 {
        wait(&mut poll, &mut events, Some(timeout))?;
        if events.is_empty() {
            driven.errors.add("statement", format!("{running} clients had no answer in time"));
            break;
        }
        for event in &events {
            let Token(at) = event.token();
            let (client, Some(since)) = (&mut clients[at], sent[at]) else { continue };
            let failure = match client.read_answer() {
                Ok(Progress::Nothing) => continue,
                Ok(Progress::Answered) => {
                    let now = Instant::now();
                    driven.latencies.record(now - since);
                    if !matches!(until, Until::At(end) if now < end) {
                        sent[at] = None;
                        running -= 1;
                        continue;
                    }
                    sent[at] = Some(now);
                    match client.send(statement) {
                        Ok(()) => continue,
                        Err(failure) => failure,
                    }
                }
                Ok(Progress::SessionEnd(end)) => Failure::SessionEnd(end.told),
                Err(failure) => failure,
            };
            driven.errors.add("statement", failure);
            sent[at] = None;
            running -= 1;
        }
    }
    unwatch(&poll, clients)
}

/// Sees clients end. They are watched from the start, so that nothing is missed that is killed
/// before `all` is called.
pub(crate) struct Ends<'a> {
    clients: &'a mut [Client],
    poll: Poll,
}

impl<'a> Ends<'a> {
    pub(crate) fn watch(clients: &'a mut [Client]) -> Result<Ends<'a>, Failure> {
        let poll = watch(clients)?;
        Ok(Ends { clients, poll })
    }

    /// Calls `each` for each end, until all have ended, or none does for so long.
    pub(crate) fn all(
        &mut self,
        timeout: Duration,
        mut each: impl FnMut(End),
    ) -> Result<(), Failure> {
        let mut left = self.clients.len();
        let mut events = Events::with_capacity(EVENTS);
        while left > 0 {
            wait(&mut self.poll, &mut events, Some(timeout))?;
            if events.is_empty() {
                return Err(Failure::TimedOut);
            }
            for event in &events {
                let Token(at) = event.token();
                if let Progress::SessionEnd(end) = self.clients[at].read_to_end()? {
                    SourceFd(&self.clients[at].raw_fd()).deregister(self.poll.registry())?;
                    left -= 1;
                    each(end);
                }
            }
        }
        Ok(())
    }
}

fn watch(clients: &[Client]) -> Result<Poll, Failure> {
    let poll = Poll::new()?;
    for (at, client) in clients.iter().enumerate() {
        client.set_nonblocking(true)?;
        SourceFd(&client.raw_fd()).register(poll.registry(), Token(at), Interest::READABLE)?;
    }
    Ok(poll)
}

fn unwatch(poll: &Poll, clients: &[Client]) -> Result<(), Failure> {
    for client in clients {
        SourceFd(&client.raw_fd()).deregister(poll.registry())?;
        client.set_nonblocking(false)?;
    }
    Ok(())
}

fn wait(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> Result<(), Failure> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        done => Ok(done?),
    }
}
