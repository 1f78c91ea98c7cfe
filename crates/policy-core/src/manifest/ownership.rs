//! Counts each pod of an input once: the output of `kubectl get all -o json` has a Deployment, its
//! current and earlier `ReplicaSets`, and its pods.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::facts::PodFacts;
use crate::view::{Amount, ObjectView};
use crate::workload::ObjectKind;

use super::ManifestObject;

/// An object of a namespace. Kinds that are no workloads carry their group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectId {
    namespace: Arc<str>,
    kind: Cow<'static, str>,
    name: Box<str>,
}

/// What controls an object: the owner reference with `controller: true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controlled {
    controller: ObjectId,
    /// Whether the object is a pod template.
    is_template: bool,
    age: TemplateAge,
}

/// Orders the templates of a controller; the greatest is the one in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TemplateAge {
    has_replicas: bool,
    created: Option<i64>,
    name: Box<str>,
}

impl Controlled {
    pub(super) fn of(facts: &PodFacts, object: &ObjectView) -> Option<Box<Self>> {
        let owners = object.metadata.owner_references.as_ref()?;
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        let kind = match ObjectKind::of(&owner.api_version, &owner.kind) {
            Some(kind) => Cow::Borrowed(kind.as_str()),
            None => format!("{} {}", owner.api_version, owner.kind).into(),
        };
        let created = object.metadata.creation_timestamp.as_ref();
        Some(Box::new(Self {
            controller: ObjectId {
                namespace: Arc::clone(&facts.namespace),
                kind,
                name: owner.name.as_str().into(),
            },
            is_template: facts.kind != ObjectKind::Pod,
            age: TemplateAge {
                has_replicas: object.spec.replicas != Some(Amount::Zero),
                created: created.map(|time| time.0.as_second()),
                name: facts.name.clone(),
            },
        }))
    }
}

/// How many objects are kept that may control others, and how many controllers of templates, the
/// first by namespace, kind and name.
const MAX_CONTROLLERS: usize = 250_000;

/// The objects of an input, added in any order, to decide which of them are counted.
#[derive(Debug, Default)]
pub struct InputObjects {
    /// Those that may control others.
    controllers: BTreeSet<ObjectId>,
    /// The template in use of each controller.
    in_use: BTreeMap<ObjectId, TemplateAge>,
    /// Whether there are more than are kept.
    is_cut: bool,
}

impl InputObjects {
    /// Adds an object.
    pub fn add(&mut self, object: &ManifestObject) {
        let ManifestObject { facts, controlled, .. } = object;
        if facts.kind != ObjectKind::Pod {
            self.controllers.insert(ObjectId {
                namespace: Arc::clone(&facts.namespace),
                kind: facts.kind.as_str().into(),
                name: facts.name.clone(),
            });
        }
        if let Some(Controlled { controller, age, is_template: true }) = controlled.as_deref() {
            self.use_newest(controller.clone(), age.clone());
        }
        if self.controllers.len().max(self.in_use.len()) > 2 * MAX_CONTROLLERS {
            self.cut();
        }
    }

    /// Keeps the first of them. One that is dropped can never be among the first of all again, so
    /// the result does not depend on the order of adding.
    fn cut(&mut self) {
        while self.controllers.len() > MAX_CONTROLLERS {
            self.is_cut |= self.controllers.pop_last().is_some();
        }
        while self.in_use.len() > MAX_CONTROLLERS {
            self.is_cut |= self.in_use.pop_last().is_some();
        }
    }

    /// Drops what is beyond the limit, and says so.
    pub fn limit(&mut self) -> Option<String> {
        self.cut();
        self.is_cut.then(|| {
            format!(
                "more than {MAX_CONTROLLERS} objects may control others; what the last of them by \
                 namespace, kind and name control counts as well"
            )
        })
    }

    fn use_newest(&mut self, controller: ObjectId, age: TemplateAge) {
        let in_use = self.in_use.entry(controller).or_insert_with(|| age.clone());
        *in_use = age.max(in_use.clone());
    }

    /// Adds the objects of another part of the input.
    pub fn merge(&mut self, other: Self) {
        self.controllers.extend(other.controllers);
        for (controller, age) in other.in_use {
            self.use_newest(controller, age);
        }
        self.is_cut |= other.is_cut;
        self.cut();
    }

