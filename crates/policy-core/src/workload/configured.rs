//! Kinds with a pod template that configuration adds to those of Kubernetes, such as Argo's Rollout.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ObjectKind;
use crate::policy::is_subdomain;

/// The most kinds that can be added.
const MAX_KINDS: usize = 32;
/// The longest path, in members.
const MAX_PATH: usize = 8;
/// Where most kinds have their pod template.
const DEFAULT_PATH: &str = "spec.template";

/// A kind with a pod template; as text `GROUP/KIND` or `GROUP/KIND=PATH`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", try_from = "Written")]
pub struct WorkloadKind {
    /// The API group, such as `argoproj.io`.
    pub group: String,
    /// The kind, such as `Rollout`.
    pub kind: String,
    /// Where its objects have the pod template: the names of fields, with a point between. Lists
    /// are not followed.
    pub pod_template_path: String,
}

fn default_path() -> String {
    DEFAULT_PATH.to_owned()
}

/// A kind as configuration has it: `GROUP/KIND` or `GROUP/KIND=PATH`, or its fields.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "WorkloadKind")]
enum Written {
    /// `argoproj.io/Rollout`, or `keda.sh/ScaledJob=spec.jobTargetRef.template`.
    Text(String),
    /// Its fields.
    #[serde(rename_all = "camelCase")]
    Fields {
        /// The API group, such as `argoproj.io`.
        group: String,
        /// The kind, such as `Rollout`.
        kind: String,
        /// Where its objects have the pod template; `spec.template` where it is omitted.
        pod_template_path: Option<String>,
    },
}

impl TryFrom<Written> for WorkloadKind {
    type Error = UnusableKind;

    fn try_from(written: Written) -> Result<Self, UnusableKind> {
        match written {
            Written::Text(text) => text.parse(),
            Written::Fields { group, kind, pod_template_path } => {
                let pod_template_path = pod_template_path.unwrap_or_else(default_path);
                let found = Self { group, kind, pod_template_path };
                found.check().map(|()| found)
            }
        }
    }
}

/// Why a kind cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {problem}")]
pub struct UnusableKind {
    /// The kind as it was written.
    pub kind: String,
    /// What is wrong with it.
    pub problem: String,
}

/// `argoproj.io/Rollout`, or with the path `keda.sh/ScaledJob=spec.jobTargetRef.template`.
impl FromStr for WorkloadKind {
    type Err = UnusableKind;

    fn from_str(text: &str) -> Result<Self, UnusableKind> {
        let (name, path) = text.split_once('=').unwrap_or((text, DEFAULT_PATH));
        let Some((group, kind)) = name.split_once('/') else {
            let problem = "must be GROUP/KIND or GROUP/KIND=PATH".to_owned();
            return Err(UnusableKind { kind: text.to_owned(), problem });
        };
        let [group, kind, path] = [group, kind, path].map(str::to_owned);
        let found = Self { group, kind, pod_template_path: path };
        found.check().map(|()| found)
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.kind)
    }
}

impl WorkloadKind {
    /// The name of its resource, by which the API server calls a webhook for it: the plural in lower
    /// case, which almost every definition has.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("{}s", self.kind.to_lowercase())
    }

    /// An error where it cannot be a kind of the API server, or is one of Kubernetes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), UnusableKind> {
        let path: Vec<&str> = self.pod_template_path.split('.').collect();
        let is_field =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
        let problem = if !self.group.contains('.') || !is_subdomain(&self.group) {
            format!("`{}` is no API group of an extension, such as argoproj.io", self.group)
        } else if !is_kind(&self.kind) {
            format!("`{}` is no kind, such as Rollout", self.kind)
        } else if path.len() < 2
            || path.len() > MAX_PATH
            || path[0] != "spec"
            || !path.iter().all(is_field)
        {
            format!("`{}` is no path of fields, such as {DEFAULT_PATH}", self.pod_template_path)
        } else if ObjectKind::built_in(&self.group, &self.kind).is_some() {
            "is a kind of Kubernetes".to_owned()
        } else {
            return Ok(());
        };
        Err(UnusableKind { kind: self.to_string(), problem })
    }
}

