//! Requests: both objects are read, and written only if they have not changed since.

use std::time::Duration;

use http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use policy_core::installation::{MUTATING_WEBHOOK_NAMES, WEBHOOK_NAME};
use policy_kube::{ClusterError, ErrorKind, with_deadline};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
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
    ReadMutating,
    WriteMutating,
    /// Using the data of the Secret.
    Use,
    /// Serving the certificate of the Secret.
    Serve,
    /// Issuing a certificate.
    Issue,
}

impl Operation {
    pub(crate) const ALL: [Self; 9] = [
        Self::ReadSecret,
        Self::WriteSecret,
        Self::ReadConfiguration,
        Self::WriteConfiguration,
        Self::ReadMutating,
        Self::WriteMutating,
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
            Self::ReadMutating => "read_mutating_configuration",
            Self::WriteMutating => "write_mutating_configuration",
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
            Self::ReadMutating => "read the MutatingWebhookConfiguration",
            Self::WriteMutating => "write caBundle of the MutatingWebhookConfiguration",
            Self::Use => "use all data of the Secret",
            Self::Serve => "serve the certificate of the Secret",
            Self::Issue => "issue a certificate for the Secret",
        }
    }

    const fn is_about_configuration(self) -> bool {
        matches!(
            self,
            Self::ReadConfiguration
                | Self::WriteConfiguration
                | Self::ReadMutating
                | Self::WriteMutating
        )
    }
}

/// The webhook configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// That of `/validate`.
    Validating,
    /// That of `/mutate`, which exists only where enforce mode is wanted.
    Mutating,
}

impl Configuration {
    pub(crate) const fn reading(self) -> Operation {
        match self {
            Self::Validating => Operation::ReadConfiguration,
            Self::Mutating => Operation::ReadMutating,
        }
    }

    pub(crate) const fn writing(self) -> Operation {
        match self {
            Self::Validating => Operation::WriteConfiguration,
            Self::Mutating => Operation::WriteMutating,
        }
    }

    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingWebhookConfiguration",
            Self::Mutating => "MutatingWebhookConfiguration",
        }
    }

    /// Its webhooks.
    const fn webhooks(self) -> &'static [&'static str] {
        match self {
            Self::Validating => &[WEBHOOK_NAME],
            Self::Mutating => &MUTATING_WEBHOOK_NAMES,
        }
    }

    fn request(self) -> kube::core::Request {
        kube::core::Request::new(match self {
            Self::Validating => ValidatingWebhookConfiguration::url_path(&(), None),
            Self::Mutating => MutatingWebhookConfiguration::url_path(&(), None),
        })
    }
}

/// The `caBundle` of a webhook configuration, with the object's identity and version.
#[derive(Debug)]
pub(crate) struct PublishedCaBundle {
    pub(crate) configuration: Configuration,
    /// Of all webhooks of the configuration; empty where they differ.
    pub(crate) pem: Vec<u8>,
    uid: Option<String>,
    version: Option<String>,
}

/// What is read of a webhook configuration.
#[derive(Deserialize)]
struct Found {
    metadata: ObjectMeta,
    webhooks: Option<Vec<FoundWebhook>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundWebhook {
    name: String,
    client_config: WebhookClientConfig,
}

/// The objects, by their names.
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

    /// The `caBundle` of a configuration.
    pub(crate) async fn published_ca_bundle(
        &self,
        configuration: Configuration,
    ) -> Result<PublishedCaBundle, ClusterError> {
        let operation = configuration.reading();
        let request = configuration.request();
        let request = request.get(&self.config.configuration, &GetParams::default());
        let Found { metadata, webhooks } = self.call(operation, request).await?;
        let mut bundles = Vec::new();
        for name in configuration.webhooks() {
            let webhook = webhooks.iter().flatten().find(|one| one.name == *name);
            let webhook = webhook.ok_or_else(|| {
                self.error(operation, format!("it has no webhook {name}; {INSTALL_CONFIG}"))
            })?;
            bundles.push(webhook.client_config.ca_bundle.clone().unwrap_or_default().0);
        }
        bundles.dedup();
        let pem = if bundles.len() == 1 { bundles.pop().unwrap_or_default() } else { Vec::new() };
        let (uid, version) = (metadata.uid, metadata.resource_version);
        Ok(PublishedCaBundle { configuration, pem, uid, version })
    }

    /// Publishes a `caBundle`, unless the configuration has changed since it was read: a replica
    /// that was suspended in between must not restore an old one.
    pub(crate) async fn publish(
        &self,
        published: &PublishedCaBundle,
        ca_bundle: &str,
    ) -> Result<(), ClusterError> {
        let patch = Patch::Apply(self.ca_bundle_patch(published, ca_bundle));
        let parameters = PatchParams::apply(MANAGER).force();
        let request = published.configuration.request();
        let request = request.patch(&self.config.configuration, &parameters, &patch);
        let _: IgnoredAny = self.call(published.configuration.writing(), request).await?;
        Ok(())
    }

    /// The one field that is applied, to the version of the object that was read.
    fn ca_bundle_patch(&self, published: &PublishedCaBundle, ca_bundle: &str) -> Value {
        let ca_bundle = ByteString(ca_bundle.as_bytes().to_vec());
        let webhooks = published.configuration.webhooks().iter();
        let webhooks =
            webhooks.map(|name| json!({ "name": name, "clientConfig": { "caBundle": ca_bundle } }));
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": published.configuration.kind(),
            "metadata": {
                "name": self.config.configuration,
                "uid": published.uid,
                "resourceVersion": published.version,
            },
            "webhooks": webhooks.collect::<Vec<_>>(),
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

#[cfg(test)]
mod tests {
    use policy_runtime::testing::Script;

    use super::*;

    #[tokio::test]
    async fn one_field_is_applied_and_only_to_the_version_that_was_read() {
        let cluster = Cluster::new(Script::default().client(), &CertificateConfig::default());
        for (configuration, kind, names) in [
            (
                Configuration::Validating,
                "ValidatingWebhookConfiguration",
                &["validate.devops.stochastic.io"][..],
            ),
            (
                Configuration::Mutating,
                "MutatingWebhookConfiguration",
                &["mutate-pods.devops.stochastic.io", "mutate-workloads.devops.stochastic.io"],
            ),
        ] {
            let published = PublishedCaBundle {
                configuration,
                pem: Vec::new(),
                uid: Some("6dcf2d0c".to_owned()),
                version: Some("7".to_owned()),
            };
            let webhooks: Vec<_> = names
                .iter()
                .map(|name| json!({ "name": name, "clientConfig": { "caBundle": "UEVN" } }))
                .collect();
            let expected = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {
                    "name": "kube-devops-policy-webhook",
                    "uid": "6dcf2d0c",
                    "resourceVersion": "7",
                },
                "webhooks": webhooks,
            });
            assert_eq!(cluster.ca_bundle_patch(&published, "PEM"), expected);
        }
    }
}
