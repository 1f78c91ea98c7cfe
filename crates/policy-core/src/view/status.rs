//! The status of a pod.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::MAX_CONTAINERS;
use super::lenient::{bounded, nullable};
use super::text::Text;

/// The status of a pod.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusView {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Statuses of the regular containers.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
    pub container_statuses: Vec<ContainerStatusView>,
    /// Statuses of the init containers.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
    pub init_container_statuses: Vec<ContainerStatusView>,
    /// The `PodScheduled` condition; of the others, nothing is kept.
    #[serde(rename = "conditions", deserialize_with = "nullable")]
    pub scheduled: PodScheduledView,
}

/// The status of a container.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatusView {
    /// The container's name.
    pub name: Option<String>,
    /// How often it restarted.
    pub restart_count: Option<i64>,
}

/// The `PodScheduled` condition, as far as it says how long a pod has been Pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodScheduledView {
    /// Whether its reason is `SchedulingGated`.
    pub is_gated: bool,
    /// When its status changed last, in seconds since 1970; `None` without the condition.
    pub last_transition: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    reason: Text<'a>,
    #[serde(borrow, default)]
    last_transition_time: Text<'a>,
}

impl<'de> Deserialize<'de> for PodScheduledView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ConditionsVisitor)
    }
}

struct ConditionsVisitor;

impl<'de> Visitor<'de> for ConditionsVisitor {
    type Value = PodScheduledView;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of conditions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut conditions: A) -> Result<Self::Value, A::Error> {
        let mut found = PodScheduledView::default();
        while let Some(condition) = conditions.next_element::<Option<Condition<'de>>>()? {
            let Some(condition) = condition.filter(|one| one.kind.0 == "PodScheduled") else {
                continue;
            };
            let time = condition.last_transition_time.0.parse::<Timestamp>().ok();
            found.is_gated = condition.reason.0 == "SchedulingGated";
            found.last_transition = time.map(Timestamp::as_second);
        }
        Ok(found)
    }
}
