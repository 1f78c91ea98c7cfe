//! A finding of a report.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::checks::CheckName;
use crate::severity::Severity;
use crate::text::exempted;
use crate::workload::Workload;

/// One check on one container, or on a pod as a whole. Small, because a report may list a million:
/// the findings of an object share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFinding {
    /// The check.
    pub check: CheckName,
    /// How severe the finding is under the policy.
    pub severity: Severity,
    /// The object that was read.
    pub object: Arc<ReportedObject>,
    /// The container or image volume; `None` where the finding is about the pod.
    pub container: Option<Arc<str>>,
    /// What was found.
    pub message: Arc<str>,
    /// What the check's weight is multiplied by.
    pub count: u32,
    /// The line of the container, or of the object; `None` where there is no file.
    pub line: Option<u32>,
}

/// A finding that is known and accepted.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ExemptedReportFinding {
    /// The finding.
    #[serde(flatten)]
    pub finding: ReportFinding,
    /// Why it is accepted.
    pub reason: Arc<str>,
    /// When the exemption ends; `null` where it does not.
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
}

impl ExemptedReportFinding {
    /// Why it is accepted, and until when: `exempted until 2027-01-01T00:00:00Z: it is replaced`.
    #[must_use]
    pub fn explanation(&self) -> String {
        exempted(self.expires, &self.reason)
    }

    pub(super) fn order(&self, other: &Self) -> Ordering {
        let key = |of: &Self| (Arc::clone(&of.reason), of.expires);
        self.finding.order(&other.finding).then_with(|| key(self).cmp(&key(other)))
    }
}

/// An object with findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedObject {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The kind.
    pub kind: &'static str,
    /// The name.
    pub name: Arc<str>,
    /// What is to be changed: the pod's controller, else the object itself.
    pub workload: Workload,
    /// The file; `None` where the pod came from a cluster.
    pub file: Option<Arc<str>>,
    /// The position of the document in its file, from 1.
    pub document: Option<u32>,
    /// The line of the object.
    pub line: Option<u32>,
}

impl ReportFinding {
    /// Orders all findings that differ in anything that a report shows, so that a report is the
    /// same bytes whatever the order of the work.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        fn key(finding: &ReportFinding) -> impl Ord {
            let ReportedObject { namespace, kind, name, workload, file, document, line } =
                &*finding.object;
            (
                (namespace, kind, name, file),
                (document, line, &finding.check, finding.line),
                (&finding.container, finding.count, &finding.message, &workload.name),
            )
        }
        key(self).cmp(&key(other))
    }
}

impl ReportedObject {
    /// Whether both are the same object for people, who see its names and where it starts.
    #[must_use]
    pub fn is_at_place_of(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.kind, of.document, of.line);
        key(self) == key(other)
            && (&self.name, &self.namespace, &self.file)
                == (&other.name, &other.namespace, &other.file)
    }
}

/// Texts that many findings have, such as the names of containers, each held once.
#[derive(Debug, Default)]
pub(super) struct SharedTexts(HashSet<Arc<str>>);

/// How many texts are shared at most. One that is found later is held by each of its findings.
const MAX_SHARED: usize = 4096;

impl SharedTexts {
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return Arc::clone(shared);
        }
        let text: Arc<str> = text.into();
        if self.0.len() < MAX_SHARED {
            self.0.insert(Arc::clone(&text));
        }
        text
    }

    pub(super) fn workload(&mut self, Workload { group, kind, name }: &Workload) -> Workload {
        Workload { group: self.get(group), kind: self.get(kind), name: Arc::clone(name) }
    }
}

/// One check on one container, or on a pod as a whole.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReportFinding")]
struct Row<'a> {
    /// The id of the check.
    check: &'a CheckName,
    /// How severe the finding is under the policy.
    severity: Severity,
    /// The namespace of the object.
    namespace: &'a str,
    /// The kind of the object that was read.
    kind: &'static str,
    /// The name of the object that was read.
    name: &'a str,
    /// What is to be changed: the pod's controller, else the object itself.
    workload: &'a Workload,
    /// The container; `null` where the finding is about the pod.
    container: Option<&'a str>,
    /// What was found.
    message: &'a str,
    /// What the check's weight is multiplied by.
    count: u32,
    /// The file; `null` where the pod came from a cluster.
    file: Option<&'a str>,
    /// The position of the document in its file, from 1; `null` where there is no file.
    document: Option<u32>,
    /// The line of the container, or of the object where the finding is about the pod, from 1;
    /// `null` where there is no file.
    line: Option<u32>,
}

impl Serialize for ReportFinding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ReportedObject { namespace, kind, name, workload, file, document, .. } = &*self.object;
        let row = Row {
            check: &self.check,
            severity: self.severity,
            namespace,
            kind,
            name,
            workload,
            container: self.container.as_deref(),
            message: &self.message,
            count: self.count,
            file: file.as_deref(),
            document: *document,
            line: self.line,
        };
        row.serialize(serializer)
    }
}

impl JsonSchema for ReportFinding {
    fn schema_name() -> Cow<'static, str> {
        Row::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Row::json_schema(generator)
    }
}
