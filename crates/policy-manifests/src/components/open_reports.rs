//! What the operator needs to write Reports of openreports.io. Installed only where they are wanted.

use super::OPERATOR;
use crate::account_limit::AccountLimit;
use crate::rbac::cluster_rights;
use crate::{Object, Rule};

/// Of the cluster-scoped objects, without the platform's prefix.
const NAME: &str = "policy-operator-open-reports";
const GROUP: &str = "openreports.io";
const REPORTS: &[&str] = &["reports"];
/// The variable that has the operator write Reports, and its value.
pub(crate) const ENABLED: (&str, &str) = ("GOV_OPEN_REPORTS__ENABLED", "true");

/// A server-side apply of what does not exist takes both.
const RULES: &[Rule] = &[Rule::new(GROUP, REPORTS, &["create", "patch"])];

/// The `ClusterRole` and its binding, and the limit of the account.
#[must_use]
pub fn open_reports() -> Vec<Object> {
    let mut objects: Vec<Object> = cluster_rights(NAME, OPERATOR.name, RULES).into();
    objects.extend(account_limit().objects());
    objects
}

/// The operator's account may change no Report of another engine.
fn account_limit() -> AccountLimit {
    let managed_by = "oldObject.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('')";
    AccountLimit {
        name: NAME,
        component: OPERATOR.name,
        resources: (GROUP, REPORTS),
        rules: vec![(
            format!("{managed_by} == '{}'", OPERATOR.name),
            "the operator may change no Report but its own",
        )],
    }
}
