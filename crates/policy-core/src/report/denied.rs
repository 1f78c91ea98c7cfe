//! What admission would deny of the objects of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Changes, Report};
use crate::admission::{AdmissionVerdict, Creation, Decision, NamespacePolicies, Recreation};
use crate::checks::CheckName;
use crate::custom::{CustomInput, CustomNamespace};
use crate::facts::PodFacts;
use crate::installation::NAMESPACE;
use crate::labels::Labels;
use crate::text::counted;

/// How many objects are kept at most, by name. Those of a cluster come once for each pod, so that others
/// cannot be counted.
const MAX_DENIED: usize = 100_000;

/// The objects that the webhook would deny if a user created them now under the policy: manifests,
/// and of a cluster workloads and pods without one.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedObjects {
    /// How many there are.
    pub total: u64,
    /// Whether there are more than `total`, because only the first 100 000 are counted; left out where
    /// there are not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub has_more: bool,
    /// The objects, by namespace, kind and name; at most 100 000, and of each of several clusters 100.
    pub objects: Vec<DeniedObject>,
}

impl DeniedObjects {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0 && !self.has_more
    }

    /// Whether an object is kept if it is denied: those that are kept are the first of all.
    fn has_all_before(&self, object: [&str; 3]) -> bool {
        let last = self.objects.last();
        last.is_some_and(|last| object < [&*last.namespace, &*last.kind, &*last.name])
    }

    /// How many there are: `2 objects`, or `at least 100000 objects`.
    #[must_use]
    pub fn number(&self) -> String {
        let at_least = if self.has_more { "at least " } else { "" };
        format!("{at_least}{}", counted(self.total, "object"))
    }

    /// How many come after the first so many: `and 3 more`, or `and at least 3 more`.
    #[must_use]
    pub fn more_than(&self, listed: usize) -> Option<String> {
        match (self.total.saturating_sub(listed as u64), self.has_more) {
            (0, false) => None,
            (0, true) => Some("and more".to_owned()),
            (more, false) => Some(format!("and {more} more")),
            (more, true) => Some(format!("and at least {more} more")),
        }
    }
}

/// An object that the webhook would deny.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct DeniedObject {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The kind of the object, or of the workload of a cluster's pods.
    pub kind: Arc<str>,
    /// The name of the same.
    pub name: Arc<str>,
    /// The file; `null` where the pods came from a cluster.
    pub file: Option<Arc<str>>,
    /// The line of the object; `null` where the pods came from a cluster.
    pub line: Option<u32>,
    /// The checks by which it is denied.
    pub checks: BTreeSet<CheckName>,
}

impl fmt::Display for DeniedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, kind, name, file, line, checks } = self;
        write!(f, "{namespace} {kind}/{name}")?;
        if let (Some(file), Some(line)) = (file, line) {
            write!(f, " {file}:{line}")?;
        }
        let checks: Vec<_> = checks.iter().map(CheckName::as_str).collect();
        write!(f, " ({})", checks.join(", "))
    }
}

/// What an object is known by: namespace, kind, name, file and line.
type Key = (Arc<str>, Arc<str>, Arc<str>, Option<Arc<str>>, Option<u32>);

/// Collects the objects that are denied under the policies, in any order.
#[derive(Debug)]
pub(super) struct DenialCounter<'a> {
    policies: &'a NamespacePolicies,
    now: Timestamp,
    denied: BTreeMap<Key, BTreeSet<CheckName>>,
    /// How many are kept at most.
    most: usize,
    /// Whether others are not kept.
    is_cut: bool,
}

impl<'a> DenialCounter<'a> {
    pub(super) fn new(policies: &'a NamespacePolicies, now: Timestamp) -> Self {
        Self { policies, now, denied: BTreeMap::new(), most: MAX_DENIED, is_cut: false }
    }

    /// The checks by which an object of a file is denied.
    pub(super) fn of_manifest(
        &self,
        facts: &PodFacts,
        labels: Option<&Labels>,
        custom: Option<&CustomInput>,
    ) -> BTreeSet<CheckName> {
        let mut facts = facts.clone();
        facts.clear_status();
        let is_before_limit_ranges = true;
        let creation = Creation { labels, is_before_limit_ranges, ..Creation::of(&facts) };
        denying(&creation.admit_with(custom.cloned(), self.policies, self.now))
    }

    /// Adds an object of a file.
    pub(super) fn add(
        &mut self,
        facts: &PodFacts,
        at: (&Arc<str>, u32),
        checks: BTreeSet<CheckName>,
    ) {
        let (namespace, kind) = (Arc::clone(&facts.namespace), facts.kind.as_str().into());
        let (file, line) = at;
        let key = (namespace, kind, (&*facts.name).into(), Some(Arc::clone(file)), Some(line));
        self.insert(key, checks);
    }

