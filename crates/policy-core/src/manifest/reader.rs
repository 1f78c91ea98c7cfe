//! Reads the objects of a document.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::claim::{Claim, claimed_type};
use super::json::{JsonText, JsonValue};
use super::keys::{KeyProblem, KeyProblems};
use super::large::{MAX_AT_ONCE, too_large_for_notes};
use super::object_type::ObjectType;
use super::ownership::Controlled;
use super::parse::{MAX_TOLERANT, ParseError, parse, parse_every_key, parse_last_wins};
use super::repair::repaired;
use super::split::file_line;
use super::{
    DecodedPolicy, Document, DocumentContent, Failure, ManifestObject, Note, SkippedObject, lines,
};
use crate::custom::{CustomInput, ObjectDocument};
use crate::facts::{PodFacts, all_containers, pod_spec};
use crate::labels::Labels;
use crate::view::{Located, MAX_CONTAINERS, ObjectView, SpecView};
use crate::workload::ObjectKind;

/// Deepest nesting of Lists in Lists.
const MAX_NESTED_LISTS: usize = 8;

/// The objects to take of a document; all others are skipped.
pub(super) enum Wanted<'a> {
    /// Pods and workloads.
    Workloads(&'a mut dyn FnMut(ManifestObject, &ObjectView)),
    /// Valid policies.
    Policies(&'a mut Vec<DecodedPolicy>),
}

pub(super) struct Reader<'a> {
    namespace: &'a str,
    pub(super) wanted: Wanted<'a>,
    content: DocumentContent,
    /// How many pods and workloads were taken.
    taken: usize,
    /// The line of the file on which the text that is read starts.
    first_line: u32,
    /// The line to report for everything, where the text that is read was not copied from the file.
    only_line: Option<u32>,
    /// Whether objects are read as custom checks see them, too.
    reads_custom: bool,
}

impl<'a> Reader<'a> {
    /// Objects without a namespace belong to `namespace`.
    pub(super) fn new(namespace: &'a str, wanted: Wanted<'a>) -> Self {
        let content = DocumentContent::default();
        Self {
            namespace,
            wanted,
            content,
            taken: 0,
            first_line: 1,
            only_line: None,
            reads_custom: false,
        }
    }

    pub(super) fn read(mut self, document: &Document<'_>) -> DocumentContent {
        self.first_line = document.first_line;
        self.reads_custom = document.reads_custom;
        if document.is_json {
            // Invalid UTF-8 is replaced, as Go's decoder does, so that the other objects are read.
            self.json(JsonText::new(&String::from_utf8_lossy(document.bytes)).root(), None, 0);
        } else {
            self.yaml(document.bytes, None, 0);
        }
        self.content
    }

    /// Reads a JSON value. `list_type` is the type that its list implies: a member of a `PodList`
    /// may leave out its own.
    fn json(&mut self, value: JsonValue<'_>, list_type: Option<&ObjectType>, nesting: usize) {
        let line = self.file_line(value.line());
        let header = if value.is_null() { Ok(JsonHeader::default()) } else { value.read() };
        let JsonHeader { api_version, kind, items, patch } = match header {
            Ok(header) => header,
            Err(error) => return self.fail(error, value.is_object()),
        };
        let own = ObjectType::of(api_version.as_deref(), kind.as_deref());
        let object_type = own.or_else(|| list_type.cloned()).unwrap_or_default();
        if object_type.is_list() {
            if let Some(items) = items {
                self.json_list(value.part(items), &object_type, nesting);
            }
            return;
        }
        if matches!(self.wanted, Wanted::Policies(_)) {
            return match object_type {
                _ if value.is_null() => {}
                policy if policy.is_policy() => self.json_policy(value),
                other if other.is_whole() => self.skip(line, &other),
                _ => self.untyped(value.line()),
            };
        }
        let Some(kind) = self.workload_kind(&object_type, line, patch.is_some()) else {
            return;
        };
        match value.read::<ObjectView>() {
            Ok(object) => self.workload(kind, &object, line, self.custom_of(value)),
            Err(error) => return self.fail(error, true),
        }
        if value.text().len() > MAX_TOLERANT {
            return self.note([too_large_for_notes(value.line())]);
        }
        // Most objects repeat no key; finding that out is cheaper without line numbers.
        let quick = serde_json::from_str::<KeyProblems>(value.text());
        if quick.is_ok_and(|found| !found.problems.is_empty())
            && let Ok(found) = value.read::<KeyProblems>()
        {
            self.note(found.problems.into_iter().map(KeyProblem::note));
        }
    }

    fn custom_of(&self, value: JsonValue<'_>) -> Option<ObjectDocument> {
        self.reads_custom.then(|| serde_json::from_str(value.text()).ok()).flatten()
    }

