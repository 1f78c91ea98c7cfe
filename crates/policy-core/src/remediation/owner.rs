//! Who applies a workload, and would be in conflict with a change of it.

use std::fmt;

use serde_json::Value;

use super::owned::other_applier;

/// Who applies a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client that merges on its side, such as `kubectl apply`, `create` or `edit`. Its changes are
    /// updates, which no field of another manager is in conflict with.
    ClientSide,
    /// A Helm release. Helm 4 applies on the server, without force.
    Helm(String),
    /// An application of Argo CD.
    ArgoCd,
    /// A kustomization or a release of Flux.
    Flux,
    /// Another manager that applies the pod template on the server.
    ServerSide(String),
}

const HELM: &str = "meta.helm.sh/release-name";
const ARGO_CD: &str = "argocd.argoproj.io/tracking-id";
const FLUX: [&str; 2] = ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"];

impl Owner {
    /// The owner of a workload. `app.kubernetes.io/instance` and `managed-by` prove nothing: people
    /// set them by hand.
    pub(super) fn of(workload: &Value) -> Self {
        let metadata = &workload["metadata"];
        let annotation = |name: &str| metadata["annotations"][name].as_str();
        if annotation(ARGO_CD).is_some() {
            Self::ArgoCd
        } else if FLUX.iter().any(|label| metadata["labels"][label].is_string()) {
            Self::Flux
        } else if let Some(release) = annotation(HELM) {
            Self::Helm(release.to_owned())
        } else if let Some(manager) = other_applier(workload) {
            Self::ServerSide(manager.to_owned())
        } else {
            Self::ClientSide
        }
    }

    /// Whether the owner can still change everything where we own fields of the workload.
    #[must_use]
    pub fn can_share(&self) -> bool {
        *self == Self::ClientSide
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSide => f.write_str("a client that merges on its side"),
            Self::Helm(release) => write!(f, "the Helm release {release}"),
            Self::ArgoCd => f.write_str("Argo CD"),
            Self::Flux => f.write_str("Flux"),
            Self::ServerSide(manager) => write!(f, "the server-side applier {manager}"),
        }
    }
}
