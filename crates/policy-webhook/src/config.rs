//! What can be configured.

use std::net::IpAddr;
use std::time::Duration;

use policy_core::namespaces::ExcludedNamespaces;
use policy_manifests::admission::Admission;
use policy_manifests::certificate::{Names, self_managed};
use policy_manifests::{NAMESPACE, WEBHOOK};
use policy_runtime::config::{Configuration, Flag, Problems, RuntimeConfig, is_subdomain};
use policy_runtime::endpoints::PostLimits;
use policy_runtime::tls::TlsConfig;
use serde::{Deserialize, Serialize};

/// etcd takes no object of more than 1.5 MiB, but a review holds two, and the API server takes
/// requests of 3 MiB.
const LARGEST_BODY: usize = 7 << 20;
/// The API server waits for a webhook no longer than that.
const LONGEST_DEADLINE: u32 = 30_000;
/// Ten years. Nobody wants a key for longer that nobody looks after.
const MOST_DAYS: u32 = 3650;

/// The configuration of the webhook.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What all services have.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// `tls`: the certificate, where it comes as files, and who may ask.
    pub tls: TlsConfig,
    /// `certificate`: the one that the webhook issues to itself, where `tls.cert` is not set.
    pub certificate: CertificateConfig,
    /// `admission`: the limits of a request.
    pub admission: AdmissionConfig,
    /// Namespaces that are left out, beside the system's. Default: none.
    pub excluded_namespaces: Vec<String>,
}

/// The certificate that the webhook issues to itself.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateConfig {
    /// `certificate.secret`: the Secret that it is kept in; it has to exist.
    pub secret: String,
    /// `certificate.configuration`: the `ValidatingWebhookConfiguration` whose `caBundle` follows.
    pub configuration: String,
    /// `certificate.namespace`: the namespace of the Secret and of the Service.
    pub namespace: String,
    /// `certificate.service`: the Service that the API server calls; the certificate has its names.
    pub service: String,
    /// `certificate.names`: more names and addresses that it is for. Default: none.
    pub names: Vec<String>,
    /// `certificate.days`: how long one is valid; default 90. It is replaced when a third is left.
    pub days: u32,
}

/// The limits of a request.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionConfig {
    /// `admission.concurrency`: so many requests at a time; more are turned away at once, and
    /// allowed by the API server; default 256.
    pub concurrency: u32,
    /// `admission.deadlineMillis`: a request is allowed unjudged after that time; default 4000.
    /// Has to be below the `timeoutSeconds` of the webhook's configuration.
    pub deadline_millis: u32,
}

impl Default for Config {
    fn default() -> Self {
        let mut runtime = RuntimeConfig::new(([0, 0, 0, 0], 8443), "policy-webhook");
        // Endpoints of a Service still name a pod for some seconds after it was told to stop.
        runtime.shutdown.drain_seconds = 5;
        Self {
            runtime,
            tls: TlsConfig::default(),
            certificate: CertificateConfig::default(),
            admission: AdmissionConfig { concurrency: 256, deadline_millis: 4_000 },
            excluded_namespaces: Vec::new(),
        }
    }
}

impl Configuration for Config {
    const FLAGS: &'static [Flag] = &TlsConfig::FLAGS;

    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn runtime_mut(&mut self) -> &mut RuntimeConfig {
        &mut self.runtime
    }

    fn tls(&self) -> Option<&TlsConfig> {
        Some(&self.tls)
    }

    fn check(&self, problems: &mut Problems) {
        let AdmissionConfig { concurrency, deadline_millis } = self.admission;
        self.certificate.check(problems);
        if !(1..=10_000).contains(&concurrency) {
            let what = format!("must be from 1 to 10000, not {concurrency}");
            problems.add(&["admission.concurrency"], what);
        }
        if !(1..=LONGEST_DEADLINE).contains(&deadline_millis) {
            let what = format!("must be from 1 to {LONGEST_DEADLINE}, not {deadline_millis}");
            problems.add(&["admission.deadlineMillis"], what);
        }
    }
}

impl Default for CertificateConfig {
    /// What is installed.
    fn default() -> Self {
        Self {
            secret: self_managed::SECRET.to_owned(),
            configuration: Admission::name(),
            namespace: NAMESPACE.to_owned(),
            service: WEBHOOK.name().to_owned(),
            names: Vec::new(),
            days: 90,
        }
    }
}

impl CertificateConfig {
    /// The names of the Service, and those that were added.
    #[must_use]
    pub fn all_names(&self) -> Names {
        let mut names = Names::of_service(&self.service, &self.namespace);
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
                let what = format!("`{name}` is neither an IP address nor a name of DNS");
                problems.add(&["certificate.names"], what);
            }
        }
        if !(1..=MOST_DAYS).contains(&self.days) {
            let what = format!("must be from 1 to {MOST_DAYS}, not {}", self.days);
            problems.add(&["certificate.days"], what);
        }
    }
}

impl AdmissionConfig {
    /// The same, as the server takes them.
    #[must_use]
    pub fn limits(&self) -> PostLimits {
        let deadline = Duration::from_millis(self.deadline_millis.into());
        PostLimits {
            body: LARGEST_BODY,
            read: deadline,
            concurrency: self.concurrency as usize,
            deadline,
        }
    }
}

impl Config {
    /// The namespaces that are left out.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(config: &Config) -> String {
        let mut problems = Problems::default();
        config.check(&mut problems);
        format!("{problems:?}")
    }

    fn told_nothing() -> String {
        format!("{:?}", Problems::default())
    }

    #[test]
    fn wrong_limits_are_told_by_their_keys() {
        let admission = AdmissionConfig { concurrency: 0, deadline_millis: 60_000 };
        let told = told(&Config { admission, ..Config::default() });
        for key in ["admission.concurrency", "admission.deadlineMillis"] {
            assert!(told.contains(key), "{key}: {told}");
        }
    }

    #[test]
    fn without_files_the_defaults_are_those_of_the_installation() {
        let config = Config::default();
        assert_eq!(told(&config), told_nothing());
        let names = config.certificate.all_names();
        assert!(names.dns.contains(&"policy-webhook.kube-devops.svc".to_owned()), "{names:?}");
        assert_eq!(config.certificate.lifetime().as_secs(), 90 * 86_400);
    }

    #[test]
    fn what_no_certificate_can_be_for_is_told_by_its_key() {
        let certificate = CertificateConfig {
            secret: "My Secret".to_owned(),
            configuration: String::new(),
            namespace: "a.b".to_owned(),
            service: "-".to_owned(),
            names: ["10.0.0.7", "fd00::7", "hook.example.com", "Hook", "10.0.0."]
                .map(str::to_owned)
                .to_vec(),
            days: 0,
        };
        let names = certificate.all_names();
        assert_eq!((names.ips.len(), names.dns.len()), (2, 4 + 3));
        let told = told(&Config { certificate, ..Config::default() });
        for part in [
            "certificate.secret",
            "certificate.configuration",
            "certificate.namespace",
            "certificate.service",
            "`Hook` is neither an IP address nor a name of DNS",
            "`10.0.0.` is neither",
            "must be from 1 to 3650, not 0",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("`hook.example.com`") && !told.contains("`10.0.0.7`"), "{told}");
    }
}
