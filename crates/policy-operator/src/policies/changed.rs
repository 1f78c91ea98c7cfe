//! Which namespaces each cluster policy has to judge anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policy_core::custom::CustomChecks;

use super::{ByNamespace, Policies, find};
use crate::policy_key::PolicyKey;

/// Where the cluster policies are among the policies of namespaces.
pub(super) const CLUSTER: &str = "";

impl Policies {
    /// Makes the cluster policies due whose selection a namespace may have entered or left, and the
    /// policies of the namespace with an expression that depends on its labels.
    pub(crate) fn labels_changed(&self, namespace: &str) {
        let mut all = self.known.lock();
        self.cluster_due(&mut all, namespace, Duration::ZERO);
        let Some((namespace, known)) = all.get_key_value(namespace) else { return };
        let needs = |name: &&Arc<str>| {
            let rules = known.get(name).and_then(|known| known.policy.rules.as_ref().ok());
            rules.and_then(|rules| rules.custom()).is_some_and(CustomChecks::need_namespace)
        };
        for name in known.judged().filter(needs) {
            let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
            self.queue.add_after(&PolicyKey { namespace, name }, Duration::ZERO);
        }
    }

    /// Makes the cluster policies that are judged due, because of that namespace. Whether they
    /// select it they see then.
    pub(super) fn cluster_due(&self, all: &mut ByNamespace, namespace: &str, delay: Duration) {
        let Some((cluster, known)) = all.get_key_value(CLUSTER) else { return };
        let keys: Vec<_> = known
            .judged()
            .map(|name| PolicyKey { namespace: Arc::clone(cluster), name: Arc::clone(name) })
            .collect();
        let namespace: Arc<str> = namespace.into();
        for key in keys {
            if let Some(changed) = find(all, &key).and_then(|known| known.changed.as_mut()) {
                changed.insert(Arc::clone(&namespace));
            }
            self.queue.add_after(&key, delay);
        }
    }

    /// Takes the namespaces that changed for a cluster policy since this was last called; `None`
    /// where all have to be judged.
    pub(crate) fn take_changed(&self, key: &PolicyKey) -> Option<BTreeSet<Arc<str>>> {
        find(&mut self.known.lock(), key)?.changed.replace(BTreeSet::new())
    }

    /// Gives back the namespaces that could not be judged; `None` where all have to be.
    pub(crate) fn give_back(&self, key: &PolicyKey, namespaces: Option<BTreeSet<Arc<str>>>) {
        let mut all = self.known.lock();
        let Some(known) = find(&mut all, key) else { return };
        known.changed = known.changed.take().zip(namespaces).map(|(mut changed, more)| {
            changed.extend(more);
            changed
        });
    }
}
