//! The files of a plugin: a process of an older version is ended, as strfry does.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// The files that a command names, as they were when its process was started.
#[derive(Debug)]
pub(super) struct Watched(Vec<(PathBuf, Version)>);

/// Time of the last change, and size.
type Version = (SystemTime, u64);

impl Watched {
    /// The program, or of a line for the shell each word that is the name of a file.
    pub(super) fn of(command: &str) -> Watched {
        let named = command.split_whitespace().map(PathBuf::from);
        Watched(named.filter_map(|path| version(&path).map(|version| (path, version))).collect())
    }

    /// Whether one of the files has another version. A file that is missing is about to be replaced.
    pub(super) fn has_changed(&self) -> bool {
        let differs =
            |(path, was): &(PathBuf, Version)| version(path).is_some_and(|now| now != *was);
        self.0.iter().any(differs)
    }
}

fn version(path: &PathBuf) -> Option<Version> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}
