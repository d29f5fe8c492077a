//! What a verb works with, made from the settings: the store, the registry client, a runtime.

use std::io::Read;
use std::sync::Arc;

use engine::{Interrupt, Ports, Post};
use fetch::{GitOptions, HttpClient, HttpOptions};
use registry::{Client, ClientOptions, CredentialStore, RegistrySettings};
use store::{Store, StoreError};
use tokio::runtime::Runtime;

use crate::accounts;
use crate::error::ProgramError;
use crate::interrupt;
use crate::render::{Presentation, Progress};
use crate::settings::Settings;

/// The most of `/etc/resolv.conf` that is read, in bytes.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;

/// Opens the store.
pub(crate) fn open_store(settings: &Settings) -> Result<Store, ProgramError> {
    let path = settings.store()?;
    if path.exists() && !path.is_dir() {
        let message = format!("the store {} is not a directory", path.display());
        return Err(ProgramError::input(message).hint(ANOTHER_STORE));
    }
    Store::open(path).map_err(|error| match &error {
        StoreError::Open { .. }
        | StoreError::Foreign { .. }
        | StoreError::NotAStore { .. }
        | StoreError::Format { .. } => ProgramError::input(error.to_string()),
        StoreError::Busy { .. } | StoreError::Disk(_) => {
            ProgramError::failed(format!("could not open the store {}", path.display()))
                .because(&error)
                .hint(ANOTHER_STORE)
        }
    })
}

/// What to do about a store that cannot be used.
const ANOTHER_STORE: &str = "name a directory of your own with `--store` or `KILN_STORE`";

/// Makes a client for registries. Nothing is asked yet.
fn registry_client(
    settings: &Settings,
    presentation: Presentation,
) -> Result<Client, ProgramError> {
    let credentials = accounts::credentials(settings)?;
    client_with(settings, presentation, credentials)
}

/// The same with certain accounts.
fn client_with(
    settings: &Settings,
    presentation: Presentation,
    credentials: CredentialStore,
) -> Result<Client, ProgramError> {
    if let Some(wanted) = &settings.registries_conf_wanted
        && !wanted.is_file()
    {
        return Err(ProgramError::input(format!(
            "the registries configuration {} is not a file",
            wanted.display()
        )));
    }
    let (registries, notes) = RegistrySettings::load(&settings.registries).map_err(|error| {
        ProgramError::input("could not read the registries configuration").because(&error)
    })?;
    // The system's own files are full of settings that mean nothing to kiln; who names a file is
    // told what in it has no effect.
    let named = settings.registries_conf_wanted.is_some();
    let notes = notes.iter().filter(|_| named).map(|note| note.0.as_str());
    for note in notes.chain(credentials.notes().iter().map(String::as_str)) {
        presentation.warn(note);
    }
    let options = ClientOptions {
        settings: registries,
        credentials,
        trust: settings.trust.clone(),
        proxies: settings.proxies.clone(),
        ..ClientOptions::default()
    };
    Client::new(options).map_err(|error| {
        ProgramError::input("could not set up the registry client").because(&error)
    })
}

/// A client for services that are no registries: the same roots of trust and proxies, and nobody's
/// credentials.
pub(crate) fn service_client(settings: &Settings) -> Result<Client, ProgramError> {
    let options = ClientOptions {
        trust: settings.trust.clone(),
        proxies: settings.proxies.clone(),
        ..ClientOptions::default()
    };
    Client::new(options)
        .map_err(|error| ProgramError::input("could not set up a client").because(&error))
}

/// How files and repositories come from elsewhere. Nothing is asked yet, and git is looked for when
/// it is needed.
fn post(settings: &Settings) -> Result<Post, ProgramError> {
    let proxies = &settings.proxies;
    let bundles = settings.trust.bundles.clone();
    let http = HttpOptions {
        bundles: bundles.clone(),
        http_proxy: proxies.http.clone(),
        https_proxy: proxies.https.clone(),
        no_proxy: proxies.no_proxy.clone(),
        ..HttpOptions::default()
    };
    let http = HttpClient::new(&http).map_err(|error| {
        ProgramError::input("could not set up the client for http").because(&error)
    })?;
    let git = GitOptions {
        search_path: settings.program_path.clone(),
        ssh_agent: settings.ssh_agent.clone(),
        ssh_directory: settings.ssh_directory.clone(),
        http_proxy: proxies.http.clone(),
        https_proxy: proxies.https.clone(),
        no_proxy: proxies.no_proxy.clone(),
        bundles,
        ..GitOptions::default()
    };
    Ok(Post { http, git })
}

/// Opens everything, has `work` done with it on a runtime, shows its progress, and passes on the
/// user's wish to stop.
pub(crate) fn serve<T, E>(
    settings: &Settings,
    presentation: Presentation,
    threads: usize,
    work: impl AsyncFnOnce(&Ports) -> Result<T, E>,
) -> Result<T, ProgramError>
where
    ProgramError: From<E>,
{
    let store = open_store(settings)?;
    let client = registry_client(settings, presentation)?;
    let runtime = runtime(threads)?;
    let interrupt = Interrupt::default();
    interrupt::listen(interrupt.clone())
        .map_err(|error| ProgramError::failed("could not listen for signals").because(&error))?;
    let progress = Arc::new(Progress::start(presentation));
    let network = shelf::Network {
        client: client.clone(),
        trust: settings.trust.clone(),
        proxies: settings.proxies.clone(),
        google: accounts::google(settings),
    };
    let ports = Ports {
        store,
        client,
        network,
        post: post(settings)?,
        reporter: Arc::clone(&progress) as _,
        interrupt,
        resolv_conf: resolv_conf(),
        program_path: settings.program_path.clone(),
    };
    let outcome = runtime.block_on(work(&ports));
    progress.close();
    outcome.map_err(ProgramError::from)
}

/// Has `work` ask registries on a runtime. Needs no store, and nothing that it does has to be tidied
/// up after an interruption.
pub(crate) fn converse<T>(
    settings: &Settings,
    presentation: Presentation,
    work: impl AsyncFnOnce(&Client) -> Result<T, ProgramError>,
) -> Result<T, ProgramError> {
    let client = registry_client(settings, presentation)?;
    runtime(settings.processors)?.block_on(work(&client))
}

/// The same with one account, and no other.
pub(crate) fn converse_as<T>(
    settings: &Settings,
    presentation: Presentation,
    credentials: CredentialStore,
    work: impl AsyncFnOnce(&Client) -> Result<T, ProgramError>,
) -> Result<T, ProgramError> {
    let client = client_with(settings, presentation, credentials)?;
    runtime(settings.processors)?.block_on(work(&client))
}

/// Has `work` done on a runtime, without any client.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ProgramError> {
    Ok(runtime(1)?.block_on(work))
}

/// The name servers of this machine, for processes that share its network. Without a file there
/// are none, and a name that is looked up says so.
fn resolv_conf() -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open("/etc/resolv.conf") {
        // What could be read is all that there is.
        let _ = file.take(RESOLV_CONF_BYTES_MAX).read_to_end(&mut text);
    }
    text
}

/// A runtime for the network and for processes.
pub(crate) fn runtime(threads: usize) -> Result<Runtime, ProgramError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| ProgramError::failed("could not start threads").because(&error))
}
