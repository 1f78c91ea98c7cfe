//! The pods that are not healthy, and those that were changed at admission. From the watch of pods,
//! beside the index of facts: of a healthy pod nothing is stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy_core::api::INJECTED_BY;
use policy_core::text::prefix;
use policy_core::view::{ContainerStatusView, PodView, template_of};
use policy_core::workload::Workload;

/// The longest text of the kubelet that is stored, in characters.
const LONGEST_MESSAGE: usize = 200;
/// A pod that has not been ready for so long is failing, and does not only start.
const STARTING_SECONDS: i64 = 120;
/// A container that ended so long ago does not count any more.
const RECENT_SECONDS: i64 = 600;

/// The health of one pod. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodHealth {
    pub(crate) workload: Workload,
    /// When it was created, by the API server's clock.
    pub(crate) created: i64,
    /// The template that it was made from.
    pub(crate) template: Option<Box<str>>,
    /// Whether its condition `Ready` is not `False`, and since when.
    pub(crate) is_ready: bool,
    pub(crate) since: Option<i64>,
    /// Whether no node has room for it.
    pub(crate) is_unschedulable: bool,
    /// How often its containers restarted.
    pub(crate) restarts: u32,
    /// The last time that a container ended.
    pub(crate) terminated: Option<Terminated>,
    /// Why a container waits.
    pub(crate) waiting: Option<Box<str>>,
    /// Whether it was changed at admission.
    pub(crate) is_injected: bool,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Terminated {
    /// When, by the kubelet's clock.
    pub(crate) at: Option<i64>,
    pub(crate) reason: Box<str>,
    pub(crate) container: Box<str>,
}

impl PodHealth {
    /// The health of a pod that has not ended; `None` where nothing of it needs to be stored.
    pub(crate) fn of(pod: &PodView, workload: &Workload) -> Option<Self> {
        let status = &pod.status;
        let statuses = || status.container_statuses.iter().chain(&status.init_container_statuses);
        let annotations = pod.metadata.annotations.as_ref();
        let is_injected = annotations.is_some_and(|all| all.contains_key(INJECTED_BY));
        let ready = status.conditions.ready;
        let is_ready = ready.is_none_or(|ready| ready.is_true);
        let is_unschedulable = status.conditions.is_unschedulable;
        let restarts = statuses().filter_map(|status| u32::try_from(status.restart_count?).ok());
        let restarts = restarts.fold(0, u32::saturating_add);
        let is_healthy = is_ready && restarts == 0 && !is_unschedulable;
        (!is_healthy || is_injected).then(|| Self {
            workload: workload.clone(),
            created: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            template: template_of(&pod.metadata).map(Box::from),
            is_ready,
            since: ready.and_then(|ready| ready.since),
            is_unschedulable,
            restarts,
            terminated: statuses().flat_map(terminated).max(),
            waiting: statuses().find_map(waiting),
            is_injected,
        })
    }

    /// Whether it is a pod of that workload.
    pub(crate) fn belongs_to(&self, workload: &Workload) -> bool {
        let Workload { kind, name, .. } = &self.workload;
        (kind, name) == (&workload.kind, &workload.name)
    }

    /// Whether a container was killed because it used more memory than its limit.
    pub(crate) fn was_killed_for_memory(&self) -> bool {
        self.terminated.as_ref().is_some_and(|terminated| &*terminated.reason == "OOMKilled")
    }

    /// Whether it is failing now, and not only starting: for an injected pod, and for the circuit
    /// breaker. `now` is the wall clock.
    pub(crate) fn is_failing(&self, now: i64) -> bool {
        let is_stuck = !self.is_ready
            && self.since.is_none_or(|since| now.saturating_sub(since) >= STARTING_SECONDS);
        let ended = self.terminated.as_ref().and_then(|terminated| terminated.at);
        let has_restarted =
            self.restarts > 0 && ended.is_some_and(|at| now.saturating_sub(at) < RECENT_SECONDS);
        is_stuck || has_restarted
    }

    /// When it will be failing, if it only stays as it is.
    pub(crate) fn fails_at(&self) -> Option<i64> {
        self.since.filter(|_| !self.is_ready).map(|since| since.saturating_add(STARTING_SECONDS))
    }

