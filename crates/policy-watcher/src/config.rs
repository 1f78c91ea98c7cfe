//! What can be configured.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use policy_core::api::DevOpsPolicySpec;
use policy_core::bundle::Bundle;
use policy_core::manifest::read_policy;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_runtime::config::{Configuration, Problems, RuntimeConfig};
use serde::{Deserialize, Serialize};

/// Longer than any policy.
const LARGEST_POLICY: u64 = 1 << 20;

/// The configuration of the watcher.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What all services have.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// Judge by a ready-made policy: `baseline`, `restricted` or `permissive`. Default: the
    /// built-in profile, all checks with three restarts and 300 seconds of Pending allowed.
    pub bundle: Option<String>,
    /// Judge by the `DevOpsPolicy` of a file instead. Default: none.
    pub policy: Option<PathBuf>,
    /// Namespaces that are left out, beside the system's. Default: none.
    pub excluded_namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: RuntimeConfig::new(([0, 0, 0, 0], 8080), "policy-watcher"),
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

    fn runtime_mut(&mut self) -> &mut RuntimeConfig {
        &mut self.runtime
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(Unusable { keys, problems: found }) = self.judgement() {
            for problem in found {
                problems.add(keys, problem);
            }
        }
    }
}

/// A policy that cannot be judged by.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", keys.join(" and "), problems.join("; "))]
pub struct Unusable {
    /// The keys that name it.
    keys: &'static [&'static str],
    /// Everything that is wrong with it.
    problems: Vec<String>,
}

impl Config {
    /// The policy to judge by.
    ///
    /// # Errors
    /// All that is wrong with what the configuration says of it.
    pub fn judgement(&self) -> Result<CompiledPolicy, Unusable> {
        let unusable = |keys, problems| Unusable { keys, problems };
        let (keys, spec): (&'static [_], _) = match (&self.bundle, &self.policy) {
            (Some(_), Some(_)) => {
                return Err(unusable(&["bundle", "policy"], vec!["give one of the two".into()]));
            }
            (Some(name), None) => {
                let bundle = Bundle::named(name);
                let bundle = bundle.map_err(|error| unusable(&["bundle"], vec![error.to_string()]));
                (&["bundle"], bundle?.spec.clone())
            }
            (None, Some(file)) => {
                let spec = policy_file(file).map_err(|problems| unusable(&["policy"], problems));
                (&["policy"], spec?)
            }
            (None, None) => return Ok(CompiledPolicy::default_profile()),
        };
        CompiledPolicy::compile(&spec)
            .map_err(|invalid| unusable(keys, invalid.iter().map(ToString::to_string).collect()))
    }

    /// What the policy is called in logs and answers.
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

/// The policy of a file, else everything that is wrong with it.
fn policy_file(file: &Path) -> Result<DevOpsPolicySpec, Vec<String>> {
    let name = file.display();
    let bytes = read(file).map_err(|error| vec![format!("{name}: {error}")])?;
    let policy = read_policy(&bytes);
    let policy = policy.map_err(|failures| {
        failures.iter().map(|failure| format!("{name}:{failure}")).collect::<Vec<_>>()
    });
    Ok(policy?.spec)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST_POLICY + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_POLICY {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_policy_is_told_with_its_place() {
        let with = |bundle: Option<&str>, policy: Option<&str>| Config {
            bundle: bundle.map(str::to_owned),
            policy: policy.map(PathBuf::from),
            ..Config::default()
        };
        let told = |config: Config| {
            config.judgement().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(told(with(None, None)), "");
        assert_eq!(told(with(Some("baseline"), None)), "");
        assert!(told(with(Some("strict"), None)).contains("there is no bundle `strict`"));
        assert!(told(with(Some("baseline"), Some("p.yaml"))).contains("one of the two"));
        assert!(told(with(None, Some("missing.yaml"))).contains("policy: missing.yaml: "));
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {name: p}\n\
                    spec:\n  maxRestartCount: -1\n";
        std::fs::write(file.path(), text).unwrap();
        let told = told(with(None, file.path().to_str()));
        assert!(told.contains("maxRestartCount"), "{told}");
    }
}
