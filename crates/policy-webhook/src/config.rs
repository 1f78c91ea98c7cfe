//! The configuration of the webhook.

use std::net::IpAddr;
use std::time::Duration;

use policy_core::installation::{
    NAMESPACE, WEBHOOK_CONFIGURATION, WEBHOOK_SECRET, WEBHOOK_SERVICE, WEBHOOK_TIMEOUT_SECONDS,
};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::workload::{self, WorkloadKind};
use policy_kube::certificate::CertificateNames;
use policy_runtime::config::{Configuration, Problems, RuntimeConfig, is_subdomain};
use policy_runtime::endpoints::PostLimits;
use policy_runtime::tls::TlsConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest object that etcd stores, by the default of its `--max-request-bytes`:
/// <https://etcd.io/docs/v3.6/dev-guide/limit/>.
const LARGEST_OBJECT: usize = 3 << 19;
/// What a byte of an object may become in a review. The API server writes JSON with Go's encoder,
/// which escapes `<`, `>` and `&` as `\u003c` and so on, for the sake of HTML:
/// <https://pkg.go.dev/encoding/json#Marshal>,
/// <https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apimachinery/pkg/runtime/serializer/json/json.go>.
const ESCAPED: usize = 6;
/// The largest body that is read whole, about 19 MiB: an object and the one that it replaces, and
/// room for what is around them, such as the groups of the user.
pub(crate) const LARGEST_BODY: usize = 2 * LARGEST_OBJECT * ESCAPED + (1 << 20);
/// So many bytes of a body hold everything before its object.
pub(crate) const BEGINNING: usize = 64 << 10;
/// The answer must reach the API server before its timeout.
const LONGEST_DEADLINE_MILLIS: u16 = WEBHOOK_TIMEOUT_SECONDS * 1000 - 1;
/// Ten years.
const MOST_DAYS: u16 = 3650;

/// The configuration of the webhook.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The keys of every service.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// `tls`
    pub tls: TlsConfig,
    /// `certificate`
    pub certificate: CertificateConfig,
    /// `admission`
    pub admission: AdmissionConfig,
    /// Namespaces that are excluded, in addition to system namespaces.
    pub excluded_namespaces: Vec<String>,
    /// Further kinds with a pod template that are judged, each as `GROUP/KIND` or `GROUP/KIND=PATH`
    /// (such as `argoproj.io/Rollout`), or as `group`, `kind` and `podTemplatePath`.
    pub workload_kinds: Vec<WorkloadKind>,
}

/// `certificate`: the self-managed certificate, which is used where `tls.cert` is not set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateConfig {
    /// Secret that stores the self-managed certificate; it has to exist.
    pub secret: String,
    /// `ValidatingWebhookConfiguration` whose `caBundle` is kept up to date.
    pub configuration: String,
    /// Namespace of the Secret and of the Service.
    pub namespace: String,
    /// Service that the API server calls; the certificate is valid for all its names.
    pub service: String,
    /// More DNS names and IP addresses that the certificate is valid for.
    pub names: Vec<String>,
    /// Days that a certificate is valid; it is replaced when a third of them is left.
    #[schemars(range(min = 1, max = MOST_DAYS))]
    pub days: u16,
}

/// `admission`: the limits of a request.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionConfig {
    /// Requests that are handled at the same time; further ones are rejected at once, and allowed
    /// by the API server.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: u16,
    /// Milliseconds after which a request is allowed unjudged; below the `timeoutSeconds` of the
    /// webhook's configuration.
    #[schemars(range(min = 1, max = LONGEST_DEADLINE_MILLIS))]
    pub deadline_millis: u16,
}

impl Default for Config {
    fn default() -> Self {
        let mut runtime = RuntimeConfig::new(8443);
        // EndpointSlices still list a terminating pod for some seconds.
        runtime.shutdown.drain_seconds = 5;
        Self {
            runtime,
            tls: TlsConfig::default(),
            certificate: CertificateConfig::default(),
            admission: AdmissionConfig { concurrency: 256, deadline_millis: 4_000 },
            excluded_namespaces: Vec::new(),
            workload_kinds: Vec::new(),
        }
    }
}

impl Configuration for Config {
    const FLAGS: &'static [&'static str] = &TlsConfig::FLAGS;

    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn tls(&self) -> Option<&TlsConfig> {
        Some(&self.tls)
    }

    fn check(&self, problems: &mut Problems) {
        self.tls.check(problems);
        self.certificate.check(problems);
        if let Err(error) = workload::check_all(&self.workload_kinds) {
            problems.add(&["workloadKinds"], error.to_string());
        }
    }
}

