//! By what pods are judged, and what the exit code says of it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ArgAction;
use policy_core::api::{DevOpsPolicy, DevOpsPolicySpec};
use policy_core::bundle::Bundle;
use policy_core::manifest::read_policy;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::Summary;
use policy_core::severity::Severity;
use policy_core::text::printable;

use crate::cli;
use crate::exit::Exit;
use crate::input;
use crate::output;

/// The options of commands that judge by one policy.
#[derive(clap::Args)]
pub(crate) struct PolicyChoice {
    /// Judge by a ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    bundle: Option<String>,

    /// Judge by the DevOpsPolicy of a file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) exclusion: Exclusion,

    /// Refuse files larger than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) max_file_size: u64,
}

/// What is left out.
#[derive(clap::Args)]
pub(crate) struct Exclusion {
    /// Leave out a namespace, beside the system's; may be given more than once
    #[arg(long, value_name = "NAME", action = ArgAction::Append, value_parser = cli::label)]
    exclude_namespace: Vec<String>,
}

/// The options of commands that can fail a pipeline.
#[derive(clap::Args)]
pub(crate) struct Judgement {
    #[command(flatten)]
    pub(crate) choice: PolicyChoice,

    /// Exit with 1 when the score is below this
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_below: Option<u8>,

    /// Exit with 1 on a finding of this severity or worse: critical, high, medium or low
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
}

impl PolicyChoice {
    /// The policy that was chosen, else the built-in profile.
    pub(crate) fn policy(&self) -> anyhow::Result<CompiledPolicy> {
        let named = self.named()?;
        Ok(named.map_or_else(CompiledPolicy::default_profile, |(_, policy)| policy))
    }

    /// The policy that was chosen and what it is called in a cluster; `None` where none was.
    pub(crate) fn named(&self) -> anyhow::Result<Option<(String, CompiledPolicy)>> {
        let (name, spec) = match (&self.bundle, &self.policy) {
            (Some(name), _) => return Ok(Some((name.clone(), bundle(name)?))),
            (None, Some(file)) => {
                let DevOpsPolicy { metadata, spec, .. } = policy_file(file, self.max_file_size)?;
                (metadata.name.unwrap_or_else(|| file.display().to_string()), spec)
            }
            (None, None) => return Ok(None),
        };
        let policy = compiled(&spec)?;
        if policy.enabled().next().is_none() {
            output::reason("the policy switches no check on, so there is nothing to find");
        }
        Ok(Some((name, policy)))
    }

    /// What was chosen, in words.
    pub(crate) fn name(&self) -> String {
        match (&self.bundle, &self.policy) {
            (Some(name), _) => format!("bundle {name}"),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "the built-in profile".to_owned(),
        }
    }
}

impl Exclusion {
    /// Those that are left out beside the system's.
    pub(crate) fn added(&self) -> &[String] {
        &self.exclude_namespace
    }

    /// The namespaces that are left out.
    pub(crate) fn namespaces(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.exclude_namespace.iter().cloned())
    }

    /// An error where the namespace that is asked about is left out.
    pub(crate) fn includes(&self, namespace: &str) -> anyhow::Result<()> {
        if self.exclude_namespace.iter().any(|excluded| excluded == namespace) {
            bail!("namespace {namespace} is left out by --exclude-namespace");
        }
        if self.namespaces().contains(namespace) {
            bail!("namespace {namespace} belongs to the system, and no policy scores it");
        }
        Ok(())
    }
}

impl Judgement {
    /// Whether a threshold was crossed; why is told also to the quiet. Without pods there is no
    /// score to be too low, and nobody should take that for a pass without knowing it.
    pub(crate) fn exit(&self, summary: &Summary) -> Exit {
        let mut exit = Exit::Fine;
        let score = summary.score;
        if let Some(threshold) = self.fail_below.filter(|threshold| score < *threshold) {
            output::reason(format_args!("the score {score} is below {threshold} (--fail-below)"));
            exit = Exit::Findings;
        }
        if let Some(threshold) = self.fail_on
            && let Some(worst) = summary.worst_severity().filter(|worst| *worst >= threshold)
        {
            output::reason(format_args!(
                "there are findings of severity {worst} (--fail-on {threshold})"
            ));
            exit = Exit::Findings;
        }
        if summary.pods == 0 && (self.fail_below.is_some() || self.fail_on.is_some()) {
            output::reason("nothing was evaluated, so no threshold could be crossed");
        }
        exit
    }
}

/// The policy of a bundle.
pub(crate) fn bundle(name: &str) -> anyhow::Result<CompiledPolicy> {
    compiled(&Bundle::named(name)?.spec)
}

fn compiled(spec: &DevOpsPolicySpec) -> anyhow::Result<CompiledPolicy> {
    CompiledPolicy::compile(spec)
        .map_err(|invalid| output::problems("the policy is invalid", &invalid))
}

fn policy_file(file: &Path, max_file_size: u64) -> anyhow::Result<DevOpsPolicy> {
    let name = file.display().to_string();
    let name = printable(&name);
    let bytes =
        input::read_file(file, max_file_size).with_context(|| format!("the policy {name}"))?;
    read_policy(&bytes).map_err(|failures| {
        let places = failures.iter().map(|failure| format!("{name}:{failure}"));
        output::problems("the policy cannot be used", &places.collect::<Vec<_>>())
    })
}
