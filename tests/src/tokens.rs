//! The users that the API server knows from its start, by token.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::KeyPair;
use sha2::{Digest as _, Sha256};

/// The user of [`crate::Testbed::kubeconfig`].
pub(crate) const ADMIN: &str = "admin";
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";
pub(crate) const KWOK: &str = "kwok";
/// Users without any right of their own, to be given some by a suite.
pub(crate) const LIMITED: usize = 32;

/// Gives each user's token.
pub(crate) struct Tokens {
    secret: Vec<u8>,
}

impl Tokens {
    /// Tokens that nobody can guess: other users of this machine reach the API server as well.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { secret: KeyPair::generate()?.serialize_der() })
    }

    /// The token of a user.
    pub(crate) fn of(&self, user: &str) -> String {
        format!("{:x}", Sha256::new().chain_update(&self.secret).chain_update(user).finalize())
    }

    /// Writes the file for `--token-auth-file`.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let mut text = String::new();
        for (user, group) in users() {
            writeln!(text, "{},{user},{user},{group}", self.of(&user))?;
        }
        let path = folder.join("tokens.csv");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The name of one of the users without rights.
pub(crate) fn limited(number: usize) -> String {
    format!("limited-{number}")
}

/// Users with their group. kwok plays what many kubelets do, and nobody tests its rights.
fn users() -> impl Iterator<Item = (String, &'static str)> {
    let masters = [ADMIN, KWOK].map(|user| (user.to_owned(), "system:masters"));
    let parts = [CONTROLLER_MANAGER, SCHEDULER].map(|user| (user.to_owned(), ""));
    masters.into_iter().chain(parts).chain((0..LIMITED).map(|number| (limited(number), "")))
}
