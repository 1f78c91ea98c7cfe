//! Audit results: what one says, what it is called, and those that are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource as _;
use policy_core::Timestamp;
use policy_core::api::{
    AuditViolation, DevOpsPolicy, PolicyAuditResult, PolicyAuditResultSpec, VERDICT,
};
use policy_core::verdict::{Fingerprint, Listed, Verdict};
use policy_runtime::watch::Sink;
use serde::Deserialize;

use crate::judgement::whole_seconds;
use crate::trail::{Pending, Recorded};

/// The findings of an audit result take no more bytes than that, as JSON.
const LARGEST: usize = 32 << 10;
/// The longest name that Kubernetes takes of an object.
const LONGEST_NAME: usize = 253;
/// How many minutes the clocks of two replicas may be apart.
const MAX_AHEAD: i64 = 5;
/// How much of a policy's uid is in the name: enough to tell it from one that had its name before.
const UID_LENGTH: usize = 8;

/// What is written down of a verdict.
pub(crate) fn spec(
    policy: &str,
    cluster: Option<&str>,
    verdict: &Verdict,
    now: Timestamp,
) -> PolicyAuditResultSpec {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let total = verdict.tally.total_findings();
    let violations = fitting(verdict.worst.iter().map(violation));
    PolicyAuditResultSpec {
        policy_name: policy.to_owned(),
        cluster_name: cluster.map(str::to_owned),
        timestamp: whole_seconds(now),
        health_score: verdict.score.value().into(),
        classification: verdict.score.classification(),
        total_pods: signed(verdict.tally.pods()),
        total_violations: signed(total),
        truncated: (violations.len() as u64) < total,
        violations,
    }
}

fn violation(listed: &Listed) -> AuditViolation {
    AuditViolation {
        pod_name: listed.pod.to_string(),
        container_name: listed.container.as_deref().map(str::to_owned),
        violation_type: listed.check.meta().violation_type.to_owned(),
        severity: listed.severity,
        message: listed.message.to_string(),
    }
}

/// As many as there is room for.
fn fitting(violations: impl Iterator<Item = AuditViolation>) -> Vec<AuditViolation> {
    let mut room = LARGEST - "[]".len();
    let fits = |violation: &AuditViolation| {
        let length = serde_json::to_string(violation).map_or(usize::MAX, |json| json.len());
        let left = room.checked_sub(length.saturating_add(",".len()));
        room = left.unwrap_or(0);
        left.is_some()
    };
    violations.take_while(fits).collect()
}

/// The object that writes a verdict down, owned by its policy so that it goes with it.
pub(crate) fn object(policy: &ObjectMeta, pending: &Pending) -> PolicyAuditResult {
    let mut owner = DevOpsPolicy::default();
    owner.metadata.name.clone_from(&policy.name);
    owner.metadata.uid.clone_from(&policy.uid);
    let mut object = PolicyAuditResult::new(&name(policy, pending.minute), pending.spec.clone());
    object.metadata.namespace.clone_from(&policy.namespace);
    object.metadata.owner_references = owner.controller_owner_ref(&()).map(|owner| vec![owner]);
    object.metadata.annotations =
        Some(BTreeMap::from([(VERDICT.to_owned(), pending.fingerprint.to_string())]));
    object
}

/// One name for each policy and minute: two replicas that lead one after the other cannot write
/// the same minute twice. By name they are in the order of time.
fn name(policy: &ObjectMeta, minute: i64) -> String {
    let time = Timestamp::from_second(minute * 60).unwrap_or_default();
    let uid: String = policy.uid.iter().flat_map(|uid| uid.chars()).take(UID_LENGTH).collect();
    let end = format!("-{}-{uid}", time.strftime("%Y%m%d-%H%M"));
    let policy = policy.name.as_deref().unwrap_or_default();
    let start = &policy[..policy.len().min(LONGEST_NAME - end.len())];
    // A name that is cut must not be cut behind a dot.
    format!("{}{end}", start.trim_end_matches(['.', '-']))
}

/// Of an audit result as much as tells what was written down.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "PolicyAuditResult")]
pub(crate) struct AuditView {
    metadata: ObjectMeta,
    spec: SpecView,
}

#[derive(Deserialize, Clone, Debug)]
struct SpecView {
    timestamp: Time,
}

