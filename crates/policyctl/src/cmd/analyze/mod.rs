//! `policyctl analyze`

mod files;
mod live;

pub(crate) use live::assess;

use anyhow::bail;
use clap::ArgAction;
use policy_core::report::{Format, LookAlike, Report, Source, printable};

use crate::cli::Global;
use crate::exit::Exit;
use crate::judgement::Judgement;
use crate::output::{self, Console, Output};

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
    let policy = args.judgement.policy()?;
    let report = if args.filename.is_empty() {
        live::analyze(&args.judgement, &policy, global)?
    } else {
        files::analyze(args, &policy, global)?
    };
    output::stream(|out| Ok(report.write(format, out)?))?;
    if !matches!(format, Format::Table(_)) {
        tell_what_the_table_shows(&report, console);
    }
    Ok(not_read(&report).max(args.judgement.exit(&report.summary)))
}

/// What it means that something was not read: a file is the user's, a cluster has its reasons.
fn not_read(report: &Report) -> Exit {
    match report.source {
        _ if report.coverage.failed.is_empty() => Exit::Fine,
        Source::Files { .. } => Exit::Error,
        Source::Cluster { .. } => Exit::Cluster,
    }
}

/// What a machine's format has no place for, or nobody may look for.
fn tell_what_the_table_shows(report: &Report, console: Console) {
    for failed in &report.coverage.failed {
        let (source, reason) = (printable(&failed.source), printable(&failed.reason));
        output::error(format_args!("{source}: {reason}"));
    }
    for LookAlike { file, line, kind } in &report.coverage.look_alikes {
        console.note(format_args!("{}:{line}: skipped {}", printable(file), printable(kind)));
    }
    if report.findings_cut > 0 {
        console.note(format_args!("{} findings are counted, but not listed", report.findings_cut));
    }
}
