//! The namespaces of the cluster with their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use policy_core::custom::CustomNamespace;
use policy_core::namespaces::{ExcludedNamespaces, NAME_LABEL};
use policy_core::policy::ClusterScope;
use policy_core::view::NamespaceView;
use policy_runtime::watch::Sink;

use crate::policies::Policies;

/// The namespaces that exist, shared by their watch and the reconciler. A change of the labels of
/// one makes it due for the cluster policies. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Namespaces(Arc<Shared>);

struct Shared {
    excluded: ExcludedNamespaces,
    policies: Policies,
    known: Mutex<BTreeMap<Arc<str>, Labels>>,
}

/// Labels by their keys, but for [`NAME_LABEL`], which has nothing new. Compact, as a cluster may have
/// 10 000 namespaces.
type Labels = Box<[(Box<str>, Box<str>)]>;

fn compact(labels: BTreeMap<String, String>) -> Labels {
    let labels = labels.into_iter().filter(|(key, _)| key != NAME_LABEL);
    labels.map(|(key, value)| (key.into(), value.into())).collect()
}

impl Namespaces {
    /// No namespaces. Their changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies) -> Self {
        Self(Arc::new(Shared { excluded, policies, known: Mutex::default() }))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.known.lock().len()
    }

    /// The names of all.
    pub(crate) fn names(&self) -> BTreeSet<Arc<str>> {
        self.0.known.lock().keys().cloned().collect()
    }

    /// Whether a policy with that scope applies to a namespace. One that does not exist is not
    /// selected.
    pub(crate) fn is_selected(&self, scope: &ClusterScope, namespace: &str) -> bool {
        let labels = self.labels(namespace);
        labels.is_some_and(|labels| scope.selects(namespace, &labels, &self.0.excluded))
    }

    /// A namespace as custom checks see it; `None` where it does not exist.
    pub(crate) fn custom(&self, namespace: &str) -> Option<CustomNamespace> {
        Some(CustomNamespace::new(namespace, &self.labels(namespace)?))
    }

    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let known = self.0.known.lock();
        let mut labels: BTreeMap<String, String> = known
            .get(namespace)?
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
        Some(labels)
    }

    /// The sink for a watch of all namespaces.
    pub(crate) fn sink(&self) -> NamespaceSink {
        NamespaceSink { namespaces: self.clone(), listed: None }
    }

    /// Sets the labels of a namespace; `None` where it is gone.
    fn set(&self, name: &str, labels: Option<Labels>) {
        let mut known = self.0.known.lock();
        let is_changed = match labels {
            None => known.remove(name).is_some(),
            Some(labels) => match known.get_mut(name) {
                Some(before) if *before == labels => false,
                Some(before) => {
                    *before = labels;
                    true
                }
                None => known.insert(name.into(), labels).is_none(),
            },
        };
        drop(known);
        if is_changed {
            self.0.policies.labels_changed(name);
        }
    }
}

/// Stores the namespaces of a watch.
pub(crate) struct NamespaceSink {
    namespaces: Namespaces,
    /// The namespaces of the list that is being read.
    listed: Option<BTreeSet<Arc<str>>>,
}

impl NamespaceSink {
    fn is_listed(&mut self, name: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(name.into());
        }
    }
}

impl Sink<NamespaceView> for NamespaceSink {
    fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn list_completes(&mut self) {
        let Some(listed) = self.listed.take() else { return };
        let names = self.namespaces.names();
        for gone in names.difference(&listed) {
            self.namespaces.set(gone, None);
        }
    }

    fn applied(&mut self, namespace: NamespaceView) {
        let (name, labels) = namespace.into_parts();
        self.is_listed(&name);
        self.namespaces.set(&name, Some(compact(labels)));
    }

    fn undecodable(&mut self, _: &str, name: &str) {
        self.is_listed(name);
    }

    fn deleted(&mut self, _: &str, name: &str) {
        self.namespaces.set(name, None);
    }
}