/// By minute, then by name: the audit results of one policy, and what they say.
type OfPolicy = BTreeMap<(i64, String), Option<Fingerprint>>;

fn key(policy: &ObjectMeta) -> (String, String) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&policy.namespace), text(&policy.uid))
}

/// The audit results that are there.
#[derive(Clone, Default)]
pub(crate) struct Results(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// By namespace and the uid of the policy that owns them: whoever may write in one namespace
    /// says nothing of the policies of another.
    by_policy: HashMap<(String, String), OfPolicy>,
    /// The policy's uid and the minute of each, by namespace and name.
    by_name: HashMap<(String, String), (String, i64)>,
}

impl Known {
    fn insert(&mut self, object: &ObjectMeta, minute: i64) {
        let text = object.annotations.as_ref().and_then(|all| all.get(VERDICT));
        let fingerprint = text.and_then(|text| Fingerprint::parse(text));
        let owner =
            object.owner_references.iter().flatten().find(|owner| {
                owner.controller == Some(true) && owner.kind == DevOpsPolicy::kind(&())
            });
        let (Some(owner), Some(namespace), Some(name)) = (owner, &object.namespace, &object.name)
        else {
            return;
        };
        self.remove(namespace, name);
        let of_policy = self.by_policy.entry((namespace.clone(), owner.uid.clone())).or_default();
        of_policy.insert((minute, name.clone()), fingerprint);
        self.by_name.insert((namespace.clone(), name.clone()), (owner.uid.clone(), minute));
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let Some((uid, minute)) = self.by_name.remove(&key) else { return };
        let (namespace, name) = key;
        let policy = (namespace, uid);
        if let Some(of_policy) = self.by_policy.get_mut(&policy) {
            of_policy.remove(&(minute, name));
            if of_policy.is_empty() {
                self.by_policy.remove(&policy);
            }
        }
    }
}

impl Results {
    /// The newest audit result of a policy. One from a future that no clock can be off by is not
    /// believed: it would keep the next one waiting.
    pub(crate) fn last(&self, policy: &ObjectMeta, now: Timestamp) -> Option<Recorded> {
        let latest = now.as_second().div_euclid(60) + MAX_AHEAD;
        self.update(|known| {
            let all = known.by_policy.get(&key(policy))?;
            let ((minute, _), fingerprint) =
                all.iter().rfind(|((minute, _), _)| *minute <= latest)?;
            Some(Recorded { minute: *minute, fingerprint: *fingerprint })
        })
    }

    /// Those of a policy that are too many when the newest ones are kept, the oldest first.
    pub(crate) fn excess(&self, policy: &ObjectMeta, kept: usize) -> Vec<String> {
        self.update(|known| {
            let Some(all) = known.by_policy.get(&key(policy)) else { return Vec::new() };
            let excess = all.len().saturating_sub(kept);
            all.keys().take(excess).map(|(_, name)| name.clone()).collect()
        })
    }

    /// Notes one that was just written, before the watch tells of it.
    pub(crate) fn wrote(&self, object: &ObjectMeta, minute: i64) {
        self.update(|known| known.insert(object, minute));
    }

    /// Notes that one was just deleted.
    pub(crate) fn deleted(&self, namespace: &str, name: &str) {
        self.update(|known| known.remove(namespace, name));
    }

    /// What a watch of all audit results is to be given.
    pub(crate) fn sink(&self) -> ResultSink {
        ResultSink { results: self.clone(), listing: None }
    }

    fn update<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes in the audit results of a watch.
pub(crate) struct ResultSink {
    results: Results,
    /// The list that is under way.
    listing: Option<Known>,
}

impl Sink<AuditView> for ResultSink {
    fn list_begins(&mut self) {
        self.listing = Some(Known::default());
    }

    fn list_completes(&mut self) {
        if let Some(listed) = self.listing.take() {
            self.results.update(|known| *known = listed);
        }
    }

    fn applied(&mut self, result: AuditView) {
        let minute = result.spec.timestamp.0.as_second().div_euclid(60);
        match &mut self.listing {
            Some(listing) => listing.insert(&result.metadata, minute),
            None => self.results.wrote(&result.metadata, minute),
        }
    }

