//! The audit results that exist.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource as _;
use parking_lot::Mutex;
use policy_core::Timestamp;
use policy_core::api::{ClusterDevOpsPolicy, DevOpsPolicy, PolicyAuditResult, VERDICT};
use policy_core::verdict::Fingerprint;
use policy_runtime::watch::Sink;
use serde::Deserialize;

use crate::audit_queue::{WrittenResult, minute_of};

/// How many minutes the clocks of two replicas may be apart.
const MAX_MINUTES_AHEAD: i64 = 5;

/// The part of an audit result that identifies its verdict.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "PolicyAuditResult")]
pub(crate) struct AuditResultView {
    metadata: ObjectMeta,
    spec: SpecView,
}

#[derive(Deserialize, Clone, Debug)]
struct SpecView {
    timestamp: Time,
}

/// The audit results that exist. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct AuditStore {
    stored: Arc<Mutex<ByNamespace>>,
    /// The namespace of the audit results of cluster policies.
    platform: Arc<str>,
}

/// By namespace, and there sorted by name: an object of one namespace must not speak for a policy of
/// another. Most namespaces have few, for which a tree would take a kilobyte.
type ByNamespace = HashMap<String, Vec<Stored>>;

struct Stored {
    name: Box<str>,
    /// The uid of the policy that owns it.
    policy: Box<str>,
    written: WrittenResult,
}

/// Where the audit result of a name is, or would be.
fn place(stored: &[Stored], name: &str) -> Result<usize, usize> {
    stored.binary_search_by(|stored| (*stored.name).cmp(name))
}

/// Stores an audit result that is owned by a policy.
fn insert(stored: &mut ByNamespace, object: &ObjectMeta, minute: i64) {
    let text = object.annotations.as_ref().and_then(|all| all.get(VERDICT));
    let fingerprint = text.and_then(|text| Fingerprint::parse(text));
    let mut owners = object.owner_references.iter().flatten();
    let kinds = [DevOpsPolicy::kind(&()), ClusterDevOpsPolicy::kind(&())];
    let owner = owners.find(|owner| {
        owner.controller == Some(true) && kinds.iter().any(|kind| owner.kind == *kind)
    });
    if let (Some(owner), Some(namespace), Some(name)) = (owner, &object.namespace, &object.name) {
        let written = WrittenResult { minute, fingerprint };
        let (name, policy) = (name.as_str().into(), owner.uid.as_str().into());
        let result = Stored { name, policy, written };
        let of_namespace = stored.entry(namespace.clone()).or_default();
        match place(of_namespace, &result.name) {
            Ok(known) => of_namespace[known] = result,
            Err(place) => {
                of_namespace.reserve_exact(1);
                of_namespace.insert(place, result);
            }
        }
    }
}

impl AuditStore {
    /// No audit results. Those of cluster policies are in the namespace of the platform.
    pub(crate) fn new(platform: &str) -> Self {
        Self { platform: platform.into(), ..Self::default() }
    }

    /// The namespace of the audit results of a policy.
    pub(crate) fn namespace_of<'a>(&'a self, policy: &'a ObjectMeta) -> &'a str {
        policy.namespace.as_deref().unwrap_or(&self.platform)
    }

    /// The newest audit result of a policy. One from the far future is ignored: it would put off
    /// the next one until then.
    pub(crate) fn newest(&self, policy: &ObjectMeta, now: Timestamp) -> Option<WrittenResult> {
        let latest = minute_of(now) + MAX_MINUTES_AHEAD;
        self.of_policy(policy, |of_policy| {
            let written = of_policy.map(|(_, written)| written);
            written.filter(|written| written.minute <= latest).max_by_key(|written| written.minute)
        })
    }

    /// The names of a policy's audit results beyond the newest that are kept, the oldest first.
    pub(crate) fn excess(&self, policy: &ObjectMeta, retention: usize) -> Vec<String> {
        self.of_policy(policy, |of_policy| {
            let mut oldest: Vec<_> =
                of_policy.map(|(name, written)| (written.minute, name)).collect();
            oldest.sort_unstable();
            oldest.truncate(oldest.len().saturating_sub(retention));
            oldest.into_iter().map(|(_, name)| name.to_owned()).collect()
        })
    }

