//! Whether a policy in enforce mode remediates: its condition `Remediating`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use policy_core::api::RemediationMethod;

use super::budget::Withheld;
use super::record::Record;
use crate::status::Stated;

const CONDITION: &str = "Remediating";

/// What the condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
pub(crate) enum Standing {
    /// It does, within the budgets.
    Remediating,
    /// It asks for proposals only.
    MethodPropose,
    /// Nobody would give way to the owners of workloads.
    NoMutatingWebhook,
    /// It is a cluster policy, which changes no workload yet.
    ClusterPolicy,
    /// Nothing starts now.
    #[strum(disabled)]
    Withheld(Withheld),
}

impl Standing {
    pub(super) fn of(record: &Record, method: RemediationMethod) -> Self {
        match record.stopped {
            Some(why) => Self::Withheld(why),
            None if method == RemediationMethod::Propose => Self::MethodPropose,
            None if record.lacks_webhook => Self::NoMutatingWebhook,
            None => Self::Remediating,
        }
    }

    /// What the conditions of a status say; `None` where the policy is not in enforce mode, or where
    /// another version of the operator has written a reason that this one does not know.
    pub(crate) fn read(conditions: &[Condition]) -> Option<Self> {
        let reason = &*conditions.iter().find(|condition| condition.type_ == CONDITION)?.reason;
        let own = reason.parse().ok();
        own.or_else(|| reason.parse().ok().map(Self::Withheld))
    }

    /// Whether the policy itself says that nothing is changed now: by its kind, its method or its
    /// windows.
    pub(crate) fn is_withheld_by_policy(self) -> bool {
        use Standing::{ClusterPolicy, MethodPropose};
        matches!(self, ClusterPolicy | MethodPropose | Self::Withheld(Withheld::Window { .. }))
    }

    pub(crate) fn stated(self) -> Stated {
        (CONDITION, Some(self == Self::Remediating), self.reason(), self.message())
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Withheld(why) => why.code(),
            other => other.into(),
        }
    }

    fn message(self) -> String {
        let message = match self {
            Self::Remediating => "workloads are remediated within the budgets",
            Self::MethodPropose => "remediation.method is propose: nothing is changed",
            Self::NoMutatingWebhook => {
                "the mutating webhook, which gives way to the owners of workloads, is not installed: \
                 everything is proposed; see docs/remediation.md"
            }
            Self::ClusterPolicy => {
                "a ClusterDevOpsPolicy does not change workloads yet: it only judges them, as in audit \
                 mode; a DevOpsPolicy in enforce mode changes those of its namespace"
            }
            Self::Withheld(why) => return why.to_string(),
        };
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use policy_core::Timestamp;
    use strum::VariantNames as _;

    use super::*;
    use crate::status::condition;

    fn read(standing: Standing) -> Option<Standing> {
        let now = crate::status::whole_seconds(Timestamp::UNIX_EPOCH);
        Standing::read(&[condition(standing.stated(), None, None, &now)])
    }

    #[test]
    fn a_condition_says_what_was_stated() {
        use Standing::{ClusterPolicy, MethodPropose, NoMutatingWebhook, Remediating};
        let withheld =
            Withheld::VARIANTS.iter().map(|code| Standing::Withheld(code.parse().unwrap()));
        let others = [Remediating, MethodPropose, NoMutatingWebhook, ClusterPolicy];
        for standing in withheld.chain(others) {
            assert_eq!(read(standing), Some(standing));
        }
        assert_eq!(Standing::read(&[]), None);
    }

    #[test]
    fn a_window_withholds_whenever_it_opens() {
        let opens = Some(Timestamp::UNIX_EPOCH);
        let closed = Standing::Withheld(Withheld::Window { opens });
        assert!(read(closed).unwrap().is_withheld_by_policy());
        assert!(!read(Standing::Withheld(Withheld::Reverts)).unwrap().is_withheld_by_policy());
    }
}
