//! Fills in what is missing in the workloads of a manifest, as an edit of its text: nothing of the
//! text is removed, and what is added is read again before it counts.
//!
//! ```text
//! text ─ Tree ─ Value ─ Target ─ plan_manifest ─ additions ─ insert ─ edited text
//!         └───────────────────────── verify ─────────────────────────────┘
//! ```

mod addition;
mod insert;
mod obstacle;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod verify;

use serde_json::Value;

use super::object_type::ObjectType;
use super::parse::{MAX_TOLERANT, parse};
use super::split::file_line;
use super::{Document, InputSurroundings, ManifestObject};
use crate::facts::given_name;
use crate::remediation::{
    ContainerFields, Fields, NamespaceRules, Reason, Target, Unfilled, Withheld, plan_manifest,
};
use crate::workload::ObjectKind;
use addition::additions;
use insert::Inserter;
pub use insert::{Insertion, inserted};
pub use obstacle::Obstacle;
use tree::{Node, Tree};
use verify::{Planned, is_as_planned};

/// What decides what is filled in.
#[derive(Clone, Copy, Debug)]
pub struct Fixing<'a> {
    /// The policies.
    pub rules: &'a NamespaceRules,
    /// What the input says of the namespaces.
    pub surroundings: &'a InputSurroundings,
    /// The namespace of objects without one.
    pub namespace: &'a str,
    /// Whether the text is edited. Otherwise it says only what is missing, and whether its text could be
    /// edited does not matter.
    pub is_edited: bool,
}

/// What becomes of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FixedDocument {
    /// The edits of its text, sorted by their places in the bytes of the document.
    pub insertions: Vec<Insertion>,
    /// Its workloads with something missing, in their order.
    pub workloads: Vec<FixedWorkload>,
}

/// What becomes of a workload that lacks something.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedWorkload {
    /// The line of the file on which it starts.
    pub line: u32,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is filled in.
    pub fields: Fields,
    /// What is missing and is not filled in.
    pub left: Vec<Left>,
}

/// Something that is missing and is not filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The line of the file.
    pub line: u32,
    /// The container; empty for the whole workload.
    pub container: String,
    /// The field, such as `readinessProbe`; empty where it is more than one.
    pub field: &'static str,
    /// Why.
    pub why: Why,
}

/// Why something that is missing is not filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The planner does not fill it in.
    #[error(transparent)]
    Planned(#[from] Reason),
    /// The text cannot be edited safely.
    #[error(transparent)]
    Text(#[from] Obstacle),
}

impl Document<'_> {
    /// Plans the edits that fill in what the objects of this document lack. `lacking` are those of
    /// its objects that lack something.
    #[must_use]
    pub fn fix(&self, lacking: &[&ManifestObject], fixing: &Fixing<'_>) -> FixedDocument {
        let fixed = self.text(fixing.is_edited).and_then(|text| self.edit(text, lacking, fixing));
        fixed.unwrap_or_else(|obstacle| FixedDocument::left(lacking, &obstacle))
    }

    /// The text, where it may be edited.
    fn text(&self, is_edited: bool) -> Result<&str, Obstacle> {
        if self.is_json {
            return Err(Obstacle::Json);
        }
        if self.bytes.len() > MAX_TOLERANT {
            return Err(Obstacle::TooLarge(MAX_TOLERANT));
        }
        if is_edited && memchr::memmem::find(self.bytes, b"{{").is_some() {
            return Err(Obstacle::Template);
        }
        let is_alone = |at: usize| self.bytes.get(at + 1) != Some(&b'\n');
        if memchr::memchr_iter(b'\r', self.bytes).any(is_alone) {
            return Err(Obstacle::CarriageReturns);
        }
        std::str::from_utf8(self.bytes).map_err(|_| Obstacle::Encoding)
    }

    fn edit(
        &self,
        text: &str,
        lacking: &[&ManifestObject],
        fixing: &Fixing<'_>,
    ) -> Result<FixedDocument, Obstacle> {
        let tree = Tree::parse(text).ok_or(Obstacle::NotYaml)?;
        let value = if tree.is_indirect {
            parse::<Value>(self.bytes).ok().flatten()
        } else {
            value::value(&tree.root)
        };
        let value = value.ok_or(Obstacle::Keys)?;
        let objects = objects(&tree.root, &value, None);
        let inserter = Inserter::new(text, &tree);
        let mut edit = Edit { tree: &tree, inserter, planned: Planned::new() };
        let mut fixed = FixedDocument::default();
        for object in lacking {
            // In flow style several objects may start on a line.
            let is_same = |found: &&Object<'_>| {
                self.file_line(found.node.line) == object.line
                    && found.kind == object.facts.kind
                    && found.is_named(&object.facts.name)
            };
            let mut same = objects.iter().filter(is_same);
            match same.next().filter(|_| same.next().is_none()) {
                Some(found) => {
                    let (workload, insertions) = edit.workload(found, object, fixing);
                    fixed.insertions.extend(insertions);
                    fixed.workloads.extend(workload);
                }
                None => fixed.workloads.push(FixedWorkload::left(object, Obstacle::NotFound)),
            }
        }
        // Stable: fields of one place stay in the order in which they were planned.
        fixed.insertions.sort_by_key(|insertion| insertion.at);
        if fixed.insertions.is_empty() {
            return Ok(fixed);
        }
        let edited = inserted(text, &fixed.insertions);
        let edited = Tree::parse(&edited);
        let is_right =
            edited.is_some_and(|edited| is_as_planned(&tree.root, &edited.root, &edit.planned));
        if is_right { Ok(fixed) } else { Err(Obstacle::NotAsPlanned) }
    }

    fn file_line(&self, line: u32) -> u32 {
        file_line(self.first_line, line)
    }
}

