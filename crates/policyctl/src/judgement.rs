//! The policy that judges, and the thresholds that set the exit code.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ArgAction;
use policy_core::admission::{NamedPolicy, NamespacePolicies};
use policy_core::api::{DevOpsPolicySpec, EnforcementMode};
use policy_core::bundle::Bundle;
use policy_core::manifest::{DecodedPolicy, read_policy};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{CompiledPolicy, PolicyName};
use policy_core::report::{Changes, DeniedObject, DeniedObjects, Report, Summary};
use policy_core::severity::Severity;
use policy_core::text::printable;

use crate::cmd::report::exit;
use crate::exit::Exit;
use crate::input;
use crate::names;
use crate::output;

/// The name under which `bundle apply` prints a bundle, and under which it is judged before that.
pub(crate) const BUNDLE_POLICY: &str = "devops-policy";

/// The options of commands that judge by one policy.
#[derive(clap::Args)]
pub(crate) struct PolicyChoice {
    /// Judge by a ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with = "policy")]
    bundle: Option<String>,

    /// Judge by the `DevOpsPolicy` of a file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) exclusion: Exclusion,

    /// Refuse files larger than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) max_file_size: u64,
}

/// The namespaces that a command excludes.
#[derive(clap::Args)]
pub(crate) struct Exclusion {
    /// Exclude a namespace, beside those of the system; can be repeated
    #[arg(long, value_name = "NAME", action = ArgAction::Append, value_parser = names::label)]
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

    /// Exit with 1 on a finding of this severity or worse: critical, high, medium or low; or where
    /// admission would deny an object: denied
    #[arg(long, value_name = "SEVERITY|denied")]
    fail_on: Option<FailOn>,
}

/// What sets the exit code to 1.
#[derive(Clone, Copy)]
enum FailOn {
    Severity(Severity),
    /// An object that the webhook would deny.
    Denied,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "denied" => Ok(Self::Denied),
            _ => text.parse().map(Self::Severity).map_err(|_| {
                format!(
                    "`{text}` is neither a severity nor `denied`; choose critical, high, medium, \
                     low or denied"
                )
            }),
        }
    }
}

impl PolicyChoice {
    /// The chosen policy, else the built-in profile.
    pub(crate) fn policy(&self) -> anyhow::Result<CompiledPolicy> {
        let named = self.named()?;
        Ok(named.map_or_else(CompiledPolicy::default_profile, |(_, policy)| policy))
    }

    /// The chosen policy and its name in a cluster; `None` where none was chosen.
    pub(crate) fn named(&self) -> anyhow::Result<Option<(PolicyName, CompiledPolicy)>> {
        self.named_as(|_, compiled| compiled)
    }

    /// The same, as if the policy was in enforce mode, which demands what it has a default for.
    pub(crate) fn enforced(&self) -> anyhow::Result<Option<(PolicyName, CompiledPolicy)>> {
        self.named_as(|spec, compiled| {
            let spec = DevOpsPolicySpec { enforcement_mode: EnforcementMode::Enforce, ..spec };
            CompiledPolicy::compile(&spec).unwrap_or(compiled)
        })
    }

    fn named_as(
        &self,
        of_file: impl FnOnce(DevOpsPolicySpec, CompiledPolicy) -> CompiledPolicy,
    ) -> anyhow::Result<Option<(PolicyName, CompiledPolicy)>> {
        let (name, policy) = match (&self.bundle, &self.policy) {
            (Some(name), _) => (PolicyName::from(BUNDLE_POLICY), Bundle::named(name)?.compiled()),
            (None, Some(file)) => {
                let DecodedPolicy { policy, compiled, scope, .. } =
                    policy_file(file, self.max_file_size)?;
                let name = policy.metadata.name;
                if scope.is_some() {
                    output::reason(
                        "the policy is a cluster policy: it judges every namespace here, whatever \
                         its namespaceSelector and excludedNamespaces are",
                    );
                }
                let compiled = of_file(policy.spec, compiled);
                let name = name.unwrap_or_else(|| file.display().to_string()).into();
                let kind =
                    if scope.is_some() { PolicyName::Cluster } else { PolicyName::Namespaced };
                (kind(name), compiled)
            }
            (None, None) => return Ok(None),
        };
        warn_without_checks(&name.to_string(), &policy);
        Ok(Some((name, policy)))
    }

    /// The choice, for people.
    pub(crate) fn name(&self) -> String {
        match (&self.bundle, &self.policy) {
            (Some(name), _) => format!("bundle {name}"),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "the built-in profile".to_owned(),
        }
    }
}

impl Exclusion {
    /// Those of the command line.
    pub(crate) fn added(&self) -> &[String] {
        &self.exclude_namespace
    }

    /// Those of the system and of the command line.
    pub(crate) fn namespaces(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.exclude_namespace.iter().cloned())
    }

    /// An error where the namespace that the user names is excluded.
    pub(crate) fn includes(&self, namespace: &str) -> anyhow::Result<()> {
        if self.exclude_namespace.iter().any(|excluded| excluded == namespace) {
            bail!("namespace {namespace} is excluded by --exclude-namespace");
        }
        if self.namespaces().contains(namespace) {
            bail!("{}", is_of_system(namespace));
        }
        Ok(())
    }
}

