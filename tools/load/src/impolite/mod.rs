//! Clients that each violate one rule, and the server's reaction.
//!
//! Every violation runs on its own thread with a blocking socket, since it causes no load. If the
//! RFC names the close code, then another code, or an open connection without a Close, is a
//! failure. All other reactions are reported without a verdict.

mod breach;
mod raw;

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use weir::protocol::handshake::ClientRequest;

use self::breach::{BREACHES, Breach, Rule};
use self::raw::{Raw, Seen};
use crate::Verdict;
use crate::common::RequestArgs;
use crate::target::Target;
use crate::values::duration;

/// The options of the violations.
#[derive(Debug, Args)]
pub(crate) struct Impolite {
    /// Server, as in ws://HOST:PORT/PATH
    #[arg(value_name = "URL")]
    url: Target,
    /// How long to wait for the server's reaction
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    patience: Duration,
    /// Run only violations whose name contains this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    request: RequestArgs,
}

/// The result of one violation.
#[derive(Debug, Serialize)]
struct Outcome {
    breach: &'static str,
    rfc: &'static str,
    expected: String,
    server: String,
    seconds: f64,
    passed: bool,
}

impl Impolite {
    /// Runs the violations, and compares the server's close codes with those of the RFC. If the
    /// server accepts no connection afterwards, the run is INVALID.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) fn run(&self) -> Result<Verdict, Box<dyn Error>> {
        if self.url.is_secure {
            return Err("violations are sent in plaintext: expected a ws:// URL".into());
        }
        let reached = self.url.reach(self.patience);
        let address = reached.map_err(|error| format!("{}: {error}", self.url.host))?;
        let path = self.request.path.as_deref().unwrap_or(&self.url.path);
        let request = self.request.to(&self.url.host, path)?;
        Raw::open(address, &request, self.patience)
            .map_err(|error| format!("{}: {error}", self.url.url))?;
        let wanted =
            |breach: &&Breach| self.only.as_deref().is_none_or(|word| breach.name.contains(word));
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let threads: Vec<_> = BREACHES
                .iter()
                .filter(wanted)
                .map(|breach| scope.spawn(|| self.try_one(breach, address, &request)))
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        self.print(&outcomes)?;
        if let Err(error) = Raw::open(address, &request, self.patience) {
            eprintln!(
                "{}: INVALID: no connection opened after the violations: {error}",
                self.url.url
            );
            return Ok(Verdict::Invalid);
        }
        let is_passed = outcomes.iter().all(|outcome| outcome.passed);
        Ok(if is_passed { Verdict::Passed } else { Verdict::Unmet })
    }

    fn try_one(&self, breach: &Breach, address: SocketAddr, request: &ClientRequest) -> Outcome {
        let seen = commit(breach, address, request, self.patience);
        let (server, seconds, passed) = match seen {
            Ok(seen) => (seen.to_string(), seen.after.as_secs_f64(), breach.rule.allows(&seen)),
            Err(error) => (format!("not tried: {error}"), 0.0, false),
        };
        let expected = breach.rule.to_string();
        Outcome { breach: breach.name, rfc: breach.rfc, expected, server, seconds, passed }
    }

    fn print(&self, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, outcomes)?;
            writeln!(out)?;
            return Ok(());
        }
        for Outcome { breach, rfc, expected, server, seconds, passed } in outcomes {
            let verdict = if *passed { "ok  " } else { "FAIL" };
            write!(out, "{verdict} {breach:<34} {rfc:<6} {server} after {seconds:.3} s")?;
            match passed {
                true => writeln!(out)?,
                false => writeln!(out, " (expected {expected})")?,
            }
        }
        Ok(())
    }
}

/// Runs one violation and records the server's reaction.
fn commit(
    breach: &Breach,
    address: SocketAddr,
    request: &ClientRequest,
    patience: Duration,
) -> io::Result<Seen> {
    let mut raw = match breach.rule {
        Rule::InHandshake => Raw::connect(address, patience)?,
        _ => Raw::open(address, request, patience)?,
    };
    // A write fails if the server has already reacted.
    let _ = (breach.act)(&mut raw);
    Ok(raw.watch(breach.rule == Rule::Ends))
}
