//! What a policy takes over of others that enforce no more.

use std::collections::HashSet;

use policy_core::api::{RemediatedWorkload, RemediationState};
use policy_core::remediation::{Target, memory};
use tokio::time::Instant;

use super::record::{Entry, Record, workload_of};

/// What was taken over, so that it is done once: the workload may be gone since.
#[derive(Debug, Default)]
pub(crate) struct TakenOver(HashSet<(String, String, String)>);

impl Record {
    /// Takes over what policies that enforce no more remember of workloads. A rollout is observed by
    /// the oldest of the policies that are left.
    pub(crate) fn take_over(
        &mut self,
        left: Vec<RemediatedWorkload>,
        is_oldest: bool,
        now: Instant,
    ) {
        let before = std::mem::take(&mut self.taken_over);
        for mut memory in left {
            let RemediatedWorkload { workload, uid, template, .. } = &memory;
            let identity = (workload.clone(), uid.clone(), template.clone());
            if !before.0.contains(&identity) {
                let entry = self.entries.entry(workload.clone());
                let entry = entry.or_insert_with(|| Entry::new(workload_of(&memory.workload), now));
                if !is_oldest && memory.state == RemediationState::Observing {
                    memory.state = RemediationState::Patched;
                }
                entry.take_over(memory, now);
            }
            self.taken_over.0.insert(identity);
        }
    }
}

impl Entry {
    /// Whether its state is about that version of the workload, and remembered.
    pub(crate) fn remembers(&self, target: &Target) -> bool {
        memory(target, self.shown.as_ref(), []).is_some()
    }

    fn take_over(&mut self, memory: RemediatedWorkload, now: Instant) {
        let knows_better = self.shown.as_ref().is_some_and(|own| {
            let is_same = own.uid == memory.uid && own.template == memory.template;
            own.state.is_remembered() && (is_same || own.since.0 >= memory.since.0)
        });
        if self.guard.is_none() && !knows_better {
            self.shown = Some(memory);
            self.start = None;
            self.due = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policy_core::Timestamp;
    use policy_core::remediation::Fields;

    use super::super::record::shown;
    use super::*;

    fn memory(name: &str, state: RemediationState, template: &str, at: i64) -> RemediatedWorkload {
        let now = Timestamp::from_second(at).unwrap();
        let workload = shown(&format!("Deployment/{name}"), state, &Fields::default(), now);
        RemediatedWorkload { uid: "u".to_owned(), template: template.to_owned(), ..workload }
    }

    fn states(record: &Record) -> Vec<(&str, RemediationState)> {
        let all = record.entries.iter();
        all.filter_map(|(label, entry)| Some((label.as_str(), entry.state()?))).collect()
    }

    #[test]
    fn what_another_policy_took_back_is_taken_over_once() {
        use RemediationState::{NotPatchable, Observing, Patched, Reverted};
        let now = Instant::now();
        let left = || vec![memory("bad", Reverted, "1", 10), memory("new", Observing, "1", 10)];
        let mut record = Record::default();
        let mut own = Entry::new(workload_of("Deployment/bad"), now + Duration::from_secs(600));
        own.shown = Some(memory("bad", NotPatchable, "1", 20));
        record.entries.insert("Deployment/bad".to_owned(), own);
        record.take_over(left(), true, now);
        assert_eq!(states(&record), [("Deployment/bad", Reverted), ("Deployment/new", Observing)]);
        assert!(record.entries.values().all(|entry| entry.due <= now), "each is read");
        // Its workload was deleted since.
        record.entries.clear();
        record.take_over(left(), true, now);
        assert_eq!(states(&record), []);
        // Only one policy observes a rollout.
        let mut younger = Record::default();
        younger.take_over(left(), false, now);
        assert_eq!(states(&younger), [("Deployment/bad", Reverted), ("Deployment/new", Patched)]);
    }

    #[test]
    fn what_a_policy_knows_itself_counts_unless_the_other_is_newer() {
        use RemediationState::{Patched, Reverted};
        let now = Instant::now();
        for (own, other, expected) in [
            (("1", 10), ("1", 20), Patched),
            (("2", 20), ("1", 10), Patched),
            (("1", 10), ("2", 20), Reverted),
        ] {
            let mut record = Record::default();
            let mut entry = Entry::new(workload_of("Deployment/web"), now);
            entry.shown = Some(memory("web", Patched, own.0, own.1));
            record.entries.insert("Deployment/web".to_owned(), entry);
            record.take_over(vec![memory("web", Reverted, other.0, other.1)], true, now);
            assert_eq!(states(&record), [("Deployment/web", expected)], "{own:?} {other:?}");
        }
    }
}
