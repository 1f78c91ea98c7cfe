//! `policyctl analyze`

pub(crate) mod files;
pub(crate) mod live;

use anyhow::bail;
use clap::ArgAction;
use policy_core::Timestamp;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Report, Source};
use policy_core::text::printable;

use crate::cli::Global;
use crate::exit::Exit;
use crate::judgement::Judgement;
use crate::output::{self, Console, Output};
use crate::report::{self, Format};

const EXAMPLES: &str = "\
Examples:
  policyctl analyze                                the cluster of the current context
  policyctl analyze -n shop --context staging      a namespace of another one
  policyctl analyze -f app.yaml                    a file, without any cluster
  policyctl analyze -f deploy/ -f 'more/*.yaml'    folders (recursive) and patterns
  kustomize build . | policyctl analyze -f -       standard input
  policyctl analyze -f deploy/ --bundle restricted --fail-on high
  policyctl analyze -f deploy/ -o sarif > policyctl.sarif

Output: table (default), json and yaml (docs/analysis.schema.json), junit, and for files sarif.
Without --bundle or --policy all six checks run: at most 3 restarts, at most 300 s Pending.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Manifests instead of a cluster: a file, a folder (*.yaml, *.yml, *.json, recursive), a
    /// pattern, or - for standard input. Objects that name no namespace belong to that of -n,
    /// else to `default`
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,

    #[command(flatten)]
    judgement: Judgement,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let console = global.console();
    let format = match global.output(&[
        Output::Table,
        Output::Json,
        Output::Yaml,
        Output::Junit,
        Output::Sarif,
    ])? {
        Output::Json => Format::Json,
        Output::Yaml => Format::Yaml,
        Output::Junit => Format::Junit,
        Output::Sarif if args.filename.is_empty() => {
            bail!("SARIF points at lines of files, which a cluster does not have; add -f FILE")
        }
        Output::Sarif => Format::Sarif,
        Output::Table | Output::Wide => Format::Table(console.colours()),
    };
    let policy = args.judgement.choice.policy()?;
    let report = if args.filename.is_empty() {
        live::analyze(&args.judgement, &policy, global)?
    } else {
        files(args, &policy, global)?
    };
    output::stream(|out| report::write(&report, format, out))?;
    if !matches!(format, Format::Table(_)) {
        tell_what_the_table_shows(&report, console);
    }
    Ok(Exit::of_coverage(&report.coverage, &report.source)
        .max(args.judgement.exit(&report.summary)))
}

fn files(args: &Args, policy: &CompiledPolicy, global: &Global) -> anyhow::Result<Report> {
    let Judgement { choice, .. } = &args.judgement;
    let excluded = choice.exclusion.namespaces();
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let now = Timestamp::now();
    let empty = || Assessment::new(policy, &excluded, now);
    let console = global.console();
    let assessed = files::judge(&args.filename, choice.max_file_size, namespace, console, &empty)?;
    Ok(assessed.finish(Source::Files { paths: args.filename.clone() }))
}

/// What the other formats have no place for, or hide among the rest.
fn tell_what_the_table_shows(report: &Report, console: Console) {
    output::not_read(&report.coverage);
    for note in &report.coverage.notes {
        console.note(format_args!("{}: {}", printable(&note.source), printable(&note.message)));
    }
    if report.findings_cut > 0 {
        console.note(format_args!("{} findings are counted, but not listed", report.findings_cut));
    }
}
