//! Where the Go programs come from: a folder of the user's, the cache, or a build into the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::progress::say;
use crate::toolchain::Module;

/// A Go program of the testbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// Deployments, Jobs, garbage collection, `ServiceAccounts`.
    ControllerManager,
    /// Gives pods their nodes.
    Scheduler,
    /// The command line.
    Kubectl,
    /// Plays kubelets and nodes.
    Kwok,
}

/// What a folder has to hold to be used in place of our own build.
const ASSETS: [Program; 3] = [Program::ApiServer, Program::Etcd, Program::Kubectl];

const ETCD: Module = Module {
    name: "etcd",
    dependency: "go.etcd.io/etcd/server/v3",
    usual: "1 min",
    stamped: false,
};
const K8S: Module =
    Module { name: "k8s", dependency: "k8s.io/kubernetes", usual: "8 min", stamped: true };
const KWOK: Module =
    Module { name: "kwok", dependency: "sigs.k8s.io/kwok", usual: "2 min", stamped: false };

impl Program {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubectl,
        Self::Kwok,
    ];

    /// The executable's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
        }
    }

    /// The executable. Taken from the folder in `KUBEBUILDER_ASSETS` if that has it together with
    /// etcd, kube-apiserver and kubectl; else from the cache.
    ///
    /// What the cache lacks is built: minutes, with lines about the progress on standard error.
    /// A module is built as a whole, so the first of its programs costs the others' time as well.
    pub fn path(self) -> Result<PathBuf> {
        static FOUND: Mutex<BTreeMap<Program, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = found.get(&self) {
            return Ok(path.clone());
        }
        let path = self.find().with_context(|| format!("there is no {}", self.name()))?;
        found.insert(self, path.clone());
        Ok(path)
    }

    fn find(self) -> Result<PathBuf> {
        if let Some(folder) = &*USERS_FOLDER
            && let path = folder.join(self.name())
            && path.is_file()
        {
            return Ok(path);
        }
        let folder = self.module().built()?;
        let path = folder.join(self.name());
        if !path.is_file() {
            bail!("{} lacks it: remove that folder to have it built again", folder.display());
        }
        Ok(path)
    }

    fn module(self) -> &'static Module {
        match self {
            Self::Etcd => &ETCD,
            Self::Kwok => &KWOK,
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubectl => &K8S,
        }
    }
}

/// The folder in `KUBEBUILDER_ASSETS`, where it is of use.
static USERS_FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let folder = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty())?;
    let folder = PathBuf::from(folder);
    let missing = missing(&folder);
    if missing.is_empty() {
        say(&format!("using the programs in KUBEBUILDER_ASSETS={}", folder.display()));
        return Some(folder);
    }
    let missing = missing.join(", ");
    say(&format!("KUBEBUILDER_ASSETS={} is not used: it has no {missing}", folder.display()));
    None
});

fn missing(folder: &Path) -> Vec<&'static str> {
    ASSETS.map(Program::name).into_iter().filter(|name| !folder.join(name).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::tools;

    #[test]
    fn a_folder_has_to_hold_all_three() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        assert_eq!(missing(folder.path()), ["kube-apiserver", "kubectl"]);
    }

    #[test]
    fn every_program_is_a_tool_of_its_module() {
        for program in Program::ALL {
            let tools = tools(&program.module().read("go.mod").unwrap());
            let one = tools.len() == 1;
            assert!(one || tools.iter().any(|tool| tool.ends_with(program.name())), "{program:?}");
        }
    }
}
