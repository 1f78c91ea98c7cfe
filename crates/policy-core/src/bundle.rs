//! Bundles: ready-made policies, stored as YAML and compiled in.

use std::sync::LazyLock;

use kube_core::ObjectMeta;
use serde::Deserialize;

use crate::api::{ClusterDevOpsPolicy, ClusterDevOpsPolicySpec, DevOpsPolicy, DevOpsPolicySpec};
use crate::policy::CompiledPolicy;

/// A ready-made policy.
#[derive(Debug)]
pub struct Bundle {
    /// The name on the command line.
    pub name: &'static str,
    /// Its purpose in a few words.
    pub title: String,
    /// The policy.
    pub spec: DevOpsPolicySpec,
}

/// The data file of a bundle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleFile {
    title: String,
    spec: DevOpsPolicySpec,
}

const FILES: [(&str, &str); 3] = [
    ("baseline", include_str!("../bundles/baseline.yaml")),
    ("restricted", include_str!("../bundles/restricted.yaml")),
    ("permissive", include_str!("../bundles/permissive.yaml")),
];

static BUNDLES: LazyLock<Vec<Bundle>> = LazyLock::new(|| FILES.map(Bundle::read).into());

/// A name that no bundle has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no bundle `{name}`; choose {}", names())]
pub struct UnknownBundle {
    name: String,
}

impl Bundle {
    /// All bundles.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &BUNDLES
    }

    /// The bundle of that name.
    ///
    /// # Errors
    /// Where there is none; the message names those that exist.
    pub fn named(name: &str) -> Result<&'static Self, UnknownBundle> {
        Self::all()
            .iter()
            .find(|bundle| bundle.name == name)
            .ok_or_else(|| UnknownBundle { name: name.to_owned() })
    }

    /// The policy, ready to judge.
    #[must_use]
    pub fn compiled(&self) -> CompiledPolicy {
        CompiledPolicy::of_valid(&self.spec)
    }

    /// The bundle as an object to apply.
    #[must_use]
    pub fn policy(&self, namespace: &str, name: &str) -> DevOpsPolicy {
        DevOpsPolicy {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            spec: self.spec.clone(),
            status: None,
        }
    }

    /// The bundle as an object to apply for all namespaces.
    #[must_use]
    pub fn cluster_policy(&self, name: &str) -> ClusterDevOpsPolicy {
        let spec = ClusterDevOpsPolicySpec {
            rules: self.spec.clone(),
            ..ClusterDevOpsPolicySpec::default()
        };
        ClusterDevOpsPolicy::new(name, spec)
    }

    #[expect(clippy::expect_used, reason = "the text is compiled in, and a test reads all of them")]
    fn read((name, text): (&'static str, &str)) -> Self {
        let BundleFile { title, spec } =
            serde_saphyr::from_str(text).expect("a bundle's data file is a policy");
        Self { name, title, spec }
    }
}

fn names() -> String {
    let names: Vec<&str> = Bundle::all().iter().map(|bundle| bundle.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CheckId;
    use crate::policy::CompiledPolicy;
    use crate::severity::Severity;

    fn compiled(name: &str) -> CompiledPolicy {
        CompiledPolicy::compile(&Bundle::named(name).unwrap().spec).unwrap()
    }

    fn checks(name: &str) -> Vec<(String, Severity, u32)> {
        compiled(name)
            .enabled()
            .map(|(id, e)| (id.to_string(), e.severity, e.parameters.limit))
            .collect()
    }

    fn row(check: &str, severity: Severity, limit: u32) -> (String, Severity, u32) {
        (check.to_owned(), severity, limit)
    }

    #[test]
    fn each_bundle_is_what_the_documentation_says() {
        use Severity::{Critical, High, Low, Medium};
        assert_eq!(
            checks("baseline"),
            [row("latest-tag", Medium, 0), row("missing-readiness", Medium, 0)]
        );
        assert_eq!(
            checks("restricted"),
            [
                row("latest-tag", Critical, 0),
                row("missing-liveness", High, 0),
                row("missing-readiness", High, 0),
                row("missing-resources", Medium, 0),
                row("high-restarts", Critical, 3),
                row("pending", High, 300),
            ]
        );
        assert_eq!(
            checks("permissive"),
            [
                row("latest-tag", Low, 0),
                row("missing-liveness", Low, 0),
                row("missing-readiness", Low, 0),
                row("high-restarts", Medium, 10),
                row("pending", Low, 600),
            ]
        );
    }

    /// A misspelt field of a data file would be ignored silently.
    #[test]
    fn the_data_files_have_no_unknown_fields() {
        for (name, text) in FILES {
            let written: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            let read = serde_json::to_value(&Bundle::named(name).unwrap().spec).unwrap();
            assert_eq!(written["spec"], read, "{name}");
        }
        assert_eq!(CheckId::all().len(), crate::checks::CHECK_COUNT);
    }

    #[test]
    fn the_error_of_an_unknown_bundle_lists_the_known_ones() {
        let error = Bundle::named("strict").unwrap_err().to_string();
        assert_eq!(error, "there is no bundle `strict`; choose baseline, restricted, permissive");
    }
}
