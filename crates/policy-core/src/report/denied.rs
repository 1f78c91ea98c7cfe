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
use crate::labels::Labels;

/// How many objects are kept at most, by name. All are counted.
const MAX_DENIED: usize = 100_000;

/// The objects that the webhook would deny if a user created them now under the policy: manifests,
/// and of a cluster workloads and pods without one.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct DeniedObjects {
    /// How many there are.
    pub total: u64,
    /// The objects, by namespace, kind and name; at most 100 000, and of each of several clusters 100.
    pub objects: Vec<DeniedObject>,
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
    /// How many are not kept.
    cut: u64,
}

impl<'a> DenialCounter<'a> {
    pub(super) fn new(policies: &'a NamespacePolicies, now: Timestamp) -> Self {
        Self { policies, now, denied: BTreeMap::new(), cut: 0 }
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
        if checks.is_empty() {
            return;
        }
        self.denied.entry(key).or_default().extend(checks);
        if self.denied.len() > MAX_DENIED {
            self.denied.pop_last();
            self.cut += 1;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.cut += other.cut;
        other.denied.into_iter().for_each(|(key, checks)| self.insert(key, checks));
    }

    pub(super) fn finish(self) -> DeniedObjects {
        let total = self.denied.len() as u64 + self.cut;
        let objects = self.denied.into_iter().map(|(key, checks)| {
            let (namespace, kind, name, file, line) = key;
            DeniedObject { namespace, kind, name, file, line, checks }
        });
        DeniedObjects { total, objects: objects.collect() }
    }
}

/// The checks of the findings that deny.
fn denying(verdict: &AdmissionVerdict) -> BTreeSet<CheckName> {
    let denied = verdict.counts().filter(|(_, decision, _)| *decision == Decision::Denied);
    denied.map(|(check, ..)| check.clone()).collect()
}

impl Report {
    /// The objects that are denied by a finding that is new. `None` where that was not judged.
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
        denied.objects.retain(is_new);
        denied.total = denied.objects.len() as u64;
        Some(denied)
    }
}