    /// Reads the audit results of a policy, by name.
    fn of_policy<T>(
        &self,
        policy: &ObjectMeta,
        read: impl FnOnce(&mut dyn Iterator<Item = (&str, WrittenResult)>) -> T,
    ) -> T {
        let stored = self.stored.lock();
        let namespace = stored.get(self.namespace_of(policy));
        let uid = policy.uid.as_deref().unwrap_or_default();
        let of_policy = namespace.into_iter().flatten().filter(|stored| *stored.policy == *uid);
        read(&mut of_policy.map(|stored| (&*stored.name, stored.written)))
    }

    /// Notes one that was just written, before the watch shows it.
    pub(crate) fn insert(&self, object: &ObjectMeta, minute: i64) {
        insert(&mut self.stored.lock(), object, minute);
    }

    /// Notes that one was deleted.
    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let mut stored = self.stored.lock();
        let Some(of_namespace) = stored.get_mut(namespace) else { return };
        if let Ok(known) = place(of_namespace, name) {
            of_namespace.remove(known);
        }
        if of_namespace.is_empty() {
            stored.remove(namespace);
        }
    }

    /// The sink for a watch of all audit results.
    pub(crate) fn sink(&self) -> AuditSink {
        AuditSink { store: self.clone(), listing: None }
    }
}

/// Stores the audit results of a watch.
pub(crate) struct AuditSink {
    store: AuditStore,
    /// The list that is being read.
    listing: Option<ByNamespace>,
}

impl Sink<AuditResultView> for AuditSink {
    fn list_begins(&mut self) {
        self.listing = Some(ByNamespace::default());
    }

    fn list_completes(&mut self) {
        if let Some(listed) = self.listing.take() {
            *self.store.stored.lock() = listed;
        }
    }

    fn applied(&mut self, result: AuditResultView) {
        let minute = minute_of(result.spec.timestamp.0);
        match &mut self.listing {
            Some(listing) => insert(listing, &result.metadata, minute),
            None => self.store.insert(&result.metadata, minute),
        }
    }

    fn undecodable(&mut self, _: &str, _: &str) {}

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.store.remove(namespace, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_queue::start_of;
    use crate::audit_result::object;
    use crate::audit_result::samples::{policy, waiting};

    #[test]
    fn audit_results_are_found_by_their_policy() {
        let store = AuditStore::default();
        let mut sink = store.sink();
        let view = |minute| {
            let made = object(&policy("strict"), "shop", &waiting(minute));
            serde_json::from_value::<AuditResultView>(serde_json::to_value(made).unwrap()).unwrap()
        };
        sink.list_begins();
        for minute in [7, 5, 6] {
            sink.applied(view(minute));
        }
        let strict = policy("strict").metadata;
        let newest = |minute: i64| store.newest(&strict, start_of(minute));
        assert_eq!(newest(9), None, "not before the list is complete");
        sink.list_completes();
        let found = newest(9).unwrap();
        assert_eq!((found.minute, found.fingerprint), (7, Some(waiting(7).fingerprint)));
        let excess = store.excess(&strict, 2);
        assert_eq!(excess, ["strict-19700101-0005-01234567"]);
        sink.deleted("shop", &excess[0]);
        assert!(store.excess(&strict, 2).is_empty());
        sink.applied(view(9));
        assert_eq!(newest(9).unwrap().minute, 9);
        assert_eq!(newest(9 - MAX_MINUTES_AHEAD).unwrap().minute, 9);
        assert_eq!(newest(8 - MAX_MINUTES_AHEAD).unwrap().minute, 7, "too far in the future");
        let elsewhere = ObjectMeta { namespace: Some("bank".to_owned()), ..strict.clone() };
        assert_eq!(store.newest(&elsewhere, Timestamp::now()), None);
        sink.list_begins();
        sink.list_completes();
        assert_eq!(newest(9), None);
    }
}