impl Default for CertificateConfig {
    fn default() -> Self {
        Self {
            secret: WEBHOOK_SECRET.to_owned(),
            configuration: WEBHOOK_CONFIGURATION.to_owned(),
            namespace: NAMESPACE.to_owned(),
            service: WEBHOOK_SERVICE.to_owned(),
            names: Vec::new(),
            days: 90,
        }
    }
}

impl CertificateConfig {
    /// All names of the certificate.
    #[must_use]
    pub fn all_names(&self) -> CertificateNames {
        let mut names = CertificateNames::of_service(&self.service, &self.namespace);
        for name in &self.names {
            match name.parse() {
                Ok(ip) => names.ips.push(ip),
                Err(_) => names.dns.push(name.clone()),
            }
        }
        names
    }

    /// How long a certificate is valid.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.days) * 24 * 60 * 60)
    }

    fn check(&self, problems: &mut Problems) {
        problems.check_subdomain("certificate.secret", &self.secret);
        problems.check_subdomain("certificate.configuration", &self.configuration);
        problems.check_label("certificate.namespace", &self.namespace);
        problems.check_label("certificate.service", &self.service);
        for name in &self.names {
            if name.parse::<IpAddr>().is_err() && !is_subdomain(name) {
                let what = format!("`{name}` is neither an IP address nor a DNS name");
                problems.add(&["certificate.names"], what);
            }
        }
    }
}

impl AdmissionConfig {
    /// The limits of the endpoint.
    #[must_use]
    pub fn limits(&self) -> PostLimits {
        let deadline = Duration::from_millis(self.deadline_millis.into());
        PostLimits {
            body: LARGEST_BODY,
            beginning: BEGINNING,
            read: deadline,
            concurrency: self.concurrency.into(),
            deadline,
        }
    }
}

impl Config {
    /// The excluded namespaces.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use policy_runtime::config::{Args, Origin};

    use super::*;

    fn problems(variables: &[(&str, &str)]) -> String {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let loaded = Origin::new(Args::default(), variables).load::<Config>();
        loaded.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn wrong_limits_are_reported_by_their_keys() {
        let found = problems(&[("GOV_ADMISSION__CONCURRENCY", "0")]);
        let expected = "admission.concurrency: must be a whole number from 1 to 10000, not `0`";
        assert!(found.ends_with(expected), "{found}");
        for (millis, is_valid) in [("4999", true), ("5000", false), ("10000", false), ("0", false)]
        {
            let found = problems(&[("GOV_ADMISSION__DEADLINE_MILLIS", millis)]);
            assert_eq!(found.is_empty(), is_valid, "{millis}: {found}");
        }
    }

    #[test]
    fn the_webhook_has_no_lease_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "lease: {name: other}").unwrap();
        let args = Args { config: Some(file.path().to_owned()), ..Args::default() };
        let error = Origin::new(args, []).load::<Config>().unwrap_err();
        assert!(error.to_string().contains("lease: no such key"), "{error}");
    }

    #[test]
    fn without_files_the_defaults_are_those_of_the_installation() {
        assert_eq!(problems(&[]), "");
        let config = Config::default();
        let names = config.certificate.all_names();
        assert!(names.dns.contains(&"policy-webhook.kube-devops.svc".to_owned()), "{names:?}");
        assert_eq!(config.certificate.lifetime().as_secs(), 90 * 86_400);
    }

    #[test]
    fn wrong_names_are_reported_by_their_keys() {
        let found = problems(&[
            ("GOV_CERTIFICATE__SECRET", "My Secret"),
            ("GOV_CERTIFICATE__CONFIGURATION", ""),
            ("GOV_CERTIFICATE__NAMESPACE", "a.b"),
            ("GOV_CERTIFICATE__SERVICE", "-"),
            ("GOV_CERTIFICATE__NAMES", "10.0.0.7,fd00::7,hook.example.com,Hook,10.0.0."),
            ("GOV_CERTIFICATE__DAYS", "0"),
        ]);
        for part in [
            "certificate.secret",
            "certificate.configuration",
            "certificate.namespace",
            "certificate.service",
            "`Hook` is neither an IP address nor a DNS name",
            "`10.0.0.` is neither",
            "must be a whole number from 1 to 3650, not `0`",
        ] {
            assert!(found.contains(part), "{part}: {found}");
        }
        assert!(!found.contains("`hook.example.com`") && !found.contains("`10.0.0.7`"), "{found}");
    }

    #[test]
    fn names_and_addresses_are_distinguished() {
        let names = ["10.0.0.7", "fd00::7", "hook.example.com"].map(str::to_owned).to_vec();
        let names = CertificateConfig { names, ..CertificateConfig::default() }.all_names();
        assert_eq!((names.ips.len(), names.dns.len()), (2, 4 + 1));
    }
}
