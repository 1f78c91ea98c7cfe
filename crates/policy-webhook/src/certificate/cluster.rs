//! Requests: both objects are read, and written only if they have not changed since.

use std::time::Duration;

use http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use policy_core::installation::WEBHOOK_NAME;
use policy_kube::{ClusterError, ErrorKind, with_deadline};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stored::{Data, SecretContents};
use crate::config::CertificateConfig;

/// The field manager of the webhook.
const MANAGER: &str = "policy-webhook";
/// How to create the webhook configuration.
const INSTALL_CONFIG: &str = "`policyctl webhook install-config` creates it";
/// The deadline of a request.
const DEADLINE: Duration = Duration::from_secs(5);

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    ReadSecret,
    WriteSecret,
    ReadConfiguration,
    WriteConfiguration,
    /// Using the data of the Secret.
    Use,
    /// Serving the certificate of the Secret.
    Serve,
    /// Issuing a certificate.
    Issue,
}

impl Operation {
    pub(crate) const ALL: [Self; 7] = [
        Self::ReadSecret,
        Self::WriteSecret,
        Self::ReadConfiguration,
        Self::WriteConfiguration,
        Self::Use,
        Self::Serve,
        Self::Issue,
    ];

    /// The operation as a metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ReadSecret => "read_secret",
            Self::WriteSecret => "write_secret",
            Self::ReadConfiguration => "read_configuration",
            Self::WriteConfiguration => "write_configuration",
            Self::Use => "use",
            Self::Serve => "serve",
            Self::Issue => "issue",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::ReadSecret => "read the Secret",
            Self::WriteSecret => "write the Secret",
            Self::ReadConfiguration => "read the ValidatingWebhookConfiguration",
            Self::WriteConfiguration => "write caBundle of the ValidatingWebhookConfiguration",
            Self::Use => "use all data of the Secret",
            Self::Serve => "serve the certificate of the Secret",
            Self::Issue => "issue a certificate for the Secret",
        }
    }

    const fn is_about_configuration(self) -> bool {
        matches!(self, Self::ReadConfiguration | Self::WriteConfiguration)
    }
}

/// The `caBundle` of the webhook configuration, with the object's identity and version.
pub(crate) struct PublishedCaBundle {
    pub(crate) pem: Vec<u8>,
    uid: Option<String>,
    version: Option<String>,
}

/// Both objects, by their names.
pub(crate) struct Cluster {
    client: Client,
    config: CertificateConfig,
}

impl Cluster {
    pub(crate) fn new(client: Client, config: &CertificateConfig) -> Self {
        Self { client, config: config.clone() }
    }

    pub(crate) async fn secret(&self) -> Result<Secret, ClusterError> {
        let request = self.secrets().get(&self.config.secret, &GetParams::default());
        self.call(Operation::ReadSecret, request).await
    }

    /// Writes the Secret, unless it has changed since it was read.
    pub(crate) async fn write_secret(
        &self,
        mut secret: Secret,
        contents: SecretContents,
    ) -> Result<Secret, ClusterError> {
        let operation = Operation::WriteSecret;
        contents.write(secret.data.get_or_insert_with(Data::new));
        let body = serde_json::to_vec(&secret)
            .map_err(|error| self.error(operation, error.to_string()))?;
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.call(operation, self.secrets().replace(&self.config.secret, &parameters, body)).await
    }

    pub(crate) async fn published_ca_bundle(&self) -> Result<PublishedCaBundle, ClusterError> {
        let operation = Operation::ReadConfiguration;
        let request = configurations().get(&self.config.configuration, &GetParams::default());
        let found: ValidatingWebhookConfiguration = self.call(operation, request).await?;
        let webhook = found.webhooks.into_iter().flatten().find(|one| one.name == WEBHOOK_NAME);
        let webhook = webhook.ok_or_else(|| {
            self.error(operation, format!("it has no webhook {WEBHOOK_NAME}; {INSTALL_CONFIG}"))
        })?;
        Ok(PublishedCaBundle {
            pem: webhook.client_config.ca_bundle.unwrap_or_default().0,
            uid: found.metadata.uid,
            version: found.metadata.resource_version,
        })
    }

    /// Publishes a `caBundle`, unless the configuration has changed since it was read: a replica
    /// that was suspended in between must not restore an old one.
    pub(crate) async fn publish(
        &self,
        published: &PublishedCaBundle,
        ca_bundle: String,
    ) -> Result<ValidatingWebhookConfiguration, ClusterError> {
        let patch = Patch::Apply(self.ca_bundle_patch(published, ca_bundle));
        let parameters = PatchParams::apply(MANAGER).force();
        let request = configurations().patch(&self.config.configuration, &parameters, &patch);
        self.call(Operation::WriteConfiguration, request).await
    }

    /// The one field that is applied, to the version of the object that was read.
    fn ca_bundle_patch(&self, published: &PublishedCaBundle, ca_bundle: String) -> Value {
        let webhook = json!({
            "name": WEBHOOK_NAME,
            "clientConfig": { "caBundle": ByteString(ca_bundle.into_bytes()) },
        });
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": self.config.configuration,
                "uid": published.uid,
                "resourceVersion": published.version,
            },
            "webhooks": [webhook],
        })
    }

    /// An error with the operation and its object.
    pub(crate) fn error(&self, operation: Operation, reason: impl Into<String>) -> ClusterError {
        ClusterError::configuration(self.describe(operation), reason)
    }

    fn describe(&self, operation: Operation) -> String {
        let words = operation.in_words();
        if operation.is_about_configuration() {
            format!("cannot {words} {}", self.config.configuration)
        } else {
            format!("cannot {words} {}/{}", self.config.namespace, self.config.secret)
        }
    }

    fn secrets(&self) -> kube::core::Request {
        kube::core::Request::new(Secret::url_path(&(), Some(&self.config.namespace)))
    }

    /// kube-client's own decoding would log an answer that cannot be decoded, with the private key
    /// in it (kube-client 5.0, `client/mod.rs`, `request`).
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ClusterError> {
        let request = request.map_err(|error| self.error(operation, error.to_string()))?;
        let sent = self.client.request_text(request);
        let text =
            with_deadline(DEADLINE, &self.describe(operation), sent).await.map_err(|error| {
                match error.kind {
                    ErrorKind::NotFound if operation.is_about_configuration() => {
                        error.and(INSTALL_CONFIG)
                    }
                    ErrorKind::NotFound => error.and("apply the installation again"),
                    _ => error,
                }
            })?;
        serde_json::from_str(&text)
            .map_err(|_| self.error(operation, "the answer cannot be decoded"))
    }
}

fn configurations() -> kube::core::Request {
    kube::core::Request::new(ValidatingWebhookConfiguration::url_path(&(), None))
}

#[cfg(test)]
mod tests {
    use policy_runtime::testing::Script;

    use super::*;

    #[tokio::test]
    async fn one_field_is_applied_and_only_to_the_version_that_was_read() {
        let cluster = Cluster::new(Script::default().client(), &CertificateConfig::default());
        let published = PublishedCaBundle {
            pem: Vec::new(),
            uid: Some("6dcf2d0c".to_owned()),
            version: Some("7".to_owned()),
        };
        let expected = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": "kube-devops-policy-webhook",
                "uid": "6dcf2d0c",
                "resourceVersion": "7",
            },
            "webhooks": [{
                "name": "validate.devops.stochastic.io",
                "clientConfig": { "caBundle": "UEVN" },
            }],
        });
        assert_eq!(cluster.ca_bundle_patch(&published, "PEM".to_owned()), expected);
    }
}
