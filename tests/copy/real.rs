//! Against Debian's `docker-registry`, which has no list of referrers.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Registry;

use super::rich::seed_rich;
use super::{assert_rich, good, other};
use crate::cli::Environment;

struct RealRegistry {
    child: Child,
    host: String,
}

impl RealRegistry {
    /// Starts one; nothing where the program is not installed.
    fn start(environment: &Environment) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0");
        let address = listener.and_then(|listener| listener.local_addr());
        let host = address.expect("a free port").to_string();
        let config = environment.work().join("registry.yml");
        let root = environment.work().join("registry");
        let mut file = std::fs::File::create(&config).expect("a file");
        write!(
            file,
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
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
        let Ok(child) = child else {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        };
        let started = Self { child, host };
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
fn a_registry_without_referrers_keeps_them_all_the_same() {
    let environment = Environment::new();
    let Some(real) = RealRegistry::start(&environment) else {
        return;
    };
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let source = format!("{}/app:1", from.host());
    let middle = format!("{}/team/app:1", real.host);
    good(&environment, &["copy", &source, &middle]);
    // Within it, to another repository.
    let promoted = format!("{}/prod/app:1", real.host);
    good(&environment, &["copy", &middle, &promoted]);
    let to = Registry::start();
    good(
        &environment,
        &["copy", &promoted, &format!("{}/app:1", to.host())],
    );
    assert_rich(&from, &to, "app", "1", &rich);
    // All tags, of which those that are made from digests are none.
    let mirror = format!("{}/mirror", to.host());
    let repository = format!("{}/prod/app", real.host);
    let product = good(&environment, &["copy", "--all-tags", &repository, &mirror]);
    assert_eq!(product, format!("{mirror}:1@{}\n", rich.index));
    assert_rich(&from, &to, "mirror", "1", &rich);
    let found = good(&environment, &["inspect", &promoted]);
    assert!(found.contains(rich.note.as_str()), "{found}");
    good(
        &environment,
        &["tag", &promoted, &format!("{repository}:2")],
    );

    let name = format!("docker://{repository}:2");
    let arguments = ["inspect", "--raw", "--tls-verify=false", &name];
    if let Some(output) = other("skopeo", &arguments) {
        assert_eq!(oci::Digest::of(&output.stdout), rich.index);
    }
}
