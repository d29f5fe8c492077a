//! Caches that machines share, as the program uses them: a store for each machine.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::site::{Caller, REGISTRY, Site};

const DOCKERFILE: &str = "FROM REGISTRY/base:1\nRUN echo one > /one\nRUN echo two > /two\n";

/// Debian's registry.
struct RealRegistry {
    child: Child,
    host: String,
}

impl RealRegistry {
    /// Starts one; nothing where the program is not installed.
    fn start(site: &Site) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0");
        let address = listener.and_then(|listener| listener.local_addr());
        let host = address.expect("a free port").to_string();
        let config = site.path("registry.yml");
        let mut file = fs::File::create(&config).expect("a file");
        write!(
            file,
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            site.path("registry").display()
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
        site.until("the registry answers", || {
            TcpStream::connect(&started.host).is_ok()
        });
        Some(started)
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many steps the last build found elsewhere.
fn shared(site: &Site) -> u64 {
    let numbers = site.numbers("numbers.json");
    numbers["kiln.steps.shared"].as_u64().expect("a number")
}

#[test]
fn other_tools_can_read_and_copy_a_cache() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let Some(real) = RealRegistry::start(&site) else {
        return;
    };
    let context = site.context("context", DOCKERFILE);
    let cache = format!("{}/team/cache:main", real.host);
    let to = format!("type=registry,ref={cache},mode=max");
    let first = site.built("one", "out", &context, &["--cache-to", &to]);
    let from = ["--cache-from", &cache, "--metadata-file", "numbers.json"];
    assert_eq!(site.built("two", "out", &context, &from), first);
    assert_eq!(shared(&site), 2);
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).output();
        let Ok(output) = output else {
            eprintln!("skipped: skopeo is not installed");
            return false;
        };
        assert!(output.status.success(), "{}", site.describe(&output));
        true
    };
    let name = format!("docker://{cache}");
    if !skopeo(&["inspect", "--tls-verify=false", &name]) {
        return;
    }
    let copy = site.path("copy");
    let copied = format!("oci:{}:latest", copy.display());
    skopeo(&["copy", "--src-tls-verify=false", &name, &copied]);
    // What was copied is a cache of the other type.
    let from = format!("type=local,src={}", copy.display());
    let from = ["--cache-from", &from, "--metadata-file", "numbers.json"];
    assert_eq!(site.built("three", "out", &context, &from), first);
    assert_eq!(shared(&site), 2);
}

#[test]
fn what_a_killed_build_had_done_is_there() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let sleep = format!("RUN sleep {}", site.mark());
    let slow = site.context("slow", &format!("{DOCKERFILE}{sleep}\n"));
    let cache = format!("{REGISTRY}/cache:main");
    let to = format!("type=registry,ref={cache},mode=max");
    let mut build = site.build("one", "out", &slow, &["--cache-to", &to]);
    let mut child = build.spawn().expect("kiln starts");
    site.until("something is in the cache", || {
        site.registry.manifest("cache", "main").is_some()
    });
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    let fast = site.context("fast", DOCKERFILE);
    let from = ["--cache-from", &cache, "--metadata-file", "numbers.json"];
    site.built("two", "out", &fast, &from);
    assert_eq!(shared(&site), 2);
    site.until("the killed build is gone", || {
        site.running(&site.mark()) == 0
    });
}
