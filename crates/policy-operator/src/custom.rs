//! Custom checks of the pods that run.
//!
//! ```text
//! watch of pods ─ the event has the whole pod ── judge ──┐
//!                                                        ├─► CustomResults: of each pod only what was found
//! PodLists: a list of one namespace ──── judge ──────────┘            │
//!      ▲                                                              ▼
//!      └── pods without results ◄───────────────────────────────── reconcile
//! ```
//!
//! A reconcile names the checks that it needs. Where pods have no results of them, as after an
//! expression or the labels of the namespace changed, the pods of that namespace are listed once.
//! A namespace without custom checks costs nothing.

mod budget;
mod lists;
mod namespace;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::custom::{CustomChecks, CustomInput, CustomNamespace, CustomResults};
use policy_core::facts::PodFacts;
use policy_core::policy::CompiledPolicy;
use policy_core::verdict::JudgedPod;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::Namespaces;
use crate::pods::Pods;
use crate::policy_key::PolicyKey;
use budget::Budget;
pub(crate) use lists::PodLists;
use namespace::Namespace;
pub(crate) use standing::CustomStanding;

/// What the custom checks of a policy found in a pod; `None` where the pod is in order.
pub(crate) type Found = Option<Arc<CustomResults>>;

/// Identifies checks with the labels of a namespace that they were judged with.
pub(crate) type SetId = u64;

/// The most texts of findings that are kept of all namespaces, some 20 MB. Findings beyond them have
/// the text that all pods share.
const MAX_TEXTS: usize = 40_000;

/// The results of custom checks, shared by the watch of pods, the lists and the reconciler. Cheap to
/// clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct CustomStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A namespace is due to be listed.
    due: Notify,
}

#[derive(Default)]
struct State {
    /// Those with custom checks.
    namespaces: HashMap<Arc<str>, Namespace>,
    next_set: SetId,
    /// The time that judging took of late, of all namespaces.
    budget: Budget,
    /// The namespaces to be listed, and from when on.
    due: BTreeMap<Arc<str>, Instant>,
    /// The texts of findings that are kept of all namespaces.
    texts: usize,
}

/// How much is judged by custom checks.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomReport {
    /// The namespaces with custom checks.
    namespaces: usize,
    /// Their pods.
    pods: usize,
    /// The namespaces whose pods wait to be listed.
    to_be_listed: usize,
}

/// What pods of a namespace are judged by.
#[derive(Debug)]
pub(crate) struct Judging {
    sets: Vec<(SetId, Arc<CustomChecks>)>,
    namespace: Option<Arc<CustomNamespace>>,
}

impl Judging {
    /// Judges by one set at a time, so that the caller may let other tasks run in between.
    pub(crate) fn judge<'a>(
        &'a self,
        input: &'a CustomInput,
    ) -> impl Iterator<Item = (SetId, CustomResults)> + use<'a> {
        let namespace = self.namespace.as_deref();
        self.sets.iter().map(move |(id, checks)| (*id, checks.judge(input, namespace)))
    }
}

/// What is to be done with a pod of an event.
#[derive(Debug)]
pub(crate) enum Now {
    /// Nothing: no check is about it, or its results are known.
    Nothing,
    Judge(Arc<Judging>),
    /// A list does that.
    Later,
}

impl Now {
    pub(crate) fn judging(&self) -> Option<&Judging> {
        match self {
            Self::Judge(judging) => Some(judging),
            Self::Nothing | Self::Later => None,
        }
    }
}

/// The checks that a reconcile needs the results of.
pub(crate) struct Needed<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) policy: &'a PolicyKey,
    pub(crate) checks: &'a Arc<CustomChecks>,
    /// The labels of the namespace, where an expression depends on them.
    pub(crate) labels: Option<CustomNamespace>,
}

/// A version of a pod. Versions can be compared since Kubernetes 1.35
/// (<https://github.com/kubernetes/enhancements/issues/5504>), and with etcd always could.
pub(crate) type Version = u64;

