//! Debian's registry, where it is installed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long, and how often, it is waited for.
const ROUND: Duration = Duration::from_millis(25);
const ROUNDS_MAX: u32 = 2_400;

/// A registry that was started.
pub(crate) struct RealRegistry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    _directory: TempDir,
}

impl RealRegistry {
    /// Starts one; none, with the reason on stderr, where the program is not installed.
    pub(crate) fn start() -> Option<Self> {
        // It waits for the disk after each blob, and nobody needs what it keeps.
        let in_memory = tempfile::tempdir_in("/dev/shm");
        let directory = in_memory.or_else(|_| tempfile::tempdir());
        let directory = directory.expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0");
        let address = listener.and_then(|listener| listener.local_addr());
        let host = address.expect("a free port").to_string();
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            directory.path().join("data").display()
        );
        fs::write(&config, text).expect("a file");
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
                eprintln!("skipped: docker-registry cannot be run: {error}");
                return None;
            }
        };
        let started = Self {
            child,
            host,
            _directory: directory,
        };
        for _ in 0..ROUNDS_MAX {
            if TcpStream::connect(&started.host).is_ok() {
                return Some(started);
            }
            std::thread::sleep(ROUND);
        }
        panic!("docker-registry does not answer at {}", started.host);
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
