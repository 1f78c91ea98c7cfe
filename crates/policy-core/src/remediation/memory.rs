//! What is remembered of a workload.

use super::target::Target;
use crate::api::RemediatedWorkload;

/// What is remembered of a workload with its present template: by the policy that plans it, else by
/// another policy of the namespace. What one policy has taken back another one does not try again.
pub fn memory<'a>(
    target: &Target,
    own: impl IntoIterator<Item = &'a RemediatedWorkload>,
    others: impl IntoIterator<Item = &'a RemediatedWorkload>,
) -> Option<&'a RemediatedWorkload> {
    let label = target.label();
    let is_of_target = |memory: &&RemediatedWorkload| {
        memory.state.is_remembered()
            && memory.uid == target.uid
            && memory.template == target.template
            && memory.workload == label
    };
    let is_taken_back = |memory: &&RemediatedWorkload| memory.state.is_taken_back();
    // What another policy has patched counts for less than what a third one has taken back.
    let others = || others.into_iter().filter(is_of_target).max_by_key(is_taken_back);
    own.into_iter().find(is_of_target).or_else(others)
}