pub(crate) fn version(text: Option<&str>) -> Version {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What the custom checks of a policy found in these pods of a namespace, in their order, and what is
/// not known of them; nothing where it has none.
pub(crate) fn found(
    (pods, namespaces): (&Pods, &Namespaces),
    (policy, rules): (&PolicyKey, &CompiledPolicy),
    namespace: &str,
    facts: &[Arc<PodFacts>],
) -> (Vec<Option<Found>>, Option<CustomStanding>) {
    let store = pods.custom();
    let Some(checks) = rules.shared_custom() else {
        store.forget(namespace, policy);
        return (Vec::new(), None);
    };
    let labels = if checks.need_namespace() { namespaces.custom(namespace) } else { None };
    let needed = Needed { namespace, policy, checks, labels };
    let (found, standing) = store.of(needed, facts);
    (found, Some(standing))
}

/// The pods, each with what was found in it.
pub(crate) fn with_found<'a>(
    facts: &'a [Arc<PodFacts>],
    found: &'a [Option<Found>],
) -> impl Iterator<Item = JudgedPod<'a>> {
    let found = found.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    facts.iter().zip(found).map(|(pod, found)| JudgedPod {
        pod,
        custom: found.and_then(Option::as_deref),
        is_judged: found.is_some(),
    })
}

impl CustomStore {
    /// What a policy's checks found in each of these pods, in their order, and what is not known of
    /// them. Pods without results are listed soon.
    pub(crate) fn of(
        &self,
        needed: Needed<'_>,
        pods: &[Arc<PodFacts>],
    ) -> (Vec<Option<Found>>, CustomStanding) {
        let mut state = self.0.state.lock();
        let State { namespaces, next_set, due, .. } = &mut *state;
        let name = needed.namespace;
        let namespace = namespaces.entry(name.into()).or_default();
        let id = namespace.set_of(needed, next_set);
        let mut standing = CustomStanding::default();
        let found = pods
            .iter()
            .map(|pod| {
                let found = namespace.found(&pod.name, id);
                standing.add(pod, found.as_ref());
                found
            })
            .collect();
        if standing.unjudged > 0 {
            standing.error.clone_from(&namespace.error);
            if !namespace.is_listing {
                let at = due.entry(name.into()).or_insert(namespace.rests_until);
                *at = namespace.rests_until.min(*at);
                self.0.due.notify_one();
            }
        }
        (found, standing)
    }

    /// A policy does not judge a namespace by custom checks.
    pub(crate) fn forget(&self, namespace: &str, policy: &PolicyKey) {
        let mut state = self.0.state.lock();
        let Some(known) = state.namespaces.get_mut(namespace) else { return };
        known.retain_policies(|other| other != policy);
        if known.is_unused() {
            state.texts -= known_texts(&state.namespaces, namespace);
            state.namespaces.remove(namespace);
            state.due.remove(namespace);
        }
    }

    /// Only these policies judge.
    pub(crate) fn retain_policies(&self, is_left: impl Fn(&PolicyKey) -> bool) {
        let mut state = self.0.state.lock();
        let State { namespaces, due, texts, .. } = &mut *state;
        namespaces.retain(|name, known| {
            known.retain_policies(&is_left);
            if known.is_unused() {
                due.remove(name);
                *texts -= known.texts();
            }
            !known.is_unused()
        });
    }

    /// What a version of a pod has to be judged by; `None` where its results are known.
    pub(crate) fn judging(
        &self,
        namespace: &str,
        pod: &str,
        version: Version,
    ) -> Option<Arc<Judging>> {
        let mut state = self.0.state.lock();
        let known = state.namespaces.get_mut(namespace)?;
        (!known.is_judged(pod, version)).then(|| known.judging())
    }

