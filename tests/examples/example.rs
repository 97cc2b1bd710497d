//! An example that serves.

use super::{Said, built, child, wait_for};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// It runs until this is dropped.
pub(crate) struct Example {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    output: Said,
    /// Where it has its temporary files, which it can't remove where it is killed.
    _folder: TempDir,
}

impl Drop for Example {
    fn drop(&mut self) {
        child::kill(&mut self.child);
    }
}

impl Example {
    /// Asks it to end, as Ctrl-C does, and waits for that.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = child::run(Command::new("kill").args(["-INT", &id]));
        assert_eq!(sent.code, Some(0), "kill -INT: {}", sent.err);
        wait_for(&mut self.child).code()
    }

    #[track_caller]
    pub(crate) fn start(example: &str) -> Example {
        let mut command = Command::new(built(example));
        let folder = TempDir::new().expect("a temporary folder");
        command.arg("127.0.0.1:0").env("TMPDIR", folder.path()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let output = Said::on(child.stdout.take().expect("its output"));
        // From here on it is killed where something goes wrong.
        let mut started = Example { child, address: String::new(), output, _folder: folder };
        let line = started.output.first_line();
        let address = line.trim().strip_prefix("listening on ");
        started.address = address.unwrap_or_else(|| panic!("no address: {line:?}")).to_string();
        started
    }

    /// Whether none of its threads has anything to do that it can do: each waits for something,
    /// and not for a processor. A pool's listener does not count: it looks every few milliseconds
    /// how the others are doing.
    pub(crate) fn sleeps(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.expect("its threads").all(|task| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            // A program that has ended does not run.
            let Ok(stat) = stat else { return true };
            let (name, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
            name.ends_with("(listener") || fields.starts_with('S')
        })
    }
}
