//! What `fix` did and did not do.

use policy_core::manifest::{FixedWorkload, Left};
use policy_core::report::SCHEMA_VERSION;
use policy_core::text::{counted, printable};
use serde::Serialize;

use super::files::{FixedFile, Hint};
use crate::exit::Exit;
use crate::output::{self, Console};

/// How many things that are left are named to people.
const MAX_NAMED: usize = 50;

/// All files of a run.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct FixReport {
    schema_version: &'static str,
    /// The files with edits.
    files: Vec<FileReport>,
    /// The workloads that lack something.
    workloads: Vec<WorkloadReport>,
    /// What needs a decision.
    hints: Vec<HintReport>,
    #[serde(skip)]
    counts: Counts,
    /// Whether everything is kept for JSON; else what people are told.
    #[serde(skip)]
    is_whole: bool,
    /// Why the diffs of files cannot be applied.
    #[serde(skip)]
    unfit: Vec<String>,
    /// Why files were not written.
    #[serde(skip)]
    refused: Vec<String>,
}

#[derive(Default)]
struct Counts {
    /// Files with edits.
    files: u64,
    /// Files that were written.
    written: u64,
    /// Workloads with edits.
    edited: u64,
    /// Workloads of which something is left.
    left: u64,
    hints: u64,
    /// Files whose diffs cannot be applied.
    unfit: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileReport {
    file: String,
    is_written: bool,
    diff: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadReport {
    file: String,
    line: u32,
    namespace: String,
    kind: &'static str,
    name: String,
    /// A line for each container, as in the status of a policy.
    filled_in: Vec<String>,
    left: Vec<LeftReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftReport {
    line: u32,
    /// `null` for the whole workload.
    container: Option<String>,
    /// `null` for all that it lacks.
    field: Option<&'static str>,
    reason: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HintReport {
    file: String,
    line: u32,
    subject: String,
    hint: String,
}

impl FixReport {
    /// A report with all files and workloads, or only with what people are told.
    pub(super) fn new(is_whole: bool) -> Self {
        Self { schema_version: SCHEMA_VERSION, is_whole, ..Self::default() }
    }

    /// Adds a file with edits. `written` is what came of writing it, where it was to be written.
    pub(super) fn file(&mut self, file: &str, diff: String, written: Option<Result<(), String>>) {
        self.counts.files += 1;
        let is_written = written == Some(Ok(()));
        self.counts.written += u64::from(is_written);
        if let Some(Err(reason)) = written {
            self.refused.push(format!("{file}: {reason}"));
        }
        if self.is_whole {
            self.files.push(FileReport { file: file.to_owned(), is_written, diff });
        }
    }

    /// Adds why the diff of a file cannot be applied.
    pub(super) fn unfit(&mut self, file: &str, why: &str) {
        self.counts.unfit += 1;
        if self.unfit.len() < MAX_NAMED {
            self.unfit.push(format!("{file}: {why}"));
        }
    }

    /// Adds what the file holds. `is_done` unless it should have been written and was not.
    pub(super) fn content(&mut self, file: &FixedFile<'_>, is_done: bool) {
        let name = &*file.input.name;
        for workload in &file.workloads {
            let is_left = !workload.left.is_empty();
            self.counts.edited += u64::from(is_done && !workload.fields.is_empty());
            self.counts.left += u64::from(is_left);
            let is_named = is_left && self.counts.left <= MAX_NAMED as u64;
            if self.is_whole || is_named {
                self.workloads.push(WorkloadReport::of(name, workload));
            }
        }
        for hint in &file.hints {
            self.counts.hints += 1;
            if self.is_whole || self.counts.hints <= MAX_NAMED as u64 {
                self.hints.push(HintReport::of(name, hint));
            }
        }
    }

    /// Says on standard error what was done and what is left.
    pub(super) fn tell(&self, is_written: bool, console: Console) {
        for workload in self.workloads.iter().filter(|found| !found.left.is_empty()).take(MAX_NAMED)
        {
            workload.tell(console);
        }
        for HintReport { file, line, subject, hint } in self.hints.iter().take(MAX_NAMED) {
            console.note(format_args!("{file}:{line}: {subject}: {hint}"));
        }
        let Counts { files, written, edited, left, hints, unfit } = self.counts;
        for (number, what) in [(left, "workload"), (hints, "hint")] {
            if let Some(more) = number.checked_sub(MAX_NAMED as u64).filter(|more| *more > 0) {
                let more = counted(more, &format!("more {what}"));
                console.note(format_args!("{more} not named here; -o json has all"));
            }
        }
        let edited = counted(edited, "workload");
        let files = counted(files, "file");
        let done = if is_written {
            format!("{edited} filled in; {written} of {files} written")
        } else {
            format!("{edited} to fill in in {files}")
        };
        console
            .note(format_args!("{done}; {left} with something left; {}", counted(hints, "hint")));
        for path in &self.unfit {
            console.note(printable(path));
        }
        if let Some(more @ 1..) = unfit.checked_sub(MAX_NAMED as u64) {
            let more = counted(more, "more file");
            console.note(format_args!("{more} whose path `git apply` does not take"));
        }
        for refused in &self.refused {
            output::error(printable(refused));
        }
    }

    /// 1 where there is a diff that is not written, 2 where a file could not be written.
    pub(super) fn exit(&self, is_written: bool) -> Exit {
        match (self.refused.as_slice(), self.counts.files) {
            ([], 0) => Exit::Fine,
            ([], _) if is_written => Exit::Fine,
            ([], _) => Exit::Findings,
            _ => Exit::Error,
        }
    }
}

impl WorkloadReport {
    fn of(file: &str, workload: &FixedWorkload) -> Self {
        let FixedWorkload { line, kind, namespace, name, fields, left } = workload;
        let left = left.iter().map(|Left { line, container, field, why }| LeftReport {
            line: *line,
            container: (!container.is_empty()).then(|| container.clone()),
            field: (!field.is_empty()).then_some(*field),
            reason: why.to_string(),
        });
        Self {
            file: file.to_owned(),
            line: *line,
            namespace: namespace.clone(),
            kind: kind.as_str(),
            name: name.clone(),
            filled_in: fields.lines(),
            left: left.collect(),
        }
    }
}

impl WorkloadReport {
    /// A line for each container and reason.
    fn tell(&self, console: Console) {
        let Self { file, kind, namespace, name, left, .. } = self;
        let is_one =
            |a: &LeftReport, b: &LeftReport| (&a.container, &a.reason) == (&b.container, &b.reason);
        for of_one in left.chunk_by(is_one) {
            let Some(LeftReport { line, container, reason, .. }) = of_one.first() else { continue };
            let container = container.as_deref();
            let container =
                container.map_or_else(String::new, |name| format!(", container {name}"));
            let fields: Vec<&str> = of_one.iter().filter_map(|left| left.field).collect();
            let what = match fields.as_slice() {
                [] => "is left as it is".to_owned(),
                [one] => format!("{one} is not filled in"),
                several => format!("{} are not filled in", several.join(" and ")),
            };
            console.note(format_args!(
                "{file}:{line}: {kind} {namespace}/{name}{container}: {what}: {reason}"
            ));
        }
    }
}

impl HintReport {
    fn of(file: &str, hint: &Hint) -> Self {
        let Hint { line, subject, text } = hint;
        Self { file: file.to_owned(), line: *line, subject: subject.clone(), hint: text.clone() }
    }
}
