//! One process of a plugin, and the two threads that write to it and read from it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;

use super::shared::{End, Shared};
use super::watched::Watched;

/// Bytes of a line of a plugin. An answer has 100 and a message.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A process. It must be ended.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts a process and its threads, each of which holds a clone of `alive`.
    pub(super) fn start(
        command: &str,
        shared: &Arc<Shared>,
        alive: &Arc<()>,
    ) -> io::Result<Process> {
        // As strfry does it: a path without spaces is a program, anything else a line for the shell.
        let mut program = if command.contains(char::is_whitespace) {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", command]);
            shell
        } else {
            Command::new(command)
        };
        let watched = Watched::of(command);
        let number = shared.start();
        let child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut process = Process { child };
        process.start_threads(number, watched, shared, alive).inspect_err(|_| {
            process.end();
            // The thread that was started ends.
            shared.finish();
        })?;
        Ok(process)
    }

    fn start_threads(
        &mut self,
        number: u64,
        watched: Watched,
        shared: &Arc<Shared>,
        alive: &Arc<()>,
    ) -> io::Result<()> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        let (stdin, stdout) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let (writer, reader) = (Arc::clone(shared), Arc::clone(shared));
        let alive = [Arc::clone(alive), Arc::clone(alive)];
        let [writer_alive, reader_alive] = alive;
        thread::Builder::new().name("weir-policy-out".to_owned()).spawn(move || {
            write(stdin, &watched, &writer, number);
            drop(writer_alive);
        })?;
        thread::Builder::new().name("weir-policy-in".to_owned()).spawn(move || {
            read(stdout, &reader, number);
            drop(reader_alive);
        })?;
        Ok(())
    }

    /// Kills the process, if it still runs, and returns how it ended, in words.
    pub(super) fn end(&mut self) -> String {
        // It may have exited meanwhile.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Writes the lines of events until the process has ended. No event goes to a process whose files have
/// changed.
fn write(mut stdin: ChildStdin, watched: &Watched, shared: &Shared, number: u64) {
    let mut lines = Vec::new();
    while shared.wait_for_events(number) {
        if watched.has_changed() {
            shared.outdate(number);
            continue;
        }
        shared.take_lines(number, &mut lines);
        if stdin.write_all(&lines).is_err() {
            shared.end(number, End::Exited);
            return;
        }
        lines = Vec::new();
    }
}

/// Reads answers until the process has ended.
fn read(stdout: ChildStdout, shared: &Shared, number: u64) {
    let mut input = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limited = input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        match { limited }.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return shared.end(number, End::Exited),
            Ok(_) if line.len() > LINE_BYTES_MAX => return shared.end(number, End::Malformed),
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => {
                if !shared.answer(number, &line) {
                    return;
                }
            }
        }
    }
}
