//! What a status says of remediation. Pure.

use policy_core::api::{
    DevOpsPolicyStatus, RemediatedWorkload, RemediationMethod, RemediationState, RemediationStatus,
};

use super::record::Record;
use super::standing::Standing;
use crate::status::Stated;

/// The most workloads that a status names as remediated.
const MAX_REMEDIATED: usize = 50;
/// The most bytes that the workloads of a status take.
const LONGEST: usize = 192 << 10;

/// The part of a status that is about remediation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    applied: i64,
    failed: i64,
    remediated: Vec<String>,
    status: Option<RemediationStatus>,
    /// The condition `Remediating`; `None` where the policy is not in enforce mode.
    pub(crate) condition: Option<Stated>,
}

impl Report {
    /// The report of a policy in enforce mode.
    pub(crate) fn of(record: &mut Record, method: RemediationMethod, now: i64) -> Self {
        let mut workloads: Vec<_> =
            record.entries.values().filter_map(|entry| entry.shown.clone()).collect();
        workloads.sort_by(|a, b| (a.state, &a.workload).cmp(&(b.state, &b.workload)));
        let omitted = record.omitted + fit(&mut workloads);
        let condition = Standing::of(record, method).stated();
        Self {
            applied: record.applied,
            failed: record.failed,
            remediated: remediated(&workloads),
            status: Some(RemediationStatus {
                workloads,
                workloads_omitted: i64::try_from(omitted).unwrap_or(i64::MAX),
                reverts: record.reverts.recent(now),
            }),
            condition: Some(condition),
        }
    }

    /// The report of a policy that is not in enforce mode now, or cannot be judged: what is to be
    /// remembered if it is again.
    pub(crate) fn remembered(before: Option<&DevOpsPolicyStatus>) -> Option<Self> {
        let before = before.filter(|before| {
            before.remediation.is_some() || before.remediations_applied.is_some()
        })?;
        let mut status = before.remediation.clone().unwrap_or_default();
        status.workloads.retain(|workload| workload.state.is_remembered());
        status.workloads_omitted = 0;
        status.reverts.clear();
        let remediated = remediated(&status.workloads);
        Some(Self {
            applied: before.remediations_applied.unwrap_or_default(),
            failed: before.remediations_failed.unwrap_or_default(),
            remediated,
            status: (!status.workloads.is_empty()).then_some(status),
            condition: None,
        })
    }

    pub(crate) fn write_to(&self, status: &mut DevOpsPolicyStatus) {
        status.remediations_applied = Some(self.applied);
        status.remediations_failed = Some(self.failed);
        status.remediated_workloads.clone_from(&self.remediated);
        // Never `{}`: for server-side apply of an empty object, where there was content before, the API server
        // (1.37.2) makes `null`, and refuses that with 422 by the schema.
        status.remediation =
            self.status.clone().filter(|status| *status != RemediationStatus::default());
    }
}

fn remediated(workloads: &[RemediatedWorkload]) -> Vec<String> {
    use RemediationState::{Injecting, Observing, Patched};
    let all = workloads.iter();
    let all = all.filter(|workload| matches!(workload.state, Observing | Patched | Injecting));
    let mut names: Vec<_> = all.map(|workload| workload.workload.clone()).collect();
    names.sort();
    names.truncate(MAX_REMEDIATED);
    names
}

