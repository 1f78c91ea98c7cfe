//! Everything that is printed: results to standard output, the rest to standard error.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use policy_core::report::NotRead;
use policy_core::text::printable;
use serde::Serialize;
use serde_json::json;

use crate::report::{self, TableStyle, Tabular};

/// The forms of a result; each command has some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// SARIF 2.1.0 for code scanning
    Sarif,
    /// JUnit XML for CI systems
    Junit,
    /// Markdown for the comment of a pull request
    Markdown,
    /// One page of HTML, without references to other files
    Html,
    /// Code Quality report of GitLab
    CodeQuality,
    /// Reports of openreports.io/v1alpha1, as a List for `kubectl apply --server-side`
    #[value(name = "openreports")]
    OpenReports,
}

impl Output {
    /// The name in `-o NAME`.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A form of the result, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destined {
    pub(crate) form: Output,
    /// `None` for standard output.
    pub(crate) file: Option<PathBuf>,
}

impl FromStr for Destined {
    type Err = String;

    /// `sarif`, `sarif=report.sarif`, or `sarif=-` for standard output.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((_, "")) => return Err("the name of the file is empty".to_owned()),
            Some((name, file)) => (name, (file != "-").then(|| file.into())),
            None => (text, None),
        };
        let form = Output::from_str(name, false).map_err(|_| {
            let names: Vec<String> =
                Output::value_variants().iter().map(|form| form.name()).collect();
            format!("choose {}", names.join(", "))
        })?;
        Ok(Self { form, file })
    }
}

impl Destined {
    /// How a table is written there; in a file it is as wide as it has to be.
    pub(crate) fn table_style(&self, console: Console) -> TableStyle {
        if self.file.is_some() { TableStyle::PLAIN } else { console.table_style() }
    }

    /// Writes the result there. A file is replaced.
    pub(crate) fn write(
        &self,
        write: impl FnOnce(&mut dyn io::Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(file) = &self.file else { return stream(write) };
        let context = || format!("cannot write {}", printable(&file.display().to_string()));
        let mut out = BufWriter::new(File::create(file).with_context(context)?);
        write(&mut out)?;
        out.flush().with_context(context)
    }
}

/// A table is not made narrower than this: on a narrower terminal its lines are broken.
const MIN_WIDTH: usize = 80;
/// A table is not made wider than this: lines that long are hard to read.
const MAX_WIDTH: usize = 240;

/// What the user wants to be printed beside results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// Print no colours.
    pub(crate) no_color: bool,
    /// Print neither progress nor notes.
    pub(crate) quiet: bool,
    /// Also print details for troubleshooting.
    pub(crate) verbose: bool,
}

impl Console {
    /// Colours on a terminal, unless `--no-color`, `NO_COLOR` or a dumb terminal say otherwise; and
    /// the width of the terminal.
    pub(crate) fn table_style(self) -> TableStyle {
        let choice = anstream::AutoStream::choice(&io::stdout());
        TableStyle {
            is_coloured: !self.no_color && choice != anstream::ColorChoice::Never,
            width: io::stdout()
                .is_terminal()
                .then(|| textwrap::termwidth().clamp(MIN_WIDTH, MAX_WIDTH)),
        }
    }

    /// A progress bar, if standard error is a terminal. `length` is `None` while it is unknown.
    pub(crate) fn progress(self, length: Option<u64>, what: &str) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let counter = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // Only a String is written to, which cannot fail.
            let _ = out.write_str(&progress_text(state.pos(), state.len()));
        };
        let style = ProgressStyle::with_template(&format!("{{bar:30}} {{counter}} {what}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("counter", counter);
        ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style)
    }

    /// What `-v` asks for, on standard error.
    pub(crate) fn detail(self, text: impl Display) {
        if self.verbose {
            to_stderr(text);
        }
    }

    /// A remark on standard error, in one line.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            to_stderr(text);
        }
    }
}

/// `30/60`, or `30` as long as the length is unknown.
fn progress_text(position: u64, length: Option<u64>) -> String {
    length.map_or_else(|| position.to_string(), |length| format!("{position}/{length}"))
}

/// Prints a result.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    stream(|out| Ok(out.write_all(text.as_bytes())?))
}

/// Prints a text byte by byte, as another program reads it; to a terminal without what could control
/// it.
pub(crate) fn exact(text: &str) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        return result(text);
    }
    let lines = text.split_terminator('\n').map(|line| printable(line.trim_end_matches('\r')));
    stream(|out| Ok(lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))?))
}

