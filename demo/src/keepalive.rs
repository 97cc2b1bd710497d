//! How long a connection outlives a client that has vanished: TCP's keep-alive, by PostgreSQL's
//! settings `tcp_keepalives_*` and `tcp_user_timeout`.

use crate::settings::Settings;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType, socket};
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

/// The options of one socket: times in seconds, the last one in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    idle: u32,
    interval: u32,
    count: u32,
    user_timeout: u32,
}

/// Linux accepts no more.
const MAX_SECONDS: u32 = 32_767;
const MAX_COUNT: u32 = 127;

impl KeepAlive {
    /// Returns the options of a new socket.
    pub(crate) fn system() -> KeepAlive {
        static SYSTEM: OnceLock<KeepAlive> = OnceLock::new();
        // Linux has these values if its administrator has not changed them.
        let usual = KeepAlive { idle: 7200, interval: 75, count: 9, user_timeout: 0 };
        *SYSTEM.get_or_init(|| KeepAlive::read().unwrap_or(usual))
    }

    fn read() -> io::Result<KeepAlive> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(MAX_SECONDS);
        Ok(KeepAlive {
            idle: seconds(sockopt::tcp_keepidle(&socket)?),
            interval: seconds(sockopt::tcp_keepintvl(&socket)?),
            count: sockopt::tcp_keepcnt(&socket)?,
            user_timeout: sockopt::tcp_user_timeout(&socket)?,
        })
    }

    /// Returns the value of a setting for a new socket, which the value 0 stands for, and the largest
    /// value.
    pub(crate) fn limits(name: &str) -> (u32, u32) {
        let system = KeepAlive::system();
        match name {
            "tcp_keepalives_idle" => (system.idle, MAX_SECONDS),
            "tcp_keepalives_interval" => (system.interval, MAX_SECONDS),
            "tcp_keepalives_count" => (system.count, MAX_COUNT),
            _ => (system.user_timeout, i32::MAX as u32),
        }
    }

    /// Returns the options of a session's settings.
    pub(crate) fn of(settings: &Settings) -> KeepAlive {
        let value = |name: &str| {
            let value = settings.get(name).ok().and_then(|value| value.parse().ok());
            value.unwrap_or(KeepAlive::limits(name).0)
        };
        KeepAlive {
            idle: value("tcp_keepalives_idle"),
            interval: value("tcp_keepalives_interval"),
            count: value("tcp_keepalives_count"),
            user_timeout: value("tcp_user_timeout"),
        }
    }

    /// Sets the options that differ from `before`. An error means that the client has left, or that
    /// the system does not have the option; the connection works without it.
    pub(crate) fn apply(self, socket: impl AsFd, before: KeepAlive) {
        let socket = socket.as_fd();
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        if self.idle != before.idle {
            let _ = sockopt::set_tcp_keepidle(socket, seconds(self.idle));
        }
        if self.interval != before.interval {
            let _ = sockopt::set_tcp_keepintvl(socket, seconds(self.interval));
        }
        if self.count != before.count {
            let _ = sockopt::set_tcp_keepcnt(socket, self.count);
        }
        if self.user_timeout != before.user_timeout {
            let _ = sockopt::set_tcp_user_timeout(socket, self.user_timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn options_reach_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut settings = Settings::new(true, 100, "omm", true);
        assert_eq!(KeepAlive::of(&settings), KeepAlive::system());
        for (name, value) in [
            ("tcp_keepalives_idle", "1min"),
            ("tcp_keepalives_interval", "7"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "2s"),
        ] {
            settings.set(name, Some(value), false).unwrap();
        }
        KeepAlive::of(&settings).apply(&socket, KeepAlive::system());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), Duration::from_secs(60));
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), Duration::from_secs(7));
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 3);
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 2000);
    }
}