    /// Adds the workload of a running pod. Its own controller creates pods again as well, which counts
    /// where the policy denies them.
    pub(super) fn add_live(
        &mut self,
        pod: &PodFacts,
        labels: Option<&Labels>,
        custom: Option<&CustomInput>,
        namespace: Option<&CustomNamespace>,
    ) {
        let policies = NamespacePolicies {
            namespace: namespace.cloned().map(Arc::new),
            ..NamespacePolicies::clone(self.policies)
        };
        let again = Recreation::of(pod, labels);
        let creations = [Some(again.by_user()), again.by_controller()];
        let admit = |creation: Creation<'_>| {
            denying(&creation.admit_with(custom.cloned(), &policies, self.now))
        };
        let checks = creations.into_iter().flatten().flat_map(admit).collect();
        let workload = &pod.workload;
        let (kind, name) = (Arc::clone(&workload.kind), Arc::clone(&workload.name));
        self.insert((Arc::clone(&pod.namespace), kind, name, None, None), checks);
    }

    fn insert(&mut self, key: Key, checks: BTreeSet<CheckName>) {
        // The webhook is not asked about the platform's own namespace.
        if checks.is_empty() || *key.0 == *NAMESPACE {
            return;
        }
        self.denied.entry(key).or_default().extend(checks);
        if self.denied.len() > self.most {
            self.denied.pop_last();
            self.is_cut = true;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.is_cut |= other.is_cut;
        other.denied.into_iter().for_each(|(key, checks)| self.insert(key, checks));
    }

    pub(super) fn finish(self) -> DeniedObjects {
        let total = self.denied.len() as u64;
        let objects = self.denied.into_iter().map(|(key, checks)| {
            let (namespace, kind, name, file, line) = key;
            DeniedObject { namespace, kind, name, file, line, checks }
        });
        DeniedObjects { total, has_more: self.is_cut, objects: objects.collect() }
    }
}

/// The checks of the findings that deny.
fn denying(verdict: &AdmissionVerdict) -> BTreeSet<CheckName> {
    let denied = verdict.counts().filter(|(_, decision, _)| *decision == Decision::Denied);
    denied.map(|(check, ..)| check.clone()).collect()
}

impl Report {
    /// The objects that are denied by a finding that is new, of those that are kept. `None` where that was
    /// not judged.
    pub(super) fn newly_denied(&self, changes: &Changes) -> Option<DeniedObjects> {
        let new: BTreeSet<_> = changes
            .new
            .iter()
            .map(|new| (&*new.namespace, &*new.kind, &*new.name, new.file.as_deref(), &*new.check))
            .collect();
        let is_new = |of: &DeniedObject| {
            let DeniedObject { namespace, kind, name, file, checks, .. } = of;
            let is_new = |check: &CheckName| {
                new.contains(&(&**namespace, &**kind, &**name, file.as_deref(), &*check.as_str()))
            };
            checks.iter().any(is_new)
        };
        let mut denied = self.denied.clone()?;
        denied.has_more &= changes
            .new
            .iter()
            .any(|new| !denied.has_all_before([&*new.namespace, &*new.kind, &*new.name]));
        denied.objects.retain(is_new);
        denied.total = denied.objects.len() as u64;
        Some(denied)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::NamedPolicy;
    use crate::policy::CompiledPolicy;

    #[test]
    fn a_workload_counts_once_also_where_there_are_too_many() {
        let spec = json!({ "forbidLatestTag": true, "admission": { "denySeverity": "low" } });
        let rules = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap();
        let policies = NamedPolicy { name: "p".into(), rules: Ok(Arc::new(rules)) }.into();
        let counter = |most, pods: &[&str]| {
            let mut counter = DenialCounter::new(&policies, Timestamp::UNIX_EPOCH);
            counter.most = most;
            for (number, owner) in pods.iter().enumerate() {
                let pod = json!({
                    "metadata": { "name": format!("{owner}-{number}"), "ownerReferences": [
                        { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner,
                            "controller": true }] },
                    "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
                });
                let facts = PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop");
                counter.add_live(&facts, None, None, None);
            }
            counter
        };
        let found = |counter: DenialCounter<'_>| {
            let denied = counter.finish();
            let names: Vec<_> =
                denied.objects.iter().map(|object| object.name.to_string()).collect();
            (denied.number(), names.join(" "), denied.more_than(1))
        };
        let (all, twice) = (["c", "b", "a"], ["c", "b", "a", "c", "b", "a", "c"]);
        let all = found(counter(3, &all));
        assert_eq!(found(counter(3, &twice)), all);
        assert_eq!(all, ("3 objects".into(), "a b c".into(), Some("and 2 more".into())));
        let cut = found(counter(2, &twice));
        assert_eq!(cut.0, "at least 2 objects");
        assert_eq!((&*cut.1, cut.2.as_deref()), ("a b", Some("and at least 1 more")));
        let denied = counter(2, &twice).finish();
        let is_before =
            ["a", "b", "c"].map(|name| denied.has_all_before(["shop", "DaemonSet", name]));
        assert_eq!(is_before, [true, false, false], "b may be on another line as well");
        let mut merged = counter(2, &["c", "b"]);
        merged.merge(counter(2, &["a", "b"]));
        assert_eq!(found(merged), found(counter(2, &twice)));
        assert_eq!(found(counter(2, &["a"])), ("1 object".into(), "a".into(), None));
    }
}
