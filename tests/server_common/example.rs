//! An example that serves.

use super::built;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// It runs until this is dropped.
pub(crate) struct Example {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// Where it has its temporary files, which it can't remove where it is killed.
    _folder: TempDir,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Example {
    /// Asks it to end, as Ctrl-C does, and waits for that.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(sent.success());
        let mut code = None;
        super::wait_until("it has ended", || {
            code = self.child.try_wait().expect("its status");
            code.is_some()
        });
        code.and_then(|code| code.code())
    }

    pub(crate) fn start(example: &str) -> Example {
        let mut command = Command::new(built(example));
        let folder = TempDir::new().expect("a temporary folder");
        command.arg("127.0.0.1:0").env("TMPDIR", folder.path()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_string();
        Example { child, address, _folder: folder }
    }
}
