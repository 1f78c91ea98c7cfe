//! The webhook's certificate, and that of the authority which the API server trusts it by.
//!
//! An authority is made for one certificate: it signs nothing else, so its key may be thrown away,
//! and whoever gets hold of it can only pass for the webhook. A new certificate comes with a new
//! authority; while both certificates serve, the API server is given both authorities.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// How long before its making a certificate begins to be valid: the clocks of a cluster differ.
const BACK_DATED: Duration = Duration::from_secs(60 * 60);
/// Who it was made for stands in the certificate's other names, which are the only ones that
/// clients look at; this one is for people.
const SUBJECT: &str = "kube-devops policy-webhook";

/// The names that a certificate is for. At least one: clients accept none without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// As clients call the server, in ASCII.
    pub dns: Vec<String>,
    /// Addresses that clients call it by without a name.
    pub ips: Vec<IpAddr>,
}

impl Names {
    /// All that a Service is called by, from inside and outside of its namespace. The API server
    /// asks for the third one, `NAME.NAMESPACE.svc`.
    #[must_use]
    pub fn of_service(name: &str, namespace: &str) -> Self {
        let own = ["", ".svc", ".svc.cluster.local"].map(|end| format!("{name}.{namespace}{end}"));
        let dns = std::iter::once(name.to_owned()).chain(own).collect();
        Self { dns, ips: Vec::new() }
    }
}

/// A certificate and the key that belongs to it, each as PEM (the key as PKCS #8).
#[derive(Clone)]
pub struct Pair {
    /// For everybody.
    pub certificate: String,
    /// For its owner alone.
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Signs the server's; its certificate is the API server's `caBundle`.
    pub authority: Pair,
    /// What the webhook serves by.
    pub server: Pair,
    /// The last second in which both are valid.
    pub not_after: OffsetDateTime,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the texts name")]
pub enum IssueError {
    /// A certificate can only hold names in ASCII.
    #[error("`{name}` is no name for a certificate")]
    Name { name: String, source: rcgen::Error },
    /// The end is beyond what a certificate can say.
    #[error("a certificate cannot be valid for {days} days")]
    Lifetime { days: u64 },
    /// The system gives no random numbers, most likely.
    #[error("cannot make the key of the {whom}")]
    Key { whom: &'static str, source: rcgen::Error },
    /// None is known.
    #[error("cannot sign the certificate of the {whom}")]
    Sign { whom: &'static str, source: rcgen::Error },
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
struct Validity {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

/// Issues an authority, and a server's certificate that it signs: each with a key of its own
/// (ECDSA P-256), both valid from an hour before `now` until `lifetime` after it.
///
/// # Errors
/// For a name that is not ASCII, a lifetime beyond the year 9999, and where the system has no
/// random numbers.
pub fn issue(names: &Names, now: OffsetDateTime, lifetime: Duration) -> Result<Issued, IssueError> {
    let validity = validity(now, lifetime)?;
    let (params, key) = (authority(validity), new_key("authority")?);
    let certificate = params
        .self_signed(&key)
        .map_err(|source| IssueError::Sign { whom: "authority", source })?;
    let authority = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    let issuer = Issuer::new(params, key);
    let (params, key) = (server(names, validity)?, new_key("server")?);
    let certificate = params
        .signed_by(&key, &issuer)
        .map_err(|source| IssueError::Sign { whom: "server", source })?;
    let server = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    Ok(Issued { authority, server, not_after: validity.until })
}

/// Whether a private key, as PEM, belongs to the public key of a certificate, as its bits stand
/// there (`subjectPublicKey`). What is no key belongs to none.
#[must_use]
pub fn is_key_of(key: &str, public_key: &[u8]) -> bool {
    KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == public_key)
}

fn validity(now: OffsetDateTime, lifetime: Duration) -> Result<Validity, IssueError> {
    let too_long = || IssueError::Lifetime { days: lifetime.as_secs() / (24 * 60 * 60) };
    // Certificates know whole seconds.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let until = time::Duration::try_from(lifetime)
        .ok()
        .and_then(|lifetime| now.checked_add(lifetime))
        .ok_or_else(too_long)?;
    Ok(Validity { from: now - BACK_DATED, until })
}

fn new_key(whom: &'static str) -> Result<KeyPair, IssueError> {
    KeyPair::generate().map_err(|source| IssueError::Key { whom, source })
}

fn authority(validity: Validity) -> CertificateParams {
    let mut params = params(&format!("{SUBJECT} authority"), validity);
    // It signs servers, and no further authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn server(names: &Names, validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = params(SUBJECT, validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Tells the authority from the next one of the same name.
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

    fn names() -> Names {
        let mut names = Names::of_service("policy-webhook", "kube-devops");
        names.ips = vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        names
    }

    fn issued() -> Issued {
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
        let Issued { authority, server, .. } = issued();
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
    fn both_are_valid_from_an_hour_before_until_the_end_of_their_time() {
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
    fn what_cannot_be_issued_is_told() {
        let mut odd = names();
        odd.dns.push("wäb".to_owned());
        let error = issue(&odd, now(), DAY).unwrap_err();
        assert_eq!(error.to_string(), "`wäb` is no name for a certificate");
        for lifetime in [Duration::MAX, 3_650_000 * DAY] {
            let error = issue(&names(), now(), lifetime).unwrap_err();
            assert!(error.to_string().starts_with("a certificate cannot be valid for"), "{error}");
        }
    }

    #[test]
    fn a_key_is_in_no_log() {
        let issued = issued();
        let text = format!("{issued:?}");
        assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY"), "{text}");
    }
}
