//! `policyctl test`

mod suite;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use policy_core::report::{NotRead, PolicyTestReport, TestedFile, actual_verdicts};
use policy_core::text::{counted, printable};
use walkdir::WalkDir;

use super::analyze::files;
use crate::exit::Exit;
use crate::global::Global;
use crate::input::{self, InputError};
use crate::output::{self, Output};
use crate::report;
use suite::Suite;

const EXAMPLES: &str = "\
Examples:
  policyctl test policies/                        every policy-test.yaml below a folder
  policyctl test --write policies/                write the actual verdicts into them
  policyctl test -o junit > policyctl.xml         for a CI system, from the current folder

A test file is named policy-test.yaml or NAME.policy-test.yaml:

  policies:                     # each judges every object
    - file: strict.yaml         # relative to this file
    - bundle: restricted        # or a ready-made policy
  objects: [web.yaml, pods/]    # files, folders (recursive) and patterns
  now: 2026-01-31T12:00:00Z     # only for findings that depend on the time
  tests:
    - object: Deployment/web
      admission: denied         # allowed, warned or denied, when it is created
      findings:                 # all of them; severity may be left out
        - {check: latest-tag, container: web, severity: critical}
      exempted: []              # all that an exemption of a policy accepts

Begin with policies and objects, run --write, and review what it wrote. The webhook sees a pod after
LimitRanges, so an object is judged as it stands in its file. An object that no test names fails. In
the output `-` is expected and not found, `+` found and not expected.
The exit code is 1 where a verdict is another one, 2 for a mistake in a file.
Output: table (default), json and yaml (docs/test.schema.json), junit. Test files have a schema as
well, docs/policy-test.schema.json.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Test files, and folders that are searched for them
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// Write the actual verdicts into the test files as the expected ones
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let formats = [Output::Table, Output::Json, Output::Yaml, Output::Junit];
    let form = global.output(&formats, &[])?;
    let mut paths = Vec::new();
    for path in &args.paths {
        paths.extend(test_files(path)?);
    }
    // Each once, whatever paths lead to it.
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(input::identity(path)));
    // A document is parsed with the stack that it may need.
    let suites = files::threads()?
        .install(|| paths.iter().map(|path| Suite::read(path)).collect::<Vec<_>>());
    if args.write {
        return Ok(write_all(suites, global));
    }
    let (mut tested, mut errors) = (Vec::new(), Vec::new());
    for suite in suites {
        match suite {
            Err(found) => errors.extend(found),
            Ok(Suite { file, test, objects, .. }) => {
                let (of_file, found) = TestedFile::new(&file, &test, &objects);
                tested.push(of_file);
                errors.extend(found);
            }
        }
    }
    let report = PolicyTestReport::new(tested, errors);
    if form == Output::Junit {
        output::stream(|out| Ok(report::write_tests_as_junit(&report, out)?))?;
        output::not_read(&report.errors);
    } else {
        output::report(&report, &report.errors, form, global.console())?;
    }
    Ok(match report.summary.failed {
        _ if !report.errors.is_empty() => Exit::Error,
        0 => Exit::Fine,
        _ => Exit::Findings,
    })
}

fn write_all(suites: Vec<Result<Suite, Vec<NotRead>>>, global: &Global) -> Exit {
    let mut exit = Exit::Fine;
    for suite in suites {
        let written = suite.and_then(|suite| {
            let tests = actual_verdicts(&suite.test, &suite.objects);
            let changed = write::write(&suite, &tests)
                .map_err(|reason| vec![NotRead::new(&suite.file, None, reason)])?;
            Ok((suite.file, tests.len() as u64, changed))
        });
        match written {
            Ok((file, tests, changed)) => {
                let did = if changed { "wrote" } else { "unchanged" };
                let line = format!("{}: {did}, {}", printable(&file), counted(tests, "test"));
                global.console().note(line);
            }
            Err(errors) => {
                output::not_read(&errors);
                exit = Exit::Error;
            }
        }
    }
    exit
}

/// The test files of an argument: itself, or those of a folder and of all folders below.
fn test_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = path.display().to_string();
    let shown = printable(&shown);
    let metadata = path.metadata().map_err(InputError::from);
    if metadata.with_context(|| shown.to_string())?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(path).sort_by_file_name() {
        match entry {
            Ok(entry) if is_test_file(entry.path()) && entry.path().is_file() => {
                found.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => bail!("cannot search {shown} for test files: {error}"),
        }
    }
    if found.is_empty() {
        bail!("{shown} has no policy-test.yaml; `policyctl test --help` shows what is in one");
    }
    Ok(found)
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| stem == "policy-test" || stem.ends_with(".policy-test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_recognized_by_their_name() {
        for (name, is_one) in [
            ("policy-test.yaml", true),
            ("a/b/policy-test.yml", true),
            ("strict.policy-test.yaml", true),
            ("policy-test.json", false),
            ("mypolicy-test.yaml", false),
            ("policy-test.yaml.bak", false),
        ] {
            assert_eq!(is_test_file(Path::new(name)), is_one, "{name}");
        }
    }
}
