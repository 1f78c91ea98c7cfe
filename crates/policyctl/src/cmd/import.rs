//! `policyctl import`

use crate::cli::Global;
use crate::cluster::write::{Apply, get};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::policies::{FilePolicy, Policy, PolicyApi, PolicyFiles, fields_only_in};
use policy_core::text::printable;

const EXAMPLES: &str = "\
Examples:
  policyctl import policies/ --dry-run   let the API server judge, store nothing
  policyctl import policies/             files, folders, patterns, or - for standard input

The API server judges all policies before the first one is stored: where it refuses one, none is
stored. A policy that is already as the file has it is not written. Policies are applied under the
field manager `policyctl`; a field that somebody else set otherwise is a conflict.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,

    /// Let the API server judge, but store nothing
    #[arg(long)]
    dry_run: bool,

    /// Take over fields that somebody else set
    #[arg(long)]
    force_conflicts: bool,
}

/// What is to be done about a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Create,
    Change,
    Nothing,
}

/// A policy that the API server would accept.
struct Accepted {
    action: Action,
    /// Fields of the cluster's policy that the file does not name, and that stay.
    staying: Vec<String>,
}

struct Importer<'a> {
    cluster: &'a Cluster,
    api: PolicyApi<'a>,
    force: bool,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Table])?;
    cluster::run(async {
        let cluster = global.target.connect().await?;
        let target = global.target.namespace.as_deref();
        let files = PolicyFiles::read(&args.files, target, &cluster.namespace)
            .map_err(|problems| output::problems("nothing was applied", &problems))?;
        if files.others > 0 {
            let others = files.others;
            global.console().note(format_args!("{others} objects of other kinds are passed over"));
        }
        let api = PolicyApi::of(&cluster).await?;
        let importer = Importer { cluster: &cluster, api, force: args.force_conflicts };
        importer.import(files, args.dry_run).await
    })
}

impl Importer<'_> {
    /// First all are judged, then all are stored.
    async fn import(&self, files: PolicyFiles, dry_run: bool) -> anyhow::Result<Exit> {
        let mut judged = Vec::new();
        for file in files.policies.into_values() {
            let judgement = self.judge(&file).await;
            judged.push((file, judgement));
        }
        if let Some(exit) = refused(&judged)? {
            return Ok(exit);
        }
        let mut exit = Exit::Fine;
        for (file, judgement) in &judged {
            let Ok(accepted) = judgement else { continue };
            exit = exit.max(self.store(file, accepted, dry_run).await?);
        }
        Ok(exit)
    }

    /// Asks the API server what it would make of a policy.
    async fn judge(&self, file: &FilePolicy) -> Result<Accepted, ClusterError> {
        let policy = &file.policy;
        let api = self.api.namespaced(&policy.namespace);
        let live = get(self.cluster, &api, &policy.name, "cannot read the policy").await?;
        let apply = Apply { dry_run: true, force: self.force };
        let preview =
            apply.apply(self.cluster, &api, &policy.name, &policy.object(), "refused").await?;
        let preview = Policy::of_live(&preview);
        let action = match live.as_ref().map(Policy::of_live) {
            None => Action::Create,
            Some(live) if live == preview => Action::Nothing,
            Some(_) => Action::Change,
        };
        let wanted = policy.clone().with_defaults().spec;
        Ok(Accepted { action, staying: fields_only_in(&preview.spec, &wanted, "spec") })
    }

    async fn store(
        &self,
        file: &FilePolicy,
        accepted: &Accepted,
        dry_run: bool,
    ) -> anyhow::Result<Exit> {
        let FilePolicy { place, policy } = file;
        let name = format!("{}/{}", policy.namespace, policy.name);
        if !dry_run && accepted.action != Action::Nothing {
            let api = self.api.namespaced(&policy.namespace);
            let apply = Apply { dry_run: false, force: self.force };
            let object = policy.object();
            let applied = apply.apply(self.cluster, &api, &policy.name, &object, "refused").await;
            if let Err(error) = applied {
                output::result(&format!("NOT APPLIED  {name}  ({place})\n"))?;
                output::error(format_args!("{place}: {name}: {error}"));
                return Ok(exit_of(&error));
            }
        }
        let done = match (accepted.action, dry_run) {
            (Action::Nothing, _) => "unchanged",
            (Action::Create, false) => "created",
            (Action::Change, false) => "changed",
            (Action::Create, true) => "would be created",
            (Action::Change, true) => "would be changed",
        };
        output::result(&format!("{done:<11}  {name}\n"))?;
        if !accepted.staying.is_empty() {
            let fields = accepted.staying.join(", ");
            output::reason(format_args!(
                "{place}: {name} also has {}, which the file does not name and somebody else set; \
                 it stays",
                printable(&fields)
            ));
        }
        Ok(Exit::Fine)
    }
}

/// Tells of what the API server would refuse; then nothing is stored.
fn refused(
    judged: &[(FilePolicy, Result<Accepted, ClusterError>)],
) -> anyhow::Result<Option<Exit>> {
    let mut exit = Exit::Fine;
    let mut rows = Vec::new();
    for (file, judgement) in judged {
        let FilePolicy { place, policy } = file;
        let name = format!("{}/{}", policy.namespace, policy.name);
        rows.push(format!("not applied  {name}  ({place})\n"));
        if let Err(error) = judgement {
            output::error(format_args!("{place}: {name}: {error}"));
            exit = exit.max(exit_of(error));
        }
    }
    if exit == Exit::Fine {
        return Ok(None);
    }
    output::result(&rows.concat())?;
    output::reason("nothing was applied, since a policy would be refused");
    Ok(Some(exit))
}

/// A policy that is refused for what it says is an error of the input.
fn exit_of(error: &ClusterError) -> Exit {
    if error.kind == ErrorKind::Invalid { Exit::Error } else { Exit::Cluster }
}
