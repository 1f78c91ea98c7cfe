//! What the machine has to have.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

/// The folder of the CNI plug-ins in Debian.
pub(super) const CNI: &str = "/usr/lib/cni";

/// Programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("runc", "runc"),
    ("rustc", "rustc"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Fails with one sentence that names all that is missing.
pub(super) fn check() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let mut packages: BTreeSet<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|&(_, package)| package)
        .collect();
    if !PLUGINS.iter().all(|plugin| Path::new(CNI).join(plugin).is_file()) {
        packages.insert("containernetworking-plugins");
    }
    sentence(rustix::process::geteuid().is_root(), &packages)
}

fn sentence(is_root: bool, packages: &BTreeSet<&str>) -> Result<()> {
    let packages = packages.iter().copied().collect::<Vec<_>>().join(" ");
    let install = format!("the Debian packages that `apt-get install {packages}` installs");
    match (is_root, packages.is_empty()) {
        (true, true) => Ok(()),
        (false, true) => bail!("nodes with real kubelets need root: run it by sudo"),
        (true, false) => bail!("nodes with real kubelets need {install}"),
        (false, false) => bail!("nodes with real kubelets need root and {install}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_names_all_that_is_missing() {
        let none = BTreeSet::new();
        sentence(true, &none).unwrap();
        let some = BTreeSet::from(["runc", "nftables"]);
        let error = sentence(false, &some).unwrap_err().to_string();
        assert_eq!(
            error,
            "nodes with real kubelets need root and the Debian packages that \
             `apt-get install nftables runc` installs"
        );
    }
}
