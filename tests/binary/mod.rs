//! The binary, from outside: what it prints, its signals, and how it ends.

mod admin;
mod advice;
mod log;
mod process;
mod settings;
mod shutdown;
mod signals;
mod stopped;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::Process;

/// Code, stdout and stderr of a run to its end, which must come by itself.
fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let mut process = Process::spawn(&mut command);
    let code = process.wait();
    let stdout = process.rest().iter().map(|line| line.to_owned() + "\n").collect();
    (code, stdout, process.whole_log())
}

/// A file that goes with its test.
pub struct File(PathBuf);

impl File {
    pub fn new(text: &str) -> File {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-{count}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        File(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
