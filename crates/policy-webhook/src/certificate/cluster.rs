//! The calls: reading both objects, and writing them only where nobody else has meanwhile.

use std::time::Duration;

use http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use policy_core::installation::WEBHOOK_NAME;
use policy_runtime::client::reason;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::kept::{Contents, Data};
use crate::config::CertificateConfig;

/// Under which name the API server keeps who has written what.
const MANAGER: &str = "policy-webhook";
/// How people get the configuration.
const INSTALL_CONFIG: &str = "`policyctl webhook install-config` makes it";
/// For one call.
const DEADLINE: Duration = Duration::from_secs(5);

/// What may fail. As metrics have it, and as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    ReadSecret,
    WriteSecret,
    ReadConfiguration,
    WriteConfiguration,
    /// To use what the Secret holds.
    Use,
    /// To serve the certificate that is in it.
    Serve,
    /// To make a new certificate.
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

    /// The value of a label.
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

    /// How people get the object that it is about.
    const fn way_to_its_object(self) -> &'static str {
        match self {
            Self::ReadConfiguration | Self::WriteConfiguration => INSTALL_CONFIG,
            _ => "apply the installation again",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::ReadSecret => "read the Secret",
            Self::WriteSecret => "write the Secret",
            Self::ReadConfiguration => "read the ValidatingWebhookConfiguration",
            Self::WriteConfiguration => "put the authority into the ValidatingWebhookConfiguration",
            Self::Use => "use all of the Secret",
            Self::Serve => "serve the certificate of the Secret",
            Self::Issue => "issue a certificate for the Secret",
        }
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} {object}: {problem}", .operation.in_words())]
pub(crate) struct Failure {
    pub(crate) operation: Operation,
    pub(crate) object: String,
    pub(crate) problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("there is none; {0}")]
    Gone(&'static str),
    #[error("{}", reason(.0))]
    Refused(Box<kube::Error>),
    #[error("no answer within {DEADLINE:?}")]
    Late,
    /// Without a word of it: it may hold a key.
    #[error("the answer is none that can be read")]
    Unreadable,
    #[error("it has no webhook {}; {INSTALL_CONFIG}", WEBHOOK_NAME)]
    NoWebhook,
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Whether somebody else has written meanwhile.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(&self.problem, Problem::Refused(error)
            if matches!(&**error, kube::Error::Api(status) if status.code == 409))
    }
}

/// What the API server is told of the webhook, and which state of the object says so.
pub(crate) struct Told {
    pub(crate) bundle: Vec<u8>,
    uid: Option<String>,
    version: Option<String>,
}

/// Both objects, by their names.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    secret: String,
    configuration: String,
}

impl Cluster {
    pub(crate) fn new(client: Client, config: &CertificateConfig) -> Self {
        let CertificateConfig { namespace, secret, configuration, .. } = config.clone();
        Self { client, namespace, secret, configuration }
    }

    /// The Secret.
    pub(crate) async fn secret(&self) -> Result<Secret, Failure> {
        let request = self.secrets().get(&self.secret, &kube::api::GetParams::default());
        self.call(Operation::ReadSecret, request).await
    }

    /// Writes the Secret, unless somebody else has since it was read; gives it as it is then.
    pub(crate) async fn write_secret(
        &self,
        mut secret: Secret,
        contents: Contents,
    ) -> Result<Secret, Failure> {
        let operation = Operation::WriteSecret;
        contents.write(secret.data.get_or_insert_with(Data::new));
        let body = serde_json::to_vec(&secret)
            .map_err(|error| self.failed(operation, Problem::Other(error.to_string())))?;
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let request = self.secrets().replace(&self.secret, &parameters, body);
        self.call(operation, request).await
    }

    /// What the API server is told.
    pub(crate) async fn told(&self) -> Result<Told, Failure> {
        let operation = Operation::ReadConfiguration;
        let request = configurations().get(&self.configuration, &kube::api::GetParams::default());
        let found: ValidatingWebhookConfiguration = self.call(operation, request).await?;
        let webhook = found.webhooks.into_iter().flatten().find(|one| one.name == WEBHOOK_NAME);
        let webhook = webhook.ok_or_else(|| self.failed(operation, Problem::NoWebhook))?;
        Ok(Told {
            bundle: webhook.client_config.ca_bundle.unwrap_or_default().0,
            uid: found.metadata.uid,
            version: found.metadata.resource_version,
        })
    }

    /// Tells the API server of these authorities, unless the configuration is another one by now:
    /// who stood still in between must not bring back what was there before.
    pub(crate) async fn tell(&self, told: &Told, bundle: String) -> Result<(), Failure> {
        let patch = self.bundle_alone(told, bundle);
        let parameters = PatchParams::apply(MANAGER).force();
        let request =
            configurations().patch(&self.configuration, &parameters, &Patch::Apply(&patch));
        let written: Result<ValidatingWebhookConfiguration, _> =
            self.call(Operation::WriteConfiguration, request).await;
        written.map(drop)
    }

    /// All that is applied: one field, of the object in the state in which it was seen.
    fn bundle_alone(&self, told: &Told, bundle: String) -> Value {
        let webhook = json!({
            "name": WEBHOOK_NAME,
            "clientConfig": { "caBundle": ByteString(bundle.into_bytes()) },
        });
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": self.configuration,
                "uid": told.uid,
                "resourceVersion": told.version,
            },
            "webhooks": [webhook],
        })
    }

    /// A failure with the object that the operation is about.
    pub(crate) fn failed(&self, operation: Operation, problem: Problem) -> Failure {
        let object = match operation {
            Operation::ReadConfiguration | Operation::WriteConfiguration => {
                self.configuration.clone()
            }
            _ => format!("{}/{}", self.namespace, self.secret),
        };
        Failure { operation, object, problem }
    }

    fn secrets(&self) -> kube::core::Request {
        kube::core::Request::new(Secret::url_path(&(), Some(&self.namespace)))
    }

    /// The client's own way of decoding would log an answer that does not decode, keys and all.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Failure> {
        let failed = |problem| self.failed(operation, problem);
        let request = request.map_err(|error| failed(Problem::Other(error.to_string())))?;
        let answer = timeout(DEADLINE, self.client.request_text(request)).await;
        let text = answer.map_err(|_| failed(Problem::Late))?.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => {
                failed(Problem::Gone(operation.way_to_its_object()))
            }
            error => failed(Problem::Refused(Box::new(error))),
        })?;
        serde_json::from_str(&text).map_err(|_| failed(Problem::Unreadable))
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
    async fn one_field_is_applied_and_only_to_what_was_seen() {
        let cluster = Cluster::new(Script::default().client(), &CertificateConfig::default());
        let told = Told {
            bundle: Vec::new(),
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
        assert_eq!(cluster.bundle_alone(&told, "PEM".to_owned()), expected);
    }
}
