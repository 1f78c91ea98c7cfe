//! How the program ends.

use std::process::ExitCode;

use policy_core::report::{Coverage, Source};

use crate::cluster::ClusterError;

/// The result of a command, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// No findings over a threshold.
    Fine,
    /// Findings over a threshold, or differences.
    Findings,
    /// A cluster that could not be reached, or refused something.
    Cluster,
    /// An error in use or input.
    Error,
}

impl Exit {
    /// The exit code for an error that ends the program.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<ClusterError>() { Self::Cluster } else { Self::Error }
    }
}

impl Exit {
    /// The exit code for a part that was not read: 2 for a file, 3 for a cluster.
    pub(crate) fn of_coverage(coverage: &Coverage, source: &Source) -> Self {
        match source {
            _ if coverage.failed.is_empty() => Self::Fine,
            Source::Files { .. } => Self::Error,
            Source::Cluster { .. } => Self::Cluster,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Findings => Self::from(1),
            Exit::Error => Self::from(2),
            Exit::Cluster => Self::from(3),
        }
    }
}
