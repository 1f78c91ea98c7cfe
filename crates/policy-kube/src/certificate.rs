//! Issues a webhook's certificate and the CA that API servers trust it by.
//!
//! Each CA signs exactly one certificate, so its key may be discarded afterwards, and a leaked key
//! can impersonate only the webhook. A new certificate comes with a new CA; during a rotation the
//! `caBundle` holds both.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// Certificates are valid from an hour before they are issued, as clocks in a cluster differ.
const BACK_DATED: Duration = Duration::from_secs(60 * 60);
/// The common name, for people. Clients check the subject alternative names only.
const SUBJECT: &str = "kube-devops policy-webhook";

/// The subject alternative names of a certificate; at least one, as clients require it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// DNS names, in ASCII.
    pub dns: Vec<String>,
    /// IP addresses, for clients that connect without a name.
    pub ips: Vec<IpAddr>,
}

impl CertificateNames {
    /// All DNS names of a Service. The API server checks for `NAME.NAMESPACE.svc`.
    #[must_use]
    pub fn of_service(name: &str, namespace: &str) -> Self {
        let own = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{name}.{namespace}{end}"));
        let dns = std::iter::once(name.to_owned()).chain(own).collect();
        Self { dns, ips: Vec::new() }
    }
}

/// A certificate and its private key, as PEM (the key in PKCS #8). `Debug` omits the key.
#[derive(Clone)]
pub struct PemPair {
    /// Public.
    pub certificate: String,
    /// Secret.
    pub key: String,
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A CA and the certificate that it signed.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The CA; its certificate belongs into the `caBundle`.
    pub authority: PemPair,
    /// The certificate of the webhook.
    pub server: PemPair,
    /// The last second in which both are valid.
    pub not_after: OffsetDateTime,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the texts name")]
pub enum IssueError {
    /// Certificates hold ASCII names only.
    #[error("`{name}` cannot be a name of a certificate")]
    Name { name: String, source: rcgen::Error },
    /// The end is after the year 9999.
    #[error("a certificate cannot be valid for {days} days")]
    Lifetime { days: u64 },
    /// The system has no random numbers, for example.
    #[error("cannot generate the key of a certificate, or sign it")]
    Sign(#[from] rcgen::Error),
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
struct Validity {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

/// Issues a CA and a server certificate that it signs, each with its own key (ECDSA P-256), valid
/// from an hour before `now` until `lifetime` after it.
///
/// # Errors
/// For a name that is not ASCII, a lifetime beyond the year 9999, and where the system has no
/// random numbers.
pub fn issue(
    names: &CertificateNames,
    now: OffsetDateTime,
    lifetime: Duration,
) -> Result<IssuedCertificate, IssueError> {
    let validity = validity(now, lifetime)?;
    let (params, key) = (authority(validity), KeyPair::generate()?);
    let certificate = params.self_signed(&key)?;
    let authority = PemPair { certificate: certificate.pem(), key: key.serialize_pem() };
    let issuer = Issuer::new(params, key);
    let (params, key) = (server(names, validity)?, KeyPair::generate()?);
    let certificate = params.signed_by(&key, &issuer)?;
    let server = PemPair { certificate: certificate.pem(), key: key.serialize_pem() };
    Ok(IssuedCertificate { authority, server, not_after: validity.until })
}

/// Whether a private key in PEM belongs to the public key of a certificate (the bits of
/// `subjectPublicKey`); no, where it is no key.
#[must_use]
pub fn is_key_of(key: &str, public_key: &[u8]) -> bool {
    KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == public_key)
}

fn validity(now: OffsetDateTime, lifetime: Duration) -> Result<Validity, IssueError> {
    let too_long = || IssueError::Lifetime { days: lifetime.as_secs() / (24 * 60 * 60) };
    // Certificates hold whole seconds.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let until = time::Duration::try_from(lifetime)
        .ok()
        .and_then(|lifetime| now.checked_add(lifetime))
        .ok_or_else(too_long)?;
    Ok(Validity { from: now - BACK_DATED, until })
}

fn authority(validity: Validity) -> CertificateParams {
    let mut params = params(&format!("{SUBJECT} authority"), validity);
    // It may sign servers, but no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server(names: &CertificateNames, validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = params(SUBJECT, validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Tells the CA from the next one, which has the same name.
    params.use_authority_key_identifier_extension = true;
    for name in &names.dns {
        let dns = name
            .as_str()
            .try_into()
            .map_err(|source| IssueError::Name { name: name.clone(), source })?;
        params.subject_alt_names.push(SanType::DnsName(dns));
    }
    params.subject_alt_names.extend(names.ips.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

fn params(subject: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = validity.from;
    params.not_after = validity.until;
    params
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::GeneralName;
    use x509_parser::pem::Pem;
    use x509_parser::prelude::X509Certificate;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn names() -> CertificateNames {
        let mut names = CertificateNames::of_service("policy-webhook", "kube-devops");
        names.ips = vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        names
    }

    fn issued() -> IssuedCertificate {
        issue(&names(), now() + Duration::from_millis(1), DAY).unwrap()
    }

    /// What is in the one certificate of a PEM text.
    fn read<T>(pem: &str, look: impl Fn(&X509Certificate<'_>) -> T) -> T {
        let mut blocks = Pem::iter_from_buffer(pem.as_bytes());
        let block = blocks.next().unwrap().unwrap();
        assert!(blocks.next().is_none());
        look(&block.parse_x509().unwrap())
    }

    fn seconds(certificate: &X509Certificate<'_>) -> (i64, i64) {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    #[test]
    fn the_authority_signs_the_server_and_may_sign_no_other_authority() {
        let IssuedCertificate { authority, server, .. } = issued();
        read(&authority.certificate, |authority| {
            let constraints = authority.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(0));
            // Bit 5 is keyCertSign (RFC 5280, 4.2.1.3).
            assert_eq!(authority.key_usage().unwrap().unwrap().value.flags, 1 << 5);
            authority.verify_signature(None).unwrap();
            read(&server.certificate, |server| {
                server.verify_signature(Some(authority.public_key())).unwrap();
                server.verify_signature(None).unwrap_err();
                assert_eq!(server.issuer(), authority.subject());
                assert_ne!(server.subject(), authority.subject());
                assert_ne!(server.raw_serial(), authority.raw_serial());
            });
        });
    }

    #[test]
    fn the_server_has_all_its_names_and_serves_only() {
        read(&issued().server.certificate, |server| {
            assert!(!server.is_ca());
            // Bit 0 is digitalSignature.
            assert_eq!(server.key_usage().unwrap().unwrap().value.flags, 1);
            let usage = server.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.server_auth && !usage.client_auth && !usage.any);
            let names = server.subject_alternative_name().unwrap().unwrap();
            let expected = [
                GeneralName::DNSName("policy-webhook"),
                GeneralName::DNSName("policy-webhook.kube-devops"),
                GeneralName::DNSName("policy-webhook.kube-devops.svc"),
                GeneralName::DNSName("policy-webhook.kube-devops.svc.cluster.local"),
                GeneralName::IPAddress(&[10, 0, 0, 7]),
                GeneralName::IPAddress(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            ];
            assert_eq!(names.value.general_names, expected);
        });
    }

    #[test]
    fn both_are_valid_from_an_hour_before_until_the_end_of_their_lifetime() {
        let issued = issued();
        let expected = (now().unix_timestamp() - 3600, now().unix_timestamp() + 86_400);
        assert_eq!(read(&issued.server.certificate, seconds), expected);
        assert_eq!(read(&issued.authority.certificate, seconds), expected);
        assert_eq!(issued.not_after.unix_timestamp(), expected.1);
        // From 2050 on, a certificate writes its times in another form.
        let issued = issue(&names(), now(), 36_500 * DAY).unwrap();
        let end = issued.not_after;
        assert_eq!(end.year(), 2126);
        assert_eq!(read(&issued.server.certificate, seconds).1, end.unix_timestamp());
    }

    #[test]
    fn each_certificate_has_its_own_key_and_no_two_are_the_same() {
        let (first, second) = (issued(), issued());
        let pairs = [&first.authority, &first.server, &second.authority, &second.server];
        let mut seen = std::collections::BTreeSet::new();
        for pair in pairs {
            let key = KeyPair::from_pem(&pair.key).unwrap();
            assert!(pair.key.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS #8");
            assert_eq!(key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
            let public = read(&pair.certificate, |found| {
                found.public_key().subject_public_key.data.to_vec()
            });
            assert!(is_key_of(&pair.key, &public));
            assert!(seen.iter().all(|other: &Vec<u8>| !is_key_of(&pair.key, other)));
            assert!(seen.insert(public));
        }
        assert!(!is_key_of("no key", &[]));
    }

    #[test]
    fn what_cannot_be_issued_is_an_error() {
        let mut odd = names();
        odd.dns.push("wäb".to_owned());
        let error = issue(&odd, now(), DAY).unwrap_err();
        assert_eq!(error.to_string(), "`wäb` cannot be a name of a certificate");
        for lifetime in [Duration::MAX, 3_650_000 * DAY] {
            let error = issue(&names(), now(), lifetime).unwrap_err();
            assert!(error.to_string().starts_with("a certificate cannot be valid for"), "{error}");
        }
    }

    #[test]
    fn debug_output_holds_no_key() {
        let issued = issued();
        let text = format!("{issued:?}");
        assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY"), "{text}");
    }
}
