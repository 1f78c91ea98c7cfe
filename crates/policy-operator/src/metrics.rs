//! The buckets of the histogram of the operator.

use policy_metrics::operator::DURATION;
use policy_runtime::metrics::Buckets;

/// A reconcile takes some microseconds without a write, and some milliseconds with one.
pub(crate) const HISTOGRAMS: &[Buckets<'static>] = &[(
    DURATION.name,
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0],
)];
