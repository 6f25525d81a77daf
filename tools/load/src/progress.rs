//! The progress bar, shown on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Maximum draws per second.
const DRAWS: u8 = 5;

/// A progress bar on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn new(title: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS));
        if bar.is_hidden() {
            return Progress(None);
        }
        if let Ok(style) = ProgressStyle::with_template("{prefix} {msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        Progress(Some(bar))
    }

    pub(crate) fn connecting(&self, connections: u64) {
        self.start("connecting", connections);
    }

    pub(crate) fn connected(&self, connections: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(connections);
        }
    }

    /// Starts a stage of this length; the bar counts milliseconds.
    pub(crate) fn stage(&self, name: &'static str, length: Duration) {
        self.start(name, length.as_millis() as u64);
    }

    pub(crate) fn at(&self, elapsed: Duration) {
        if let Some(bar) = &self.0 {
            bar.set_position(elapsed.as_millis() as u64);
        }
    }

    fn start(&self, name: &'static str, length: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(name);
            bar.set_length(length);
            bar.set_position(0);
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