    /// Whether the object is counted, once all objects are added: not where its controller is
    /// counted, and not if it is a template without replicas that a newer one replaced.
    #[must_use]
    pub fn counts(&self, object: &ManifestObject) -> bool {
        let Some(Controlled { controller, is_template, age }) = object.controlled.as_deref() else {
            return true;
        };
        let is_replaced = *is_template
            && !age.has_replicas
            && self.in_use.get(controller).is_some_and(|in_use| in_use != age);
        !is_replaced && !self.controllers.contains(controller)
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents;
    use super::*;

    /// The names of the objects that are counted, of parts that are read apart.
    fn counted(parts: &[&str]) -> Vec<String> {
        let mut all = InputObjects::default();
        let mut objects = Vec::new();
        for part in parts {
            let mut known = InputObjects::default();
            for document in documents(part.as_bytes()) {
                objects.extend(document.read("default").objects);
            }
            for object in &objects {
                known.add(object);
            }
            all.merge(known);
        }
        let counted = objects.iter().filter(|object| all.counts(object));
        counted.map(|object| object.facts.name.to_string()).collect()
    }

    fn object(kind: &str, name: &str, owner: &str, more: &str) -> String {
        let owner = owner.split_once('/').map_or_else(String::new, |(kind, name)| {
            format!(", ownerReferences: [{{apiVersion: x, kind: Node, name: {name}}}, {{apiVersion: apps/v1, kind: {kind}, name: {name}, controller: true}}]")
        });
        let group = if kind == "Pod" { "v1" } else { "apps/v1" };
        let spec = "containers: [{name: c}], template: {spec: {containers: [{name: c}]}}";
        format!("---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}{owner}{more}}}\n")
            + &format!("spec: {{{spec}, replicas: {}}}\n", u8::from(!name.starts_with("old")))
    }

    #[test]
    fn what_another_object_controls_is_counted_with_it() {
        let deployment = object("Deployment", "web", "", "");
        let set = object("ReplicaSet", "web-1", "Deployment/web", "");
        let old = object("ReplicaSet", "old-1", "Deployment/web", "");
        let pod = object("Pod", "web-1-a", "ReplicaSet/web-1", "");
        assert_eq!(counted(&[&pod, &set, &old, &deployment]), ["web"]);
        assert_eq!(counted(&[&pod, &old, &set]), ["web-1"]);
        assert_eq!(counted(&[&pod]), ["web-1-a"]);
        let elsewhere = deployment.replace("{name: web", "{name: web, namespace: x");
        assert_eq!(counted(&[&set, &elsewhere]), ["web-1", "web"]);
    }

    #[test]
    fn so_many_controllers_are_kept_whatever_the_order() {
        let pod = object("Pod", "p", "ReplicaSet/web-7", "");
        let pod = documents(pod.as_bytes())[0].read("default").objects.remove(0);
        let set = object("ReplicaSet", "web-7", "", "");
        let mut set = documents(set.as_bytes())[0].read("default").objects.remove(0);
        let mut names: Vec<u32> = (0..600_001).collect();
        for _ in 0..2 {
            names.reverse();
            let mut known = InputObjects::default();
            for name in &names {
                set.facts.name = format!("web-{name}").into();
                known.add(&set);
            }
            assert!(known.limit().is_some_and(|note| note.starts_with("more than 250000 ")));
            assert_eq!(known.controllers.len(), 250_000);
            assert!(known.counts(&pod), "the name is after those that are kept");
            assert_eq!(known.controllers.last().map(|last| &*last.name), Some("web-324997"));
        }
        assert_eq!(InputObjects::default().limit(), None);
    }

    #[test]
    fn only_the_last_template_of_a_controller_counts_without_replicas() {
        let created = |name: &str, year| {
            let time = format!(", creationTimestamp: \"{year}-01-01T00:00:00Z\"");
            object("ReplicaSet", name, "Deployment/web", &time)
        };
        let [a, b] = [created("old-a", 2025), created("old-b", 2024)];
        assert_eq!(counted(&[&a, &b]), ["old-a"], "scaled to nothing");
        assert_eq!(counted(&[&b, &a]), ["old-a"]);
        assert_eq!(counted(&[&a, &b, &created("c", 2023)]), ["c"]);
        let defaulted = b.replace("replicas: 0", "replicas: null");
        assert_eq!(counted(&[&a, &defaulted]), ["old-b"], "null is the default, 1");
        assert_eq!(counted(&[&object("Deployment", "old", "", "")]), ["old"]);
    }
}
