//! `policyctl diff`

use std::collections::BTreeMap;

use similar::TextDiff;

use crate::cli::Global;
use crate::cluster;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::policies::{FilePolicy, Key, Policy, PolicyApi, PolicyFiles};
use policy_core::text::printable;

const EXAMPLES: &str = "\
Examples:
  policyctl diff policies/            files, folders, patterns, or - for standard input
  policyctl diff policies.yaml -A     also tells policies of namespaces that no file names

Compares the policies of the files with those of the same namespaces in the cluster, spec by spec,
defaults filled in. Lines with - are only in the cluster, lines with + only in the files; labels
and annotations that no file names are passed over. Exits with 1 where anything differs.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// How many policies differ, and in which way.
#[derive(Default)]
struct Differences {
    only_in_files: usize,
    only_in_cluster: usize,
    different: usize,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Table])?;
    let (files, live) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let target = global.target.namespace.as_deref();
        let files = PolicyFiles::read(&args.files, target, &cluster.namespace)
            .map_err(|problems| output::problems("nothing was compared", &problems))?;
        let live = live(&PolicyApi::of(&cluster).await?, &files, global).await?;
        Ok((files, live))
    })?;
    let mut differences = Differences::default();
    let mut text = String::new();
    let mut keys: Vec<&Key> = files.policies.keys().chain(live.keys()).collect();
    keys.sort();
    keys.dedup();
    let compared = keys.len();
    for key in keys {
        text += &differences.compare(key, files.policies.get(key), live.get(key))?;
    }
    output::result(&text)?;
    let Differences { only_in_files, only_in_cluster, different } = differences;
    global.console().note(format_args!(
        "{compared} compared: {different} different, {only_in_files} only in files, \
         {only_in_cluster} only in the cluster"
    ));
    Ok(if text.is_empty() { Exit::Fine } else { Exit::Findings })
}

/// The cluster's policies of the namespaces that the files name, or of all.
async fn live(
    api: &PolicyApi<'_>,
    files: &PolicyFiles,
    global: &Global,
) -> anyhow::Result<BTreeMap<Key, Policy>> {
    if global.target.all_namespaces {
        return Ok(api.list(None).await?);
    }
    let mut live = BTreeMap::new();
    let mut namespaces: Vec<&str> =
        files.policies.keys().map(|(namespace, _)| namespace.as_str()).collect();
    namespaces.dedup();
    for namespace in namespaces {
        live.append(&mut api.list(Some(namespace)).await?);
    }
    Ok(live)
}

impl Differences {
    /// The unified diff of a policy; empty where there is no difference.
    fn compare(
        &mut self,
        (namespace, name): &Key,
        file: Option<&FilePolicy>,
        live: Option<&Policy>,
    ) -> anyhow::Result<String> {
        let yaml = |policy: Policy| output::yaml(&policy.with_defaults().object());
        let in_cluster = format!("cluster: {namespace}/{name}");
        let (here, there) = match (file, live) {
            (Some(file), Some(live)) => {
                let live = live.clone().with_marks_of(&file.policy);
                (yaml(file.policy.clone())?, yaml(live)?)
            }
            (Some(file), None) => (yaml(file.policy.clone())?, String::new()),
            (None, Some(live)) => (String::new(), yaml(live.clone())?),
            (None, None) => return Ok(String::new()),
        };
        if here == there {
            return Ok(String::new());
        }
        let nothing = || "/dev/null".to_owned();
        let (from, to) = match file {
            None => {
                self.only_in_cluster += 1;
                (in_cluster, nothing())
            }
            Some(file) if live.is_none() => {
                self.only_in_files += 1;
                (nothing(), file.place.clone())
            }
            Some(file) => {
                self.different += 1;
                (in_cluster, file.place.clone())
            }
        };
        let diff = TextDiff::from_lines(&there, &here);
        let text = diff.unified_diff().context_radius(3).header(&from, &to).to_string();
        // Line by line: a value of a policy can hold anything.
        Ok(text.lines().flat_map(|line| [printable(line), "\n".into()]).collect())
    }
}