    /// What is wrong with it, in a few words without running numbers.
    pub(crate) fn cause(&self) -> String {
        match (&self.terminated, &self.waiting) {
            (Some(Terminated { container, reason, .. }), _) => {
                let what = if self.was_killed_for_memory() {
                    "was killed because it used more memory than its limit"
                } else {
                    "was restarted"
                };
                format!("container {container} {what} ({reason})")
            }
            (None, _) if self.restarts > 0 => "a container was restarted".to_owned(),
            (None, Some(waiting)) => format!("a container waits: {waiting}"),
            (None, None) if self.is_unschedulable => "no node has room for it".to_owned(),
            (None, None) => "it is not ready".to_owned(),
        }
    }
}

/// How the container of a status ended last.
fn terminated(status: &ContainerStatusView) -> impl Iterator<Item = Terminated> + '_ {
    [&status.state, &status.last_state].into_iter().filter_map(|state| {
        let terminated = state.terminated.as_ref()?;
        // One that ended and was not restarted has done its work.
        status.restart_count.filter(|count| *count > 0)?;
        Some(Terminated {
            at: terminated.finished_at.as_ref().map(|time| time.0.as_second()),
            reason: terminated.reason.as_deref().unwrap_or("Unknown").into(),
            container: status.name.as_deref().unwrap_or_default().into(),
        })
    })
}

fn waiting(status: &ContainerStatusView) -> Option<Box<str>> {
    let waiting = status.state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    let text = match waiting.message.as_deref() {
        None | Some("") => reason.to_owned(),
        Some(message) => format!("{reason}, {message}"),
    };
    Some(prefix(&text, LONGEST_MESSAGE, usize::MAX).into())
}

/// The health of the pods of all namespaces.
#[derive(Debug, Default)]
pub(crate) struct HealthTable {
    /// Boxed, because a map has space for more than it holds, and most namespaces have one such pod.
    pods: BTreeMap<Arc<str>, HashMap<Box<str>, Box<Listed>>>,
    /// The number of the current list.
    list: u32,
}

#[derive(Debug)]
struct Listed {
    /// The list that the pod was in last.
    list: u32,
    health: PodHealth,
}

impl HealthTable {
    /// Stores the health of a pod. Returns whether it changed for one that was injected into.
    pub(crate) fn set(
        &mut self,
        namespace: &Arc<str>,
        name: &str,
        health: Option<PodHealth>,
    ) -> bool {
        let Some(health) = health else { return self.remove(namespace, name) };
        let pods = self.pods.entry(Arc::clone(namespace)).or_default();
        let list = self.list;
        let is_injected = health.is_injected;
        let Some(known) = pods.get_mut(name) else {
            pods.insert(name.into(), Box::new(Listed { list, health }));
            return is_injected;
        };
        known.list = list;
        let is_changed = known.health != health;
        known.health = health;
        is_changed && is_injected
    }

