//! `policyctl report`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use policy_core::report::{Changes, StoredReport};
use policy_core::severity::Severity;
use policy_core::text::{counted, printable};

use crate::exit::Exit;
use crate::global::Global;
use crate::input;
use crate::output::{self, Output};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  policyctl report main.json branch.json                     what changed, for people
  policyctl report main.json branch.json -o markdown         the same for a pull request
  policyctl report main.json branch.json --fail-on medium    exit with 1 on new findings

Compares two reports of `policyctl analyze -o json`, the earlier one first: findings that are new,
fixed, unchanged and exempted now. What is missing because NEW could not read its place is neither
fixed nor new; what OLD could not read is new. A finding is the same whatever its line, file and
wording: its check, object and container count; of a cluster its check, workload and container.
Output: table (default), markdown, json and yaml (docs/changes.schema.json).";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The earlier report
    #[arg(value_name = "OLD")]
    earlier: PathBuf,

    /// The later report
    #[arg(value_name = "NEW")]
    later: PathBuf,

    /// Exit with 1 on a new finding of this severity or worse: critical, high, medium or low
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,

    /// Refuse files larger than this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    max_file_size: u64,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let formats = [Output::Table, Output::Markdown, Output::Json, Output::Yaml];
    let form = global.output(&formats, &[])?;
    let [earlier, later] =
        [&args.earlier, &args.later].map(|file| stored(file, args.max_file_size));
    let changes = Changes::between(earlier?, later?)?;
    output::stream(|out| match form {
        Output::Json => report::json(&changes, out),
        Output::Yaml => report::yaml(&changes, out),
        Output::Markdown => report::write_changes_as_markdown(&changes, out),
        _ => Ok(report::write_changes(&changes, global.console().table_style(), out)?),
    })?;
    Ok(exit(&changes, args.fail_on))
}

/// The report of a file.
pub(crate) fn stored(file: &Path, max_file_size: u64) -> anyhow::Result<StoredReport> {
    let name = file.display().to_string();
    let name = printable(&name);
    let bytes = input::read_file(file, max_file_size).with_context(|| name.clone().into_owned())?;
    StoredReport::read(&bytes).with_context(|| format!("{name} cannot be compared"))
}

/// Whether there are new findings of that severity or worse. The reason is printed in spite of
/// `--quiet`.
pub(crate) fn exit(changes: &Changes, fail_on: Option<Severity>) -> Exit {
    let Some(threshold) = fail_on else { return Exit::Fine };
    match changes.new_of(threshold) {
        0 => Exit::Fine,
        number => {
            let number = counted(number as u64, "new finding");
            output::reason(format_args!("{number} of severity {threshold} or worse (--fail-on)"));
            Exit::Findings
        }
    }
}