    fn json_list(&mut self, items: JsonValue<'_>, list: &ObjectType, nesting: usize) {
        if nesting == MAX_NESTED_LISTS {
            return self.fail(too_many_lists(items.line()), true);
        }
        let member_type = list.member();
        let mut take = |member: JsonValue<'_>| self.json(member, member_type.as_ref(), nesting + 1);
        if let Err(error) = items.for_each_member(&mut take) {
            self.fail(error, true);
        }
    }

    pub(super) fn yaml(&mut self, bytes: &[u8], list_type: Option<&ObjectType>, nesting: usize) {
        if matches!(self.wanted, Wanted::Policies(_)) {
            return self.yaml_policies(bytes, list_type, nesting);
        }
        if let Some((object_type, line)) = lines::stated_type(bytes, ObjectType::is_other) {
            return self.skip(self.file_line(line), &object_type);
        }
        if bytes.len() > MAX_AT_ONCE {
            return self.yaml_of_large(bytes, list_type, nesting);
        }
        self.yaml_at_once(bytes, list_type, nesting);
    }

    pub(super) fn yaml_at_once(
        &mut self,
        bytes: &[u8],
        list_type: Option<&ObjectType>,
        nesting: usize,
    ) {
        match parse::<Located<ObjectView>>(bytes) {
            Ok(Some(root)) => self.yaml_object(bytes, &root, list_type, None),
            Ok(None) if nesting > 0 => self.object(&<_>::default(), self.file_line(1), None, None),
            Ok(None) => {}
            Err(error) => self.yaml_in_parts(bytes, list_type, nesting, error),
        }
    }

    /// Takes an object of YAML, with notes about its keys if they matter for a workload.
    /// `repeated` is the error of a parser that allows no repeated key.
    fn yaml_object(
        &mut self,
        bytes: &[u8],
        root: &Located<ObjectView>,
        list_type: Option<&ObjectType>,
        repeated: Option<ParseError>,
    ) {
        let taken = self.taken;
        let read = || parse_last_wins::<ObjectDocument>(bytes).ok().flatten();
        let custom = self.reads_custom.then(read).flatten();
        self.object(&root.value, self.file_line(root.line), list_type, custom);
        let has_merge = || memchr::memmem::find(bytes, b"<<").is_some();
        if self.taken == taken || !(repeated.is_some() || has_merge()) {
            return;
        }
        if bytes.len() > MAX_TOLERANT {
            return self.note([too_large_for_notes(root.line)]);
        }
        let found = parse_every_key::<KeyProblems>(bytes).ok().flatten();
        let found = found.unwrap_or_default().problems;
        if let Some(error) = repeated.filter(|_| found.is_empty()) {
            self.note([Note { line: error.line, message: error.reason }]);
        }
        self.note(found.into_iter().map(KeyProblem::note));
    }

    /// Reads YAML that is broken or does not have the shape of a workload: skips other kinds, reads
    /// a List member by member, and reads a workload again with more tolerance.
    fn yaml_in_parts(
        &mut self,
        bytes: &[u8],
        list_type: Option<&ObjectType>,
        nesting: usize,
        error: ParseError,
    ) {
        let is_object = match claimed_type(bytes, &error) {
            Claim::Object(own, line) => {
                let object_type = own.as_ref().or(list_type).cloned().unwrap_or_default();
                if object_type.is_list() {
                    return self.yaml_list(bytes, &object_type, nesting, error);
                }
                if object_type.classify() == Ok(None) {
                    return self.skip(self.file_line(line), &object_type);
                }
                true
            }
            Claim::Nothing { is_manifest } => is_manifest,
        };
        if error.is_duplicate_key
            && let Ok(Some(root)) = parse_last_wins::<Located<ObjectView>>(bytes)
        {
            return self.yaml_object(bytes, &root, list_type, Some(error));
        }
        if let Some(repaired) = repaired(bytes) {
            return self.yaml(repaired.as_bytes(), list_type, nesting);
        }
        let is_template = memchr::memmem::find(bytes, b"{{").is_some();
        let hint = if is_template { " (a template? render it first)" } else { "" };
        self.fail(ParseError { reason: error.reason + hint, ..error }, is_object);
    }

    /// Reads a List member by member.
    pub(super) fn yaml_list(
        &mut self,
        bytes: &[u8],
        list: &ObjectType,
        nesting: usize,
        error: ParseError,
    ) {
        let member_type = list.member();
        if nesting == MAX_NESTED_LISTS {
            return self.fail(too_many_lists(error.line), true);
        }
        let outer = self.first_line;
        let mut take = |lines_before, text: &[u8]| {
            self.first_line = outer.saturating_add(lines_before);
            self.yaml(text, member_type.as_ref(), nesting + 1);
        };
        if lines::for_each_member(bytes, &mut take) {
            self.first_line = outer;
            return;
        }
        // The members of a flow-style List are only known after parsing. They are written as JSON,
        // so that the same types read them.
        let Ok(Some(Members { items })) = parse_last_wins::<Members>(bytes) else {
            return self.fail(error, true);
        };
        for item in items.unwrap_or_default() {
            let line = self.file_line(item.line);
            let outer = self.only_line.replace(line);
            let text = item.value.to_string();
            self.json(JsonText::new(&text).root(), member_type.as_ref(), nesting + 1);
            self.only_line = outer;
        }
    }

