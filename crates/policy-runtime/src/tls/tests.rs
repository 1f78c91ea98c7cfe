//! Certificates as they are brought along: fitting, and not.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber, date_time_ymd,
};

use super::clients::Clients;
use super::follow::update_hold;
use super::*;
use crate::config::tests::Settings;
use crate::config::{self, Args, Problems};
use crate::readiness::Readiness;

/// A CA of a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For `localhost`, with a serial number to tell it by.
    pub(crate) fn server(&self, serial: u64) -> Issued {
        self.issue("localhost", |params| params.serial_number = Some(serial.into()))
    }

    pub(crate) fn client(&self, common_name: &str) -> Issued {
        self.issue("dns.example", |params| {
            params.distinguished_name.push(DnType::CommonName, common_name);
        })
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

impl Issued {
    pub(crate) fn serve(&self, store: &CertificateStore) -> Result<Certificate, TlsError> {
        store.set(self.cert.as_bytes(), self.key.as_bytes())
    }

    /// Writes it the way the kubelet writes a Secret: files in a folder of their own, to which a
    /// symbolic link is swapped in one go.
    pub(crate) fn mount(&self, folder: &Path, generation: &str) {
        let data = folder.join(generation);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("tls.crt"), &self.cert).unwrap();
        std::fs::write(data.join("tls.key"), &self.key).unwrap();
        symlink(generation, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            // There from the second time on.
            let _ = symlink(format!("..data/{name}"), folder.join(name));
        }
    }
}

/// The configuration of a certificate that is mounted there.
pub(crate) fn mounted(folder: &Path) -> TlsConfig {
    let file = |name: &str| Some(folder.join(name));
    TlsConfig { cert: file("tls.crt"), key: file("tls.key"), ..TlsConfig::default() }
}

fn serial(store: &CertificateStore) -> Option<String> {
    store.current().map(|current| current.serial)
}

#[test]
fn an_invalid_pair_leaves_the_old_one() {
    let authority = Authority::new();
    let [old, new] = [1, 2].map(|serial| authority.server(serial));
    let expired = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let store = CertificateStore::new();
    assert_eq!(store.current(), None);
    old.serve(&store).unwrap();
    let refused = |cert: &str, key: &str| {
        let error = store.set(cert.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(serial(&store).as_deref(), Some("01"), "{error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
        error
    };
    assert!(matches!(refused(&new.cert, &old.key), TlsError::Mismatch));
    assert!(matches!(refused(&new.cert, ""), TlsError::Key(_)));
    assert!(matches!(refused("", &new.key), TlsError::Certificate(_)));
    assert!(matches!(refused(&new.key, &new.key), TlsError::Certificate(_)));
    for half in [1, 40, new.cert.len() / 2, new.cert.len() - 5] {
        assert!(matches!(refused(&new.cert[..half], &new.key), TlsError::Certificate(_)), "{half}");
        let cut = format!("{}{}", new.cert, &authority.pem[..half.min(authority.pem.len() - 5)]);
        if half > 40 {
            assert!(matches!(refused(&cut, &new.key), TlsError::Certificate(_)), "{half}");
        }
    }
    for half in [1, new.key.len() / 2, new.key.len() - 5] {
        assert!(matches!(refused(&new.cert, &new.key[..half]), TlsError::Key(_)), "{half}");
    }
    let error = refused(&expired.cert, &expired.key);
    assert_eq!(error.to_string(), "the certificate expired at 2021-01-01T00:00:00Z");
    new.serve(&store).unwrap();
    assert_eq!(serial(&store).as_deref(), Some("02"));
}

#[test]
fn files_are_followed_by_content() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let [first, second, third] = [1, 2, 3].map(|serial| authority.server(serial));
    first.mount(folder.path(), "..1");
    let mut follower = CertificateFollower::open(&mounted(folder.path())).unwrap();
    let store = follower.store();
    assert_eq!(serial(&store).as_deref(), Some("01"));
    second.mount(folder.path(), "..2");
    assert!(follower.refresh().is_empty());
    assert_eq!(serial(&store).as_deref(), Some("02"));
    // As in the middle of a change that is not atomic.
    std::fs::write(folder.path().join("..2/tls.crt"), &third.cert).unwrap();
    let refused = follower.refresh();
    assert!(
        matches!(&refused[..], [TlsError::In { source, .. }]
        if matches!(**source, TlsError::Mismatch)),
        "{refused:?}"
    );
    assert!(follower.refresh().is_empty(), "reported twice");
    assert_eq!(serial(&store).as_deref(), Some("02"));
    std::fs::remove_file(folder.path().join("..data")).unwrap();
    let refused = follower.refresh();
    assert!(refused.len() == 1 && refused[0].to_string().contains("No such file"), "{refused:?}");
    std::fs::write(folder.path().join("..2/tls.key"), &third.key).unwrap();
    symlink("..2", folder.path().join("..data")).unwrap();
    assert!(follower.refresh().is_empty());
    assert_eq!(serial(&store).as_deref(), Some("03"));
}

#[test]
fn files_must_be_usable_at_the_start() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let config = mounted(folder.path());
    let error = |config: &TlsConfig| CertificateFollower::open(config).unwrap_err().to_string();
    let text = error(&config);
    assert!(text.starts_with("tls.cert (/") && text.contains(") with tls.key (/"), "{text}");
    assert!(text.contains("cannot read /") && text.contains("No such file"), "{text}");
    authority.server(1).mount(folder.path(), "..1");
    assert!(CertificateFollower::open(&config).is_ok());
    let ca = folder.path().join("ca.crt");
    let config = TlsConfig { client_ca: Some(ca.clone()), ..config };
    std::fs::write(&ca, "").unwrap();
    assert!(error(&config).starts_with("tls.clientCa (/"), "{}", error(&config));
    std::fs::write(&ca, &authority.pem).unwrap();
    assert!(CertificateFollower::open(&config).is_ok());
}