impl Judgement {
    /// Whether a threshold was crossed under the policy of that name. Reasons are printed in spite
    /// of `--quiet`, also for thresholds that could not be crossed: without them such a run looks
    /// like a pass.
    pub(crate) fn exit(&self, report: &Report, policy: &CompiledPolicy) -> Exit {
        let exit = self.exit_of_summary(&report.policy, policy, &report.summary);
        let Some(denied) = &report.denied else { return exit };
        exit.max(exit_of_denied(&format!("{}: ", printable(&report.policy)), denied))
    }

    /// The same without what admission would deny.
    pub(crate) fn exit_of_summary(
        &self,
        name: &str,
        policy: &CompiledPolicy,
        summary: &Summary,
    ) -> Exit {
        let name = printable(name);
        let mut exit = Exit::Fine;
        if let (Some(threshold), Some(score)) = (self.fail_below, summary.score)
            && score < threshold
        {
            output::reason(format_args!(
                "{name}: the score {score} is below {threshold} (--fail-below)"
            ));
            exit = Exit::Findings;
        }
        if let Some(FailOn::Severity(threshold)) = self.fail_on
            && let Some(worst) = summary.worst_severity().filter(|worst| *worst >= threshold)
        {
            output::reason(format_args!(
                "{name}: there are findings of severity {worst} (--fail-on {threshold})"
            ));
            exit = Exit::Findings;
        }
        self.tell_what_is_not_tested(&name, policy, summary);
        exit
    }

    /// Prints which threshold cannot be crossed, whatever was judged.
    fn tell_what_is_not_tested(&self, name: &str, policy: &CompiledPolicy, summary: &Summary) {
        match self.fail_on {
            Some(FailOn::Severity(threshold)) => {
                let possible = policy.checks().map(|(_, severity)| severity).max();
                if let Some(possible) = possible.filter(|possible| *possible < threshold) {
                    output::reason(format_args!(
                        "{name}: --fail-on {threshold} can never fail, as its most severe check is \
                         {possible}"
                    ));
                }
            }
            Some(FailOn::Denied) if policy.denied_at_admission().next().is_none() => {
                output::reason(format_args!(
                    "{name}: --fail-on denied can never fail, as the policy denies nothing at \
                     admission"
                ));
            }
            _ => {}
        }
        if summary.pods == 0 && (self.fail_below.is_some() || self.fail_on.is_some()) {
            output::reason(format_args!(
                "{name}: no pod was evaluated, so no threshold was tested"
            ));
        }
    }

    /// Whether new findings cross the threshold: `new` is the report with these alone.
    pub(crate) fn exit_of_changes(
        &self,
        changes: &Changes,
        new: &Report,
        policy: &CompiledPolicy,
    ) -> Exit {
        self.tell_what_is_not_tested(&printable(&new.policy), policy, &new.summary);
        match (self.fail_on, &new.denied) {
            (Some(FailOn::Severity(threshold)), _) => exit(changes, Some(threshold)),
            (Some(FailOn::Denied), Some(denied)) => exit_of_denied("by new findings ", denied),
            _ => Exit::Fine,
        }
    }

    /// The policy as admission judges by it, alone, where the exit code depends on that.
    pub(crate) fn admission(&self, policy: &CompiledPolicy) -> Option<NamespacePolicies> {
        let rules = || Ok(Arc::new(policy.clone()));
        matches!(self.fail_on, Some(FailOn::Denied))
            .then(|| NamedPolicy { name: BUNDLE_POLICY.into(), rules: rules() }.into())
    }
}

/// How many objects are named in a reason.
const MAX_NAMED: usize = 5;

/// Whether admission would deny an object. `of` begins the reason that is printed.
pub(crate) fn exit_of_denied(of: &str, denied: &DeniedObjects) -> Exit {
    if denied.is_empty() {
        return Exit::Fine;
    }
    let named = denied.objects.iter().take(MAX_NAMED).map(DeniedObject::to_string);
    let more = denied.more_than(named.len());
    let named: Vec<String> = named.chain(more).collect();
    let (objects, named) = (denied.number(), named.join(", "));
    output::reason(format_args!(
        "{of}admission would deny {objects} (--fail-on denied): {}",
        printable(&named)
    ));
    Exit::Findings
}

/// Why no policy can be in a system namespace.
pub(crate) fn is_of_system(namespace: &str) -> String {
    format!("namespace {namespace} belongs to the system, and no policy scores it")
}

/// Such a policy finds nothing, so its score is always 100.
pub(crate) fn warn_without_checks(name: &str, policy: &CompiledPolicy) {
    if policy.checks().next().is_none() {
        let name = printable(name);
        output::reason(format_args!("policy {name} enables no check, so it finds nothing"));
    }
}

/// The policy of a file that holds one.
pub(crate) fn policy_file(file: &Path, max_file_size: u64) -> anyhow::Result<DecodedPolicy> {
    let name = file.display().to_string();
    let name = printable(&name);
    let bytes =
        input::read_file(file, max_file_size).with_context(|| format!("the policy {name}"))?;
    read_policy(&bytes).map_err(|failures| {
        let places = failures.iter().map(|failure| format!("{name}:{failure}"));
        output::problems("the policy cannot be used", &places.collect::<Vec<_>>())
    })
}
