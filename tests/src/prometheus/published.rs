//! What the Prometheus operator publishes.

use crate::Published;

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
const SUM: &str = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=";

/// All definitions, as the operator needs them.
pub const OPERATOR_DEFINITIONS: Published =
    Published { module: MODULE, sum: SUM, path: "example/prometheus-operator-crd" };

/// The definitions of the objects by which a platform says how it is monitored.
pub const PROMETHEUS_DEFINITIONS: [Published; 2] = [
    Published {
        module: MODULE,
        sum: SUM,
        path: "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    },
    Published {
        module: MODULE,
        sum: SUM,
        path: "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    },
];
