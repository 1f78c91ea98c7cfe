//! The certificates in the Secret: read without trust, and written anew by each action.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::ByteString;
use policy_kube::certificate::{CertificateNames, IssuedCertificate, PemPair, is_key_of};
use policy_runtime::tls::Time;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::time::ASN1Time;

/// The trusted CA certificates, one after the other.
const CA_BUNDLE: &str = "ca.crt";
/// The certificate that is served.
const SERVED: [&str; 2] = ["tls.crt", "tls.key"];
/// The next certificate, until its CA has been published for long enough.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT: [&str; 2] = [NEXT_CERTIFICATE, "next.key"];
/// The keys that are written here. Other keys of the Secret stay as they are.
const KEYS: [&str; 5] = [CA_BUNDLE, SERVED[0], SERVED[1], NEXT[0], NEXT[1]];

/// Two suffice, and one more for each change of names within a lifetime. There are many only where
/// somebody removes certificates repeatedly; the oldest then go, or the Secret would grow forever.
const MAX_CAS: usize = 8;

/// The data of the Secret.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// The usable certificates of the Secret. Without `Debug`: it holds private keys.
pub(crate) struct StoredCertificates {
    /// All CA certificates of `ca.crt`, also expired ones.
    cas: Vec<CaCertificate>,
    /// The certificate to serve.
    pub(crate) served: Option<ServerCertificate>,
    /// The certificate to serve next.
    pub(crate) next: Option<ServerCertificate>,
    /// Whether the next certificate is not valid yet by this replica's clock. It stays: the clock
    /// of the replica that issued it differs.
    pub(crate) is_next_early: bool,
    is_clean: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct CaCertificate {
    pem: String,
    not_after: Time,
}

/// A certificate that is valid now and signed by one of the CAs, with its key.
pub(crate) struct ServerCertificate {
    pub(crate) pair: PemPair,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    pub(crate) names: CertificateNames,
    ca: CaCertificate,
}

/// Why data of the Secret is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DataProblem {
    #[error("{CA_BUNDLE} holds something other than CA certificates, or one of them twice")]
    CaBundle,
    #[error("{0} is not one certificate")]
    Certificate(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not the key of {1}")]
    OtherKey(&'static str, &'static str),
    #[error("{0} is not valid before {1}")]
    Early(&'static str, Time),
    #[error("{0} expired at {1}")]
    Expired(&'static str, Time),
    #[error("no valid CA of {CA_BUNDLE} has signed {0}")]
    Unsigned(&'static str),
}

impl StoredCertificates {
    /// Reads the data, and reports what cannot be used. A Secret without data is new, and has no
    /// problem.
    pub(crate) fn read(data: &Data, now: Time) -> (Self, Vec<DataProblem>) {
        let mut problems = Vec::new();
        let (cas, is_only_cas) = ca_certificates(text(data, CA_BUNDLE).unwrap_or_default());
        if !is_only_cas {
            problems.push(DataProblem::CaBundle);
        }
        let mut read = |keys| match server_certificate(data, keys, &cas, now) {
            Ok(certificate) => certificate,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let (served, next) = (read(SERVED), read(NEXT));
        let is_next_early =
            problems.iter().any(|one| matches!(one, DataProblem::Early(NEXT_CERTIFICATE, _)));
        let has_unusable_next =
            next.is_none() && !is_next_early && NEXT.iter().any(|key| data.contains_key(*key));
        let is_clean =
            is_only_cas && !has_unusable_next && cas.iter().all(|ca| ca.not_after >= now);
        (Self { cas, served, next, is_next_early, is_clean }, problems)
    }

    /// The `caBundle` to publish: all CA certificates of the Secret. It depends on the Secret alone:
    /// if a clock decided, two replicas could contradict each other.
    pub(crate) fn ca_bundle(&self) -> String {
        self.cas.iter().map(|ca| ca.pem.as_str()).collect()
    }

    /// How many valid CA certificates of a published `caBundle` the Secret does not have.
    pub(crate) fn missing_of(&self, published: &[u8], now: Time) -> usize {
        let (published, _) = ca_certificates(std::str::from_utf8(published).unwrap_or_default());
        published.iter().filter(|ca| ca.not_after >= now && !self.cas.contains(ca)).count()
    }

    /// The names of the next certificate. Where the served certificate lacks a wanted name, its
    /// other names stay: replicas with different names would otherwise remove each other's.
    pub(crate) fn next_names(&self, wanted: &CertificateNames) -> CertificateNames {
        let mut names = wanted.clone();
        if let Some(served) = self.served.as_ref().filter(|served| !served.is_for(wanted)) {
            let CertificateNames { dns, ips } = &served.names;
            names.dns.extend(dns.iter().filter(|name| !wanted.dns.contains(name)).cloned());
            names.ips.extend(ips.iter().filter(|ip| !wanted.ips.contains(ip)));
        }
        names
    }

    /// Whether there is nothing to remove: no expired CA certificate and no unusable data.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean
    }

    /// Replaces everything but the CA certificates by an issued certificate.
    pub(crate) fn issued(&self, issued: &IssuedCertificate, now: Time) -> SecretContents {
        let ca_bundle = self.pruned_cas(Some(&issued.authority.certificate), [None; 2], now);
        SecretContents { ca_bundle, served: Some(issued.server.clone()), next: None }
    }

    /// Adds an issued certificate as the next one.
    pub(crate) fn with_next(&self, issued: &IssuedCertificate, now: Time) -> SecretContents {
        let new = Some(issued.authority.certificate.as_str());
        let ca_bundle = self.pruned_cas(new, [self.served.as_ref(), None], now);
        let next = Some(issued.server.clone());
        SecretContents { ca_bundle, served: pair(self.served.as_ref()), next }
    }

    /// Makes the next certificate the served one.
    pub(crate) fn promoted(&self, now: Time) -> SecretContents {
        SecretContents { served: pair(self.next.as_ref()), next: None, ..self.pruned(now) }
    }

    /// The same certificates, without what is expired or unusable.
    pub(crate) fn pruned(&self, now: Time) -> SecretContents {
        let certificates = [self.served.as_ref(), self.next.as_ref()];
        let [served, next] = certificates.map(pair);
        SecretContents { ca_bundle: self.pruned_cas(None, certificates, now), served, next }
    }

    /// The CA certificates that are valid, with a new one last. Where there are too many, the
    /// oldest go that have signed none of these certificates.
    fn pruned_cas(
        &self,
        new: Option<&str>,
        certificates: [Option<&ServerCertificate>; 2],
        now: Time,
    ) -> String {
        let mut cas: Vec<_> = self.cas.iter().filter(|ca| ca.not_after >= now).collect();
        let most = MAX_CAS - usize::from(new.is_some());
        let is_needed =
            |ca: &CaCertificate| certificates.into_iter().flatten().any(|one| one.ca == *ca);
        while cas.len() > most
            && let Some(oldest) = cas.iter().position(|ca| !is_needed(ca))
        {
            cas.remove(oldest);
        }
        cas.into_iter().map(|ca| ca.pem.as_str()).chain(new).collect()
    }
}

impl ServerCertificate {
    /// Whether it has all of these names.
    pub(crate) fn is_for(&self, names: &CertificateNames) -> bool {
        names.dns.iter().all(|name| self.names.dns.contains(name))
            && names.ips.iter().all(|ip| self.names.ips.contains(ip))
    }
}

/// The data that an action writes into the Secret. Without `Debug`: it holds private keys.
pub(crate) struct SecretContents {
    ca_bundle: String,
    served: Option<PemPair>,
    next: Option<PemPair>,
}

impl SecretContents {
    /// Replaces the data.
    pub(crate) fn write(self, data: &mut Data) {
        for key in KEYS {
            data.remove(key);
        }
        let mut put = |key: &str, text: String| {
            data.insert(key.to_owned(), ByteString(text.into_bytes()));
        };
        put(CA_BUNDLE, self.ca_bundle);
        for ([certificate, key], pair) in [(SERVED, self.served), (NEXT, self.next)] {
            if let Some(pair) = pair {
                put(certificate, pair.certificate);
                put(key, pair.key);
            }
        }
    }
}

fn pair(certificate: Option<&ServerCertificate>) -> Option<PemPair> {
    certificate.map(|certificate| certificate.pair.clone())
}

fn text<'a>(data: &'a Data, key: &str) -> Option<&'a str> {
    // Bytes that are not text are not PEM either.
    data.get(key).map(|bytes| std::str::from_utf8(&bytes.0).unwrap_or("not text"))
}

/// The CA certificates of a text, each once, and whether it holds nothing else.
fn ca_certificates(text: &str) -> (Vec<CaCertificate>, bool) {
    const BEGIN: &str = "-----BEGIN ";
    let (mut found, mut is_only_cas) = (Vec::new(), text.is_empty() || text.starts_with(BEGIN));
    let begins = text.match_indices(BEGIN).map(|(begin, _)| begin);
    let ends = begins.clone().skip(1).chain([text.len()]);
    for (begin, end) in begins.zip(ends) {
        let read = ca_certificate(text.get(begin..end).unwrap_or_default());
        is_only_cas &= read.as_ref().is_some_and(|(ca, is_all)| *is_all && !found.contains(ca));
        found.extend(read.map(|(ca, _)| ca).filter(|ca| !found.contains(ca)));
    }
    (found, is_only_cas)
}

/// The CA certificate that a text begins with, and whether the text holds nothing else.
fn ca_certificate(text: &str) -> Option<(CaCertificate, bool)> {
    let (rest, _) = parse_x509_pem(text.as_bytes()).ok()?;
    let pem = text.get(..text.len() - rest.len())?;
    let block = only_block(pem)?;
    let certificate = block.parse_x509().ok().filter(|found| found.is_ca())?;
    let not_after = time(certificate.validity().not_after);
    let ca = CaCertificate { pem: format!("{}\n", pem.trim_end()), not_after };
    Some((ca, rest.trim_ascii().is_empty()))
}

/// The certificate of two keys of the Secret; `None` where both are missing.
fn server_certificate(
    data: &Data,
    [name, key_name]: [&'static str; 2],
    cas: &[CaCertificate],
    now: Time,
) -> Result<Option<ServerCertificate>, DataProblem> {
    let (pem, key) = match (text(data, name), text(data, key_name)) {
        (None, None) => return Ok(None),
        (None, _) => return Err(DataProblem::Missing(name)),
        (_, None) => return Err(DataProblem::Missing(key_name)),
        (Some(pem), Some(key)) => (pem, key),
    };
    let block = only_block(pem).ok_or(DataProblem::Certificate(name))?;
    let certificate = block.parse_x509().map_err(|_| DataProblem::Certificate(name))?;
    if !is_key_of(key, &certificate.public_key().subject_public_key.data) {
        return Err(DataProblem::OtherKey(key_name, name));
    }
    let validity = certificate.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if now < not_before {
        return Err(DataProblem::Early(name, not_before));
    }
    if not_after < now {
        return Err(DataProblem::Expired(name, not_after));
    }
    let ca = cas
        .iter()
        .find(|ca| ca.not_after >= now && has_signed(ca, &certificate))
        .ok_or(DataProblem::Unsigned(name))?;
    let pair = PemPair { certificate: pem.to_owned(), key: key.to_owned() };
    let (names, ca) = (names(&certificate), ca.clone());
    Ok(Some(ServerCertificate { pair, not_before, not_after, names, ca }))
}

fn has_signed(ca: &CaCertificate, certificate: &X509Certificate<'_>) -> bool {
    only_block(&ca.pem).is_some_and(|block| {
        block.parse_x509().is_ok_and(|ca| {
            ca.subject() == certificate.issuer()
                && certificate.verify_signature(Some(ca.public_key())).is_ok()
        })
    })
}

/// The certificate of a text that holds one and nothing else.
fn only_block(pem: &str) -> Option<Pem> {
    let (rest, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    (block.label == "CERTIFICATE" && rest.trim_ascii().is_empty()).then_some(block)
}

fn names(certificate: &X509Certificate<'_>) -> CertificateNames {
    let mut names = CertificateNames::default();
    // An extension that cannot be parsed has no names.
    let found = certificate.subject_alternative_name().ok().flatten();
    for name in found.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => names.ips.extend(address(bytes)),
            _ => {}
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn time(time: ASN1Time) -> Time {
    Time(time.timestamp())
}