    /// Takes an object, or a List and its members; `custom` is the same as custom checks see it.
    fn object(
        &mut self,
        object: &ObjectView,
        line: u32,
        list_type: Option<&ObjectType>,
        custom: Option<ObjectDocument>,
    ) {
        let own = ObjectType::of(object.api_version.as_deref(), object.kind.as_deref());
        let object_type = own.or_else(|| list_type.cloned()).unwrap_or_default();
        if object_type.is_list() {
            let member_type = object_type.member();
            let mut members = custom.into_iter().flat_map(|list| list.items);
            for item in &object.items {
                let line = self.file_line(item.line);
                self.object(&item.value, line, member_type.as_ref(), members.next());
            }
        } else if let Some(kind) = self.workload_kind(&object_type, line, object.is_patch) {
            self.workload(kind, object, line, custom);
        }
    }

    /// The kind of workload; `None` where the object is none and was skipped or refused.
    fn workload_kind(
        &mut self,
        object_type: &ObjectType,
        line: u32,
        is_patch: bool,
    ) -> Option<ObjectKind> {
        match object_type.classify() {
            Ok(Some(kind)) if !is_patch => return Some(kind),
            Ok(_) => self.skip(line, object_type),
            Err(reason) => {
                let is_manifest = !object_type.kind.is_empty();
                self.content.fail(Failure { line, reason, is_manifest });
            }
        }
        None
    }

    fn workload(
        &mut self,
        kind: ObjectKind,
        object: &ObjectView,
        line: u32,
        custom: Option<ObjectDocument>,
    ) {
        let Some(facts) = PodFacts::of_object(kind, object, self.namespace) else {
            let object_type = ObjectType::of(object.api_version.as_deref(), object.kind.as_deref());
            // A definition may have other ways to say which pods; Argo's Rollout may refer to a
            // Deployment (`workloadRef`).
            if let (ObjectKind::Configured(_), Some(object_type)) = (kind, object_type) {
                return self.skip(line, &object_type);
            }
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let reason = format!("{kind} {name} has no containers").replace("  ", " ");
            self.content.fail(Failure { line, reason, is_manifest: true });
            return;
        };
        let spec = pod_spec(kind, &object.spec);
        if spec.is_some_and(SpecView::has_joined_containers) {
            let message = format!(
                "has a list of more than {MAX_CONTAINERS} containers or image volumes; the last of \
                 them are judged together"
            );
            self.content.note(Note { line, message });
        }
        let containers = spec.into_iter().flat_map(all_containers);
        let container_lines =
            containers.map(|(_, _, container)| self.file_line(container.line)).collect();
        self.taken += 1;
        let controlled = Controlled::of(&facts, object);
        if let Wanted::Workloads(take) = &mut self.wanted {
            let custom = self.reads_custom.then(|| CustomInput::of_written(kind, custom).into());
            let labels = Labels::of_workload(&facts, &object.metadata);
            let read = ManifestObject { facts, line, container_lines, custom, labels, controlled };
            take(read, object);
        }
    }

    pub(super) fn skip(&mut self, line: u32, object_type: &ObjectType) {
        let mut workloads = ObjectKind::all();
        let looks_like_a_workload = object_type.classify() == Ok(None)
            && workloads.any(|kind| kind.as_str().eq_ignore_ascii_case(&object_type.kind));
        let kind = object_type.to_string();
        self.content.skip(SkippedObject { line, kind, looks_like_a_workload });
    }

    pub(super) fn fail(&mut self, error: ParseError, is_manifest: bool) {
        let line = self.file_line(error.line);
        self.content.fail(Failure { line, reason: error.reason, is_manifest });
    }

    fn note(&mut self, notes: impl IntoIterator<Item = Note>) {
        for Note { line, message } in notes {
            let line = self.file_line(line);
            self.content.note(Note { line, message });
        }
    }

    pub(super) fn file_line(&self, line: u32) -> u32 {
        self.only_line.unwrap_or_else(|| file_line(self.first_line, line))
    }
}

fn too_many_lists(line: u32) -> ParseError {
    let reason = format!("Lists are nested deeper than {MAX_NESTED_LISTS} levels");
    ParseError::mismatch(line, reason)
}

/// The fields that identify a JSON object.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct JsonHeader<'a> {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
    #[serde(borrow, rename = "$patch")]
    patch: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Members {
    items: Option<Vec<Located<Value>>>,
}
