//! The permissions that commands need; docs/policyctl.md lists the same.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use policy_core::api::GROUP;
use policy_core::installation::WEBHOOK_CONFIGURATION;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterError};

const APPS: &str = "apps";
const BUDGETS: &str = "poddisruptionbudgets";
const CRDS: &str = "customresourcedefinitions";
const CRD_GROUP: &str = "apiextensions.k8s.io";
const NAMESPACES: &str = "namespaces";
const POLICIES: &str = "devopspolicies";
const CLUSTER_POLICIES: &str = "clusterdevopspolicies";
const WEBHOOKS: &str = "validatingwebhookconfigurations";
const MUTATING_WEBHOOKS: &str = "mutatingwebhookconfigurations";
const WEBHOOK_GROUP: &str = "admissionregistration.k8s.io";

/// The permission without which no command works.
const LIST_PODS: Need = Need::new("analyze, explain, preview, list pods", "list", "", "pods");

const NEEDS: [Need; 31] = [
    LIST_PODS,
    Need::new("analyze, explain by forbidBlockedDrain", "list", "policy", BUDGETS),
    Need::new("cluster policies; all namespaces, where not all are open", "list", "", NAMESPACES),
    Need::new("-n, to report a missing namespace", "get", "", NAMESPACES),
    Need::new("admit, check, diff, export, preview, remediations", "list", GROUP, POLICIES),
    Need::new("explain, export-map, import", "get", GROUP, POLICIES),
    Need::new("import", "create", GROUP, POLICIES),
    Need::new("import", "patch", GROUP, POLICIES),
    Need::new(
        "admit, analyze --policies, diff, explain, export, preview",
        "list",
        GROUP,
        CLUSTER_POLICIES,
    ),
    Need::new("explain --cluster, import", "get", GROUP, CLUSTER_POLICIES),
    Need::new("import", "create", GROUP, CLUSTER_POLICIES),
    Need::new("import", "patch", GROUP, CLUSTER_POLICIES),
    Need::new("remediations, revert", "get", APPS, "deployments"),
    Need::new("remediations, revert", "get", APPS, "statefulsets"),
    Need::new("remediations, revert", "get", APPS, "daemonsets"),
    Need::new("analyze (stuck rollouts), revert --all", "list", APPS, "deployments"),
    Need::new("revert --all", "list", APPS, "statefulsets"),
    Need::new("revert --all", "list", APPS, "daemonsets"),
    Need::new("revert", "patch", APPS, "deployments"),
    Need::new("revert", "patch", APPS, "statefulsets"),
    Need::new("revert", "patch", APPS, "daemonsets"),
    Need::new("check (dry run, to test the webhook)", "create", "", "pods"),
    Need::new("check, crd install", "get", CRD_GROUP, CRDS),
    Need::new("crd install", "create", CRD_GROUP, CRDS),
    Need::new("crd install", "patch", CRD_GROUP, CRDS),
    Need::new("check, webhook install-config", "get", WEBHOOK_GROUP, WEBHOOKS),
    Need::new("webhook install-config", "create", WEBHOOK_GROUP, WEBHOOKS),
    Need::new("webhook install-config", "patch", WEBHOOK_GROUP, WEBHOOKS),
    Need::new("webhook install-config --mutating", "get", WEBHOOK_GROUP, MUTATING_WEBHOOKS),
    Need::new("webhook install-config --mutating", "create", WEBHOOK_GROUP, MUTATING_WEBHOOKS),
    Need::new("webhook install-config --mutating", "patch", WEBHOOK_GROUP, MUTATING_WEBHOOKS),
];

/// A permission that commands need.
#[derive(Clone, Copy)]
struct Need {
    commands: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Permission {
    pub(super) commands: &'static str,
    pub(super) verb: &'static str,
    pub(super) resource: String,
    pub(super) is_allowed: bool,
}

/// Asks the API server for each permission, in a namespace or in all; that of [`LIST_PODS`] first.
pub(super) async fn ask(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<Vec<Permission>, ClusterError> {
    let mut permissions = Vec::new();
    for need in &NEEDS {
        let Need { commands, verb, group, resource } = *need;
        let is_allowed = need.is_allowed(cluster, namespace).await?;
        let separator = if group.is_empty() { "" } else { "." };
        let resource = format!("{resource}{separator}{group}");
        permissions.push(Permission { commands, verb, resource, is_allowed });
    }
    Ok(permissions)
}

/// Whether the user may create pods.
pub(super) async fn may_create_pods(
    cluster: &Cluster,
    namespace: &str,
) -> Result<bool, ClusterError> {
    Need { verb: "create", ..LIST_PODS }.is_allowed(cluster, Some(namespace)).await
}

impl Need {
    const fn new(
        commands: &'static str,
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
    ) -> Self {
        Self { commands, verb, group, resource }
    }

    async fn is_allowed(
        &self,
        cluster: &Cluster,
        namespace: Option<&str>,
    ) -> Result<bool, ClusterError> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(self.attributes(namespace)),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
        let operation = format!("cannot ask whether you may {} {}", self.verb, self.resource);
        let answer = cluster.call(&operation, api.create(&PostParams::default(), &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The attributes of the command's request. For the authorizer a Namespace is in itself, so a Role
    /// in it can allow to read it.
    fn attributes(&self, namespace: Option<&str>) -> ResourceAttributes {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let of_namespace = || namespace.map(str::to_owned);
        let (name, namespace) = match (self.resource, self.verb) {
            _ if self.group == APPS => (None, of_namespace()),
            ("pods" | POLICIES | BUDGETS, _) => (None, of_namespace()),
            (NAMESPACES, "get") => (of_namespace(), of_namespace()),
            (WEBHOOKS | MUTATING_WEBHOOKS, "get" | "patch") => {
                (Some(WEBHOOK_CONFIGURATION.to_owned()), None)
            }
            _ => (None, None),
        };
        ResourceAttributes {
            verb: text(self.verb),
            group: text(self.group),
            resource: text(self.resource),
            name,
            namespace,
            ..ResourceAttributes::default()
        }
    }
}
