//! Where the certificate is kept that the webhook issues to itself.

use k8s_openapi::api::core::v1::Secret;

use crate::WEBHOOK;
use crate::metadata::in_namespace;

/// The name of the Secret.
pub const SECRET: &str = "policy-webhook-self-managed";

/// The Secret as it is installed. Without a field for data: what applies it again leaves alone what
/// the webhook put there.
#[must_use]
pub fn empty_secret() -> Secret {
    let mut metadata = in_namespace(WEBHOOK.name);
    metadata.name = Some(SECRET.to_owned());
    Secret { metadata, type_: Some("Opaque".to_owned()), ..Secret::default() }
}
