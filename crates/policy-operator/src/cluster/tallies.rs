//! What is kept of a cluster policy's verdicts on its namespaces, and their sum. Pure.
//!
//! A namespace that changed is judged alone, and its part replaced: the others cost nothing. The
//! findings themselves are not kept; those that a status lists are found again, as far as needed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::policy::{CompiledPolicy, ExemptionUse};
use policy_core::score::Tally;
use policy_core::verdict::{Fingerprint, FingerprintSum, Verdict};

use super::listed::{CheckGroup, Listed, Place};

/// What is kept of the verdict on one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    tally: Tally,
    findings: Fingerprint,
    /// The exemptions that exempt something.
    used: ExemptionUse,
    /// The second (since 1970) at which the verdict changes only because time passes.
    due: Option<i64>,
}

/// The verdicts of a cluster policy on the namespaces that it selects, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceTallies {
    parts: BTreeMap<Arc<str>, Part>,
    tally: Tally,
    fingerprint: FingerprintSum,
    due: BTreeSet<(i64, Arc<str>)>,
}

impl NamespaceTallies {
    /// Adds or replaces the verdict on a namespace ([`Verdict::of_part`]).
    pub(crate) fn set(&mut self, namespace: &Arc<str>, verdict: &Verdict) {
        self.remove(namespace);
        let Verdict { tally, fingerprint: findings, used, due, .. } = *verdict;
        self.tally.merge(&tally);
        if tally.total_findings() > 0 {
            self.fingerprint.add(namespace, findings);
        }
        self.due.extend(due.map(|second| (second, Arc::clone(namespace))));
        self.parts.insert(Arc::clone(namespace), Part { tally, findings, used, due });
    }

    /// Removes a namespace. Returns whether it was there.
    pub(crate) fn remove(&mut self, namespace: &str) -> bool {
        let Some((name, part)) = self.parts.remove_entry(namespace) else { return false };
        let Part { tally, findings, due, .. } = part;
        self.tally.unmerge(&tally);
        if tally.total_findings() > 0 {
            self.fingerprint.subtract(namespace, findings);
        }
        if let Some(second) = due {
            self.due.remove(&(second, name));
        }
        true
    }

    /// Whether there is a verdict on a namespace.
    pub(crate) fn contains(&self, namespace: &str) -> bool {
        self.parts.contains_key(namespace)
    }

    /// How many namespaces there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The namespaces whose verdicts have changed by that second only because time passed.
    pub(crate) fn due(&self, second: i64) -> impl Iterator<Item = &Arc<str>> {
        self.due.iter().take_while(move |(at, _)| *at <= second).map(|(_, namespace)| namespace)
    }

    /// Where there are findings by that count, in the order of the list of findings.
    pub(crate) fn places<'a>(
        &'a self,
        policy: &CompiledPolicy,
        count: fn(CheckGroup, &Tally) -> u64,
    ) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let groups = policy
            .checks()
            .map(|(check, severity)| (Reverse(severity), CheckGroup::of(&check, severity)));
        let groups: BTreeSet<_> =
            groups.filter(|(_, group)| count(*group, &self.tally) > 0).collect();
        groups.into_iter().flat_map(move |(severity, group)| {
            let having = self.parts.iter().filter(move |(_, part)| count(group, &part.tally) > 0);
            having.map(move |(namespace, _)| Place { severity, group, namespace })
        })
    }

    /// The verdict on all namespaces, with these findings to list.
    pub(crate) fn verdict(
        &self,
        policy: &CompiledPolicy,
        Listed { worst, exempted, reported }: Listed,
        is_judged: bool,
        now: Timestamp,
    ) -> Verdict {
        let score = self.tally.score(policy);
        let (mut used, exemptions) = (ExemptionUse::default(), policy.exemptions());
        for part in self.parts.values().filter(|_| exemptions.is_some()) {
            used.merge(part.used);
        }
        Verdict {
            tally: self.tally,
            score,
            worst,
            exempted,
            reported,
            used,
            notes: exemptions
                .map(|all| all.notes(used, |one| is_judged || !one.has_custom(), now.as_second()))
                .unwrap_or_default(),
            fingerprint: self.fingerprint.finish(score),
            due: self.due.first().map(|(second, _)| *second),
            workloads: Vec::new(),
        }
    }
}
