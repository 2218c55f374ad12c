//! TLS and client certificates: keys in every form, handshakes, refusals, and new files while running.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rstmdb_server::Server;
use rstmdb_server::config::{Config, LoadedConfig, Sources};
use rstmdb_server::live::{LiveSettings, Watcher};
use rstmdb_server::metrics::Rejection;
use rstmdb_testkit::wire::await_condition;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::json;
use support::{call, config};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for localhost with its key, in PEM.
fn leaf(authority: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn put_leaf(&self, authority: &Authority) {
        let (certificate, key) = leaf(authority);
        self.put("cert.pem", &certificate);
        self.put("key.pem", &key);
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A configuration with `cert.pem` and `key.pem`.
    fn config(&self, more: &[(&str, &str)]) -> Config {
        let cert = self.path().join("cert.pem");
        let key = self.path().join("key.pem");
        let mut settings = vec![
            ("tls.enabled", "true"),
            ("tls.cert_path", cert.to_str().unwrap()),
            ("tls.key_path", key.to_str().unwrap()),
            ("metrics.enabled", "false"),
        ];
        settings.extend(more);
        config(self.path(), &settings)
    }
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn client(
    trusted: &Authority,
    certificate: Option<(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Secured {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

/// Whether a PING comes back.
fn pings(stream: &mut Secured) -> bool {
    let request = support::frame(r#"{"type":"request","id":"1","op":"PING"}"#);
    let mut header = [0; 18];
    stream.write_all(&request).is_ok() && stream.read_exact(&mut header).is_ok() && {
        let mut payload = vec![0; usize::from(header[13])];
        stream.read_exact(&mut payload).unwrap();
        String::from_utf8(payload).unwrap().contains("pong")
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_work_and_plain_bytes_do_not() {
    let authority = authority();
    let files = Files::new();
    files.put_leaf(&authority);
    let server = Server::start(files.config(&[])).await.unwrap();
    let address = server.address();
    let tried = tokio::task::spawn_blocking(move || {
        for version in BOTH {
            let mut stream = connect(address, client(&authority, None, &[version]));
            let info = call(&mut stream, "INFO", json!({}));
            assert_eq!(info["result"]["server_name"], "rstmdb");
            assert_eq!(stream.conn.protocol_version().unwrap(), version.version);
        }
        let mut plain = TcpStream::connect(address).unwrap();
        plain.write_all(&support::frame(r#"{"type":"request","id":"1","op":"PING"}"#)).unwrap();
        let mut answer = Vec::new();
        // An alert, then the end; a reset says the same.
        let _ = plain.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        let stranger = self::authority();
        assert!(!pings(&mut connect(address, client(&stranger, None, BOTH))), "not our authority");
    });
    tried.await.unwrap();
    server.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_the_right_certificate_is_refused() {
    let authority = authority();
    let files = Files::new();
    files.put_leaf(&authority);
    let ca = files.put("ca.pem", &authority.pem());
    let settings =
        [("tls.require_client_cert", "true"), ("tls.client_ca_path", ca.to_str().unwrap())];
    let server = Server::start(files.config(&settings)).await.unwrap();
    let address = server.address();
    let tried = tokio::task::spawn_blocking(move || {
        let mine = leaf(&authority);
        let strange = leaf(&self::authority());
        for version in BOTH {
            let with = |certificate| client(&authority, certificate, &[version]);
            assert!(pings(&mut connect(address, with(Some(mine.clone())))), "{version:?}");
            assert!(!pings(&mut connect(address, with(None))), "{version:?}");
            assert!(!pings(&mut connect(address, with(Some(strange.clone())))), "{version:?}");
        }
    });
    tried.await.unwrap();
    server.run_until(async {}).await.unwrap();
}

/// A balancer that looks whether a port is open fails at nothing; who speaks something else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_of_the_port_is_no_refused_connection() {
    let files = Files::new();
    files.put_leaf(&authority());
    let server = Server::start(files.config(&[])).await.unwrap();
    let (address, metrics) = (server.address(), server.metrics().clone());
    let tried = tokio::task::spawn_blocking(move || {
        (0..3).for_each(|_| drop(TcpStream::connect(address).unwrap()));
        await_condition("probes are gone", || {
            metrics.connections_total.get() == 3 && metrics.connections_active.get() == 0
        });
        assert_eq!(metrics.rejected(Rejection::TlsHandshake).get(), 0);
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        await_condition("the stranger is counted", || {
            metrics.rejected(Rejection::TlsHandshake).get() == 1
        });
    });
    tried.await.unwrap();
    server.run_until(async {}).await.unwrap();
}

/// The end of the certificate is the earliest of its chain.
#[test]
fn the_end_of_a_certificate_is_known() {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let until = |year: i32| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.signed_by(&key, &authority()).unwrap().pem()
    };
    files.put("key.pem", &key.serialize_pem());
    files.put("cert.pem", &[until(2060), until(2040)].concat());
    let settings = LiveSettings::new(&files.config(&[])).unwrap();
    assert_eq!(settings.load().certificate_end, Some(2_208_988_800));
}

/// The watcher looks when it is told to, so nothing here waits for time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_for_new_connections_and_bad_ones_change_nothing() {
    let (first, second) = (authority(), authority());
    let files = Files::new();
    files.put_leaf(&first);
    let config = files.config(&[]);
    let yaml = rstmdb_server::config::print(&config);
    let file = files.put("rstmdb.yaml", &yaml);
    let server = Server::start(config.clone()).await.unwrap();
    let (address, settings) = (server.address(), server.settings());
    let tried = tokio::task::spawn_blocking(move || {
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        let loaded = LoadedConfig { config, file: Some(file), ..LoadedConfig::default() };
        let mut watcher = Watcher::new(sources, loaded, settings, None);
        assert!(watcher.poll().is_none(), "nothing has changed");
        let mut old = connect(address, client(&first, None, BOTH));
        assert!(pings(&mut old));

        // Half of a change: the key does not belong to the certificate.
        let (certificate, key) = leaf(&second);
        files.put("cert.pem", &format!("{certificate}\n"));
        let problem = watcher.poll().unwrap().unwrap_err();
        assert!(problem.message().contains("belong together"), "{problem}");
        assert!(watcher.poll().is_none(), "the same file is not reported twice");
        assert!(pings(&mut connect(address, client(&first, None, BOTH))));

        files.put("key.pem", &format!("{key}\n"));
        watcher.poll().unwrap().unwrap();
        assert!(pings(&mut connect(address, client(&second, None, BOTH))));
        assert!(!pings(&mut connect(address, client(&first, None, BOTH))));
        assert!(pings(&mut old), "an open connection goes on");

        std::fs::remove_file(files.path().join("key.pem")).unwrap();
        let problem = watcher.poll().unwrap().unwrap_err();
        assert!(problem.message().contains("can't read tls.key_path"), "{problem}");
        assert!(pings(&mut connect(address, client(&second, None, BOTH))));
        // Its folder holds the data too, and stays until the server has stopped.
        files
    });
    let _files = tried.await.unwrap();
    server.run_until(async {}).await.unwrap();
}

const RSA_PKCS8: &str = include_str!("keys/rsa_pkcs8.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa_pkcs1.pem");
const RSA_CERTIFICATE: &str = include_str!("keys/rsa_cert.pem");
const EC_SEC1: &str = include_str!("keys/ec_sec1.pem");
const EC_CERTIFICATE: &str = include_str!("keys/ec_cert.pem");

#[test]
fn keys_of_every_form_are_read() {
    let files = Files::new();
    for (certificate, key) in
        [(RSA_CERTIFICATE, RSA_PKCS8), (RSA_CERTIFICATE, RSA_PKCS1), (EC_CERTIFICATE, EC_SEC1)]
    {
        files.put("cert.pem", certificate);
        files.put("key.pem", key);
        LiveSettings::new(&files.config(&[])).unwrap();
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_certificate_and_utf_16_is_named() {
    let files = Files::new();
    files.put("cert.pem", &format!("\u{feff}{EC_CERTIFICATE}"));
    files.put("key.pem", &format!("\u{feff}{EC_SEC1}"));
    LiveSettings::new(&files.config(&[])).unwrap();
    // Comments may be in any encoding.
    let commented = [b"# M\xfcller\n", EC_CERTIFICATE.as_bytes()].concat();
    std::fs::write(files.path().join("cert.pem"), commented).unwrap();
    LiveSettings::new(&files.config(&[])).unwrap();
    for name in ["cert.pem", "key.pem"] {
        files.put("cert.pem", EC_CERTIFICATE);
        files.put("key.pem", EC_SEC1);
        let text = std::fs::read_to_string(files.path().join(name)).unwrap();
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        let bytes: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
        std::fs::write(files.path().join(name), bytes).unwrap();
        let error = LiveSettings::new(&files.config(&[])).unwrap_err();
        assert!(error.message().contains("is UTF-16 (big-endian)"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = authority();
    let (certificate, key) = leaf(&authority);
    let files = Files::new();
    let empty = files.put("empty.pem", "nothing\n");
    let broken = key.replacen("MI", "!!", 1);
    for (cert_text, key_text, part) in [
        (certificate.as_str(), "", "tls.key_path"),
        (&certificate, broken.as_str(), "is not a PEM private key"),
        ("", &key, "has no PEM certificate"),
        (&key, &key, "has no PEM certificate"),
        (EC_CERTIFICATE, &key, "belong together"),
    ] {
        files.put("cert.pem", cert_text);
        files.put("key.pem", key_text);
        let error = LiveSettings::new(&files.config(&[])).unwrap_err();
        assert!(error.message().contains(part), "{part}: {error}");
        assert!(error.message().contains(files.path().to_str().unwrap()), "{error}");
        assert!(!error.message().contains(&key[40..60]), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
    files.put_leaf(&authority);
    for ca in [empty.to_str().unwrap(), "no/such/ca.pem"] {
        let settings = [("tls.require_client_cert", "true"), ("tls.client_ca_path", ca)];
        let error = LiveSettings::new(&files.config(&settings)).unwrap_err();
        assert!(error.message().contains("tls.client_ca_path"), "{error}");
    }
}

fn stored(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

/// The settings of a listener with stored files.
fn stored_config(files: &Files, certificate: &str, key: &str) -> Config {
    let (certificate, key) = (stored(certificate), stored(key));
    let paths =
        [("tls.cert_path", certificate.to_str().unwrap()), ("tls.key_path", key.to_str().unwrap())];
    files.config(&paths)
}

#[test]
fn keys_that_can_not_be_used_are_called_what_they_are() {
    let files = Files::new();
    for (certificate, key, said) in [
        ("ec_cert.pem", "encrypted_pkcs8.pem", "is encrypted with a passphrase"),
        ("ec_cert.pem", "encrypted_sec1.pem", "is encrypted with a passphrase"),
        ("p521_cert.pem", "p521_sec1.pem", "is on the curve P-521"),
        ("p521_cert.pem", "p521_pkcs8.pem", "is on the curve P-521"),
    ] {
        let error = LiveSettings::new(&stored_config(&files, certificate, key)).unwrap_err();
        assert!(error.message().contains(said), "{key}: {error}");
        assert!(error.message().contains(key), "{key}: {error}");
        assert_eq!(error.context()["setting"], "tls.key_path", "{key}");
    }
    let p521 = stored("p521_cert.pem");
    files.put_leaf(&authority());
    let settings =
        [("tls.require_client_cert", "true"), ("tls.client_ca_path", p521.to_str().unwrap())];
    let error = LiveSettings::new(&files.config(&settings)).unwrap_err();
    assert!(error.message().contains("is on the curve P-521"), "{error}");

    // The way out of each.
    for (name, arguments) in [
        ("decrypted.pem", vec!["pkey", "-passin", "pass:secret", "-in", "encrypted_pkcs8.pem"]),
        ("ours.pem", vec!["ecparam", "-name", "prime256v1", "-genkey", "-noout"]),
    ] {
        let out = files.path().join(name);
        let mut command = std::process::Command::new("openssl");
        let command = command.current_dir(stored("")).args(arguments).arg("-out").arg(&out);
        assert!(command.output().expect("openssl is needed").status.success(), "{name}");
        PrivateKeyDer::from_pem_file(&out).unwrap();
    }
    let decrypted = files.path().join("decrypted.pem");
    let settings = [("tls.cert_path", stored("ec_cert.pem")), ("tls.key_path", decrypted)];
    let settings: Vec<_> =
        settings.iter().map(|(key, path)| (*key, path.to_str().unwrap())).collect();
    LiveSettings::new(&files.config(&settings)).unwrap();
}

/// A certificate for localhost that is valid in these years.
fn put_dated(files: &Files, authority: &Authority, years: std::ops::Range<i32>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    files.put("cert.pem", &params.signed_by(&key, authority).unwrap().pem());
    files.put("key.pem", &key.serialize_pem());
}

#[test]
fn certificates_that_clients_will_refuse_are_named_at_the_start_and_when_they_are_read_again() {
    let authority = authority();
    let files = Files::new();
    files.put_leaf(&authority);
    let config = files.config(&[]);
    let settings = Arc::new(LiveSettings::new(&config).unwrap());
    assert_eq!(settings.load().remarks, [""; 0]);
    let file = files.put("rstmdb.yaml", &rstmdb_server::config::print(&config));
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let loaded =
        LoadedConfig { config: config.clone(), file: Some(file), ..LoadedConfig::default() };
    let mut watcher = Watcher::new(sources, loaded, settings, None);
    for (years, said) in [
        (2001..2002, "certificate 1 of tls.cert_path"),
        (2001..2002, "has expired, on 2002-01-01"),
        (2100..2101, "is not valid before 2100-01-01"),
    ] {
        put_dated(&files, &authority, years);
        let remarks = LiveSettings::new(&config).unwrap().load().remarks.clone();
        assert!(remarks.len() == 1 && remarks[0].contains(said), "{remarks:?}");
        assert_eq!(watcher.reload().unwrap().warnings, remarks);
    }
    // The authorities of clients too.
    files.put_leaf(&authority);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    let old = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca = files.put("ca.pem", &format!("{}{}", authority.pem(), old.pem()));
    let settings =
        [("tls.require_client_cert", "true"), ("tls.client_ca_path", ca.to_str().unwrap())];
    let remarks = LiveSettings::new(&files.config(&settings)).unwrap().load().remarks.clone();
    assert!(remarks[0].contains("certificate 2 of tls.client_ca_path"), "{remarks:?}");
    // An authority is no server.
    let config = stored_config(&files, "ec_cert.pem", "ec_sec1.pem");
    let remarks = LiveSettings::new(&config).unwrap().load().remarks.clone();
    assert!(remarks[0].contains("is one of a certificate authority (CA:TRUE)"), "{remarks:?}");
    // As the remark advises.
    let mut command = std::process::Command::new("openssl");
    let command = command.current_dir(files.path()).args(["req", "-x509", "-newkey", "ec"]);
    let command = command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    let command =
        command.args(["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]);
    let command = command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    assert!(command.output().unwrap().status.success());
    assert_eq!(LiveSettings::new(&files.config(&[])).unwrap().load().remarks, [""; 0]);
}
