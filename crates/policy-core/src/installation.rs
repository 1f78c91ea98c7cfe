//! Names and limits that the installed objects and the services have to agree on.

/// The namespace of the platform and of its Leases.
pub const NAMESPACE: &str = "kube-devops";

/// The Service and the workload of the webhook.
pub const WEBHOOK_SERVICE: &str = "policy-webhook";

/// The `ValidatingWebhookConfiguration`.
pub const WEBHOOK_CONFIGURATION: &str = "kube-devops-policy-webhook";

/// The webhook in its configuration; metrics and audit logs of the API server have this name.
pub const WEBHOOK_NAME: &str = "validate.devops.stochastic.io";

/// The webhook's `timeoutSeconds`: how long the API server waits for an answer.
pub const WEBHOOK_TIMEOUT_SECONDS: u16 = 5;

/// The Secret with the certificate that the webhook issues for itself.
pub const WEBHOOK_SECRET: &str = "policy-webhook-self-managed";