/// Prints a result piece by piece. A closed pipe (`| head`) is not an error.
pub(crate) fn stream(
    write: impl FnOnce(&mut dyn io::Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stdout = UntilClosed { stdout: io::stdout().lock(), is_closed: false };
    let mut out = BufWriter::new(stdout);
    write(&mut out)?;
    out.flush().context("cannot write to standard output")
}

/// Standard output. After the pipe was closed, writes do nothing.
struct UntilClosed<'a> {
    stdout: io::StdoutLock<'a>,
    is_closed: bool,
}

impl UntilClosed<'_> {
    fn unless_closed<T>(
        &mut self,
        instead: T,
        write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.is_closed {
            return Ok(instead);
        }
        match write(&mut self.stdout) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(instead)
            }
            result => result,
        }
    }
}

impl io::Write for UntilClosed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_closed(bytes.len(), |stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_closed((), |stdout| stdout.flush())
    }
}

/// Prints a report in one of the forms that all of them have.
pub(crate) fn report(
    report: &impl Tabular,
    failed: &[NotRead],
    form: Output,
    console: Console,
) -> anyhow::Result<()> {
    stream(|out| match form {
        Output::Json => report::json(report, out),
        Output::Yaml => report::yaml(report, out),
        _ => Ok(report.write_table(console.table_style(), out)?),
    })?;
    if matches!(form, Output::Json | Output::Yaml) {
        not_read(failed);
    }
    Ok(())
}

/// Prints to standard error what could not be read, since people may not look into JSON or YAML.
pub(crate) fn not_read(failed: &[NotRead]) {
    for NotRead { source, reason, .. } in failed {
        error(format_args!("{source}: {reason}"));
    }
}

/// Prints a value as JSON or YAML, else as a table.
pub(crate) fn value(
    value: &impl Serialize,
    format: Output,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    stream(|out| match format {
        Output::Json => report::json(value, out),
        Output::Yaml => report::yaml(value, out),
        // The lines are ours, their content may not be.
        _ => Ok(table().lines().try_for_each(|line| writeln!(out, "{}", printable(line)))?),
    })
}

/// Prints Kubernetes objects for `kubectl apply -f -`: YAML documents, or a List in JSON.
pub(crate) fn objects(objects: &[impl Serialize], format: Output) -> anyhow::Result<()> {
    if format == Output::Json {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        return value(&list, format, String::new);
    }
    let documents: Result<Vec<String>, _> = objects.iter().map(yaml).collect();
    result(&documents?.join("---\n"))
}

/// Lines of cells, each column as wide as its longest cell. A cell is one line whatever its text.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            format!("{cell:<width$}")
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What is wrong with the input, a line for each problem.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", .found.join("; "))]
struct Problems {
    what: String,
    found: Vec<String>,
}

/// What is wrong with the input, as one error.
pub(crate) fn problems(what: &str, found: &[impl ToString]) -> anyhow::Error {
    let found = found.iter().map(ToString::to_string).collect();
    Problems { what: what.to_owned(), found }.into()
}

/// Prints the reason for the exit code.
pub(crate) fn reason(text: impl Display) {
    to_stderr(text);
}

/// Prints an error.
pub(crate) fn error(text: impl Display) {
    to_stderr(format_args!("error: {text}"));
}

/// Prints the error of a command.
pub(crate) fn failure(failure: &anyhow::Error) {
    match failure.downcast_ref::<Problems>() {
        Some(Problems { what, found }) => {
            error(format_args!("{what}:"));
            for problem in found {
                to_stderr(format_args!("  {problem}"));
            }
        }
        None => error(format_args!("{failure:#}")),
    }
}

/// Prints one line, whatever the text: names of a kubeconfig, a file or a server can hold line
/// breaks and control sequences.
fn to_stderr(text: impl Display) {
    // A closed standard error is ignored: there is no other stream for messages.
    let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// A value as YAML that `kubectl` reads.
pub(crate) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("cannot write YAML")
}

#[cfg(test)]
mod tests {
    use super::progress_text;

    #[test]
    fn progress_of_unknown_length_counts_only() {
        assert_eq!(progress_text(30, None), "30");
        assert_eq!(progress_text(30, Some(60)), "30/60");
    }
}
