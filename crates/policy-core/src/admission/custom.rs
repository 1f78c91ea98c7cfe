//! Custom checks at admission.

use std::sync::Arc;

use super::objects::RawObjects;
use super::raw::Raw;
use crate::custom::{
    CustomChecks, CustomInput, CustomNamespace, CustomResults, CustomViolation, ObjectDocument,
};
use crate::policy::CompiledPolicy;
use crate::workload::ObjectKind;

/// The objects of a request as expressions see them.
#[derive(Clone, Debug)]
pub(super) struct CustomObjects {
    new: CustomInput,
    /// The object before an update.
    old: Option<CustomInput>,
}

impl CustomObjects {
    /// Reads the objects of a review once more, as expressions see them.
    pub(super) fn read(kind: ObjectKind, body: Raw<'_>, is_update: bool) -> Self {
        let RawObjects { object, old_object } = RawObjects::of(body).unwrap_or_default();
        let input = |Raw(json): Raw<'_>| {
            let read = serde_json::from_slice::<ObjectDocument>(json);
            read.map_or_else(|_| CustomInput::unreadable(), |read| CustomInput::of(kind, read))
        };
        Self {
            new: object.map_or_else(CustomInput::unreadable, input),
            old: old_object.filter(|_| is_update).map(input),
        }
    }

    /// What the custom checks of a policy say while there is time left, and whether there was enough:
    /// of an update only the findings that it brings in.
    pub(super) fn judge(
        &self,
        checks: &CustomChecks,
        namespace: Option<&CustomNamespace>,
        is_left: &dyn Fn() -> bool,
    ) -> (CustomResults, bool) {
        let (mut results, is_complete) = checks.judge_while(&self.new, namespace, is_left);
        let Some(old) = self.old.as_ref().filter(|_| !results.violations.is_empty()) else {
            return (results, is_complete);
        };
        let (known, was_complete) = checks.judge_while(old, namespace, is_left);
        let is_new = |found: &Arc<CustomViolation>| {
            was_complete && known.violations.iter().all(|known| known.name != found.name)
        };
        results.violations.retain(is_new);
        (results, is_complete && was_complete)
    }
}

impl From<CustomInput> for CustomObjects {
    fn from(new: CustomInput) -> Self {
        Self { new, old: None }
    }
}

/// Whether a policy has custom checks.
pub(super) fn has_custom(rules: &CompiledPolicy) -> bool {
    !rules.admission().mode.is_disabled() && rules.custom().is_some()
}

/// A custom check that says nothing of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unjudged {
    /// The name of the check.
    pub(super) check: Arc<str>,
    /// Why.
    pub(super) reason: Arc<str>,
}

/// The custom checks of a policy that say nothing of an object: those that are refused, and those
/// without a result.
pub(super) fn unjudged(
    checks: &CustomChecks,
    results: &CustomResults,
) -> impl Iterator<Item = Unjudged> {
    let refused = checks.refused().iter().map(|refused| Unjudged {
        check: Arc::clone(&refused.name),
        reason: format!("its expression is refused: {}", refused.reason).into(),
    });
    let failed = results.failures.iter().map(|failure| Unjudged {
        check: Arc::clone(&failure.name),
        reason: Arc::clone(&failure.reason),
    });
    refused.chain(failed).collect::<Vec<_>>().into_iter()
}
