//! The answers for people. What the webhook says stands there as it would be shown, however long.

use std::io;

use super::{AdmissionReport, AdmissionSummary, AdmittedObject, Outcome, PolicySource};
use crate::report::printable;
use crate::report::table::{Colours, Table};
use crate::severity::Severity;

pub(super) fn write(
    report: &AdmissionReport,
    colours: Colours,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, colours };
    match &report.policies {
        PolicySource::Given { name } => table.row("Policy", printable(name))?,
        PolicySource::Cluster { context, server } => {
            let cluster = format!("of cluster {context} at {server}");
            table.row("Policies", printable(&cluster))?;
        }
    }
    let AdmissionSummary { allowed, warned, denied } = report.summary;
    table.row("Admission", format_args!("{denied} denied, {warned} warned, {allowed} allowed"))?;
    table.coverage(&report.coverage)?;
    table.not_read(&report.coverage)?;
    table.look_alikes(&report.coverage)?;
    report.objects.iter().try_for_each(|object| table.admitted(object))
}

impl Table<'_> {
    fn admitted(&mut self, object: &AdmittedObject) -> io::Result<()> {
        let AdmittedObject { namespace, kind, name, file, line, .. } = object;
        let outcome = match object.outcome {
            Outcome::Allowed => "allowed".to_owned(),
            Outcome::Warned => self.colours.severity("warned ", Severity::Medium),
            Outcome::Denied => self.colours.severity("denied ", Severity::Critical),
        };
        let title = format!("{namespace}  {kind}/{name}  {file}:{line}");
        let note = match object {
            AdmittedObject { is_excluded: true, .. } => "  (the namespace is left out)",
            AdmittedObject { policies: 0, .. } => "  (the namespace has no policy)",
            _ => "",
        };
        self.line(format_args!("\n{outcome}  {}{note}", printable(&title)))?;
        for line in &object.warnings {
            self.line(format_args!("Warning: {line}"))?;
        }
        match &object.message {
            Some(message) => self.line(message),
            None => Ok(()),
        }
    }
}
