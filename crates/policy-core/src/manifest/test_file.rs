//! The test file of a policy's author: policies, objects, and the verdicts that they expect.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Failure;
use super::parse::{ParseError, parse};
use crate::checks::CheckName;
use crate::report::AdmissionOutcome;
use crate::severity::Severity;
use crate::view::Located;
use crate::workload::ObjectKind;

/// A test file.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "policy-test.yaml of policyctl test")]
pub struct PolicyTest {
    /// The policies. Each one judges every object, whatever its namespace.
    #[schemars(with = "Vec<PolicyChoice>", length(min = 1))]
    pub policies: Vec<Located<PolicyChoice>>,
    /// The files, folders (recursive) and patterns with the objects, relative to this file.
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub objects: Vec<Located<String>>,
    /// The namespace of objects that name none.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The time at which findings are judged. Required where one depends on the time, as for how
    /// long a pod is Pending.
    #[serde(default)]
    #[schemars(with = "Option<Time>")]
    pub now: Option<Time>,
    /// The expected verdict on each object. `policyctl test --write` writes the actual ones here.
    #[serde(default)]
    #[schemars(with = "Vec<ExpectedVerdict>")]
    pub tests: Vec<Located<ExpectedVerdict>>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Where a policy is.
#[derive(Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum PolicyChoice {
    /// A ready-made policy: baseline, restricted or permissive.
    Bundle(String),
    /// A file with policies, relative to this file.
    File(String),
}

impl fmt::Display for PolicyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(name) => write!(f, "bundle {name}"),
            Self::File(file) => f.write_str(file),
        }
    }
}

/// The expected verdict on one object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedVerdict {
    /// What the test is about, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kind and name of the object, such as `Deployment/web`.
    pub object: ObjectName,
    /// The namespace, where kind and name fit several objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The file relative to this one, where kind and name fit several objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What the webhook does when the object is created; omitted, it may be anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionOutcome>,
    /// All findings on the object, as `policyctl analyze` lists them; omitted, they may be any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<ExpectedFinding>>,
    /// All findings that an exemption of the policy accepts; omitted, they may be any. They are not
    /// among `findings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempted: Option<Vec<ExpectedFinding>>,
}

/// An expected finding.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedFinding {
    /// The id of the check, such as `latest-tag`.
    pub check: CheckName,
    /// The container, or `volumes[NAME]` for an image volume; omitted where the finding is about
    /// the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How severe it is; omitted, it may be of any severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// Kind and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The kind.
    pub kind: ObjectKind,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl Serialize for ObjectName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (kind, name) = text.split_once('/').unwrap_or((&text, ""));
        match kind.parse() {
            Ok(kind) if !name.is_empty() => Ok(Self { kind, name: name.to_owned() }),
            Ok(_) => Err(D::Error::custom(format!("`{text}` is no KIND/NAME"))),
            Err(_) => {
                let kinds: Vec<&str> = ObjectKind::all().map(ObjectKind::as_str).collect();
                let kinds = kinds.join(", ");
                Err(D::Error::custom(format!("`{text}` is no KIND/NAME with a kind of {kinds}")))
            }
        }
    }
}

impl JsonSchema for ObjectName {
    fn schema_name() -> Cow<'static, str> {
        "ObjectName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Also a kind that configuration adds, of which the schema does not know.
        json_schema!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9]{0,62}/.+$" })
    }
}

impl PolicyTest {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first mistake: text that is no YAML, an unknown field, a value of the wrong type.
    pub fn read(bytes: &[u8]) -> Result<Self, Failure> {
        let failure = |error: ParseError| Failure {
            line: error.line,
            reason: error.reason,
            is_manifest: true,
        };
        let test: Self = parse(bytes)
            .map_err(failure)?
            .ok_or_else(|| failure(ParseError::mismatch(1, "the file is empty".to_owned())))?;
        for (list, is_empty) in
            [("policies", test.policies.is_empty()), ("objects", test.objects.is_empty())]
        {
            if is_empty {
                return Err(failure(ParseError::mismatch(1, format!("`{list}` names none"))));
            }
        }
        let undecided = |test: &&Located<ExpectedVerdict>| {
            let ExpectedVerdict { admission, findings, exempted, .. } = &test.value;
            admission.is_none() && findings.is_none() && exempted.is_none()
        };
        if let Some(Located { value, line }) = test.tests.iter().find(undecided) {
            let reason = format!(
                "the test of {} expects nothing: add `admission`, `findings` or `exempted`",
                value.object
            );
            return Err(failure(ParseError::mismatch(*line, reason)));
        }
        Ok(test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "policies: [{bundle: restricted}]\nobjects: [web.yaml]\n";

    fn problem(text: &str) -> String {
        PolicyTest::read(text.as_bytes()).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_test_has_an_object_and_what_is_expected_of_it() {
        let text = format!(
            "{HEAD}now: 2026-11-29T12:00:00Z\ntests:\n  - object: Deployment/web\n    admission: denied\n    \
             findings:\n      - {{check: latest-tag, container: web, severity: critical}}\n      - check: pending\n"
        );
        let read = PolicyTest::read(text.as_bytes()).unwrap();
        assert_eq!(read.policies[0].value.to_string(), "bundle restricted");
        assert_eq!((&*read.objects[0].value, &*read.namespace), ("web.yaml", "default"));
        assert_eq!(read.now.unwrap().0.to_string(), "2026-11-29T12:00:00Z");
        let Located { value, line } = &read.tests[0];
        assert_eq!((value.object.to_string(), *line), ("Deployment/web".to_owned(), 5));
        assert_eq!(value.admission, Some(AdmissionOutcome::Denied));
        let findings = value.findings.as_ref().unwrap();
        assert_eq!(findings[0].check.as_str(), "latest-tag");
        assert_eq!(
            findings[1],
            ExpectedFinding { container: None, severity: None, ..findings[1].clone() }
        );
    }

    #[test]
    fn a_mistake_is_named_at_its_line() {
        let with = |tests: &str| problem(&format!("{HEAD}tests:\n  - object: Pod/p\n{tests}"));
        for (found, expected) in [
            (problem(""), "1: the file is empty"),
            (problem("policies: []\nobjects: [a]\n"), "1: `policies` names none"),
            (problem("objects: [a]\n"), "1: missing field `policies`"),
            (problem("policies: [{bundel: x}]\nobjects: [a]\n"), "1: unknown variant `bundel`"),
            (problem(&format!("{HEAD}now: yesterday\n")), "3: "),
            (
                problem(&format!("{HEAD}tests:\n- object: Service/web\n")),
                "4: `Service/web` is no KIND/NAME with a kind of Pod, ",
            ),
            (problem(&format!("{HEAD}tests:\n- object: Pod\n")), "4: `Pod` is no KIND/NAME"),
            (with("    admision: denied\n"), "5: unknown field `admision`"),
            (with("    admission: refused\n"), "5: unknown variant `refused`"),
            (
                with("    findings:\n      - check: latest\n"),
                "6: there is no check `latest`; choose latest-tag, ",
            ),
            (with("    findings:\n      - {check: pending, severity: bad}\n"), "6: "),
            (with("    findings: none\n"), "5: expected a list"),
            (
                with("    name: x\n"),
                "4: the test of Pod/p expects nothing: add `admission`, `findings` or `exempted`",
            ),
            (with("    admission: denied\n    admission: denied\n"), "6: "),
        ] {
            assert!(found.starts_with(expected), "{found}: {expected}");
        }
    }
}