#[test]
fn check_config_reads_the_files() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let check = || {
        let files = [("tls.crt", 0), ("tls.key", 1)].map(|(name, flag)| {
            (TlsConfig::FLAGS[flag], folder.path().join(name).display().to_string())
        });
        let args = Args { check_config: true, flags: files.into(), ..Args::default() };
        config::open::<Settings>(args).unwrap_err()
    };
    assert_eq!(check(), ExitCode::from(2));
    authority.server(1).mount(folder.path(), "..1");
    assert_eq!(check(), ExitCode::SUCCESS);
    std::fs::write(folder.path().join("..1/tls.key"), authority.server(2).key).unwrap();
    assert_eq!(check(), ExitCode::from(2));
}

#[test]
fn keys_that_need_each_other_are_required() {
    let with = |change: &dyn Fn(&mut TlsConfig)| {
        let mut config = TlsConfig::default();
        change(&mut config);
        let mut problems = Problems::default();
        config.check(&mut problems);
        problems.0.into_iter().map(|(keys, _)| keys.concat()).collect::<Vec<_>>()
    };
    assert!(with(&|_| {}).is_empty());
    assert_eq!(with(&|config| config.cert = Some("a".into())), ["tls.cert"]);
    assert_eq!(with(&|config| config.key = Some("a".into())), ["tls.key"]);
    assert_eq!(with(&|config| config.client_names = vec!["a".into()]), ["tls.clientNames"]);
    let covers = with(&|config| config.client_ca_covers_metrics = true);
    assert_eq!(covers, ["tls.clientCaCoversMetrics"]);
}

#[test]
fn clients_are_verified_by_their_names() {
    let authority = Authority::new();
    let address = ([127, 0, 0, 1], 1).into();
    let peer = |names: &[&str], shown: &Issued| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let clients = Clients::from_pem(authority.pem.as_bytes(), &names).unwrap();
        let shown = super::certificate::chain(shown.cert.as_bytes()).unwrap();
        let peer = clients.peer(address, &shown);
        (peer.is_verified, peer.name)
    };
    let caller = authority.client("caller");
    let name = || Some("caller".to_owned());
    assert_eq!(peer(&[], &caller), (true, name()));
    assert_eq!(peer(&["other", "caller"], &caller), (true, name()));
    assert_eq!(peer(&["dns.example"], &caller), (true, name()));
    assert_eq!(peer(&["other"], &caller), (false, name()));
    assert_eq!(peer(&["localhost"], &authority.server(1)), (true, Some("localhost".to_owned())));
    let clients = Clients::from_pem(authority.pem.as_bytes(), &[]).unwrap();
    assert_eq!(clients.peer(address, &[]), Peer::unknown(address));
}

#[test]
fn without_a_valid_certificate_a_service_is_not_ready() {
    let (authority, store) = (Authority::new(), CertificateStore::new());
    let readiness = Readiness::default();
    let now = Time::now();
    let hold = update_hold(&store, now, &readiness, None);
    assert_eq!(readiness.pending(), ["a valid certificate"]);
    let hold = update_hold(&store, now, &readiness, hold);
    let current = authority.server(1).serve(&store).unwrap();
    let hold = update_hold(&store, now, &readiness, hold);
    assert!(readiness.pending().is_empty());
    let late = Time(current.not_after.0 + 1);
    let hold = update_hold(&store, late, &readiness, hold);
    assert_eq!(readiness.pending(), ["a valid certificate"]);
    assert!(update_hold(&store, now, &readiness, hold).is_none());
    assert!(readiness.pending().is_empty());
}

#[test]
fn serial_numbers_are_shown_as_openssl_shows_them() {
    let issued = Authority::new().issue("localhost", |params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xff, 0x00]));
    });
    let certificate = issued.serve(&CertificateStore::new()).unwrap();
    assert_eq!(certificate.serial, "0a:ff:00");
    assert!(certificate.not_before < Time::now());
}