impl FixedDocument {
    /// One that is not edited.
    #[must_use]
    pub fn left(lacking: &[&ManifestObject], obstacle: &Obstacle) -> Self {
        let left = |object: &&ManifestObject| FixedWorkload::left(object, obstacle.clone());
        Self { insertions: Vec::new(), workloads: lacking.iter().map(left).collect() }
    }
}

impl FixedWorkload {
    fn of(object: &ManifestObject) -> Self {
        let facts = &object.facts;
        Self {
            line: object.line,
            kind: facts.kind,
            namespace: facts.namespace.to_string(),
            name: facts.name.to_string(),
            fields: Fields::default(),
            left: Vec::new(),
        }
    }

    /// With what is left in the order of the lines; `None` where nothing is missing after all.
    fn if_needed(mut self) -> Option<Self> {
        self.left.sort_by_key(|left| left.line);
        (!(self.fields.is_empty() && self.left.is_empty())).then_some(self)
    }

    /// One of which nothing is filled in.
    fn left(object: &ManifestObject, why: impl Into<Why>) -> Self {
        let mut workload = Self::of(object);
        workload.leave(object, "", "", why);
        workload
    }

    fn leave(
        &mut self,
        object: &ManifestObject,
        container: &str,
        field: &'static str,
        why: impl Into<Why>,
    ) {
        let mut containers = object.facts.checked.containers.iter().zip(&object.container_lines);
        let line = containers.find(|(facts, _)| *facts.name == *container);
        let line = line.map_or(object.line, |(_, line)| *line);
        self.left.push(Left { line, container: container.to_owned(), field, why: why.into() });
    }
}

/// A workload of a document.
struct Object<'a> {
    kind: ObjectKind,
    node: &'a Node<'a>,
    value: &'a Value,
}

impl Object<'_> {
    /// Whether that is its name, as facts have it.
    fn is_named(&self, name: &str) -> bool {
        let text = |field: &str| self.value["metadata"][field].as_str();
        given_name(text("name"), text("generateName")).is_none_or(|given| given == name)
    }
}

/// The workloads of a document, of a List those in it.
fn objects<'a>(
    node: &'a Node<'a>,
    value: &'a Value,
    list_type: Option<&ObjectType>,
) -> Vec<Object<'a>> {
    let own = ObjectType::of(value["apiVersion"].as_str(), value["kind"].as_str());
    let Some(object_type) = own.or_else(|| list_type.cloned()) else { return Vec::new() };
    if object_type.is_list() {
        let items = node.get("items").map(Node::items).unwrap_or_default();
        let values = value["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let member = object_type.member();
        let each = items.iter().zip(values);
        return each.flat_map(|(node, value)| objects(node, value, member.as_ref())).collect();
    }
    let kind = object_type.classify().ok().flatten();
    kind.map(|kind| Object { kind, node, value }).into_iter().collect()
}