/// Cuts the workloads to what fits into a status: first texts that help a reader, then what only
/// the process needs, then workloads, the least important first. Returns how many were cut.
fn fit(workloads: &mut Vec<RemediatedWorkload>) -> usize {
    use RemediationState::{Failed, NotPatchable, Patched, Proposed, Reverted, Waiting, Withdrawn};
    let is_long = |workloads: &[RemediatedWorkload]| size(workloads) > LONGEST;
    let cuts: [fn(&mut RemediatedWorkload); 3] = [
        |workload| {
            if matches!(workload.state, NotPatchable | Waiting | Proposed) {
                workload.message.clear();
            }
        },
        |workload| {
            if matches!(workload.state, Waiting | Proposed | Failed) {
                workload.fields.clear();
            }
        },
        |workload| {
            // Without its fields, a patched workload is taken for a new one once the process ends.
            if matches!(workload.state, Patched | Reverted | Withdrawn) {
                workload.fields.clear();
            }
            if workload.state == Patched {
                workload.message.clear();
            }
        },
    ];
    for cut in cuts {
        if !is_long(workloads) {
            return 0;
        }
        workloads.iter_mut().for_each(cut);
    }
    let all = workloads.len();
    let mut bytes = size(workloads);
    while bytes > LONGEST
        && let Some(last) = workloads.pop()
    {
        bytes -= size(&[last]);
    }
    all - workloads.len()
}

/// About the size of workloads in JSON.
fn size(workloads: &[RemediatedWorkload]) -> usize {
    let one = |workload: &RemediatedWorkload| {
        let RemediatedWorkload { workload, uid, template, fields, reason, message, .. } = workload;
        let fields: usize = fields.iter().map(|line| line.len() + 3).sum();
        // The names of the fields, the state and the time.
        130 + workload.len() + uid.len() + template.len() + fields + reason.len() + message.len()
    };
    workloads.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use policy_core::Timestamp;
    use policy_core::remediation::Fields;

    use super::super::record::shown;
    use super::*;

    fn many(state: RemediationState, number: usize) -> Vec<RemediatedWorkload> {
        let line = "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
                    livenessProbe=tcp:8080,delay=5,period=10,failures=9";
        let of = |number: usize| RemediatedWorkload {
            uid: "0".repeat(36),
            template: "0".repeat(16),
            message: "m".repeat(100),
            ..shown(
                &format!("Deployment/web-{number:04}"),
                state,
                &Fields::parse([line]),
                Timestamp::UNIX_EPOCH,
            )
        };
        (0..number).map(of).collect()
    }

    #[test]
    fn a_status_fits_and_keeps_what_has_to_be_remembered() {
        for state in [RemediationState::Patched, RemediationState::Waiting] {
            let mut workloads = many(state, 1_000);
            assert!(serde_json::to_string(&workloads).unwrap().len() > 256 << 10);
            let cut = fit(&mut workloads);
            assert_eq!(workloads.len() + cut, 1_000);
            assert!(cut < 150, "{cut}");
            let bytes = serde_json::to_string(&workloads).unwrap().len();
            assert!(bytes < 200 << 10, "{bytes}");
        }
        let mut few = many(RemediationState::Patched, 100);
        assert_eq!(fit(&mut few), 0);
        assert!(!few[0].fields.is_empty());
        let mut mixed = many(RemediationState::Reverted, 500);
        mixed.extend(many(RemediationState::NotPatchable, 500));
        let cut = fit(&mut mixed);
        assert!(mixed[..500].iter().all(|w| w.state == RemediationState::Reverted), "{cut}");
    }

    #[test]
    fn audit_mode_remembers_what_was_taken_back_and_injects_nothing() {
        let mut workloads = many(RemediationState::Reverted, 1);
        workloads.extend(many(RemediationState::Injecting, 1));
        workloads.extend(many(RemediationState::Waiting, 1));
        let before = DevOpsPolicyStatus {
            remediations_applied: Some(7),
            remediation: Some(RemediationStatus { workloads, ..Default::default() }),
            ..Default::default()
        };
        let mut status = DevOpsPolicyStatus::default();
        Report::remembered(Some(&before)).unwrap().write_to(&mut status);
        let left: Vec<_> =
            status.remediation.unwrap().workloads.iter().map(|workload| workload.state).collect();
        assert_eq!(left, [RemediationState::Reverted]);
        assert_eq!(status.remediations_applied, Some(7));
        assert_eq!(Report::remembered(Some(&DevOpsPolicyStatus::default())), None);
        assert_eq!(Report::remembered(None), None);
    }
}
