//! The changes of a policy, in turn.

use serde_json::{Value, json};

/// A change of the policy's check, or of its exemptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The check is disabled.
    Disable,
    /// It is enabled.
    Enable,
    /// The pod that violates it is exempted.
    Exempt,
    /// It is exempted no more.
    Count,
}

impl Step {
    /// Each of them undoes the one before, or is undone by the next.
    pub(super) const ALL: [Self; 4] = [Self::Disable, Self::Enable, Self::Exempt, Self::Count];
    /// What the policies are at first.
    pub(super) const LAST: Self = Self::Count;

    /// The spec of a policy after it.
    pub(super) fn spec(self) -> Value {
        let exemption = json!({ "checks": ["latest-tag"], "reason": "measured",
            "workload": { "kind": "Pod", "name": super::objects::VIOLATING } });
        let exemptions = if self == Self::Exempt { vec![exemption] } else { Vec::new() };
        json!({ "forbidLatestTag": self != Self::Disable, "exemptions": exemptions,
            "severityOverrides": { "latestTag": "critical" } })
    }

    /// Whether the violating pod violates the policy then.
    pub(super) fn is_violation(self) -> bool {
        matches!(self, Self::Enable | Self::Count)
    }

    /// Whether it changes exemptions.
    pub(super) fn is_of_exemptions(self) -> bool {
        matches!(self, Self::Exempt | Self::Count)
    }
}
