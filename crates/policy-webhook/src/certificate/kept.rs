//! What the Secret holds: read without trust, and made anew for each step.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::ByteString;
use policy_kube::certificate::{CertificateNames, IssuedCertificate, PemPair, is_key_of};
use policy_runtime::tls::Time;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::time::ASN1Time;

/// The authorities that are trusted, one after the other.
const AUTHORITIES: &str = "ca.crt";
/// What is served.
const SERVED: [&str; 2] = ["tls.crt", "tls.key"];
/// What is served next, once its authority is known everywhere.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT: [&str; 2] = [NEXT_CERTIFICATE, "next.key"];
/// All that is written here. Other keys of the Secret are left as they are.
const ALL: [&str; 5] = [AUTHORITIES, SERVED[0], SERVED[1], NEXT[0], NEXT[1]];

/// Two are enough, and one more for each change of names while the certificates of before are valid.
/// There are many only where somebody takes certificates away: then the oldest have to go, or the
/// Secret would grow without end.
const MOST_AUTHORITIES: usize = 8;

/// The data of the Secret.
pub(crate) type Data = BTreeMap<String, ByteString>;

/// What the Secret holds, as far as it can be used. Not shown anywhere: there are keys in it.
pub(crate) struct Kept {
    /// All of `ca.crt` that are certificates, whether their time is over or not.
    authorities: Vec<Authority>,
    /// What is to be served.
    pub(crate) served: Option<Leaf>,
    /// What is to be served next.
    pub(crate) next: Option<Leaf>,
    /// There is a next one whose time has not come, by this replica's clock. It is left alone: the
    /// replica that issued it sees that otherwise.
    pub(crate) is_next_early: bool,
    /// Nothing is in it that had better be taken out.
    is_tidy: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Authority {
    pem: String,
    not_after: Time,
}

/// A certificate that is valid now and signed by one of the authorities, with its key.
pub(crate) struct Leaf {
    pub(crate) pair: PemPair,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    pub(crate) names: CertificateNames,
    signed_by: Authority,
}

/// Why what is there is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0} holds something else than certificates of authorities, each once")]
    NoAuthority(&'static str),
    #[error("{0} is not one certificate")]
    NoCertificate(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not the key of {1}")]
    OtherKey(&'static str, &'static str),
    #[error("{0} is not valid before {1}")]
    Early(&'static str, Time),
    #[error("{0} expired at {1}")]
    Expired(&'static str, Time),
    #[error("no valid authority of {AUTHORITIES} has signed {0}")]
    Unsigned(&'static str),
}

impl Kept {
    /// Reads what is there, and says what of it cannot be used. A Secret without data is new, and
    /// nothing is wrong with it.
    pub(crate) fn read(data: &Data, now: Time) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let (authorities, is_whole) = authorities(text(data, AUTHORITIES).unwrap_or_default());
        if !is_whole {
            faults.push(Fault::NoAuthority(AUTHORITIES));
        }
        let mut leaf = |keys| match leaf(data, keys, &authorities, now) {
            Ok(leaf) => leaf,
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        let (served, next) = (leaf(SERVED), leaf(NEXT));
        let is_next_early =
            faults.iter().any(|fault| matches!(fault, Fault::Early(NEXT_CERTIFICATE, _)));
        let is_over = |authority: &Authority| authority.not_after < now;
        let has_rest =
            next.is_none() && !is_next_early && NEXT.iter().any(|key| data.contains_key(*key));
        let is_tidy = is_whole && !has_rest && !authorities.iter().any(is_over);
        (Self { authorities, served, next, is_next_early, is_tidy }, faults)
    }

    /// What the API server is to be told: all authorities that the Secret has, by the Secret alone.
    /// No replica's clock decides here, or two of them could contradict each other.
    pub(crate) fn bundle(&self) -> String {
        self.authorities.iter().map(|authority| authority.pem.as_str()).collect()
    }

    /// How many authorities, valid now, were told of in that bundle that the Secret does not have.
    pub(crate) fn unknown_of(&self, told: &[u8], now: Time) -> usize {
        let (told, _) = authorities(std::str::from_utf8(told).unwrap_or_default());
        let is_valid = |authority: &&Authority| authority.not_after >= now;
        told.iter().filter(is_valid).filter(|one| !self.authorities.contains(one)).count()
    }

    /// The names that the next certificate is for. Where one is missing in what is served, all
    /// that are there stay: replicas that do not agree would else take them from each other.
    pub(crate) fn next_names(&self, wanted: &CertificateNames) -> CertificateNames {
        let mut names = wanted.clone();
        if let Some(served) = self.served.as_ref().filter(|served| !served.is_for(wanted)) {
            let CertificateNames { dns, ips } = &served.names;
            names.dns.extend(dns.iter().filter(|name| !wanted.dns.contains(name)).cloned());
            names.ips.extend(ips.iter().filter(|ip| !wanted.ips.contains(ip)));
        }
        names
    }

    /// Whether nothing has to be taken out: authorities whose time is over, or what cannot be read.
    pub(crate) fn is_tidy(&self) -> bool {
        self.is_tidy
    }

    /// Puts what was issued in the place of all that is there, but for the authorities.
    pub(crate) fn issued(&self, issued: &IssuedCertificate, now: Time) -> Contents {
        let authorities = self.authorities(Some(&issued.authority.certificate), [None; 2], now);
        Contents { authorities, served: Some(issued.server.clone()), next: None }
    }

    /// Lays what was issued beside what is served.
    pub(crate) fn with_next(&self, issued: &IssuedCertificate, now: Time) -> Contents {
        let authorities = self.authorities(
            Some(&issued.authority.certificate),
            [self.served.as_ref(), None],
            now,
        );
        Contents {
            authorities,
            served: pair(self.served.as_ref()),
            next: Some(issued.server.clone()),
        }
    }

    /// Has the next one served.
    pub(crate) fn promoted(&self, now: Time) -> Contents {
        let authorities = self.authorities(None, [self.served.as_ref(), self.next.as_ref()], now);
        Contents { authorities, served: pair(self.next.as_ref()), next: None }
    }

    /// The same without what is of no use any more.
    pub(crate) fn pruned(&self, now: Time) -> Contents {
        let authorities = self.authorities(None, [self.served.as_ref(), self.next.as_ref()], now);
        Contents { authorities, served: pair(self.served.as_ref()), next: pair(self.next.as_ref()) }
    }

    /// The authorities to be trusted from now on: those that are valid, the new one last. Where
    /// they are too many, the oldest go that have signed none of these certificates.
    fn authorities(&self, new: Option<&str>, leaves: [Option<&Leaf>; 2], now: Time) -> String {
        let mut trusted: Vec<&Authority> =
            self.authorities.iter().filter(|authority| authority.not_after >= now).collect();
        let most = MOST_AUTHORITIES - usize::from(new.is_some());
        let is_needed =
            |one: &Authority| leaves.into_iter().flatten().any(|leaf| leaf.signed_by == *one);
        while trusted.len() > most
            && let Some(oldest) = trusted.iter().position(|one| !is_needed(one))
        {
            trusted.remove(oldest);
        }
        trusted.into_iter().map(|authority| authority.pem.as_str()).chain(new).collect()
    }
}

impl Leaf {
    /// Whether it has all of these names.
    pub(crate) fn is_for(&self, names: &CertificateNames) -> bool {
        names.dns.iter().all(|name| self.names.dns.contains(name))
            && names.ips.iter().all(|ip| self.names.ips.contains(ip))
    }
}

/// What a step leaves in the Secret. Not shown anywhere: there are keys in it.
pub(crate) struct Contents {
    authorities: String,
    served: Option<PemPair>,
    next: Option<PemPair>,
}

impl Contents {
    /// Puts it in the place of what was there.
    pub(crate) fn write(self, data: &mut Data) {
        for key in ALL {
            data.remove(key);
        }
        let mut put = |key: &str, text: String| {
            data.insert(key.to_owned(), ByteString(text.into_bytes()));
        };
        put(AUTHORITIES, self.authorities);
        for ([certificate, key], pair) in [(SERVED, self.served), (NEXT, self.next)] {
            if let Some(pair) = pair {
                put(certificate, pair.certificate);
                put(key, pair.key);
            }
        }
    }
}

fn pair(leaf: Option<&Leaf>) -> Option<PemPair> {
    leaf.map(|leaf| leaf.pair.clone())
}

fn text<'a>(data: &'a Data, key: &str) -> Option<&'a str> {
    // What is no text cannot be PEM either.
    data.get(key).map(|bytes| std::str::from_utf8(&bytes.0).unwrap_or("no text"))
}

/// The authorities of a text, each once, and whether it holds nothing else.
fn authorities(text: &str) -> (Vec<Authority>, bool) {
    const BEGIN: &str = "-----BEGIN ";
    let (mut found, mut is_whole) = (Vec::new(), text.is_empty() || text.starts_with(BEGIN));
    let begins = text.match_indices(BEGIN).map(|(begin, _)| begin);
    let ends = begins.clone().skip(1).chain([text.len()]);
    for (begin, end) in begins.zip(ends) {
        let read = authority(text.get(begin..end).unwrap_or_default());
        is_whole &= read.as_ref().is_some_and(|(one, is_all)| *is_all && !found.contains(one));
        found.extend(read.map(|(one, _)| one).filter(|one| !found.contains(one)));
    }
    (found, is_whole)
}

/// The authority that a text begins with, and whether it holds nothing else.
fn authority(text: &str) -> Option<(Authority, bool)> {
    let (rest, _) = parse_x509_pem(text.as_bytes()).ok()?;
    let pem = text.get(..text.len() - rest.len())?;
    let block = only_block(pem)?;
    let certificate = block.parse_x509().ok().filter(|found| found.is_ca())?;
    let not_after = time(certificate.validity().not_after);
    let authority = Authority { pem: format!("{}\n", pem.trim_end()), not_after };
    Some((authority, rest.trim_ascii().is_empty()))
}

/// The certificate under two keys; none where there is none.
fn leaf(
    data: &Data,
    [name, key_name]: [&'static str; 2],
    authorities: &[Authority],
    now: Time,
) -> Result<Option<Leaf>, Fault> {
    let (pem, key) = match (text(data, name), text(data, key_name)) {
        (None, None) => return Ok(None),
        (None, _) => return Err(Fault::Missing(name)),
        (_, None) => return Err(Fault::Missing(key_name)),
        (Some(pem), Some(key)) => (pem, key),
    };
    let block = only_block(pem).ok_or(Fault::NoCertificate(name))?;
    let certificate = block.parse_x509().map_err(|_| Fault::NoCertificate(name))?;
    if !is_key_of(key, &certificate.public_key().subject_public_key.data) {
        return Err(Fault::OtherKey(key_name, name));
    }
    let validity = certificate.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    if now < not_before {
        return Err(Fault::Early(name, not_before));
    }
    if not_after < now {
        return Err(Fault::Expired(name, not_after));
    }
    let signed_by = authorities
        .iter()
        .find(|authority| authority.not_after >= now && has_signed(authority, &certificate))
        .ok_or(Fault::Unsigned(name))?;
    let pair = PemPair { certificate: pem.to_owned(), key: key.to_owned() };
    let (names, signed_by) = (names(&certificate), signed_by.clone());
    Ok(Some(Leaf { pair, not_before, not_after, names, signed_by }))
}

fn has_signed(authority: &Authority, certificate: &X509Certificate<'_>) -> bool {
    only_block(&authority.pem).is_some_and(|block| {
        block.parse_x509().is_ok_and(|authority| {
            authority.subject() == certificate.issuer()
                && certificate.verify_signature(Some(authority.public_key())).is_ok()
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
    // An extension that cannot be read names nobody.
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
