//! The connection of one client: reads messages and sends answers.

mod copy;
mod cursor;
mod extended;
mod pooled;
mod portal;
mod sending;
mod settings;
mod simple;
mod startup;

use crate::backends::Backend;
use crate::keepalive::KeepAlive;
use crate::keys::CancelKey;
use crate::plan::Prepared;
use crate::run::{Answer, Failure, Runner};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::suspended::{EngineCells, Sqlite};
use crate::transaction::Transaction;
use crate::wire::{Fields, Incoming, Outgoing, WireError};
use pgwire::messages::PgWireFrontendMessage as Message;
use portal::Portal;
use safepoint::session::SuspendedStatement;
use safepoint::{Attached, Interrupt, Requester};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// What a session has just read. An array for each read would have to be zeroed each time.
    static READ: RefCell<[u8; READ_BYTES]> = const { RefCell::new([0; READ_BYTES]) };
}

/// The message to a client of a server that ends at once.
pub(crate) const AT_ONCE: &str = "terminating connection due to immediate shutdown command";

/// The message to a client that has not sent its startup message in time.
pub(crate) const LATE: &str = "canceling authentication due to timeout";

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: Stream,
    incoming: Incoming,
    /// Messages that were parsed in advance, and the error that ended the parsing.
    ahead: VecDeque<Result<Message, WireError>>,
    outgoing: Outgoing,
    /// The statement whose answer the client has not read yet.
    sending: Option<SuspendedStatement>,
    key: Option<CancelKey>,
    /// `None` until the client has sent its user name.
    user: Option<User>,
    /// What others see of this session, once its user is known.
    backend: Option<Arc<Backend>>,
    /// `None` while the session is on a thread, which has it in a [`Sqlite`], and before the first
    /// statement.
    runner: Option<Runner>,
    transaction: Transaction,
    prepared: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    skip_to_sync: bool,
    /// The options of the socket.
    keep_alive: KeepAlive,
    /// The version of the server's defaults that the settings follow.
    defaults: u64,
    /// Whether a statement has discarded the temporary tables.
    discards: bool,
    /// Whether the session needs a new engine, since temporary tables are their engine's.
    renews: bool,
    /// When the extended messages began for which one statement timeout counts: the first after Sync, or
    /// after an Execute that ran to its end.
    period: Option<Instant>,
    at_end: bool,
    told: bool,
    /// Whether the emergency lane runs what has arrived.
    in_lane: bool,
}

struct User {
    admin: bool,
}

