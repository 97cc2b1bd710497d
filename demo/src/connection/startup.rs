//! The startup: the messages before the first statement.

use super::{Connection, Flow, User};
use crate::keys::{LONG_KEY, SHORT_KEY};
use crate::refusal::Refusal;
use crate::run::limit;
use crate::settings::{NAME_BYTES, REPORTED, SETTINGS, Settings, options};
use crate::transaction::Transaction;
use crate::types::SqlError;
use crate::wire::{Fields, Negotiation};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::startup::Startup;
use safepoint::Attached;
use std::net::Ipv4Addr;

/// The protocol's first minor version with long keys.
const LONG_KEYS_SINCE: u16 = 2;

impl Connection {
    pub(super) fn start(&mut self, session: &Attached<'_>, message: Message) -> Flow {
        match message {
            Message::SslNegotiation(_) => {
                self.outgoing.refuse_encryption();
                Flow::Continue
            }
            Message::CancelRequest(request) => {
                // A client whose address is unknown counts under one common address.
                let from = self.socket().and_then(|socket| socket.peer_addr());
                let from = from.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
                self.shared.cancel(&request, from);
                Flow::Close
            }
            Message::Startup(startup) => match self.greet(session, &startup) {
                Ok(()) => Flow::Known,
                Err(fields) => {
                    self.outgoing.error(&fields);
                    Flow::Close
                }
            },
            _ => Flow::Close,
        }
    }

    fn greet(&mut self, session: &Attached<'_>, startup: &Startup) -> Result<(), Fields> {
        let parameter = |name: &str| startup.parameters.get(name).map(String::as_str);
        let name = parameter("user").filter(|name| !name.is_empty()).ok_or_else(|| {
            let message = "no PostgreSQL user name specified in startup packet";
            Fields::new("FATAL", "28000", message)
        })?;
        let database = parameter("database").filter(|name| !name.is_empty()).unwrap_or(name);
        // PostgreSQL cuts long names, which would make one user of two.
        if let Some(long) = [name, database].into_iter().find(|name| name.len() > NAME_BYTES) {
            let message = format!(
                "identifier too long: {} bytes, where at most {NAME_BYTES} are allowed",
                long.len()
            );
            return Err(Fields::new("FATAL", "42622", message));
        }
        if !self.shared.has_database(name, database) {
            let message = format!("database \"{database}\" does not exist");
            return Err(Fields::new("FATAL", "3D000", message));
        }
        let admin = self.shared.is_admin(name);
        let mut settings =
            Settings::new(self.shared.has_pool(), self.shared.max_connections, name, admin);
        // The version comes first: if the values change in between, the next message sees it.
        self.defaults = self.shared.defaults.version();
        let values = self.shared.defaults.values();
        if !values.is_empty() {
            settings.follow(&values);
        }
        let fatal = |error: SqlError| Fields::new("FATAL", error.sqlstate, error.message);
        let given = options(parameter("options").unwrap_or_default()).map_err(fatal)?;
        let sent = startup.parameters.iter().filter(|(name, _)| {
            let known = matches!(name.as_str(), "user" | "database" | "options" | "replication");
            !known && !name.starts_with("_pq_.")
        });
        let sent = sent.map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in given.into_iter().chain(sent) {
            settings.set(&name, Some(&value), false).map_err(fatal)?;
        }
        settings.starts();
        let mut minor = startup.protocol_number_minor;
        if let Some(negotiation) = Negotiation::of(startup) {
            minor = (negotiation.version & 0xffff) as u16;
            self.outgoing.negotiate_protocol(&negotiation);
        }
        // Before others see the session.
        let port = self.socket().and_then(|socket| socket.peer_addr());
        let port = port.ok().map(|address| address.port());
        let backend = self.shared.backends.register(session.id(), port);
        session.update_client_info(|client| {
            client
                .with_user(name)
                .with_admin(admin)
                .with_database(database)
                .with_application(settings.get("application_name").unwrap_or_default())
        });
        session.admit().map_err(|error| Refusal::from(error).fields())?;

        let length = if minor >= LONG_KEYS_SINCE { LONG_KEY } else { SHORT_KEY };
        let key = self
            .shared
            .keys
            .give(backend.pid, session.id(), length)
            .map_err(|_| Fields::new("FATAL", "XX000", "the system gives no random numbers"))?;

        self.outgoing.auth_ok();
        for name in REPORTED {
            self.outgoing.parameter_status(name, settings.get(name).unwrap_or_default());
        }
        let sent = self.outgoing.backend_key_data(key.pid, &key.key);
        self.key = Some(key);
        sent.map_err(|error| error.fields())?;

        self.transaction = Transaction::new(settings.unit());
        SETTINGS.with_borrow_mut(|own| *own = settings);
        self.keep_alive();
        limit(session, &self.stream)?;
        self.user = Some(User { admin });
        self.backend = Some(backend);
        // The command in the queue was only the startup message.
        session.discard_reserved();
        self.outgoing.ready(b'I');
        Ok(())
    }
}
