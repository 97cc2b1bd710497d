//! The SQL commands: openGauss's `ALTER SYSTEM KILL SESSION 'thread_id, session_id' [IMMEDIATE]`,
//! and Oracle's `ALTER SYSTEM DISCONNECT SESSION '…' POST_TRANSACTION`.
//!
//! A server passes each statement to [`parse`], and the returned command to
//! [`execute`](fn@execute):
//!
//! ```
//! use safepoint::{ClientInfo, Requester, SessionManager, ThreadModel, sql};
//!
//! let manager = SessionManager::new(ThreadModel::PerSession);
//! let session = manager.open(ClientInfo::default())?;
//! let statement = format!("ALTER SYSTEM KILL SESSION '{0}, {0}'", session.id());
//!
//! let command = sql::parse(&statement)?.expect("a command of this module");
//! let result = sql::execute(&manager, command, Requester::system())?;
//! assert!(result.notice.contains("was idle"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod command;
mod execute;
mod grammar;

pub use command::{Command, SessionAddress, SqlError};
pub use execute::{CommandResult, RESULT_COLUMN, cancel_session, execute, terminate_session};
pub use grammar::parse;
