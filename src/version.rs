//! The version of this build, for `--version`, the log and the metrics.

/// The package's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The git commit of this build, 12 hexadecimal digits; `unknown` outside a git checkout.
pub(crate) const COMMIT: &str = env!("BUILD_COMMIT");
/// Version and commit: `0.1.0 (474c6aa1b2c3)`.
pub(crate) const VERSION_AND_COMMIT: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");