/// The edit of a document.
struct Edit<'a> {
    tree: &'a Tree<'a>,
    inserter: Inserter<'a>,
    planned: Planned,
}

impl Edit<'_> {
    /// Edits a workload; `None` where nothing of it is missing after all.
    fn workload(
        &mut self,
        found: &Object<'_>,
        object: &ManifestObject,
        fixing: &Fixing<'_>,
    ) -> (Option<FixedWorkload>, Vec<Insertion>) {
        let left = |why: Why| (Some(FixedWorkload::left(object, why)), Vec::new());
        let Ok(target) = Target::of_manifest(found.kind, found.value, fixing.namespace) else {
            return left(Obstacle::NotFound.into());
        };
        let namespace = fixing.surroundings.of(&target.namespace);
        let plan = match plan_manifest(fixing.rules, namespace, &target) {
            Ok(plan) => plan,
            Err(reason) => return left(reason.into()),
        };
        let mut workload = FixedWorkload::of(object);
        for Withheld { container, field, reason } in plan.withheld {
            workload.leave(object, &container, field, reason);
        }
        for Unfilled { container, field, is_refused } in plan.unfilled {
            let obstacle = if is_refused { Obstacle::Refused } else { Obstacle::Unfit };
            workload.leave(object, &container, field, obstacle);
        }
        if let Some(reason) = plan.no_default {
            workload.leave(object, "", "", reason);
        }
        let mut insertions = Vec::new();
        if !fixing.is_edited {
            workload.fields = plan.fields;
            return (workload.if_needed(), insertions);
        }
        for mut fields in plan.fields.0 {
            match self.place(found, &target, &fields.name) {
                Ok(container) => {
                    insertions.extend(self.container(
                        container,
                        &mut fields,
                        object,
                        &mut workload,
                    ));
                }
                Err(obstacle) => {
                    workload.leave(object, &fields.name, "", obstacle);
                    continue;
                }
            }
            if !fields.is_empty() {
                workload.fields.0.push(fields);
            }
        }
        (workload.if_needed(), insertions)
    }

    /// The place of a container of that name.
    fn place<'n>(
        &self,
        found: &Object<'n>,
        target: &Target,
        name: &str,
    ) -> Result<&'n Node<'n>, Obstacle> {
        if target.container_names().filter(|other| *other == name).count() > 1 {
            return Err(Obstacle::SameName(name.to_owned()));
        }
        let mut node = found.node;
        for field in found.kind.pod_spec_path() {
            node = match node.get(field) {
                Some(below) if below.is_alias() => return Err(Obstacle::Alias(field)),
                Some(below) => below,
                None if node.has_merge_key() => return Err(Obstacle::MergeKey),
                None => return Err(Obstacle::NotFound),
            };
        }
        let mut obstacle =
            if node.has_merge_key() { Obstacle::MergeKey } else { Obstacle::NotFound };
        for field in ["containers", "initContainers"] {
            let Some(list) = node.get(field) else { continue };
            let is_named = |item: &&Node<'_>| item.get("name").and_then(Node::text) == Some(name);
            if let Some(container) = list.items().iter().find(is_named) {
                let is_shared = self.tree.is_shared(container);
                return if is_shared { Err(Obstacle::SharedAnchor) } else { Ok(container) };
            }
            if list.is_alias() || list.items().iter().any(Node::is_alias) {
                obstacle = Obstacle::Alias(field);
            } else if list.items().iter().any(Node::has_merge_key) {
                obstacle = Obstacle::MergeKey;
            }
        }
        Err(obstacle)
    }

    /// Edits a container. A field that cannot be edited is taken out of the fields.
    fn container(
        &mut self,
        container: &Node<'_>,
        fields: &mut ContainerFields,
        object: &ManifestObject,
        workload: &mut FixedWorkload,
    ) -> Vec<Insertion> {
        let mut possible = additions(fields);
        possible.retain(|entry @ (field, _)| {
            let obstacle = self.inserter.add(container, std::slice::from_ref(entry)).err();
            if let Some(obstacle) = obstacle {
                workload.leave(object, &fields.name, field, obstacle);
                fields.remove(field);
                return false;
            }
            true
        });
        // Each of them is possible, and so are all.
        let insertions = self.inserter.add(container, &possible).unwrap_or_default();
        self.planned.insert(container.start, possible);
        insertions
    }
}
