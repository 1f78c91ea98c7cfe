//! The Go programs of a control plane: found in the user's folder or in the cache, else built into
//! the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::progress::say;
use crate::toolchain::Module;

/// A Go program of the testbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The API server's database.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Deployments, Jobs, `ServiceAccounts` and so on.
    ControllerManager,
    /// Assigns pods to nodes.
    Scheduler,
    /// The command line client.
    Kubectl,
    /// Simulates nodes and their kubelets.
    Kwok,
    /// Runs the pods of a node, for `e2e node`.
    Kubelet,
    /// Leads the addresses of Services to pods, for `e2e node`.
    KubeProxy,
    /// Installs charts. No part of a control plane: it is built for the suites that need it.
    Helm,
    /// Flux's kustomize-controller, for `e2e gitops` alone.
    KustomizeController,
    /// Lints the objects of the chart, for `e2e chart-lint` alone.
    KubeScore,
    /// Runs the unit tests of the chart, for `e2e chart-lint` alone.
    HelmUnittest,
    /// Scrapes the services, for the suites about metrics.
    Prometheus,
    /// Checks metrics and rules.
    Promtool,
    /// Configures Prometheus, for `e2e monitoring` alone.
    PrometheusOperator,
    /// Exports the state of objects as metrics, for `e2e bench-scrape` alone.
    KubeStateMetrics,
}

/// The environment variable that selects the Kubernetes release, such as `1.36`. Unset or empty: the
/// newest one. `cargo xtask test --kubernetes` sets it.
const RELEASE_VARIABLE: &str = "TESTBED_KUBERNETES";

/// The programs that the folder in `KUBEBUILDER_ASSETS` has to hold.
const ASSETS: [Program; 3] = [Program::ApiServer, Program::Etcd, Program::Kubectl];

const ETCD: Module = Module {
    name: "etcd",
    dependency: "go.etcd.io/etcd/server/v3",
    usual: "1 min",
    stamped: false,
    tags: "",
};
const KWOK: Module = Module {
    name: "kwok",
    dependency: "sigs.k8s.io/kwok",
    usual: "2 min",
    stamped: false,
    tags: "",
};
const HELM: Module = Module {
    name: "helm",
    dependency: "helm.sh/helm/v4",
    usual: "3 min",
    stamped: false,
    tags: "",
};
/// What runs on a node. A module of its own: the suites need no node, so they do not wait for its
/// build either.
const NODE: Module = Module {
    name: "node",
    dependency: "k8s.io/kubernetes",
    usual: "8 min",
    stamped: true,
    tags: "",
};
const KUSTOMIZE_CONTROLLER: Module = Module {
    name: "kustomize-controller",
    dependency: "github.com/fluxcd/kustomize-controller",
    usual: "7 min",
    stamped: false,
    tags: "",
};
const KUBE_SCORE: Module = Module {
    name: "kube-score",
    dependency: "github.com/zegl/kube-score",
    usual: "1 min",
    stamped: false,
    tags: "",
};
const HELM_UNITTEST: Module = Module {
    name: "helm-unittest",
    dependency: "github.com/helm-unittest/helm-unittest",
    usual: "2 min",
    stamped: false,
    tags: "",
};
/// Of its service discoveries only that of Kubernetes: the others bring the SDKs of all clouds.
const PROMETHEUS: Module = Module {
    name: "prometheus",
    dependency: "github.com/prometheus/prometheus",
    usual: "3 min",
    stamped: false,
    tags: "remove_all_sd,enable_kubernetes_sd",
};
const PROMETHEUS_OPERATOR: Module = Module {
    name: "prometheus-operator",
    dependency: "github.com/prometheus-operator/prometheus-operator",
    usual: "4 min",
    stamped: false,
    tags: "",
};
const KUBE_STATE_METRICS: Module = Module {
    name: "kube-state-metrics",
    dependency: "k8s.io/kube-state-metrics/v2",
    usual: "2 min",
    stamped: false,
    tags: "",
};
/// The Kubernetes releases that the testbed can run, the default first.
const KUBERNETES: [Module; 3] =
    [kubernetes("k8s-1.37"), kubernetes("k8s-1.36"), kubernetes("k8s-1.34")];

const fn kubernetes(name: &'static str) -> Module {
    Module { name, dependency: "k8s.io/kubernetes", usual: "8 min", stamped: true, tags: "" }
}

