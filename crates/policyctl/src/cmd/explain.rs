//! `policyctl explain`

use anyhow::bail;
use clap::ArgAction;
use kube::api::DynamicObject;
use policy_core::Timestamp;
use policy_core::api::DevOpsPolicyStatus;
use policy_core::custom::LivePod;
use policy_core::facts::PodFacts;
use policy_core::report::{Assessment, Explanation, OperatorStatus, Source, check_policies};
use policy_core::text::printable;

use super::analyze::{files, live};
use crate::cluster::namespaced::Event;
use crate::cluster::{self, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::{PolicyChoice, warn_without_checks};
use crate::names;
use crate::output::{self, Output};
use crate::policies::{NamespaceLabels, Policy, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl explain devops-policy -n shop             a policy of the cluster, with its current pods
  policyctl explain fleet --cluster                   a cluster policy, with the pods that it judges
  policyctl explain -f deploy/                        files, without a cluster
  policyctl explain -f deploy/ --bundle restricted -o json

Shows the points that each check takes from the score (count x weight), the ten workloads and the
ten pods that take the most, and the score after fixing one check or one workload. For a policy of
the cluster it compares the operator's status with the current pods, and where more policies apply
to the namespace, it names for each check the policy that decides, which is the strictest. Where you
may not read the pods, it explains the status alone and exits with 3.
Output: table (default), json and yaml (docs/explanation.schema.json).";

const USAGE: &str = "\
policyctl explain [OPTIONS] <POLICY>
       policyctl explain [OPTIONS] -f <FILE>...";

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The policy in the namespace of -n, else the context's
    #[arg(value_name = "POLICY", value_parser = names::subdomain, required_unless_present = "filename")]
    #[arg(conflicts_with_all = ["filename", "bundle", "policy"])]
    name: Option<String>,

    /// Explain a `ClusterDevOpsPolicy`, by the pods of all namespaces to which it applies
    #[arg(long, requires = "name")]
    cluster: bool,

    /// Manifests instead of a cluster: a file, a folder, a pattern, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,

    #[command(flatten)]
    choice: PolicyChoice,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let used = match (&args.name, args.cluster) {
        (None, _) => &Scope::FILES[..],
        (Some(_), true) => &Scope::CONTEXT,
        (Some(_), false) => &Scope::CLUSTER,
    };
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], used)?;
    let explanation = match &args.name {
        Some(name) => cluster::run(of_cluster(name, args, global))?,
        None => of_files(args, global)?,
    };
    let Explanation { coverage, source, .. } = &explanation;
    output::report(&explanation, &coverage.failed, form, global.console())?;
    Ok(Exit::of_coverage(coverage, source))
}

fn of_files(args: &Args, global: &Global) -> anyhow::Result<Explanation> {
    let Args { filename, choice, .. } = args;
    let policy = choice.policy()?;
    let excluded = choice.exclusion.namespaces();
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let now = Timestamp::now();
    let empty = || Assessment::new(&policy, &excluded, now);
    let assessed =
        files::judge(filename, choice.max_file_size, namespace, global.console(), &empty)?;
    Ok(assessed.explain(Source::Files { paths: filename.clone() }, choice.name(), None))
}

async fn of_cluster(name: &str, args: &Args, global: &Global) -> anyhow::Result<Explanation> {
    if global.target.all_namespaces {
        bail!("a policy belongs to one namespace; choose it with -n");
    }
    let cluster = live::connect(global).await?;
    let policies = PolicyApi::of(&cluster).await?;
    let namespace = (!args.cluster).then(|| global.target.namespace_in(&cluster));
    if let Some(namespace) = namespace {
        args.choice.exclusion.includes(namespace)?;
    }
    let object = policies.get(namespace.unwrap_or_default(), name).await?;
    let policy = Policy::of_live(&object);
    let full_name = policy.full_name();
    let (compiled, scope) = policy
        .compiled_with_scope()
        .map_err(|invalid| output::problems(&policy.is_invalid(), &invalid))?;
    warn_without_checks(&full_name, &compiled);
    if let Some(reason) = not_judged(&object) {
        let reason = printable(reason);
        global.console().note(format_args!("the operator does not judge {full_name}: {reason}"));
    }
    let excluded = args.choice.exclusion.namespaces();
    let selected = match scope {
        Some(scope) => Some(NamespaceLabels::of_all(&cluster).await?.selected(&scope, &excluded)),
        None => None,
    };
    let is_selected = |pod: &LivePod| {
        let namespace = pod.view.metadata.namespace.as_deref().unwrap_or_default();
        selected.as_ref().is_none_or(|names| names.contains(namespace))
    };
    let mut assessment = Assessment::new(&compiled, &excluded, Timestamp::now());
    let blocked = live::blocked(&cluster, namespace, &mut assessment).await;
    let mut is_forbidden = false;
    live::know_cluster(&cluster, namespace, &mut assessment).await;
    let is_whole = compiled.custom().is_some();
    live::read(&cluster, namespace, &excluded, is_whole, global.console(), &mut |event| {
        is_forbidden |=
            matches!(&event, Event::NotRead { error, .. } if error.kind == ErrorKind::Forbidden);
        for pod in live::pods_of(event, &mut assessment.coverage).iter().filter(|p| is_selected(p))
        {
            let mut facts = PodFacts::of_pod(&pod.view, "");
            blocked.tell(&mut facts);
            assessment.live_pod(pod, &facts);
        }
    })
    .await;
    let (source, status) = (live::source(&cluster, namespace), status(&object));
    let mut explanation = if !is_forbidden || assessment.coverage.objects_read() > 0 {
        assessment.explain(source, full_name, Some(status))
    } else {
        let explanation = assessment.explain_from_status(source, full_name.clone(), status);
        explanation.ok_or_else(|| {
            ClusterError::configuration(
                format!("cannot explain policy {full_name}"),
                "you may not read its pods, and the operator has not evaluated it",
            )
        })?
    };
    if let Some(namespace) = namespace {
        match policies.applying_to(namespace).await {
            Ok(applying) => explanation.check_policies = Some(check_policies(&applying)),
            Err(error) => explanation.unknown.push(format!("which policy decides: {error}")),
        }
    }
    Ok(explanation)
}

/// Why the operator does not judge a policy, in its own words.
fn not_judged(object: &DynamicObject) -> Option<&str> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    ready["message"].as_str().filter(|_| ready["status"] == "False")
}

fn status(object: &DynamicObject) -> OperatorStatus {
    let status = object.data.get("status").cloned();
    // The operator did not write a status of another shape.
    let status = status.and_then(|s| serde_json::from_value::<DevOpsPolicyStatus>(s).ok());
    OperatorStatus::of(status.as_ref(), object.metadata.generation)
}
