//! From three watches to one set of policies.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use policy_core::admission::NamedPolicy;
use policy_core::custom::CustomNamespace;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::PolicyRank;
use policy_core::view::{ClusterPolicyView, NamespaceView, PolicyView};
use policy_runtime::watch::Sink;

use super::known::{KnownPolicies, KnownPolicy};
use super::{ClusterPolicy, NamespaceSet, Policies, PolicySet, first_judged};

/// The sinks of the watches that bring policies.
pub(crate) struct Sinks {
    pub(crate) policies: PolicySink,
    pub(crate) cluster: ClusterPolicySink,
    pub(crate) namespaces: NamespaceSink,
}

/// Receives the policies of namespaces.
pub(crate) struct PolicySink(Shared);

/// Receives the cluster policies.
pub(crate) struct ClusterPolicySink(Shared);

/// Receives the namespaces.
pub(crate) struct NamespaceSink(Shared);

type Shared = Arc<Mutex<State>>;

/// What the watches have brought, and what requests see of it.
struct State {
    published: Policies,
    /// The latest set; requests see it once it is published.
    set: PolicySet,
    own: HashMap<Arc<str>, KnownPolicies>,
    cluster: KnownPolicies,
    labels: HashMap<Arc<str>, Labels>,
    lists: Lists,
}

/// The labels of a namespace.
struct Labels {
    labels: BTreeMap<String, String>,
    /// The number of the last list that has it.
    list: u64,
}

/// The lists of each watch.
#[derive(Default)]
struct Lists {
    own: List,
    cluster: List,
    namespaces: List,
}

/// How many lists have begun, and whether one was complete.
#[derive(Default)]
struct List {
    number: u64,
    is_complete: bool,
}

impl Sinks {
    pub(super) fn new(published: Policies, excluded: ExcludedNamespaces) -> Self {
        let state = Arc::new(Mutex::new(State {
            published,
            set: PolicySet { excluded: Arc::new(excluded), ..PolicySet::default() },
            own: HashMap::new(),
            cluster: KnownPolicies::default(),
            labels: HashMap::new(),
            lists: Lists::default(),
        }));
        Self {
            policies: PolicySink(Arc::clone(&state)),
            cluster: ClusterPolicySink(Arc::clone(&state)),
            namespaces: NamespaceSink(state),
        }
    }
}

impl State {
    /// Whether all watches have completed a list. A request before that could miss a policy.
    fn is_synced(&self) -> bool {
        let Lists { own, cluster, namespaces } = &self.lists;
        own.is_complete && cluster.is_complete && namespaces.is_complete
    }

    /// Publishes the policies of a namespace that has changed; before all lists are complete, none.
    fn publish(&mut self, namespace: &str) {
        if !self.is_synced() {
            return;
        }
        let set = self.set_of(namespace, &mut HashMap::new());
        match set {
            Some(set) => self.set.namespaces.insert(namespace.into(), set),
            None => self.set.namespaces.remove(namespace),
        };
        self.store();
    }

    /// Publishes the policies of all namespaces.
    fn publish_all(&mut self) {
        if !self.is_synced() {
            return;
        }
        self.set.cluster = self.cluster.iter().filter_map(cluster_policy).collect();
        let mut shared = HashMap::new();
        let only_own = self.own.keys().filter(|namespace| !self.labels.contains_key(*namespace));
        let sets = self.labels.keys().chain(only_own).filter_map(|namespace| {
            Some((Arc::clone(namespace), self.set_of(namespace, &mut shared)?))
        });
        self.set.namespaces = sets.collect();
        self.store();
    }

    fn store(&self) {
        self.published.0.store(Some(Arc::new(self.set.clone())));
    }

    /// What requests of a namespace need; `None` where nothing is known of it. Namespaces without
    /// own policies that the same cluster policies select share theirs, unless a custom check
    /// depends on their labels.
    fn set_of(
        &self,
        namespace: &str,
        shared: &mut HashMap<Vec<usize>, Arc<NamespaceSet>>,
    ) -> Option<Arc<NamespaceSet>> {
        let (own, labels) = (self.own.get(namespace), self.labels.get(namespace));
        if own.is_none() && labels.is_none() {
            return None;
        }
        let none = BTreeMap::new();
        let labels = labels.map(|known| &known.labels);
        let selecting = self.set.selecting(namespace, labels.unwrap_or(&none));
        let (indexes, selecting): (Vec<_>, Vec<_>) = selecting.unzip();
        if own.is_some() || selecting.iter().any(|policy| policy.needs_namespace()) {
            let empty = KnownPolicies::default();
            let mut set = namespace_set(namespace, &selecting, own.unwrap_or(&empty));
            if set.policies.judged.iter().any(NamedPolicy::needs_namespace) {
                let seen = labels.map(|labels| Arc::new(CustomNamespace::new(namespace, labels)));
                set.policies.namespace = seen;
            }
            return Some(Arc::new(set));
        }
        Some(match shared.entry(indexes) {
            Entry::Occupied(set) => Arc::clone(set.get()),
            Entry::Vacant(vacant) => {
                let set = namespace_set(namespace, &selecting, &KnownPolicies::default());
                Arc::clone(vacant.insert(Arc::new(set)))
            }
        })
    }

