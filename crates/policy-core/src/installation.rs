//! Names and limits that installed objects and services share.

/// The namespace of the platform and of its Leases.
pub const NAMESPACE: &str = "kube-devops";

/// The user of the operator's `ServiceAccount`.
pub const OPERATOR_USER: &str = "system:serviceaccount:kube-devops:policy-operator";

/// The Service and the workload of the webhook.
pub const WEBHOOK_SERVICE: &str = "policy-webhook";

/// The webhook configurations, the validating and the mutating one.
pub const WEBHOOK_CONFIGURATION: &str = "kube-devops-policy-webhook";

/// The name of the webhook within its configuration, also in metrics and audit logs of the API
/// server.
pub const WEBHOOK_NAME: &str = "validate.devops.stochastic.io";

/// The names of the webhooks within the mutating configuration: that of pods, and that of workloads.
pub const MUTATING_WEBHOOK_NAMES: [&str; 2] =
    ["mutate-pods.devops.stochastic.io", "mutate-workloads.devops.stochastic.io"];

/// The webhook's `timeoutSeconds`, after which the API server stops waiting for a response.
pub const WEBHOOK_TIMEOUT_SECONDS: u16 = 5;

/// The Secret with the certificate that the webhook issues for itself.
pub const WEBHOOK_SECRET: &str = "policy-webhook-self-managed";
