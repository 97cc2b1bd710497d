//! The example server as a child process.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::{Said, binary, run, wait_for};

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    output: Said,
}

impl Server {
    pub(crate) fn start(pool: bool) -> Server {
        let mode = if pool { "on" } else { "off" };
        let mut child = Command::new(binary())
            .args(["--listen", "127.0.0.1:0", "--workers", "4", "--thread-pool", mode])
            .stdout(Stdio::piped())
            // It says each cancel request with a wrong key, of which there are many.
            .stderr(Stdio::null())
            .spawn()
            .expect("the example server starts");
        let output = Said::on(child.stdout.take().expect("it was piped"));
        // From here on it is killed where something goes wrong.
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { child, address: nowhere, output };
        let line = server.output.first_line();
        server.address = line.parse().unwrap_or_else(|_| panic!("no address: {line:?}"));
        server
    }

    /// Asks it to shut down, and waits for that.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let told = run(Command::new("kill").args(["-INT", &pid]));
        assert_eq!(told.code, Some(0), "kill -INT: {}", told.err);
        wait_for(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        crate::support::kill_child(&mut self.child);
    }
}