    /// Changes the policies of a namespace, if `change` says that it does.
    fn change_own(
        &mut self,
        namespace: &str,
        change: impl FnOnce(&mut KnownPolicies, u64) -> bool,
    ) {
        let known = self.own.entry(namespace.into()).or_default();
        let is_changed = change(known, self.lists.own.number);
        if known.len() == 0 {
            self.own.remove(namespace);
        }
        if is_changed {
            self.publish(namespace);
        }
    }
}

fn cluster_policy((rank, known): (&PolicyRank, &KnownPolicy)) -> Option<ClusterPolicy> {
    let scope = known.cluster.as_ref()?.scope.clone();
    Some(ClusterPolicy { policy: named(rank, known), scope })
}

fn named(rank: &PolicyRank, known: &KnownPolicy) -> NamedPolicy {
    NamedPolicy { name: rank.policy(), rules: known.rules.clone() }
}

/// Cluster policies first, so that no policy of the namespace displaces one.
fn namespace_set(namespace: &str, cluster: &[&NamedPolicy], own: &KnownPolicies) -> NamespaceSet {
    let named = own.iter().map(|(rank, known)| named(rank, known));
    let all = cluster.iter().map(|policy| (*policy).clone()).chain(named);
    NamespaceSet {
        policies: first_judged(all, cluster.len() + own.len()),
        own: own.len(),
        injections: own.injections(namespace),
    }
}

impl List {
    fn begins(&mut self) {
        self.number += 1;
    }
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.0.lock().lists.own.begins();
    }

    fn list_completes(&mut self) {
        let state = &mut *self.0.lock();
        let list = state.lists.own.number;
        state.own.retain(|_, known| {
            known.keep_listed(list);
            known.len() > 0
        });
        state.lists.own.is_complete = true;
        state.publish_all();
    }

    fn applied(&mut self, policy: PolicyView) {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        self.0.lock().change_own(&namespace, |known, list| known.apply(policy, list));
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.0.lock().change_own(namespace, |known, list| {
            known.keep(name, list);
            false
        });
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.0.lock().change_own(namespace, |known, _| known.remove(name));
    }
}

impl Sink<ClusterPolicyView> for ClusterPolicySink {
    fn list_begins(&mut self) {
        self.0.lock().lists.cluster.begins();
    }

    fn list_completes(&mut self) {
        let state = &mut *self.0.lock();
        state.cluster.keep_listed(state.lists.cluster.number);
        state.lists.cluster.is_complete = true;
        state.publish_all();
    }

    fn applied(&mut self, policy: ClusterPolicyView) {
        let state = &mut *self.0.lock();
        if state.cluster.apply(policy.into(), state.lists.cluster.number) {
            state.publish_all();
        }
    }

    fn undecodable(&mut self, _: &str, name: &str) {
        let state = &mut *self.0.lock();
        state.cluster.keep(name, state.lists.cluster.number);
    }

    fn deleted(&mut self, _: &str, name: &str) {
        let state = &mut *self.0.lock();
        if state.cluster.remove(name) {
            state.publish_all();
        }
    }
}

impl Sink<NamespaceView> for NamespaceSink {
    fn list_begins(&mut self) {
        self.0.lock().lists.namespaces.begins();
    }

    fn list_completes(&mut self) {
        let state = &mut *self.0.lock();
        let list = state.lists.namespaces.number;
        state.labels.retain(|_, known| known.list == list);
        state.lists.namespaces.is_complete = true;
        state.publish_all();
    }

    fn applied(&mut self, namespace: NamespaceView) {
        let state = &mut *self.0.lock();
        let (name, labels) = namespace.into_parts();
        let list = state.lists.namespaces.number;
        match state.labels.get_mut(name.as_str()) {
            Some(known) if known.labels == labels => known.list = list,
            _ => {
                state.labels.insert(name.as_str().into(), Labels { labels, list });
                state.publish(&name);
            }
        }
    }

    fn undecodable(&mut self, _: &str, name: &str) {
        let state = &mut *self.0.lock();
        if let Some(known) = state.labels.get_mut(name) {
            known.list = state.lists.namespaces.number;
        }
    }

    fn deleted(&mut self, _: &str, name: &str) {
        let state = &mut *self.0.lock();
        if state.labels.remove(name).is_some() {
            state.publish(name);
        }
    }
}
