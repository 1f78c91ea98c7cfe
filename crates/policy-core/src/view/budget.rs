//! A `PodDisruptionBudget`, as far as it says whether it ever allows an eviction.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube_core::Selector;
use serde::Deserialize;

use super::lenient::nullable;
use super::metadata::slim_metadata;

/// The most bytes of a selector, as it is written in a request. Real ones have some hundred.
const LONGEST_SELECTOR: usize = 8 << 10;

/// A `PodDisruptionBudget`: its name, and the pods that it lets nobody evict.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(
    inherit = "PodDisruptionBudget",
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
#[serde(try_from = "RawBudget")]
pub struct BudgetView {
    /// As in [`PodView::metadata`](super::PodView::metadata).
    pub metadata: ObjectMeta,
    /// The pods of which it never allows an eviction; `None` where it does, or selects nothing.
    pub blocked: Option<BlockedPods>,
}

/// The pods of a budget that never allows an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedPods {
    /// The label selector, as a request has it; all pods of the namespace where it is empty.
    pub labels: Box<str>,
    /// How many pods there should be, by the controllers of those that are selected. Where that is
    /// another number, others may be selected.
    pub expected: i64,
}

#[derive(Deserialize)]
struct RawBudget {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "nullable")]
    spec: RawSpec,
    #[serde(default, deserialize_with = "nullable")]
    status: RawStatus,
}

#[derive(Deserialize, Default)]
struct RawSpec {
    selector: Option<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus {
    #[serde(deserialize_with = "nullable")]
    disruptions_allowed: i64,
    #[serde(deserialize_with = "nullable")]
    desired_healthy: i64,
    #[serde(deserialize_with = "nullable")]
    expected_pods: i64,
}

impl RawStatus {
    /// Whether no eviction is allowed even where all pods are healthy. Without pods nothing is blocked.
    fn blocks(&self) -> bool {
        self.expected_pods > 0
            && self.disruptions_allowed == 0
            && self.desired_healthy >= self.expected_pods
    }
}

impl TryFrom<RawBudget> for BudgetView {
    type Error = String;

    fn try_from(RawBudget { metadata, spec, status }: RawBudget) -> Result<Self, String> {
        let blocked = match spec.selector.filter(|_| status.blocks()) {
            None => None,
            Some(selector) => {
                let labels = Selector::try_from(selector).map_err(|error| error.to_string())?;
                let labels = labels.to_string();
                if labels.len() > LONGEST_SELECTOR {
                    return Err("the selector has more than 8 KiB".to_owned());
                }
                Some(BlockedPods { labels: labels.into(), expected: status.expected_pods })
            }
        };
        Ok(Self { metadata, blocked })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn blocked(selector: &Value, [allowed, desired, expected]: [i64; 3]) -> Option<String> {
        let budget = json!({
            "metadata": { "name": "web", "namespace": "shop", "managedFields": [{}] },
            "spec": { "minAvailable": "100%", "selector": selector },
            "status": { "disruptionsAllowed": allowed, "currentHealthy": expected,
                "desiredHealthy": desired, "expectedPods": expected },
        });
        let view: BudgetView = serde_json::from_value(budget).unwrap();
        view.blocked.map(|blocked| blocked.labels.into())
    }

    #[test]
    fn a_budget_blocks_where_no_number_of_healthy_pods_is_enough() {
        let web = json!({ "matchLabels": { "app": "web" } });
        let of = |numbers| blocked(&web, numbers);
        assert_eq!(of([0, 3, 3]).as_deref(), Some("app=web"), "maxUnavailable 0");
        assert!(of([0, 4, 3]).is_some(), "minAvailable above the replicas");
        assert_eq!(of([0, 2, 3]), None, "a pod is not healthy just now");
        assert_eq!(of([1, 2, 3]), None);
        assert_eq!(of([1, 3, 3]), None, "a pod more than there should be, as in a rollout");
        assert_eq!(of([0, 1, 0]), None, "no pods");
        let bare: BudgetView = serde_json::from_str(r#"{"metadata": {}, "status": null}"#).unwrap();
        assert_eq!(bare.blocked, None);
    }

    #[test]
    fn the_selector_is_as_in_the_api() {
        let of = |selector: &Value| blocked(selector, [0, 1, 1]);
        assert_eq!(of(&json!({})).as_deref(), Some(""), "all pods");
        assert_eq!(of(&Value::Null), None, "no pods");
        let expressions = json!({ "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["a", "b"] },
            { "key": "batch", "operator": "DoesNotExist" }] });
        assert_eq!(of(&expressions).as_deref(), Some("tier in (a,b),!batch"));
    }

    #[test]
    fn a_selector_without_end_is_not_kept() {
        let budget = json!({
            "metadata": {}, "spec": { "selector": { "matchLabels": { "app": "x".repeat(9_000) } } },
            "status": { "disruptionsAllowed": 0, "desiredHealthy": 1, "expectedPods": 1 },
        });
        let refused = serde_json::from_value::<BudgetView>(budget).unwrap_err();
        assert!(refused.to_string().contains("8 KiB"), "{refused}");
    }
}
