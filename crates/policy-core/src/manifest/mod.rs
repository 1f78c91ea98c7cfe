//! Reading users' manifests: bytes in, facts with their lines out, and everything that was not
//! read is counted or named.

mod parse;
mod policy_file;
mod split;
mod written;

use std::fmt;

use serde::Deserialize;

pub use policy_file::{decode_policy, read_policy};
pub use split::{Document, documents};
pub use written::{WrittenPolicies, WrittenPolicy, written_policies};

use crate::facts::{PodFacts, all_containers, pod_spec};
use crate::view::{ObjectView, Spanned, items};
use crate::workload::ObjectKind;
use parse::{ParseError, parse};

/// What a document holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentContent {
    /// The pods and workloads.
    pub objects: Vec<ManifestObject>,
    /// Objects of other kinds, each with its line and kind.
    pub skipped: Vec<SkippedObject>,
    /// What could not be read.
    pub failures: Vec<Failure>,
}

/// A pod or workload of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestObject {
    /// Its facts.
    pub facts: PodFacts,
    /// The line of the file on which its document (in a List: the object) starts.
    pub line: u32,
    /// The line of each container, in the order of the facts.
    pub container_lines: Vec<u32>,
}

/// An object that is not analysed, since it makes no pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedObject {
    /// The line of the file on which it starts.
    pub line: u32,
    /// `apiVersion` and kind, as far as it has them.
    pub kind: String,
    /// Whether its kind is the one of a workload but for the group or the case.
    pub looks_like_a_workload: bool,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the file.
    pub line: u32,
    /// What is wrong, as the end of a sentence that begins with the position.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.reason)
    }
}

impl Document<'_> {
    /// Reads the document. Objects without a namespace belong to `namespace`. Cannot fail: what
    /// is wrong is among the failures. Time and memory are bounded by the document's size.
    #[must_use]
    pub fn read(&self, namespace: &str) -> DocumentContent {
        let mut objects = Vec::new();
        let content = self.read_each(namespace, &mut |object, _| objects.push(object));
        DocumentContent { objects, ..content }
    }

    /// The same, but each pod and workload is handed over with all that was read of it, for who
    /// needs more than facts; there are none in the result.
    pub fn read_each(
        &self,
        namespace: &str,
        take: &mut dyn FnMut(ManifestObject, &ObjectView),
    ) -> DocumentContent {
        let content = DocumentContent::default();
        let mut reader = Reader { document: self, only_line: None, namespace, take, content };
        match parse::<Spanned<ObjectView>>(self.bytes) {
            Ok(None) => {}
            Ok(Some(root)) => reader.object(&root.value, reader.file_line(&root), None),
            Err(error) => reader.mismatch(self.bytes, error),
        }
        reader.content
    }
}

struct Reader<'a> {
    document: &'a Document<'a>,
    /// The line of everything, where the parser's positions are not those of the file.
    only_line: Option<u32>,
    namespace: &'a str,
    take: &'a mut dyn FnMut(ManifestObject, &ObjectView),
    content: DocumentContent,
}

