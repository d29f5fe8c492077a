//! The seams: everything outside itself that a build works with.

use std::sync::Arc;

use store::Store;

use crate::event::Reporter;
use crate::interrupt::Interrupt;

/// How files come from elsewhere.
#[derive(Clone, Debug)]
pub struct Post {
    /// By http.
    pub http: fetch::HttpClient,
    /// By git, which is looked for when it is needed.
    pub git: fetch::GitOptions,
}

/// What a build works with.
#[derive(Clone)]
pub struct Ports {
    /// All local state.
    pub store: Store,
    /// All registries.
    pub client: registry::Client,
    /// Everything else that is elsewhere: files and repositories.
    pub post: Post,
    /// Hears what happens.
    pub reporter: Arc<dyn Reporter>,
    /// How shared caches are reached.
    pub network: shelf::Network,
    /// The user's wish to stop.
    pub interrupt: Interrupt,
    /// What RUN sees as `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// Where programs such as `podman` are looked for, as in `PATH`.
    pub program_path: std::ffi::OsString,
}
