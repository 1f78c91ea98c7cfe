//! The users in the API server's token file.

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
/// kube-proxy, to which the API server's default roles give what it needs.
pub(crate) const PROXY: &str = "system:kube-proxy";
/// The nodes with a real kubelet.
pub const NODES: [&str; 2] = ["node-0", "node-1"];
/// The number of users without permissions, to which suites grant some.
pub(crate) const LIMITED: usize = 32;

/// The tokens of all users.
pub(crate) struct Tokens {
    secret: Vec<u8>,
}

impl Tokens {
    /// Random tokens, as other users of this machine can reach the API server as well.
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

/// The name of a user without permissions.
pub(crate) fn limited(number: usize) -> String {
    format!("limited-{number}")
}

/// The user of a kubelet, as the Node authorizer wants it
/// (<https://kubernetes.io/docs/reference/access-authn-authz/node/>).
pub(crate) fn kubelet(node: &str) -> String {
    format!("system:node:{node}")
}

/// Users with their group. kwok acts for many kubelets, and no suite tests its permissions.
fn users() -> impl Iterator<Item = (String, &'static str)> {
    let masters = [ADMIN, KWOK].map(|user| (user.to_owned(), "system:masters"));
    let parts = [CONTROLLER_MANAGER, SCHEDULER, PROXY].map(|user| (user.to_owned(), ""));
    let kubelets = NODES.map(|node| (kubelet(node), "system:nodes"));
    masters
        .into_iter()
        .chain(parts)
        .chain(kubelets)
        .chain((0..LIMITED).map(|number| (limited(number), "")))
}
