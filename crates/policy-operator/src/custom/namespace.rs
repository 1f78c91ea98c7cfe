//! The results of one namespace.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use policy_core::custom::{CustomChecks, CustomNamespace, CustomResults};
use policy_runtime::backoff::Backoff;
use tokio::time::Instant;

use super::budget::Budget;
use super::{Found, Judging, Needed, SetId, Version};
use crate::policy_key::PolicyKey;

/// The most texts of findings that are kept of a namespace.
const MAX_TEXTS: usize = 2_000;
/// Lists of a namespace whose pods are still not judged are that far apart.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(60);

pub(super) struct Namespace {
    sets: Vec<Set>,
    labels: Option<Arc<CustomNamespace>>,
    pods: HashMap<Box<str>, Judged>,
    /// Pods of one workload mostly have the same results.
    known: HashSet<Arc<CustomResults>>,
    /// What all pods are judged by; made anew where a set changes.
    judging: Option<Arc<Judging>>,
    pub(super) budget: Budget,
    /// It is not listed before.
    pub(super) rests_until: Instant,
    backoff: Backoff,
    pub(super) is_listing: bool,
    /// Why it could not be listed.
    pub(super) error: Option<Arc<str>>,
}

/// The custom checks of policies: those with the same checks share them.
struct Set {
    id: SetId,
    checks: Arc<CustomChecks>,
    policies: BTreeSet<PolicyKey>,
}

struct Judged {
    version: Version,
    results: Box<[(SetId, Found)]>,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            labels: None,
            pods: HashMap::new(),
            known: HashSet::new(),
            judging: None,
            budget: Budget::default(),
            rests_until: Instant::now(),
            backoff: Backoff::new(FIRST_REST, LONGEST_REST),
            is_listing: false,
            error: None,
        }
    }
}

impl Namespace {
    /// The set of a policy. Where the checks or the labels that they depend on are others than
    /// before, it is a new one, and no pod has results of it.
    pub(super) fn set_of(&mut self, needed: Needed<'_>, next: &mut SetId) -> SetId {
        let Needed { policy, checks, labels, .. } = needed;
        if let Some(labels) = labels.filter(|labels| self.labels.as_deref() != Some(labels)) {
            self.labels = Some(Arc::new(labels));
            self.changed();
            for set in self.sets.iter_mut().filter(|set| set.checks.need_namespace()) {
                *next += 1;
                set.id = *next;
            }
        }
        let is_same = |set: &Set| Arc::ptr_eq(&set.checks, checks) || set.checks == *checks;
        let position = self.sets.iter().position(is_same);
        let has_it = position.is_some_and(|at| self.sets[at].policies.contains(policy));
        if !has_it {
            self.retain_policies(|other| other != policy);
        }
        if let Some(set) = self.sets.iter_mut().find(|set| is_same(set)) {
            set.policies.insert(policy.clone());
            return set.id;
        }
        *next += 1;
        let policies = [policy.clone()].into();
        self.sets.push(Set { id: *next, checks: Arc::clone(checks), policies });
        self.changed();
        *next
    }

    /// Pods have to be judged by others. What changed is not to wait for what failed before.
    fn changed(&mut self) {
        self.judging = None;
        self.backoff.reset();
        self.rests_until = self.rests_until.min(Instant::now() + FIRST_REST);
    }

    pub(super) fn retain_policies(&mut self, is_left: impl Fn(&PolicyKey) -> bool) {
        let before = self.sets.len();
        self.sets.retain_mut(|set| {
            set.policies.retain(|policy| is_left(policy));
            !set.policies.is_empty()
        });
        if self.sets.len() < before {
            self.judging = None;
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.sets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn texts(&self) -> usize {
        self.known.len()
    }

    pub(super) fn judging(&mut self) -> Arc<Judging> {
        let judging = self.judging.get_or_insert_with(|| {
            let sets = self.sets.iter().map(|set| (set.id, Arc::clone(&set.checks)));
            Arc::new(Judging { sets: sets.collect(), namespace: self.labels.clone() })
        });
        Arc::clone(judging)
    }

    /// What a set found in a pod; `None` where the pod is not judged by it.
    pub(super) fn found(&self, pod: &str, set: SetId) -> Option<Found> {
        let results = &self.pods.get(pod)?.results;
        results.iter().find(|(id, _)| *id == set).map(|(_, found)| found.clone())
    }

    /// Whether all results of that version of a pod are known.
    pub(super) fn is_judged(&self, pod: &str, version: Version) -> bool {
        let known = self.pods.get(pod).filter(|known| known.version == version);
        known.is_some_and(|known| {
            let has = |set: &Set| known.results.iter().any(|(id, _)| *id == set.id);
            self.sets.iter().all(has)
        })
    }

    /// Whether the results of a later version of a pod are known.
    pub(super) fn is_newer(&self, pod: &str, version: Version) -> bool {
        self.pods.get(pod).is_some_and(|known| known.version > version)
    }

    /// Sets the results of a pod. Returns whether that is a change. Without `has_room` the texts of
    /// its findings are those that all pods share.
    pub(super) fn set(
        &mut self,
        pod: &str,
        version: Version,
        results: Vec<(SetId, CustomResults)>,
        has_room: bool,
    ) -> bool {
        let results: Box<[_]> =
            results.into_iter().map(|(id, results)| (id, self.shared(results, has_room))).collect();
        let judged = Judged { version, results };
        match self.pods.get_mut(pod) {
            Some(known) => {
                let is_changed = known.results != judged.results;
                *known = judged;
                is_changed
            }
            None => self.pods.insert(pod.into(), judged).is_none(),
        }
    }

    /// The results of a pod are those of an earlier version.
    pub(super) fn must_be_judged(&mut self, pod: &str, version: Version) -> bool {
        if self.is_judged(pod, version) {
            return false;
        }
        self.set(pod, version, Vec::new(), true)
    }

    fn shared(&mut self, results: CustomResults, has_room: bool) -> Found {
        if results.violations.is_empty() && results.failures.is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(&results) {
            return Some(Arc::clone(known));
        }
        if self.known.len() >= MAX_TEXTS || !has_room {
            self.known.retain(|known| Arc::strong_count(known) > 1);
        }
        let has_room = has_room && self.known.len() < MAX_TEXTS;
        let results = if has_room { results } else { results.without_own_texts() };
        let known = self.known.get(&results).map(Arc::clone);
        Some(known.unwrap_or_else(|| {
            let results = Arc::new(results);
            self.known.insert(Arc::clone(&results));
            results
        }))
    }

    pub(super) fn remove(&mut self, pod: &str) {
        self.pods.remove(pod);
    }

    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.pods.retain(|pod, _| exists(pod));
        self.known.retain(|known| Arc::strong_count(known) > 1);
    }

    /// It was listed, or could not be.
    pub(super) fn listed(&mut self, result: Result<(), String>) {
        self.is_listing = false;
        self.known.retain(|known| Arc::strong_count(known) > 1);
        let rest = match &result {
            Ok(()) => {
                self.backoff.reset();
                FIRST_REST
            }
            Err(_) => self.backoff.delay(),
        };
        self.rests_until = Instant::now() + rest;
        self.error = result.err().map(Into::into);
    }
}