    /// Removes a pod. Returns whether it was one that was injected into.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(pods) = self.pods.get_mut(namespace) else { return false };
        let removed = pods.remove(name);
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        removed.is_some_and(|removed| removed.health.is_injected)
    }

    /// Keeps a pod that cannot be decoded now as it is.
    pub(crate) fn keep(&mut self, namespace: &str, name: &str) {
        let list = self.list;
        let pods = self.pods.get_mut(namespace);
        if let Some(known) = pods.and_then(|pods| pods.get_mut(name)) {
            known.list = list;
        }
    }

    /// Begins a list. Pods that are not in it when it is complete are gone.
    pub(crate) fn begin_relist(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    pub(crate) fn finish_relist(&mut self) {
        let list = self.list;
        self.pods.retain(|_, pods| {
            pods.retain(|_, known| known.list == list);
            !pods.is_empty()
        });
    }

    /// The pods of a namespace that are stored, by name.
    pub(crate) fn of(&self, namespace: &str) -> Vec<(Box<str>, PodHealth)> {
        let pods = self.pods.get(namespace).into_iter().flatten();
        pods.map(|(name, known)| (name.clone(), known.health.clone())).collect()
    }

    /// How many pods are stored.
    pub(crate) fn len(&self) -> usize {
        self.pods.values().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use policy_core::facts::PodFacts;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, status: &Value) -> PodView {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "shop",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": { "pod-template-hash": "5d8" },
                "ownerReferences": [{ "kind": "ReplicaSet", "name": "web-5d8", "controller": true }] },
            "spec": { "containers": [{ "name": "web", "image": "nginx" }] },
            "status": status,
        }))
        .unwrap()
    }

    fn health(pod: &PodView) -> Option<PodHealth> {
        PodHealth::of(pod, &PodFacts::of_pod(pod, "shop").workload)
    }

    fn ready(status: &str) -> Value {
        json!([{ "type": "Ready", "status": status, "lastTransitionTime": "2026-01-02T03:05:00Z" }])
    }

    #[test]
    fn nothing_is_stored_of_a_healthy_pod() {
        let running = json!([{ "name": "web", "restartCount": 0, "state": { "running": {} } }]);
        let status = json!({ "phase": "Running", "conditions": ready("True"),
            "containerStatuses": running });
        assert_eq!(health(&pod("web", &status)), None);
        assert_eq!(health(&pod("web", &json!({}))), None, "nobody has reported on it yet");
    }

    #[test]
    fn the_cause_is_what_a_user_has_to_know() {
        let cause = |containers: Value| {
            let status = json!({ "phase": "Running", "conditions": ready("False"),
                "containerStatuses": containers });
            health(&pod("web", &status)).unwrap().cause()
        };
        let killed = json!([{ "name": "web", "restartCount": 1, "state": { "running": {} },
            "lastState": { "terminated": { "reason": "OOMKilled", "finishedAt": "2026-01-02T03:05:00Z" } } }]);
        assert_eq!(
            cause(killed.clone()),
            "container web was killed because it used more memory than its limit (OOMKilled)"
        );
        let status = json!({ "containerStatuses": killed });
        assert!(health(&pod("web", &status)).unwrap().was_killed_for_memory());
        let restarted = json!([{ "name": "web", "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "reason": "Error" } } }]);
        assert_eq!(cause(restarted), "container web was restarted (Error)");
        let waiting = json!([{ "name": "web", "restartCount": 0,
            "state": { "waiting": { "reason": "ErrImagePull", "message": "not found" } } }]);
        assert_eq!(cause(waiting), "a container waits: ErrImagePull, not found");
        assert_eq!(cause(json!([])), "it is not ready");
        let unscheduled = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] });
        assert_eq!(health(&pod("web", &unscheduled)).unwrap().cause(), "no node has room for it");
    }

    #[test]
    fn a_pod_that_starts_is_not_failing_yet() {
        let unready = health(&pod("web", &json!({ "conditions": ready("False") }))).unwrap();
        let since = unready.since.unwrap();
        assert!(!unready.is_failing(since + STARTING_SECONDS - 1));
        assert_eq!(unready.fails_at(), Some(since + STARTING_SECONDS));
        assert!(!unready.is_failing(since - 7), "the clocks differ");
        assert!(unready.is_failing(since + STARTING_SECONDS));
        let restarted = json!({ "conditions": ready("True"), "containerStatuses": [
            { "name": "web", "restartCount": 1, "lastState": { "terminated":
                { "reason": "Error", "finishedAt": "2026-01-02T03:05:00Z" } } }] });
        let restarted = health(&pod("web", &restarted)).unwrap();
        assert!(restarted.is_failing(since + 1));
        assert!(!restarted.is_failing(since + RECENT_SECONDS), "that was long ago");
    }

    #[test]
    fn pods_leave_the_table_when_they_are_healthy_or_gone() {
        let (mut table, shop) = (HealthTable::default(), Arc::from("shop"));
        let unready = || health(&pod("web", &json!({ "conditions": ready("False") })));
        for name in ["a", "b", "c", "d"] {
            assert!(!table.set(&shop, name, unready()), "no injected pod");
        }
        table.set(&shop, "a", None);
        table.remove("shop", "b");
        assert_eq!(table.len(), 2);
        table.begin_relist();
        table.set(&shop, "c", unready());
        table.finish_relist();
        let names: Vec<_> = table.of("shop").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["c".into()], "d is gone with the list");
        table.begin_relist();
        table.keep("shop", "c");
        table.finish_relist();
        assert_eq!(table.len(), 1);
        table.begin_relist();
        table.finish_relist();
        assert!(table.pods.is_empty());
    }

    #[test]
    fn a_change_of_an_injected_pod_is_told() {
        let (mut table, shop) = (HealthTable::default(), Arc::from("shop"));
        let injected = |status: &str| {
            let mut pod = pod("web", &json!({ "conditions": ready(status) }));
            let annotation = (INJECTED_BY.to_owned(), "shop/strict".to_owned());
            pod.metadata.annotations = Some(BTreeMap::from([annotation]));
            health(&pod)
        };
        assert!(table.set(&shop, "web", injected("True")));
        assert!(!table.set(&shop, "web", injected("True")));
        assert!(table.set(&shop, "web", injected("False")));
        assert!(table.remove("shop", "web"));
    }
}