/// Whether it is the kind of a definition: a letter, then letters and digits.
fn is_kind(name: &str) -> bool {
    let is_letter = name.starts_with(|first: char| first.is_ascii_alphabetic());
    is_letter && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A kind that configuration added. Small, since every pod's facts have a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfiguredKind(u8);

/// The kinds of this process. They are the same for its whole life and for everything that it reads,
/// so that no decoder has to be handed them.
static CONFIGURED: OnceLock<Box<[WorkloadKind]>> = OnceLock::new();

/// An error where the kinds cannot be added together.
///
/// # Errors
/// A kind is unusable or named twice, or there are too many.
pub fn check_all(kinds: &[WorkloadKind]) -> Result<(), UnusableKind> {
    for (index, kind) in kinds.iter().enumerate() {
        kind.check()?;
        let is_same =
            |other: &WorkloadKind| (&other.group, &other.kind) == (&kind.group, &kind.kind);
        let problem = if kinds[..index].iter().any(is_same) {
            "is named twice".to_owned()
        } else if index >= MAX_KINDS {
            format!("is one too many: at most {MAX_KINDS} kinds can be added")
        } else {
            continue;
        };
        return Err(UnusableKind { kind: kind.to_string(), problem });
    }
    Ok(())
}

/// Adds kinds for the life of the process, before it reads any object.
///
/// # Errors
/// Those of [`check_all`], and where others were added before.
pub fn configure(kinds: &[WorkloadKind]) -> Result<(), UnusableKind> {
    check_all(kinds)?;
    let set = CONFIGURED.get_or_init(|| kinds.into());
    if **set == *kinds {
        return Ok(());
    }
    let problem = "other kinds are in use already".to_owned();
    Err(UnusableKind {
        kind: kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        problem,
    })
}

/// The kinds that were added.
pub(super) fn configured() -> &'static [WorkloadKind] {
    CONFIGURED.get().map_or(&[], |kinds| kinds)
}

impl ConfiguredKind {
    /// All that were added.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..configured().len()).filter_map(|index| u8::try_from(index).ok().map(Self))
    }

    /// The kind of that name in that group.
    pub(super) fn find(group: &str, kind: &str) -> Option<Self> {
        let is_it = |found: &WorkloadKind| found.kind == kind && found.group == group;
        Self::all().find(|found| is_it(found.get()))
    }

    pub(super) fn get(self) -> &'static WorkloadKind {
        static UNKNOWN: WorkloadKind = WorkloadKind {
            group: String::new(),
            kind: String::new(),
            pod_template_path: String::new(),
        };
        // One is made of an index of this list alone.
        configured().get(usize::from(self.0)).unwrap_or(&UNKNOWN)
    }

    /// The fields to the pod template below the spec; `None` where it is in the usual place.
    pub(crate) fn path_below_spec(self) -> Option<impl Iterator<Item = &'static str>> {
        let path = self.get().pod_template_path.as_str();
        (path != DEFAULT_PATH).then(|| path.split('.').skip(1))
    }
}

/// Adds the kinds of the unit tests, which all share one process.
#[cfg(test)]
pub(crate) fn for_tests() {
    let kinds = ["argoproj.io/Rollout", "keda.sh/ScaledJob=spec.jobTargetRef.template"];
    let kinds = kinds.map(|kind| kind.parse().unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(configure(&kinds), Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_group_kind_and_path() {
        let rollout: WorkloadKind = "argoproj.io/Rollout".parse().unwrap();
        assert_eq!(rollout.pod_template_path, "spec.template");
        assert_eq!(rollout.resource(), "rollouts");
        let job: WorkloadKind = "keda.sh/ScaledJob=spec.jobTargetRef.template".parse().unwrap();
        assert_eq!(job.pod_template_path, "spec.jobTargetRef.template");
        let json = r#"{"group": "argoproj.io", "kind": "Rollout"}"#;
        for json in [json, r#""argoproj.io/Rollout""#] {
            assert_eq!(serde_json::from_str::<WorkloadKind>(json).unwrap(), rollout);
        }
        let core = r#"{"group": "apps", "kind": "Deployment"}"#;
        let refused = serde_json::from_str::<WorkloadKind>(core).unwrap_err().to_string();
        assert!(refused.contains("`apps` is no API group of an extension"), "{refused}");
    }

    #[test]
    fn what_can_be_no_kind_is_refused_with_the_reason() {
        for (text, problem) in [
            ("Rollout", "Rollout: must be GROUP/KIND or GROUP/KIND=PATH"),
            (
                "apps/Rollout",
                "apps/Rollout: `apps` is no API group of an extension, such as argoproj.io",
            ),
            ("argoproj.io/", "argoproj.io/: `` is no kind, such as Rollout"),
            ("a.io/K=template", "a.io/K: `template` is no path of fields, such as spec.template"),
            (
                "a.io/K=spec.tasks[0].template",
                "a.io/K: `spec.tasks[0].template` is no path of fields, such as spec.template",
            ),
            ("a.io/K=spec", "a.io/K: `spec` is no path of fields, such as spec.template"),
        ] {
            assert_eq!(text.parse::<WorkloadKind>().unwrap_err().to_string(), problem);
        }
        let rollout: WorkloadKind = "argoproj.io/Rollout".parse().unwrap();
        let twice = configure(&[rollout.clone(), rollout]).unwrap_err();
        assert_eq!(twice.to_string(), "argoproj.io/Rollout: is named twice");
    }
}