    /// The same within the event loop, where judging may take only so much of the time. What is
    /// refused is listed later.
    pub(crate) fn judging_now(&self, namespace: &str, pod: &str, version: Version) -> Now {
        let mut state = self.0.state.lock();
        let State { namespaces, budget, .. } = &mut *state;
        let Some(known) = namespaces.get_mut(namespace) else { return Now::Nothing };
        let now = Instant::now();
        if known.is_judged(pod, version) {
            Now::Nothing
        } else if budget.allows(budget::OF_ALL, now)
            && known.budget.allows(budget::OF_NAMESPACE, now)
        {
            Now::Judge(known.judging())
        } else {
            Now::Later
        }
    }

    /// Counts the time that the event loop took to judge a pod.
    pub(crate) fn spent(&self, namespace: &str, time: Duration) {
        let mut state = self.0.state.lock();
        state.budget.spend(time);
        if let Some(known) = state.namespaces.get_mut(namespace) {
            known.budget.spend(time);
        }
    }

    /// Sets the results of a pod of an event. Without results it is due to be judged. Returns whether
    /// that is a change.
    pub(crate) fn set(
        &self,
        namespace: &str,
        pod: &str,
        version: Version,
        results: Option<Vec<(SetId, CustomResults)>>,
    ) -> bool {
        self.0.state.lock().change(namespace, |known, has_room| match results {
            Some(results) => known.set(pod, version, results, has_room),
            None => known.must_be_judged(pod, version),
        })
    }

    /// Sets the results of a pod of a list, unless those of a later version are known.
    pub(crate) fn set_listed(
        &self,
        namespace: &str,
        pod: &str,
        version: Version,
        results: Vec<(SetId, CustomResults)>,
    ) {
        self.0.state.lock().change(namespace, |known, has_room| {
            !known.is_newer(pod, version) && known.set(pod, version, results, has_room)
        });
    }

    /// A pod is gone.
    pub(crate) fn remove(&self, namespace: &str, pod: &str) {
        self.0.state.lock().change(namespace, |known, _| known.remove(pod));
    }

    /// Only these pods of a namespace exist.
    pub(crate) fn retain(&self, namespace: &str, exists: impl Fn(&str) -> bool) {
        self.0.state.lock().change(namespace, |known, _| known.retain(exists));
    }

    /// What `/debug/state` says of it.
    pub(crate) fn report(&self) -> CustomReport {
        let state = self.0.state.lock();
        CustomReport {
            namespaces: state.namespaces.len(),
            pods: state.namespaces.values().map(Namespace::len).sum(),
            to_be_listed: state.due.len(),
        }
    }

    /// Takes the namespace that is to be listed first; else tells when one is.
    fn take_due(&self, now: Instant) -> Result<Arc<str>, Option<Instant>> {
        let mut state = self.0.state.lock();
        let first = state.due.iter().min_by_key(|(_, at)| **at);
        let Some((name, at)) = first.map(|(name, at)| (Arc::clone(name), *at)) else {
            return Err(None);
        };
        if now < at {
            return Err(Some(at));
        }
        state.due.remove(&name);
        if let Some(known) = state.namespaces.get_mut(&name) {
            known.is_listing = true;
        }
        Ok(name)
    }

    /// A namespace was listed, or could not be: its next list waits.
    fn listed(&self, namespace: &str, result: Result<(), String>) {
        self.0.state.lock().change(namespace, |known, _| known.listed(result));
    }
}

fn known_texts(namespaces: &HashMap<Arc<str>, Namespace>, namespace: &str) -> usize {
    namespaces.get(namespace).map_or(0, Namespace::texts)
}

impl State {
    /// Changes a namespace; `work` is told whether there is room for more texts.
    fn change<R: Default>(
        &mut self,
        namespace: &str,
        work: impl FnOnce(&mut Namespace, bool) -> R,
    ) -> R {
        let Some(known) = self.namespaces.get_mut(namespace) else { return R::default() };
        let before = known.texts();
        let result = work(known, self.texts < MAX_TEXTS);
        self.texts = self.texts - before + known.texts();
        result
    }
}
