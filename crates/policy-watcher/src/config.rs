//! The configuration of the watcher.

use std::path::{Path, PathBuf};

use policy_core::bundle::Bundle;
use policy_core::custom::CustomChecks;
use policy_core::manifest::read_policy;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_kube::files;
use policy_runtime::config::{Configuration, LeaseConfig, Problems, RuntimeConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest policy file, in bytes.
const MAX_POLICY_FILE: u64 = 1 << 20;

/// The configuration of the watcher.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The keys that every service has.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// `lease`
    pub lease: LeaseConfig,
    /// Bundle to evaluate pods by: `baseline`, `restricted` or `permissive`.
    pub bundle: Option<String>,
    /// Path of a file with the `DevOpsPolicy` to evaluate pods by; with neither bundle nor policy
    /// the default profile.
    pub policy: Option<PathBuf>,
    /// Namespaces that are excluded, in addition to system namespaces.
    pub excluded_namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: RuntimeConfig::new(8080),
            lease: LeaseConfig::new("policy-watcher"),
            bundle: None,
            policy: None,
            excluded_namespaces: Vec::new(),
        }
    }
}

impl Configuration for Config {
    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn check(&self, problems: &mut Problems) {
        self.lease.check(problems);
        if let Err(error) = self.compile_policy() {
            for (key, problem) in error.problems {
                problems.add(&[key], problem);
            }
        }
    }
}

/// The configured bundle or policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.iter().map(|(key, what)| format!("{key}: {what}")).collect::<Vec<_>>().join("; "))]
pub struct PolicyError {
    /// All problems, each with its key.
    problems: Vec<(&'static str, String)>,
}

impl Config {
    /// The policy to evaluate pods by.
    ///
    /// # Errors
    /// All problems of `bundle` and `policy`.
    pub fn compile_policy(&self) -> Result<CompiledPolicy, PolicyError> {
        let bundle = self.bundle.as_deref().map(|name| {
            Bundle::named(name).map(Bundle::compiled).map_err(|error| vec![error.to_string()])
        });
        let policy = self.policy.as_deref().map(policy_file);
        let mut problems = Vec::new();
        if bundle.is_some() && policy.is_some() {
            problems.push(("policy", "must not be set together with `bundle`".to_owned()));
        }
        let mut compiled = None;
        for (key, result) in [("bundle", bundle), ("policy", policy)] {
            match result {
                Some(Err(found)) => problems.extend(found.into_iter().map(|what| (key, what))),
                Some(Ok(policy)) => compiled = Some(policy),
                None => {}
            }
        }
        if problems.is_empty() {
            Ok(compiled.unwrap_or_else(CompiledPolicy::default_profile))
        } else {
            Err(PolicyError { problems })
        }
    }

    /// The name of the policy in logs and answers.
    #[must_use]
    pub fn profile(&self) -> String {
        match (&self.bundle, &self.policy) {
            (Some(bundle), _) => format!("bundle {bundle}"),
            (None, Some(file)) => format!("policy {}", file.display()),
            (None, None) => "default".to_owned(),
        }
    }

    /// The namespaces that are left out.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}

/// The policy of a file, or all problems of it.
fn policy_file(file: &Path) -> Result<CompiledPolicy, Vec<String>> {
    policy_of(file, &read_file(file).map_err(|problem| vec![problem])?)
}

/// The content of the policy's file.
pub(crate) fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    let read = files::read(file, MAX_POLICY_FILE);
    read.map_err(|error| format!("{}: {error}", file.display()))
}

/// The policy in the content of a file, or all problems of it.
pub(crate) fn policy_of(file: &Path, content: &[u8]) -> Result<CompiledPolicy, Vec<String>> {
    let name = file.display();
    match read_policy(content) {
        Ok(policy) => usable(policy.compiled).map_err(|problem| vec![format!("{name}: {problem}")]),
        Err(failures) => Err(failures.iter().map(|failure| format!("{name}:{failure}")).collect()),
    }
}

/// A policy without what only others can judge. Of namespaces the watcher knows no more than their
/// names: it may read pods and nothing else.
fn usable(policy: CompiledPolicy) -> Result<CompiledPolicy, String> {
    // Labels of workloads come from the API server. The watcher keeps no facts of pods: after a
    // change of one label it would have to list them all.
    if policy.has_selectors() {
        return Err(
            "exemptions with a selector cannot be used here, as the watcher knows no labels of \
                    workloads; name the workloads by kind and name"
                .to_owned(),
        );
    }
    let custom = policy.custom();
    if custom.is_some_and(CustomChecks::need_namespace) {
        return Err(
            "a custom check of it depends on namespaceObject, and the watcher does not read \
                    namespaces; leave that check out of its policy"
                .to_owned(),
        );
    }
    if let Some(refused) = custom.and_then(|custom| custom.refused().first()) {
        return Err(refused.to_string());
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(bundle: Option<&str>, policy: Option<&str>) -> String {
        let (bundle, policy) = (bundle.map(str::to_owned), policy.map(PathBuf::from));
        let config = Config { bundle, policy, ..Config::default() };
        config.compile_policy().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_wrong_policy_is_reported_with_its_place() {
        assert_eq!(problems(None, None), "");
        assert_eq!(problems(Some("baseline"), None), "");
        assert!(problems(Some("strict"), None).contains("there is no bundle `strict`"));
        assert!(problems(None, Some("missing.yaml")).contains("policy: missing.yaml: "));
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: p}\n\
                    spec:\n  maxRestartCount: -1\n";
        std::fs::write(file.path(), text).unwrap();
        let found = problems(None, file.path().to_str());
        assert!(found.contains("maxRestartCount"), "{found}");
    }

    #[test]
    fn custom_checks_that_it_cannot_judge_are_refused() {
        let problem = |expression: &str| {
            let text = format!(
                "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {{name: p}}\n\
                 spec: {{custom: [{{name: c, expression: '{expression}'}}]}}\n"
            );
            policy_of(Path::new("p.yaml"), text.as_bytes())
                .err()
                .map(|problems| problems.join("; "))
        };
        assert_eq!(problem("has(object.metadata.labels.team)"), None);
        let found = problem("has(namespaceObject.metadata.labels.team)").unwrap();
        assert!(
            found.starts_with("p.yaml: a custom check of it depends on namespaceObject"),
            "{found}"
        );
        let found = problem("object.status.phase == 1").unwrap();
        assert!(found.contains("status"), "{found}");
    }

    #[test]
    fn an_exemption_with_a_selector_is_refused_with_a_sentence() {
        let policy = |whom: &str| {
            let text = format!(
                "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {{name: p}}\n\
                 spec: {{exemptions: [{{checks: [pending], reason: r, {whom}}}]}}\n"
            );
            policy_of(Path::new("p.yaml"), text.as_bytes())
        };
        assert!(policy("workload: {kind: Deployment, name: web}").is_ok());
        let refused = policy("selector: {matchLabels: {tier: legacy}}").unwrap_err();
        assert_eq!(
            refused,
            [
                "p.yaml: exemptions with a selector cannot be used here, as the watcher knows no labels \
              of workloads; name the workloads by kind and name"
            ]
        );
    }

    #[test]
    fn bundle_and_policy_together_hide_no_other_problem() {
        let found = problems(Some("strict"), Some("missing.yaml"));
        for part in ["together with `bundle`", "no bundle `strict`", "policy: missing.yaml: "] {
            assert!(found.contains(part), "{part}: {found}");
        }
        assert_eq!(
            problems(Some("baseline"), Some("missing.yaml")).matches("; ").count(),
            1,
            "both set, and the file missing"
        );
    }
}