impl Program {
    /// All programs of a control plane.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubectl,
        Self::Kwok,
    ];

    /// What a node runs beside containerd.
    pub const OF_NODES: [Self; 2] = [Self::Kubelet, Self::KubeProxy];

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
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::KustomizeController => "kustomize-controller",
            Self::Helm => "helm",
            Self::KubeScore => "kube-score",
            Self::HelmUnittest => "helm-unittest",
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
            Self::PrometheusOperator => "prometheus-operator",
            Self::KubeStateMetrics => "kube-state-metrics",
        }
    }

    /// The path of the executable: in the folder that `KUBEBUILDER_ASSETS` names if that folder holds
    /// etcd, kube-apiserver and kubectl; else in the cache.
    ///
    /// Builds the program if the cache lacks it, which takes minutes and prints progress to standard
    /// error. A module is built as a whole, with all of its programs.
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
        let folder = self.module()?.built()?;
        let path = folder.join(self.name());
        if !path.is_file() {
            bail!("{} lacks it: remove that folder to build it again", folder.display());
        }
        Ok(path)
    }

    fn module(self) -> Result<&'static Module> {
        match self {
            Self::Etcd => Ok(&ETCD),
            Self::Kwok => Ok(&KWOK),
            Self::Helm => Ok(&HELM),
            Self::Kubelet | Self::KubeProxy => Ok(&NODE),
            Self::KustomizeController => Ok(&KUSTOMIZE_CONTROLLER),
            Self::KubeScore => Ok(&KUBE_SCORE),
            Self::HelmUnittest => Ok(&HELM_UNITTEST),
            Self::Prometheus | Self::Promtool => Ok(&PROMETHEUS),
            Self::PrometheusOperator => Ok(&PROMETHEUS_OPERATOR),
            Self::KubeStateMetrics => Ok(&KUBE_STATE_METRICS),
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubectl => {
                release(&selected_release().unwrap_or_default())
            }
        }
    }
}

/// The Kubernetes release that the user selected, such as `1.36`; none for the default.
#[must_use]
pub fn selected_release() -> Option<String> {
    std::env::var(RELEASE_VARIABLE).ok().filter(|release| !release.is_empty())
}

/// The module of a Kubernetes release such as `1.36`, the default's where that is empty.
fn release(release: &str) -> Result<&'static Module> {
    let name_of = |module: &'static Module| module.name.trim_start_matches("k8s-");
    let found = KUBERNETES.iter().find(|module| release.is_empty() || name_of(module) == release);
    found.with_context(|| {
        let known: Vec<_> = KUBERNETES.iter().map(name_of).collect();
        format!("there is no Kubernetes {release} for the testbed; known are {}", known.join(", "))
    })
}

/// The folder in `KUBEBUILDER_ASSETS`, where it can be used.
static USERS_FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let folder = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty())?;
    let folder = PathBuf::from(folder);
    let reason = match (selected_release(), &missing(&folder)[..]) {
        (Some(release), _) => format!("Kubernetes {release} was asked for"),
        (None, []) => {
            say(&format!("using the programs in KUBEBUILDER_ASSETS={}", folder.display()));
            return Some(folder);
        }
        (None, missing) => format!("it has no {}", missing.join(", ")),
    };
    say(&format!("KUBEBUILDER_ASSETS={} is not used: {reason}", folder.display()));
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
        assert_eq!(tools(&ETCD.read("go.mod").unwrap()), ["go.etcd.io/etcd/server/v3"]);
        assert_eq!(tools(&KWOK.read("go.mod").unwrap()), ["sigs.k8s.io/kwok/cmd/kwok"]);
        assert_eq!(tools(&HELM.read("go.mod").unwrap()), ["helm.sh/helm/v4/cmd/helm"]);
        for linter in [KUBE_SCORE, HELM_UNITTEST] {
            let tool = format!("{}/cmd/{}", linter.dependency, linter.name);
            assert_eq!(tools(&linter.read("go.mod").unwrap()), [tool]);
        }
        for own in [KUSTOMIZE_CONTROLLER, KUBE_STATE_METRICS] {
            assert_eq!(tools(&own.read("go.mod").unwrap()), [own.dependency]);
        }
        let operator = PROMETHEUS_OPERATOR;
        let tool = format!("{}/cmd/operator", operator.dependency);
        assert_eq!(tools(&operator.read("go.mod").unwrap()), [tool]);
        let tool = |program: Program| format!("{}/cmd/{}", PROMETHEUS.dependency, program.name());
        let expected = [Program::Prometheus, Program::Promtool].map(tool);
        assert_eq!(tools(&PROMETHEUS.read("go.mod").unwrap()), expected);
        let of_kubernetes = |programs: &[Program]| -> Vec<String> {
            let tool = |program: &Program| format!("k8s.io/kubernetes/cmd/{}", program.name());
            programs.iter().map(tool).collect()
        };
        let expected = of_kubernetes(&[Program::KubeProxy, Program::Kubelet]);
        assert_eq!(tools(&NODE.read("go.mod").unwrap()), expected);
        // A kubelet may be older than its API server, never newer.
        assert_eq!(NODE.version().unwrap(), KUBERNETES[0].version().unwrap());
        let control_plane =
            [Program::ApiServer, Program::ControllerManager, Program::Scheduler, Program::Kubectl];
        let expected = of_kubernetes(&control_plane);
        for module in &KUBERNETES {
            assert_eq!(tools(&module.read("go.mod").unwrap()), expected, "{}", module.name);
        }
    }

    #[test]
    fn a_release_selects_the_module_of_its_version() {
        assert_eq!(release("").unwrap().name, "k8s-1.37");
        for (name, version) in [("1.37", "v1.37."), ("1.36", "v1.36."), ("1.34", "v1.34.")] {
            let found = release(name).unwrap().version().unwrap();
            assert!(found.starts_with(version), "{name}: {found}");
        }
        let error = release("1.2").err().unwrap().to_string();
        let expected = "there is no Kubernetes 1.2 for the testbed; known are 1.37, 1.36, 1.34";
        assert_eq!(error, expected);
    }
}
