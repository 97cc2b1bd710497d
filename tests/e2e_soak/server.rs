//! The example server as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

#[path = "../server_common/binary.rs"]
mod binary;

use binary::binary;

const POLL: Duration = Duration::from_millis(10);

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
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
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was piped");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let address = line.trim_end().parse().expect("its address");
        Server { child, address }
    }

    /// Asks it to shut down, and waits for that.
    pub(crate) fn stop(mut self, limit: Duration) -> Option<ExitStatus> {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.is_ok_and(|status| status.success()), "kill -TERM");
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
