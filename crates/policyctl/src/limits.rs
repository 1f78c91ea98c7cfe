//! The policies of a cluster that are not judged, because there are too many of something.

use std::collections::{BTreeMap, BTreeSet};

use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{MAX_PER_NAMESPACE, PoliciesByRank, PolicyRank};
use policy_core::view::{MAX_FINALIZERS, PolicyView};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::policies::PolicyName;

/// The most names that a line for people has.
const MOST_NAMES: usize = 5;

/// A policy that is not judged.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NotJudged {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// As in the policy's condition `Ready`.
    reason: &'static str,
}

impl NotJudged {
    pub(crate) fn key(self) -> PolicyName {
        (self.namespace, self.name)
    }
}

/// Collects the policies of a cluster.
#[derive(Default)]
pub(crate) struct Limits {
    ages: BTreeMap<String, PoliciesByRank<()>>,
    with_finalizers: BTreeSet<PolicyName>,
}

impl Limits {
    pub(crate) fn add(&mut self, object: &Value) {
        let Ok(PolicyView { metadata, finalizers, .. }) = PolicyView::deserialize(object) else {
            return;
        };
        let namespace = metadata.namespace.clone().unwrap_or_default();
        // One that is being deleted no longer applies; one of the system never does.
        let is_excluded = ExcludedNamespaces::default().contains(&namespace);
        if metadata.deletion_timestamp.is_some() || is_excluded {
            return;
        }
        let name = metadata.name.clone().unwrap_or_default();
        if finalizers.are_too_many() {
            self.with_finalizers.insert((namespace.clone(), name));
        }
        self.ages.entry(namespace).or_default().insert(PolicyRank::of(&metadata), ());
    }

    /// The policies that are not judged, sorted.
    pub(crate) fn not_judged(&self) -> Vec<NotJudged> {
        let mut found = BTreeMap::new();
        for (namespace, name) in &self.with_finalizers {
            found.insert((namespace.clone(), name.clone()), "TooManyFinalizers");
        }
        for (namespace, ages) in &self.ages {
            for (excess, ()) in ages.excess() {
                let key = (namespace.clone(), excess.name().to_string());
                found.insert(key, "TooManyPolicies");
            }
        }
        let policy = |((namespace, name), reason)| NotJudged { namespace, name, reason };
        found.into_iter().map(policy).collect()
    }
}

/// A line for each namespace and reason.
pub(crate) fn lines(policies: &[NotJudged]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for NotJudged { namespace, name, reason } in policies {
        groups.entry((namespace.as_str(), *reason)).or_default().push(name);
    }
    let line = |((namespace, reason), names): ((&str, &str), Vec<&str>)| {
        let mut listed = names[..names.len().min(MOST_NAMES)].join(", ");
        if names.len() > MOST_NAMES {
            listed = format!("{listed} and {} more", names.len() - MOST_NAMES);
        }
        let advice = match reason {
            "TooManyPolicies" => format!(
                "at most {MAX_PER_NAMESPACE} of a namespace are, the oldest; delete those that \
                 nobody needs"
            ),
            _ => format!("they have more than {MAX_FINALIZERS} finalizers; remove some"),
        };
        format!("NOT judged in namespace {namespace}: {listed} ({advice})")
    };
    groups.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(namespace: &str, name: &str, second: usize) -> Value {
        let created = format!("2026-01-02T03:{:02}:{:02}Z", second / 60, second % 60);
        json!({ "metadata": { "namespace": namespace, "name": name, "creationTimestamp": created },
            "spec": {} })
    }

    #[test]
    fn policies_beyond_a_limit_are_named_with_what_to_do() {
        let mut limits = Limits::default();
        for number in 0..70 {
            limits.add(&policy("shop", &format!("p-{number}"), number));
            limits.add(&policy("kube-system", &format!("p-{number}"), number));
        }
        let mut deleted = policy("shop", "deleted", 0);
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        limits.add(&deleted);
        let mut held = policy("bank", "held", 0);
        let finalizers: Vec<String> = (0..33).map(|n| format!("example.com/{n}")).collect();
        held["metadata"]["finalizers"] = json!(finalizers);
        limits.add(&held);
        let found = limits.not_judged();
        assert_eq!(found.len(), 7);
        let first = json!({ "namespace": "bank", "name": "held", "reason": "TooManyFinalizers" });
        assert_eq!(serde_json::to_value(&found[0]).unwrap(), first);
        assert_eq!(
            lines(&found),
            [
                "NOT judged in namespace bank: held (they have more than 32 finalizers; remove some)",
                "NOT judged in namespace shop: p-64, p-65, p-66, p-67, p-68 and 1 more (at most 64 \
                 of a namespace are, the oldest; delete those that nobody needs)",
            ]
        );
    }
}
