//! How the program ends.

use std::process::ExitCode;

/// What a command found, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Nothing to complain of.
    Fine,
    /// Findings over a threshold.
    Findings,
    /// An error in use or input.
    Error,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Findings => Self::from(1),
            Exit::Error => Self::from(2),
        }
    }
}
