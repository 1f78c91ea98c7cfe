//! Which of the policies that apply to a namespace decides on a check.

use schemars::JsonSchema;
use serde::Serialize;

use crate::checks::{CheckId, Parameters};
use crate::policy::CompiledPolicy;
use crate::report::as_text;
use crate::severity::Severity;

/// A check, and the policies of the namespace that enable it. All of them are evaluated, so what
/// one of them finds is a finding.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckPolicies {
    /// The id of the check.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub check: CheckId,
    /// The policies that enable it, in the order in which they are evaluated.
    pub policies: Vec<PolicySetting>,
}

/// What a policy sets for a check.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicySetting {
    /// `NAMESPACE/NAME`, or `ClusterDevOpsPolicy/NAME`.
    pub policy: String,
    /// The fields, such as `maxRestartCount: 3, restartWindow: 86400`.
    pub setting: String,
    /// How severe its findings are.
    pub severity: Severity,
    /// Whether no other policy is stricter: it finds what each other one finds, or something that
    /// the others do not.
    pub decides: bool,
}

/// The checks that any of the policies enables, in the order in which reports list them.
#[must_use]
pub fn check_policies(policies: &[(String, CompiledPolicy)]) -> Vec<CheckPolicies> {
    let of_check = |check: CheckId| {
        let enabled: Vec<_> = policies
            .iter()
            .filter(|(_, policy)| policy.is_enabled(check))
            .map(|(name, policy)| (name, policy.parameters(check), policy.severity(check)))
            .collect();
        let is_weaker = |parameters: &Parameters| {
            let mut others = enabled.iter().map(|(_, other, _)| other);
            others.any(|other| other != parameters && other.finds_all_of(parameters))
        };
        let setting =
            |(name, parameters, severity): &(&String, Parameters, Severity)| PolicySetting {
                policy: (*name).clone(),
                setting: check.meta().setting(*parameters),
                severity: *severity,
                decides: !is_weaker(parameters),
            };
        CheckPolicies { check, policies: enabled.iter().map(setting).collect() }
    };
    CheckId::all().map(of_check).filter(|check| !check.policies.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(json: &str) -> CompiledPolicy {
        CompiledPolicy::compile(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn decided(policies: &[&str], check: &str) -> Vec<(String, String, bool)> {
        let named = policies.iter().enumerate().map(|(i, json)| (format!("p{i}"), policy(json)));
        let found = check_policies(&named.collect::<Vec<_>>());
        let found = found.into_iter().find(|found| found.check.as_str() == check);
        let settings = found.map(|found| found.policies).unwrap_or_default();
        settings.into_iter().map(|found| (found.policy, found.setting, found.decides)).collect()
    }

    fn rows(rows: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
        rows.iter().map(|(p, s, d)| ((*p).to_owned(), (*s).to_owned(), *d)).collect()
    }

    #[test]
    fn the_stricter_limit_decides_and_a_policy_without_the_check_does_not() {
        let policies =
            [r#"{"forbidPendingDuration": 300}"#, r#"{"forbidPendingDuration": 60}"#, "{}"];
        let expected = [
            ("p0", "forbidPendingDuration: 300", false),
            ("p1", "forbidPendingDuration: 60", true),
        ];
        assert_eq!(decided(&policies, "pending"), rows(&expected));
        assert_eq!(decided(&policies, "latest-tag"), []);
    }

    #[test]
    fn equal_settings_decide_together() {
        let both = [r#"{"forbidLatestTag": true}"#; 2];
        let expected =
            [("p0", "forbidLatestTag: true", true), ("p1", "forbidLatestTag: true", true)];
        assert_eq!(decided(&both, "latest-tag"), rows(&expected));
    }

    #[test]
    fn a_lower_limit_with_a_window_and_a_higher_one_without_decide_both() {
        let policies = [
            r#"{"maxRestartCount": 3, "restartWindow": 3600}"#,
            r#"{"maxRestartCount": 5}"#,
            r#"{"maxRestartCount": 5, "restartWindow": 60}"#,
        ];
        let expected = [
            ("p0", "maxRestartCount: 3, restartWindow: 3600", true),
            ("p1", "maxRestartCount: 5", true),
            ("p2", "maxRestartCount: 5, restartWindow: 60", false),
        ];
        assert_eq!(decided(&policies, "high-restarts"), rows(&expected));
    }

    proptest! {
        /// What a policy finds that does not decide, one that decides finds too.
        #[test]
        fn those_that_decide_find_everything(
            settings in proptest::collection::vec((0..5_u32, proptest::option::of(1..5_u32)), 1..6),
        ) {
            let named: Vec<_> = settings
                .iter()
                .map(|(limit, window)| {
                    let spec = serde_json::json!({ "maxRestartCount": limit, "restartWindow": window });
                    (String::new(), policy(&spec.to_string()))
                })
                .collect();
            let found = check_policies(&named).remove(0).policies;
            let finds = |(limit, window): (u32, Option<u32>), restarts: u32, age: u32| {
                restarts > limit && window.is_none_or(|window| age < window)
            };
            for restarts in 0..7 {
                for age in 0..6 {
                    let any = |only_deciding: bool| settings.iter().zip(&found).any(|(setting, row)| {
                        (row.decides || !only_deciding) && finds(*setting, restarts, age)
                    });
                    prop_assert_eq!(any(true), any(false));
                }
            }
        }
    }
}
