//! A Deployment, as far as it says whether its rollout is stuck.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::lenient::nullable;
use super::metadata::slim_metadata;
use super::status::{ConditionsView, conditions};

/// A Deployment: its name and its conditions.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug, Default)]
#[resource(
    inherit = "Deployment",
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
#[serde(default)]
pub struct DeploymentView {
    /// As in [`PodView::metadata`](super::PodView::metadata).
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "nullable")]
    status: StatusView,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
struct StatusView {
    #[serde(deserialize_with = "conditions")]
    conditions: ConditionsView,
}

impl DeploymentView {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        let [namespace, name] =
            [&self.metadata.namespace, &self.metadata.name].map(|text| text.as_deref());
        (namespace.unwrap_or_default(), name.unwrap_or_default())
    }

    /// Why its rollout is stuck, where it is: the deployment controller gave up waiting for the pods
    /// of the current template, or could not create its `ReplicaSet`.
    #[must_use]
    pub fn stuck_rollout(&self) -> Option<&str> {
        self.status.conditions.stuck_rollout.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(conditions: &str) -> Option<String> {
        let text = format!(
            r#"{{"metadata": {{"name": "web", "namespace": "shop", "managedFields": [{{}}]}},
                "spec": {{"template": {{"spec": {{"containers": 1}}}}}},
                "status": {{"replicas": 2, "conditions": {conditions}}}}}"#
        );
        let deployment: DeploymentView = serde_json::from_str(&text).unwrap();
        assert_eq!(deployment.key(), ("shop", "web"));
        deployment.stuck_rollout().map(str::to_owned)
    }

    #[test]
    fn a_rollout_is_stuck_where_progressing_is_false() {
        let progressing = |status: &str, reason: &str, message: &str| {
            stuck(&format!(
                r#"[{{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}},
                    {{"type": "Progressing", "status": "{status}", "reason": "{reason}",
                     "message": "{message}"}}]"#
            ))
        };
        let deadline = progressing(
            "False",
            "ProgressDeadlineExceeded",
            r#"ReplicaSet \"web-5d8\" has timed out progressing."#,
        );
        assert_eq!(
            deadline.as_deref(),
            Some(r#"ProgressDeadlineExceeded (ReplicaSet "web-5d8" has timed out progressing)"#)
        );
        let bare = progressing("False", "ProgressDeadlineExceeded", "");
        assert_eq!(bare.as_deref(), Some("ProgressDeadlineExceeded"));
        assert_eq!(progressing("True", "NewReplicaSetAvailable", "done"), None);
        assert_eq!(
            progressing("Unknown", "DeploymentPaused", "paused"),
            None,
            "as its owner wants"
        );
        assert_eq!(stuck("null"), None);
    }

    #[test]
    fn what_is_kept_is_short_and_printable() {
        let long = format!(
            r#"[{{"type": "Progressing", "status": "False", "reason": "{}", "message": "a\nb"}}]"#,
            "r".repeat(5_000)
        );
        let kept = stuck(&long).unwrap();
        assert!(kept.len() < 250 && kept.ends_with("(a\u{fffd}b)"), "{kept}");
    }
}
