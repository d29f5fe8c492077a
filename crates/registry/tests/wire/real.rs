//! Against Debian's `docker-registry` on loopback.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use registry::{ErrorKind, PushOptions, Pushed, Selector};

use crate::common::{block_on, client, reference, repository, sample};

struct RealRegistry {
    child: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl RealRegistry {
    /// Starts one; `None` where the program is not installed.
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// The same with more lines under `http:`.
    fn start_with(more: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let host = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .to_string();
        let config = directory.path().join("config.yml");
        let root = directory.path().join("data");
        let mut file = std::fs::File::create(&config).expect("a file");
        write!(
            file,
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n{more}",
            root.display()
        )
        .expect("a written file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                #[expect(clippy::print_stderr, reason = "a skipped test says why")]
                {
                    eprintln!("skipped: docker-registry cannot be run: {error}");
                }
                return None;
            }
        };
        let started = Self {
            child,
            host,
            _directory: directory,
        };
        let begin = Instant::now();
        while TcpStream::connect(&started.host).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(started)
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_round_trip() {
    let Some(real) = RealRegistry::start() else {
        return;
    };
    let client = client();
    let sample = sample(20_000_000);
    let base = repository(&format!("{}/base", real.host));
    let app = repository(&format!("{}/team/app", real.host));
    block_on(async {
        sample
            .push(&client, &base, "1", &PushOptions::default())
            .await
            .expect("a push in one request");
        let name = reference(&format!("{base}:1"));
        sample.pull(&client, &name).await.expect("a pull");
        let found = client.resolve(&name).await.expect("a tag");
        assert_eq!(found.digest, sample.digest);
        assert_eq!(found.size, sample.manifest.len() as u64);

        // Again: nothing is sent.
        let options = PushOptions::default();
        let again = client
            .push_blob(&base, &sample.layer_descriptor, &sample.layer, &options)
            .await;
        assert_eq!(again.expect("an answer"), Pushed::Existed);

        // From one repository to another: nothing is sent either.
        let options = PushOptions {
            mount_from: vec![base.clone()],
            ..PushOptions::default()
        };
        let mounted = client
            .push_blob(&app, &sample.layer_descriptor, &sample.layer, &options)
            .await;
        assert_eq!(mounted.expect("an answer"), Pushed::Mounted);

        // A manifest whose configuration is not there.
        let selector = Selector::Tag("1".parse().expect("a tag"));
        let error = client
            .push_manifest(
                &app,
                &selector,
                &oci::MediaType::OciManifest,
                &sample.manifest,
            )
            .await
            .expect_err("a blob is missing");
        assert_eq!(
            *error.kind(),
            ErrorKind::BlobUnknown {
                digest: Some(sample.config_descriptor.digest.clone())
            },
            "{error}"
        );

        // In pieces, and a mount that is refused.
        let options = PushOptions {
            mount_from: vec![repository(&format!("{}/nothing", real.host))],
            chunk_bytes: Some(6_000_000),
            ..PushOptions::default()
        };
        let other = repository(&format!("{}/other", real.host));
        sample
            .push(&client, &other, "1", &options)
            .await
            .expect("a push in pieces");
        sample
            .pull(&client, &reference(&format!("{other}@{}", sample.digest)))
            .await
            .expect("a pull by digest");

        let missing = client.resolve(&reference(&format!("{other}:none"))).await;
        assert_eq!(*missing.expect_err("no tag").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn an_interrupted_upload_goes_on() {
    let Some(real) = RealRegistry::start() else {
        return;
    };
    let sample = sample(20_000_000);
    let proxy = cutting_proxy(&real.host, 8_000_000);
    let target = repository(&format!("{proxy}/a"));
    let client = client();
    let pushed = block_on(client.push_blob(
        &target,
        &sample.layer_descriptor,
        &sample.layer,
        &PushOptions::default(),
    ))
    .expect("a push");
    let Pushed::Uploaded { bytes } = pushed else {
        panic!("{pushed:?}");
    };
    assert!(bytes >= 20_000_000);
    let found = block_on(client.has_blob(&target, &sample.layer_descriptor));
    assert!(found.expect("an answer"));
}

/// Passes connections on, and cuts the first one that sends more than `bytes`.
/// Returns its `host:port`.
fn cutting_proxy(target: &str, bytes: usize) -> String {
    use std::io::Read as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let target = target.to_owned();
    let cut = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (Ok(mut near), Ok(mut far)) = (connection, TcpStream::connect(&target)) else {
                return;
            };
            let (Ok(mut near_back), Ok(mut far_back)) = (near.try_clone(), far.try_clone()) else {
                return;
            };
            let cut = Arc::clone(&cut);
            std::thread::spawn(move || std::io::copy(&mut far_back, &mut near_back));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                let mut passed = 0;
                while let Ok(read) = near.read(&mut buffer) {
                    passed += read;
                    let stop = read == 0 || (passed > bytes && !cut.swap(true, Ordering::SeqCst));
                    if stop || far.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = near.shutdown(std::net::Shutdown::Both);
                let _ = far.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    host
}

/// A certificate for 127.0.0.1 that nobody signed but itself; `None` where
/// openssl is not installed.
fn certificate(directory: &std::path::Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "30000", "-subj", "/CN=kiln test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Some((certificate, key)),
        _ => {
            #[expect(clippy::print_stderr, reason = "a skipped test says why")]
            {
                eprintln!("skipped: openssl cannot make a certificate");
            }
            None
        }
    }
}

#[test]
fn certificates_are_trusted_for_their_host_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some((certificate, key)) = certificate(directory.path()) else {
        return;
    };
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        certificate.display(),
        key.display()
    );
    let Some(real) = RealRegistry::start_with(&tls) else {
        return;
    };
    let settings = |certificates: Option<&str>, insecure: bool, loopback_is_plain: bool| {
        let mut settings = registry::RegistrySettings {
            loopback_is_plain,
            ..registry::RegistrySettings::default()
        };
        if let Some(host) = certificates {
            let place = directory.path().join(format!("certs-{host}"));
            std::fs::create_dir_all(place.join(host)).expect("a directory");
            std::fs::copy(&certificate, place.join(host).join("ca.crt")).expect("a copy");
            settings.certificate_directories.push(place);
        }
        if insecure {
            settings.rules.push(registry::RegistryRule {
                prefix: real.host.clone(),
                location: None,
                insecure,
                blocked: false,
                mirror_by_digest_only: false,
                mirrors: vec![],
            });
        }
        settings
    };
    let sample = sample(100_000);
    let name = repository(&format!("{}/a", real.host));
    let push = |settings| {
        let client = registry::Client::new(registry::ClientOptions {
            settings,
            ..crate::common::options()
        })
        .expect("a client");
        block_on(sample.push(&client, &name, "1", &PushOptions::default()))
    };
    // Trusted by its own directory, which also says that it speaks https.
    push(settings(Some(&real.host), false, true)).expect("a CA for this host");
    // Declared insecure: nothing is verified.
    push(settings(None, true, false)).expect("an insecure registry");
    // Nothing said, and a CA that is another host's: refused, once.
    for settings in [
        settings(None, false, false),
        settings(Some("127.0.0.1:1"), false, false),
    ] {
        let error = push(settings).expect_err("an unknown certificate");
        assert_eq!(*error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[test]
fn plain_http_is_spoken_only_where_it_is_declared() {
    let Some(real) = RealRegistry::start() else {
        return;
    };
    let name = reference(&format!("{}/a:1", real.host));
    let resolve = |insecure: bool| {
        let mut options = crate::common::options();
        options.settings.loopback_is_plain = false;
        options.settings.rules.push(registry::RegistryRule {
            prefix: "127.0.0.1".into(),
            location: None,
            insecure: false,
            blocked: false,
            mirror_by_digest_only: false,
            mirrors: vec![],
        });
        options.settings.rules.push(registry::RegistryRule {
            prefix: real.host.clone(),
            location: None,
            insecure,
            blocked: false,
            mirror_by_digest_only: false,
            mirrors: vec![],
        });
        let client = registry::Client::new(options).expect("a client");
        block_on(client.resolve(&name)).expect_err("nothing is there")
    };
    assert_eq!(*resolve(true).kind(), ErrorKind::NotFound);
    let error = resolve(false);
    assert_eq!(*error.kind(), ErrorKind::Tls, "{error}");
    assert!(
        error.advice().expect("advice").contains("plain http"),
        "{error}"
    );
}
