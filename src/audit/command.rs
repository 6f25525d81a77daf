//! `weir audit`: checks the files of an audit log.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::chain::load_key;
use super::verify::{Place, Report, Verifier};

/// Maximum length of a line: longer ones are none of ours.
const LINE_BYTES_MAX: u64 = 64 * 1024;

const AFTER_HELP: &str = "\
Give the files in the order in which they were written: after a rotation the oldest one first. Lines cut
off at the end leave no trace in the file: compare the last sequence with the metric weir_audit_sequence,
or with the lines \"audit log opened\" and \"audit log ended\" of the server's log.

Exit codes: 0 the log is unchanged, 1 it is not, or cannot be read, 2 invalid usage.";

/// Check the files of an audit log: report changed, removed and inserted lines.
#[derive(Debug, Parser)]
#[command(name = "weir audit", bin_name = "weir audit", after_help = AFTER_HELP)]
pub(crate) struct AuditArguments {
    /// The key of the log: the file of audit_key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The files of the log, the oldest one first
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
}

impl AuditArguments {
    /// Parses `arguments`; the first one is the program's name.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<AuditArguments, clap::Error> {
        AuditArguments::try_parse_from(arguments)
    }

    /// Checks the files, and prints the result.
    ///
    /// # Errors
    /// The log was changed, or a file cannot be read.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let key = load_key(&self.key)?;
        let mut verifier = Verifier::new(&key);
        for (file, path) in self.logs.iter().enumerate() {
            read(&mut verifier, file, path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let report = verifier.finish();
        io::stdout().write_all(self.text(&report).as_bytes())?;
        match report.problems {
            0 => Ok(()),
            1 => Err("the log has 1 problem".into()),
            count => Err(format!("the log has {count} problems").into()),
        }
    }

    fn text(&self, report: &Report) -> String {
        let mut text = String::new();
        for (Place { file, line }, problem) in &report.described {
            let path = self.logs.get(*file).map(|path| path.display());
            let path = path.map_or(String::new(), |path| path.to_string());
            text += &format!("{path}:{line}: {problem}\n");
        }
        if report.problems > report.described.len() as u64 {
            text += &format!("only the first {} problems are listed\n", report.described.len());
        }
        if let Some(first @ 2..) = report.first {
            text += &format!(
                "the first line has sequence {first}: lines before it were not given, so its own text \
                 is not checked\n"
            );
        }
        text += &format!("{} lines", report.lines);
        if let (Some(first), Some((last, time))) = (report.first, &report.last) {
            text += &format!(", sequences {first} to {last}, the last at {time}");
        }
        text += "\n";
        if report.lost > 0 {
            text += &format!("{} events were lost by the server\n", report.lost);
        }
        text
    }
}

/// Passes the lines of a file to the check.
fn read(verifier: &mut Verifier<'_>, file: usize, path: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        verifier.line(Place { file, line: number }, line.strip_suffix(b"\n").unwrap_or(&line));
    }
    Ok(())
}
