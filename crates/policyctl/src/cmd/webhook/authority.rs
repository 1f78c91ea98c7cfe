//! The certificates of the authority that signs the webhook's certificate, from a file.

use std::path::Path;

use time::OffsetDateTime;
use x509_parser::pem::Pem;
use x509_parser::prelude::{PEMError, X509Certificate};

use crate::input::{self, InputError};

/// In MiB; the API server stores no larger object.
const LARGEST: u64 = 1;

/// Certificates of which at least one is valid.
#[derive(Debug)]
pub(in crate::cmd) struct Authority {
    /// The content of the file.
    pub(super) pem: Vec<u8>,
    /// The last second in which one of them is valid.
    pub(in crate::cmd) until: OffsetDateTime,
    /// A sentence for each that is not valid now.
    pub(super) remarks: Vec<String>,
}

/// Why certificates cannot be used; continues `the CA file FILE: `.
#[derive(Debug, thiserror::Error)]
pub(in crate::cmd) enum AuthorityError {
    #[error(transparent)]
    Input(InputError),
    #[error("is larger than {LARGEST} MiB, so it is no list of certificates")]
    TooLarge,
    #[error("has no certificate; it has to be PEM, which begins with -----BEGIN CERTIFICATE-----")]
    Empty,
    #[error(
        "has a private key, which has to stay secret; use a file with certificates only, such as \
         ca.crt"
    )]
    PrivateKey,
    #[error("is broken PEM: {0}")]
    Pem(PEMError),
    #[error("certificate {0} cannot be read")]
    Unreadable(usize),
    #[error("{}", .0.join("; "))]
    NotValid(Vec<String>),
}

impl Authority {
    /// Reads a file and checks that the API server can use it.
    pub(super) fn read(path: &Path, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let pem = input::read_file(path, LARGEST).map_err(|error| match error {
            InputError::TooLarge { .. } => AuthorityError::TooLarge,
            other => AuthorityError::Input(other),
        })?;
        Self::of(pem, now)
    }

    /// Checks certificates.
    pub(in crate::cmd) fn of(pem: Vec<u8>, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let blocks: Result<Vec<Pem>, PEMError> = Pem::iter_from_buffer(&pem).collect();
        let blocks = blocks.map_err(AuthorityError::Pem)?;
        if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
            return Err(AuthorityError::PrivateKey);
        }
        let (mut remarks, mut until) = (Vec::new(), None);
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        for (number, block) in (1..).zip(certificates) {
            let certificate = block.parse_x509().map_err(|_| AuthorityError::Unreadable(number))?;
            match problem(&certificate, now) {
                Some(problem) => remarks.push(format!("certificate {number} {problem}")),
                None => until = until.max(Some(certificate.validity().not_after.to_datetime())),
            }
        }
        match until {
            Some(until) => Ok(Self { pem, until, remarks }),
            None if remarks.is_empty() => Err(AuthorityError::Empty),
            None => Err(AuthorityError::NotValid(remarks)),
        }
    }
}

/// Why a certificate is not valid now.
fn problem(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> Option<String> {
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    let subject = certificate.subject();
    if now > until {
        Some(format!("({subject}) expired at {}", super::time(until).ok()?))
    } else if now < from {
        Some(format!("({subject}) is not valid before {}", super::time(from).ok()?))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policy_kube::certificate::{CertificateNames, IssuedCertificate, issue};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn issued(days: u32) -> IssuedCertificate {
        issue(&CertificateNames::of_service("a", "b"), now(), days * DAY).unwrap()
    }

    fn problem_of(text: &str, now: OffsetDateTime) -> String {
        Authority::of(text.as_bytes().to_vec(), now).unwrap_err().to_string()
    }

    #[test]
    fn the_pem_is_kept_as_it_is() {
        let text = format!("# made by hand\n{}", issued(1).authority.certificate);
        let found = Authority::of(text.clone().into_bytes(), now()).unwrap();
        assert_eq!((found.pem, found.until), (text.into_bytes(), now() + DAY));
        assert!(found.remarks.is_empty());
    }

    #[test]
    fn one_of_several_has_to_be_valid() {
        let text = [issued(1), issued(30), issued(9)].map(|i| i.authority.certificate).concat();
        let found = Authority::of(text.clone().into_bytes(), now() + 2 * DAY).unwrap();
        assert_eq!(found.until, now() + 30 * DAY);
        let expired = "certificate 1 (CN=kube-devops policy-webhook authority) expired at \
                       2027-01-16T08:00:00Z";
        assert_eq!(found.remarks, [expired]);
        let all = problem_of(&text, now() + 31 * DAY);
        assert!(all.starts_with(expired) && all.contains("; certificate 3 ("), "{all}");
        let early = problem_of(&text, now() - DAY);
        assert!(early.contains("is not valid before 2027-01-15T07:00:00Z"), "{early}");
    }

    #[test]
    fn errors_say_what_is_wrong_with_the_file() {
        let IssuedCertificate { authority, .. } = issued(1);
        let (key, certificate) = (authority.key, authority.certificate);
        for (text, sentence) in [
            (String::new(), "has no certificate"),
            ("hello\n".to_owned(), "has no certificate"),
            (certificate.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"), "has no certificate"),
            (key.clone(), "has a private key"),
            (certificate.clone() + &key, "has a private key"),
            (key.replace(" PRIVATE KEY", " EC PRIVATE KEY"), "has a private key"),
            (certificate.replace("-----END", ""), "is broken PEM"),
            (certificate.replace("MII", "&&&"), "is broken PEM"),
            (certificate.replace("MII", "AAA"), "certificate 1 cannot be read"),
        ] {
            let found = problem_of(&text, now());
            assert!(found.starts_with(sentence), "{sentence}: {found}\n{text}");
        }
    }
}
