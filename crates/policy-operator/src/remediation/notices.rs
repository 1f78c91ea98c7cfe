//! Events about remediations. Of each sort one is published a minute at most, and it names what
//! happened meanwhile, so that a thousand remediations are not a thousand Events. Pure.

use std::collections::BTreeMap;

/// The least time between two Events of a sort.
const PAUSE_SECONDS: i64 = 60;
/// The most that an Event tells one by one.
const MAX_TOLD: usize = 5;

/// What an Event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub(crate) enum NoticeKind {
    Reverted,
    Stopped,
    Failed,
    Released,
    Applied,
    Proposed,
}

impl NoticeKind {
    /// The reason of the Event.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Reverted => "RemediationReverted",
            Self::Stopped => "RemediationStopped",
            Self::Failed => "RemediationFailed",
            Self::Released => "RemediationReleased",
            Self::Applied => "RemediationApplied",
            Self::Proposed => "RemediationProposed",
        }
    }

    pub(crate) fn is_warning(self) -> bool {
        matches!(self, Self::Reverted | Self::Stopped | Self::Failed)
    }
}

/// What is to be published about one policy.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pending: BTreeMap<NoticeKind, Pending>,
    /// The second (since 1970) of the last Event.
    published: BTreeMap<NoticeKind, i64>,
}

#[derive(Debug, Default)]
struct Pending {
    told: Vec<String>,
    number: usize,
}

impl Notices {
    /// Adds something that happened, as a sentence that begins with the workload.
    pub(crate) fn add(&mut self, kind: NoticeKind, sentence: String) {
        let pending = self.pending.entry(kind).or_default();
        pending.number += 1;
        if pending.told.len() < MAX_TOLD {
            pending.told.push(sentence);
        }
    }

    /// The notes that are due, which then count as published.
    pub(crate) fn take_due(&mut self, now: i64) -> Vec<(NoticeKind, String)> {
        let is_due = |kind: &NoticeKind| {
            let published = self.published.get(kind);
            // A time in the future was set before the clock was set back.
            published.is_none_or(|at| *at > now || now - *at >= PAUSE_SECONDS)
        };
        let due: Vec<_> = self.pending.keys().copied().filter(|kind| is_due(kind)).collect();
        let notes = due.into_iter().filter_map(|kind| {
            self.published.insert(kind, now);
            let Pending { told, number } = self.pending.remove(&kind)?;
            let more = number - told.len();
            let mut note = told.join("; ");
            if more > 0 {
                note = format!("{number} workloads, among them: {note}");
            }
            Some((kind, note))
        });
        notes.collect()
    }

    /// The second (since 1970) at which a note is due.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let due = self
            .pending
            .keys()
            .map(|kind| self.published.get(kind).map_or(0, |published| published + PAUSE_SECONDS));
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_remediations_are_one_event() {
        let mut notices = Notices::default();
        notices.add(NoticeKind::Applied, "Deployment/first: patched".to_owned());
        let first = notices.take_due(1_000);
        assert_eq!(first, [(NoticeKind::Applied, "Deployment/first: patched".to_owned())]);
        for number in 0..1_000 {
            notices.add(NoticeKind::Applied, format!("Deployment/web-{number}: patched"));
        }
        notices.add(NoticeKind::Reverted, "Deployment/bad: taken back".to_owned());
        let due = notices.take_due(1_001);
        assert_eq!(due.len(), 1, "what was taken back is told at once");
        assert_eq!(notices.take_due(1_059), []);
        assert_eq!(notices.next_due(), Some(1_060));
        let due = notices.take_due(1_060);
        let (_, note) = &due[0];
        assert!(note.starts_with("1000 workloads, among them: Deployment/web-0"), "{note}");
        assert!(note.len() < 300, "{note}");
        assert_eq!(notices.next_due(), None);
        notices.add(NoticeKind::Applied, "x".to_owned());
        assert_eq!(notices.take_due(10).len(), 1, "the clock was set back");
    }
}
