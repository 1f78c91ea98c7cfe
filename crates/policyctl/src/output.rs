//! Everything that is printed: results to standard output, the rest to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use policy_core::report::Colours;
use serde::Serialize;

/// How the user wants to be talked to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// Never colour.
    pub(crate) no_color: bool,
    /// No progress, no notes.
    pub(crate) quiet: bool,
}

impl Console {
    /// Colours on a terminal, unless `--no-color`, `NO_COLOR` or a dumb terminal say otherwise.
    pub(crate) fn colours(self) -> Colours {
        let choice = anstream::AutoStream::choice(&io::stdout());
        if self.no_color || choice == anstream::ColorChoice::Never {
            Colours::Off
        } else {
            Colours::On
        }
    }

    /// A bar for long work; nothing is drawn where nobody watches.
    pub(crate) fn progress(self, length: u64, what: &str) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = format!("{{bar:30}} {{pos}}/{{len}} {what}");
        ProgressBar::new(length).with_style(
            ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
    }

    /// A remark on standard error.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            to_stderr(text);
        }
    }
}

/// Prints a result. A reader that went away (`| head`) is no error.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints an error.
pub(crate) fn error(text: impl Display) {
    to_stderr(format_args!("error: {text}"));
}

fn to_stderr(text: impl Display) {
    // Where standard error is gone, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A value as YAML that `kubectl` reads.
pub(crate) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("cannot write YAML")
}
