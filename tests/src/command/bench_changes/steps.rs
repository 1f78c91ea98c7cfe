//! The changes of a policy, in turn.

use serde_json::{Value, json};

/// A change of the policy's check, of its exemptions, or of its custom check.
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
    /// A custom check takes the place of the check, and the pod is in order by it.
    Accept,
    /// Another expression, which the pod violates.
    Refuse,
}

impl Step {
    /// Each of them undoes the one before, or is undone by the next.
    pub(super) const ALL: [Self; 6] =
        [Self::Disable, Self::Enable, Self::Exempt, Self::Count, Self::Accept, Self::Refuse];
    /// What the policies are at first.
    pub(super) const LAST: Self = Self::Count;

    /// The spec of a policy after it.
    pub(super) fn spec(self) -> Value {
        let exemption = json!({ "checks": ["latest-tag"], "reason": "measured",
            "workload": { "kind": "Pod", "name": super::objects::VIOLATING } });
        let exemptions = if self == Self::Exempt { vec![exemption] } else { Vec::new() };
        let suffix = match self {
            Self::Accept => Some(":none"),
            Self::Refuse => Some(":latest"),
            Self::Disable | Self::Enable | Self::Exempt | Self::Count => None,
        };
        let custom = suffix.map(|suffix| {
            json!({ "name": "no-tag", "severity": "critical",
                "expression": format!("!object.spec.containers.exists(c, c.image.endsWith('{suffix}'))") })
        });
        json!({ "forbidLatestTag": suffix.is_none() && self != Self::Disable,
            "exemptions": exemptions, "custom": custom.as_slice(),
            "severityOverrides": { "latestTag": "critical" } })
    }

    /// Whether the violating pod violates the policy then.
    pub(super) fn is_violation(self) -> bool {
        matches!(self, Self::Enable | Self::Count | Self::Refuse)
    }

    /// What it changes.
    pub(super) fn changed(self) -> &'static str {
        match self {
            Self::Disable | Self::Enable => "policy",
            Self::Exempt | Self::Count => "exemption",
            Self::Accept | Self::Refuse => "custom",
        }
    }
}