    fn undecodable(&mut self, _: &str, _: &str) {}

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.results.deleted(namespace, name);
    }
}

#[cfg(test)]
mod tests {
    use policy_core::facts::PodFacts;
    use policy_core::policy::CompiledPolicy;

    use super::*;

    fn policy(name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some("0123456789ab".to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn verdict(pods: usize, containers: usize) -> Verdict {
        let long = "c".repeat(63);
        let containers: Vec<_> = (0..containers)
            .map(|number| serde_json::json!({ "name": format!("{number}-{long}"), "image": "nginx" }))
            .collect();
        let pods: Vec<_> = (0..pods)
            .map(|number| {
                let name = format!("{}-{number:04}", "p".repeat(240));
                let pod = serde_json::json!({
                    "metadata": { "name": name }, "spec": { "containers": containers },
                });
                PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
            })
            .collect();
        Verdict::of(&pods, &CompiledPolicy::default_profile(), Timestamp::UNIX_EPOCH)
    }

    fn pending(minute: i64) -> Pending {
        let verdict = verdict(1, 1);
        let now = Timestamp::from_second(minute * 60 + 7).unwrap();
        let spec = spec("strict", Some("blue"), &verdict, now);
        Pending { minute, fingerprint: verdict.fingerprint, spec }
    }

    #[test]
    fn a_thousand_findings_are_cut_and_the_cut_is_told() {
        let spec = spec("strict", None, &verdict(250, 1), Timestamp::UNIX_EPOCH);
        assert_eq!((spec.total_violations, spec.truncated), (1_000, true));
        let bytes = serde_json::to_string(&spec.violations).unwrap().len();
        assert!(bytes <= LARGEST && bytes > LARGEST - 1_000, "{bytes}");
        assert!(spec.violations.len() <= 100);
        let few = super::spec("strict", None, &verdict(1, 1), Timestamp::UNIX_EPOCH);
        assert_eq!((few.violations.len(), few.truncated), (4, false));
    }

    #[test]
    fn it_is_named_after_policy_and_minute_and_owned_by_its_policy() {
        let made = object(&policy("strict"), &pending(29_672_011));
        assert_eq!(made.metadata.name.as_deref(), Some("strict-20260601-1331-01234567"));
        assert_eq!(made.metadata.namespace.as_deref(), Some("shop"));
        let owner = &made.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (&*owner.name, &*owner.uid, owner.controller),
            ("strict", "0123456789ab", Some(true))
        );
        assert_eq!(made.spec.cluster_name.as_deref(), Some("blue"));
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        let name = name(&policy(&long), 0);
        assert_eq!(name, format!("{}-19700101-0000-01234567", "a".repeat(229)));
    }

    #[test]
    fn what_is_there_is_known_by_its_policy() {
        let results = Results::default();
        let mut sink = results.sink();
        let seen = |minute| {
            let made = object(&policy("strict"), &pending(minute));
            serde_json::from_value::<AuditView>(serde_json::to_value(made).unwrap()).unwrap()
        };
        sink.list_begins();
        for minute in [7, 5, 6] {
            sink.applied(seen(minute));
        }
        let strict = policy("strict");
        let last =
            |minute: i64| results.last(&strict, Timestamp::from_second(minute * 60).unwrap());
        assert_eq!(last(9), None, "not before the list is whole");
        sink.list_completes();
        let newest = last(9).unwrap();
        assert_eq!((newest.minute, newest.fingerprint), (7, Some(pending(7).fingerprint)));
        let excess = results.excess(&strict, 2);
        assert_eq!(excess, ["strict-19700101-0005-01234567"]);
        sink.deleted("shop", &excess[0]);
        assert!(results.excess(&strict, 2).is_empty());
        sink.applied(seen(9));
        assert_eq!(last(9).unwrap().minute, 9);
        assert_eq!(last(9 - MAX_AHEAD).unwrap().minute, 9);
        assert_eq!(last(8 - MAX_AHEAD).unwrap().minute, 7, "from too far in the future");
        let elsewhere = ObjectMeta { namespace: Some("bank".to_owned()), ..strict.clone() };
        assert_eq!(results.last(&elsewhere, Timestamp::now()), None);
        sink.list_begins();
        sink.list_completes();
        assert_eq!(last(9), None);
    }
}