impl Reader<'_> {
    /// An object, or a List and its members. A member of a `PodList` need not say that it is a
    /// Pod: `list` is the type that it has by its place.
    fn object(&mut self, object: &ObjectView, line: u32, list: Option<&ObjectType>) {
        let own = ObjectType::of(object.api_version.as_deref(), object.kind.as_deref());
        let object_type = own.or_else(|| list.cloned()).unwrap_or_default();
        if object_type.is_list() {
            let member = object_type.member();
            for item in &object.items {
                self.object(&item.value, self.file_line(item), member.as_ref());
            }
            return;
        }
        match object_type.classify() {
            Ok(Some(kind)) => self.workload(kind, object, line),
            Ok(None) => self.skip(line, &object_type),
            Err(reason) => self.fail(line, reason),
        }
    }

    fn workload(&mut self, kind: ObjectKind, object: &ObjectView, line: u32) {
        let Some(facts) = PodFacts::of_object(kind, object, self.namespace) else {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            self.fail(line, format!("{kind} {name} has no containers").replace("  ", " "));
            return;
        };
        let containers = pod_spec(kind, &object.spec).into_iter().flat_map(all_containers);
        let container_lines =
            containers.map(|(_, _, container)| self.file_line(container)).collect();
        (self.take)(ManifestObject { facts, line, container_lines }, object);
    }

    /// A document that is well-formed but not of the shape of a workload: another kind is
    /// skipped, a List is read member by member, and anything else is a failure.
    fn mismatch(&mut self, bytes: &[u8], error: ParseError) {
        let header = if error.is_mismatch { parse::<Spanned<Header>>(bytes) } else { Ok(None) };
        if let Ok(Some(header)) = header {
            let line = self.file_line(&header);
            if let Some(found) = header.value.object_type() {
                if found.is_list() {
                    return self.list_by_members(bytes, &found, error);
                }
                if found.classify() == Ok(None) {
                    return self.skip(line, &found);
                }
            }
        }
        let is_template = memchr::memmem::find(bytes, b"{{").is_some();
        let hint = if is_template { " (a template? render it first)" } else { "" };
        self.fail(self.to_file_line(error.line), error.reason + hint);
    }

    /// Reads a List with a member of the wrong shape: the other members are read, though their
    /// containers only know the member's line.
    fn list_by_members(&mut self, bytes: &[u8], list: &ObjectType, error: ParseError) {
        let Ok(Some(Members { items })) = parse::<Members>(bytes) else {
            return self.fail(self.to_file_line(error.line), error.reason);
        };
        let member = list.member();
        for item in items {
            let line = self.file_line(&item);
            // Written down again, it is read by the same types; of numbers only the value is left.
            let text = item.value.to_string();
            let outer = self.only_line.replace(line);
            match parse::<ObjectView>(text.as_bytes()) {
                Ok(object) => self.object(&object.unwrap_or_default(), line, member.as_ref()),
                Err(error) => self.mismatch(text.as_bytes(), error),
            }
            self.only_line = outer;
        }
    }

    fn skip(&mut self, line: u32, object_type: &ObjectType) {
        let looks_like_a_workload = ObjectKind::ALL
            .iter()
            .any(|kind| kind.as_str().eq_ignore_ascii_case(&object_type.kind));
        let kind = object_type.to_string();
        self.content.skipped.push(SkippedObject { line, kind, looks_like_a_workload });
    }

    fn fail(&mut self, line: u32, reason: String) {
        self.content.failures.push(Failure { line, reason });
    }

    /// The line of the file on which something of the document was written. What an alias
    /// brings in counts where it was defined: that is where it is changed.
    fn file_line<T>(&self, place: &Spanned<T>) -> u32 {
        self.to_file_line(u32::try_from(place.defined.line()).unwrap_or(u32::MAX))
    }

    fn to_file_line(&self, line: u32) -> u32 {
        self.only_line.unwrap_or_else(|| self.document.file_line(line))
    }
}

/// What every object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

impl Header {
    fn object_type(&self) -> Option<ObjectType> {
        ObjectType::of(self.api_version.as_deref(), self.kind.as_deref())
    }
}

#[derive(Deserialize)]
struct Members {
    #[serde(deserialize_with = "items")]
    items: Vec<Spanned<serde_json::Value>>,
}

/// The type that an object claims.
#[derive(Clone, Debug, Default)]
struct ObjectType {
    api_version: String,
    kind: String,
}

impl ObjectType {
    /// `None` where the object claims nothing at all.
    fn of(api_version: Option<&str>, kind: Option<&str>) -> Option<Self> {
        let [api_version, kind] =
            [api_version, kind].map(|text| text.unwrap_or_default().to_owned());
        (!api_version.is_empty() || !kind.is_empty()).then_some(Self { api_version, kind })
    }

    /// `List`, or the list of an analysed kind. Any kind may end in `List` without being one.
    fn is_list(&self) -> bool {
        let Some(member) = self.kind.strip_suffix("List") else {
            return false;
        };
        let is_core = !self.api_version.contains('/');
        (member.is_empty() && is_core) || ObjectKind::of(&self.api_version, member).is_some()
    }

    /// The type of a member that does not say its own; a plain `List` has none.
    fn member(&self) -> Option<Self> {
        let kind = self.kind.strip_suffix("List").filter(|kind| !kind.is_empty())?.to_owned();
        Some(Self { api_version: self.api_version.clone(), kind })
    }

    /// The kind to analyse; `None` for any other object; an error where half of the type is
    /// missing, so that nobody can tell.
    fn classify(&self) -> Result<Option<ObjectKind>, String> {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("", kind) if ObjectKind::named(kind).is_some() => {
                Err(format!("{kind} without apiVersion"))
            }
            (api_version, "") if !api_version.is_empty() => {
                Err(format!("object of {api_version} without kind"))
            }
            (api_version, kind) => Ok(ObjectKind::of(api_version, kind)),
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("", "") => f.write_str("object without apiVersion and kind"),
            ("", kind) => f.write_str(kind),
            (api_version, kind) => write!(f, "{api_version} {kind}"),
        }
    }
}

#[cfg(test)]
mod tests;
