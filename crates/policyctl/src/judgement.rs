//! By what pods are judged, and what the exit code says of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ArgAction;
use policy_core::api::DevOpsPolicy;
use policy_core::bundle::Bundle;
use policy_core::manifest::read_policy;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Summary, printable};
use policy_core::severity::Severity;

use crate::cli;
use crate::exit::Exit;
use crate::input;
use crate::output;

/// The options that every judging command has.
#[derive(clap::Args)]
pub(crate) struct Judgement {
    /// Judge by a ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    bundle: Option<String>,

    /// Judge by the DevOpsPolicy of a file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Leave out a namespace, beside the system's; may be given more than once
    #[arg(long, value_name = "NAME", action = ArgAction::Append, value_parser = cli::label)]
    exclude_namespace: Vec<String>,

    /// Exit with 1 when the score is below this
    #[arg(long, value_name = "SCORE", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_below: Option<u8>,

    /// Exit with 1 on a finding of this severity or worse: critical, high, medium or low
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,

    /// Refuse files larger than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) max_file_size: u64,
}

impl Judgement {
    /// The policy that was chosen, else the built-in profile.
    pub(crate) fn policy(&self) -> anyhow::Result<CompiledPolicy> {
        let spec = match (&self.bundle, &self.policy) {
            (Some(name), _) => Bundle::named(name)?.spec.clone(),
            (None, Some(file)) => policy_file(file, self.max_file_size)?.spec,
            (None, None) => return Ok(CompiledPolicy::default_profile()),
        };
        let policy = CompiledPolicy::compile(&spec)
            .map_err(|invalid| output::problems("the policy is invalid", &invalid))?;
        if policy.enabled().next().is_none() {
            output::reason("the policy switches no check on, so there is nothing to find");
        }
        Ok(policy)
    }

    /// The namespaces that are left out.
    pub(crate) fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.exclude_namespace.iter().cloned())
    }

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
