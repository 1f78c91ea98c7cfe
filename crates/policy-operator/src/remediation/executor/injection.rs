//! Ends injection where it did harm.

use policy_core::api::RemediationState;

use super::super::counters;
use super::super::decision::message;
use super::super::guard::failed_injection;
use super::super::notices::NoticeKind;
use super::super::record::Record;
use super::Scope;
use crate::status::whole_seconds;

/// Switches injection off where a pod failed.
pub(super) fn check_injected(scope: &Scope<'_>, record: &mut Record) {
    let second = scope.second();
    for (label, entry) in &mut record.entries {
        let Some(shown) = &mut entry.shown else { continue };
        if shown.state != RemediationState::Injecting {
            continue;
        }
        let since = shown.since.0.as_second();
        let pods = scope.unhealthy(&entry.workload);
        let Some(cause) = failed_injection(pods, since, second) else { continue };
        shown.state = RemediationState::Reverted;
        shown.since = whole_seconds(scope.now);
        cause.reason.as_str().clone_into(&mut shown.reason);
        shown.message = message(&cause.sentence);
        record.reverts.add(second);
        counters::reverted(cause.reason);
        let sentence =
            format!("{label}: injection into new pods ended, because {}", cause.sentence);
        record.notices.add(NoticeKind::Reverted, sentence);
    }
}
