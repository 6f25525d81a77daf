//! The build script: passes the commit of the git checkout to the compiler as `BUILD_COMMIT`.
//! The name does not begin with `WEIR_`: `cargo run` hands it to the server, too, which rejects unknown
//! variables of that kind.
//!
//! Without git, or outside a checkout of this repository, the commit is `unknown`; the build never
//! fails because of it. The script runs again when `HEAD` moves.

use std::path::Path;
use std::process::Command;

/// Hexadecimal digits of the commit: enough to be unique, short enough for a log line.
const DIGITS: &str = "--short=12";
const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let commit = if is_own_checkout() { git(&["rev-parse", DIGITS, "HEAD"]) } else { None };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or(UNKNOWN));
    // A commit appends to the log of HEAD and leaves HEAD itself as it is; without such a log, the
    // file of the branch changes.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in [Some("HEAD"), Some("logs/HEAD"), branch.as_deref()].into_iter().flatten() {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// Whether the package is a checkout itself. A package that was unpacked inside another repository is
/// not at that repository's commit.
fn is_own_checkout() -> bool {
    git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty())
}

/// What `git` prints, run in the package's folder, where cargo starts build scripts; `None` if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