/// Whether a connection continues.
enum Flow {
    Continue,
    /// The client must read before it can be served again.
    Full,
    /// The user has just become known, so the priority and the lane must be chosen again.
    Known,
    Close,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, socket: TcpStream) -> io::Result<Connection> {
        Ok(Connection {
            stream: Stream::new(socket, shared.has_pool(), shared.temp_dir.clone())?,
            shared,
            incoming: Incoming::new(),
            ahead: VecDeque::new(),
            outgoing: Outgoing::new(),
            sending: None,
            key: None,
            user: None,
            backend: None,
            runner: None,
            transaction: Transaction::new(Arc::default()),
            prepared: HashMap::new(),
            portals: HashMap::new(),
            skip_to_sync: false,
            keep_alive: KeepAlive::system(),
            defaults: 0,
            discards: false,
            renews: false,
            period: None,
            at_end: false,
            told: false,
            in_lane: false,
        })
    }

    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.stream.socket()
    }

    /// Serves the client until it leaves, on the session's own thread.
    pub(crate) fn serve(&mut self, session: &mut Attached<'_>) -> Result<(), Interrupt> {
        let result = loop {
            match self.work(session) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Known) => continue,
                Ok(Flow::Full) => {
                    self.lend_engine();
                    match self.send_all(session) {
                        Ok(true) => continue,
                        Ok(false) => break Ok(()),
                        Err(interrupt) => break Err(interrupt),
                    }
                }
                Ok(Flow::Close) => break Ok(()),
                Err(interrupt) => break Err(interrupt),
            }
            self.lend_engine();
            match self.read(session) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(interrupt) => break Err(interrupt),
            }
        };
        result.inspect_err(|interrupt| self.tell(interrupt, session))
    }

    /// Lets other sessions use the engine of an idle session that has left nothing in it.
    fn lend_engine(&mut self) {
        let lends = |runner: &mut Runner| runner.engine.is_reusable();
        if let Some(runner) = self.runner.take_if(lends) {
            self.shared.engines.put(runner.engine);
        }
    }

    /// Waits for more bytes, on a thread that the session keeps. Returns `false` if the client has left.
    fn read(&mut self, session: &Attached<'_>) -> Result<bool, Interrupt> {
        READ.with_borrow_mut(|buffer| match self.stream.read(session, buffer)? {
            Ok(0) | Err(_) => Ok(false),
            Ok(length) => {
                self.incoming.feed(&buffer[..length]);
                Ok(true)
            }
        })
    }

    /// Reads the bytes that have arrived, once. Returns whether there may be more, because the
    /// buffer is full.
    fn read_now(&mut self) -> io::Result<bool> {
        READ.with_borrow_mut(|buffer| {
            let length = self.stream.read_now(buffer)?;
            self.at_end = length == 0;
            self.incoming.feed(&buffer[..length]);
            Ok(length == buffer.len())
        })
    }

    /// Handles all messages that have arrived. While a portal is suspended, this also waits for more
    /// messages: the statement of the portal does not leave its thread.
    fn work(&mut self, session: &mut Attached<'_>) -> Result<Flow, Interrupt> {
        loop {
            let cells = EngineCells::new(&self.shared, self.runner.take());
            let flow = self.work_with(session, &mut Sqlite::new(&cells));
            self.runner = cells.into_runner();
            if !std::mem::take(&mut self.renews) {
                return flow;
            }
            self.runner = None;
            if !matches!(flow, Ok(Flow::Continue)) {
                return flow;
            }
        }
    }

    fn work_with(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
    ) -> Result<Flow, Interrupt> {
        loop {
            // The answer of a statement that is being sent is complete, so a cancel of it comes too late.
            if self.sending.is_none() {
                session.check()?;
            }
            let next = match self.ahead.pop_front() {
                Some(message) => message.map(Some),
                None => self.incoming.next(),
            };
            let ends = matches!(next, Ok(Some(Message::Query(_) | Message::Sync(_))));
            let flow = match next {
                Ok(None) => {
                    let flow = self.send()?;
                    if sqlite.is_empty() || !matches!(flow, Flow::Continue) {
                        return Ok(if self.stream.has_unsent() { Flow::Full } else { flow });
                    }
                    if !self.send_all(session)? || !self.read(session)? {
                        return Ok(Flow::Close);
                    }
                    continue;
                }
                Ok(Some(message)) => self.message(session, sqlite, message)?,
                Err(error) => {
                    self.outgoing.error(&error.fields());
                    if error.is_fatal() {
                        Flow::Close
                    } else {
                        self.after_error(session, sqlite, error.extended);
                        Flow::Continue
                    }
                }
            };
            if !matches!(flow, Flow::Continue) {
                self.send()?;
                return Ok(flow);
            }
            // The messages up to here have ended what they began.
            if ends && self.stream.has_unsent() {
                self.send()?;
                if sqlite.is_empty() {
                    return Ok(Flow::Full);
                }
                if !self.send_all(session)? {
                    return Ok(Flow::Close);
                }
            }
            if self.renews {
                return Ok(flow);
            }
        }
    }

    fn send(&mut self) -> Result<Flow, Interrupt> {
        let mut answer = Answer { stream: &self.stream, outgoing: &mut self.outgoing };
        match answer.send() {
            // Without space for the rest, this is the end of an answer that says so, and it is in memory.
            Ok(()) | Err(Failure::Error(_)) => Ok(Flow::Continue),
            Err(Failure::Interrupt(interrupt)) => Err(interrupt),
            Err(Failure::Gone) => Ok(Flow::Close),
        }
    }

    fn message(
        &mut self,
        session: &mut Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        message: Message,
    ) -> Result<Flow, Interrupt> {
        if self.user.is_none() {
            return Ok(self.start(session, message));
        }
        if !matches!(message, Message::Sync(_) | Message::Flush(_)) {
            self.end_sending(session)?;
        }
        self.follow_defaults(session);
        if self.skip_to_sync && !matches!(message, Message::Sync(_) | Message::Terminate(_)) {
            return Ok(Flow::Continue);
        }
        let result = match message {
            Message::Query(query) => self.simple_query(session, sqlite, &query.query),
            Message::Terminate(_) => return Ok(Flow::Close),
            Message::Sync(_) => {
                self.skip_to_sync = false;
                let late = self.in_time(session);
                self.period = None;
                let result = late.and_then(|()| self.end_unit(session, sqlite));
                if result.is_ok() {
                    self.ready(session, sqlite);
                }
                if let Flow::Close = self.settle(session, sqlite, result, false)? {
                    return Ok(Flow::Close);
                }
                return self.send();
            }
            Message::Flush(_) => return self.send(),
            // These follow a COPY that failed.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => Ok(()),
            extended if extended.is_extended_query() => {
                let result = self.extended(session, sqlite, extended);
                return self.settle(session, sqlite, result, true);
            }
            _ => {
                self.outgoing.error(&Fields::new("FATAL", "08P01", "unexpected message"));
                return Ok(Flow::Close);
            }
        };
        self.settle(session, sqlite, result, false)
    }

    /// Sends the error, if there is one, and returns whether the session continues.
    fn settle(
        &mut self,
        session: &Attached<'_>,
        sqlite: &mut Sqlite<'_>,
        result: Result<(), Failure>,
        extended: bool,
    ) -> Result<Flow, Interrupt> {
        let fields = match result {
            Ok(()) => return Ok(Flow::Continue),
            Err(Failure::Gone) => return Ok(Flow::Close),
            Err(Failure::Interrupt(interrupt)) if interrupt.is_terminate() => {
                return Err(interrupt);
            }
            Err(Failure::Interrupt(interrupt)) => fields_of(&interrupt, session.id()),
            Err(Failure::Error(fields)) => fields,
        };
        self.outgoing.error(&fields);
        self.after_error(session, sqlite, extended);
        Ok(Flow::Continue)
    }

    /// Ends what an error leaves. Every error after which the session continues comes here.
    fn after_error(&mut self, session: &Attached<'_>, sqlite: &mut Sqlite<'_>, extended: bool) {
        self.period = None;
        self.transaction.message_begins(1);
        self.transaction.fail(sqlite.existing().map(|runner| &*runner.engine), session);
        self.fail_portals(sqlite);
        self.show_transaction(session, sqlite);
        if extended {
            self.skip_to_sync = true;
        } else {
            self.ready(session, sqlite);
        }
    }

    fn ready(&mut self, session: &Attached<'_>, sqlite: &mut Sqlite<'_>) {
        self.renews |= std::mem::take(&mut self.discards);
        self.report(session);
        // A Sync alone is no command.
        session.discard_reserved();
        if !self.transaction.is_block() {
            self.end_portals(sqlite);
        }
        self.outgoing.ready(self.transaction.status());
    }

    /// Commits what the messages up to here have done, unless they are in a block.
    fn end_unit(&mut self, session: &Attached<'_>, sqlite: &mut Sqlite<'_>) -> Result<(), Failure> {
        self.transaction.message_begins(1);
        if !self.transaction.is_block() {
            self.hold(session, sqlite)?;
            self.end_portals(sqlite);
        }
        let ended = self.transaction.unit_ends(sqlite.existing(), session);
        self.show_transaction(session, sqlite);
        ended
    }

    fn show_transaction(&self, session: &Attached<'_>, sqlite: &Sqlite<'_>) {
        let engine = sqlite.existing().is_some_and(|runner| runner.engine.in_transaction());
        session.set_in_transaction(self.transaction.is_block() || engine);
        if let Some(backend) = &self.backend {
            backend.set_failed(self.transaction.has_failed());
            backend
                .settle_lock(|| sqlite.existing().is_some_and(|runner| runner.engine.holds_lock()));
        }
    }

    /// Sends the FATAL message, on the thread that ran the session.
    fn tell(&mut self, interrupt: &Interrupt, session: &Attached<'_>) {
        self.say_last(&fields_of(interrupt, session.id()));
        self.stream.send_last(&self.outgoing.buf);
        self.told = true;
    }

    /// Writes the last message of the session. As in PostgreSQL, a server that ends at once only warns.
    fn say_last(&mut self, fields: &Fields) {
        match fields.severity {
            "WARNING" => self.outgoing.notice(fields),
            _ => self.outgoing.error(fields),
        }
    }
}

pub(crate) fn fields_of(interrupt: &Interrupt, own: safepoint::SessionId) -> Fields {
    let request = interrupt.request();
    if *request.requester() == Requester::system() && request.comment() == Some(LATE) {
        return Fields::new("FATAL", "57014", LATE);
    }
    if *request.requester() == Requester::system() && request.comment() == Some(AT_ONCE) {
        return Fields::new("WARNING", "57P01", AT_ONCE);
    }
    let mut fields = Fields::new(interrupt.severity(), interrupt.sqlstate(), interrupt.message());
    fields.detail = interrupt.detail(own);
    fields
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.shared.keys.forget(key);
        }
    }
}
