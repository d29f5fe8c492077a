//! What the store keeps of builds: of each Dockerfile the trace of its last build, and of the last
//! builds what they came to and why.
//!
//! Everything is a record of its own, and two builds at the same time may overwrite what the other
//! wrote: then one of them is not remembered.

use oci::Digest;
use serde::{Deserialize, Serialize};
use store::Store;

use super::carry::Carried;
use super::explanation::Explanation;
use super::files::FileList;

/// How many builds are remembered.
const BUILDS_MAX: usize = 50;

/// How many traces of the same Dockerfile in other places are remembered.
const PLACES_MAX: usize = 8;

/// Which build is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichBuild {
    /// The last one.
    Last,
    /// The one whose id, or whose image's digest, begins like this.
    Named(String),
}

/// What a build came to, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// A name for it, of this store.
    pub id: String,
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// How the Dockerfile is called.
    pub dockerfile: String,
    /// `--target`.
    pub target: Option<String>,
    /// The digest of the manifest or index; nothing when the build failed.
    pub image: Option<Digest>,
    /// Steps that the target needs.
    pub steps: usize,
    /// Of these, found in the cache.
    pub cached: usize,
    /// Of these, carried out.
    pub ran: usize,
    /// Why; kept apart from the list, and empty where nothing was carried out.
    #[serde(skip)]
    pub explanation: Explanation,
    /// Tells whether another build of the same Dockerfile came to the same.
    pub(crate) signature: String,
    /// Whose Dockerfile.
    pub(crate) identity: String,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There was none.
    #[error("no build is remembered in this store")]
    NoBuild,
    /// None has this name.
    #[error("no build whose id or digest begins with `{wanted}` is remembered")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The ids of those that are, the latest first.
        known: Vec<String>,
    },
    /// Several have this name.
    #[error("several builds begin with `{wanted}`: {}", .found.join(", "))]
    Several {
        /// What was asked for.
        wanted: String,
        /// Their ids.
        found: Vec<String>,
    },
}

/// Tells what a build came to, and why.
///
/// # Errors
///
/// When no such build is remembered.
pub fn explain(store: &Store, which: &WhichBuild) -> Result<Account, ExplainError> {
    let mut builds = accounts(store);
    let found = match which {
        WhichBuild::Last => builds.pop().ok_or(ExplainError::NoBuild)?,
        WhichBuild::Named(wanted) => named(builds, wanted)?,
    };
    let explanation = read(store, &explanation_name(&found.id));
    Ok(Account {
        explanation: explanation.unwrap_or_default(),
        ..found
    })
}

fn named(builds: Vec<Account>, wanted: &str) -> Result<Account, ExplainError> {
    if builds.is_empty() {
        return Err(ExplainError::NoBuild);
    }
    let is_wanted = |account: &&Account| {
        let digest = account.image.as_ref().map(Digest::to_string);
        let digest = digest.unwrap_or_default();
        let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
        let mut names = [account.id.as_str(), digest.as_str(), hex].into_iter();
        !wanted.is_empty() && names.any(|name| name.starts_with(wanted))
    };
    let found: Vec<&Account> = builds.iter().filter(is_wanted).collect();
    // Builds that made the same image: the last one.
    let same_image = |one: &[&Account]| {
        let mut images = one.iter().map(|account| &account.image);
        let first = images.next();
        first.is_some_and(|first| first.is_some() && images.all(|image| image == first))
    };
    match found.as_slice() {
        [] => Err(ExplainError::Unknown {
            wanted: wanted.to_owned(),
            known: builds.iter().rev().map(|one| one.id.clone()).collect(),
        }),
        [one] => Ok((*one).clone()),
        several if same_image(several) => Ok(several[several.len() - 1].clone()),
        several => Err(ExplainError::Several {
            wanted: wanted.to_owned(),
            found: several.iter().map(|one| one.id.clone()).collect(),
        }),
    }
}

/// The builds that are remembered, the latest last, without what is kept apart.
pub(crate) fn accounts(store: &Store) -> Vec<Account> {
    read(store, &name("builds")).unwrap_or_default()
}

/// Remembers a build.
pub(crate) fn remember_account(store: &Store, mut known: Vec<Account>, mut account: Account) {
    let explanation = std::mem::take(&mut account.explanation);
    if !explanation.causes.is_empty() {
        write(store, &explanation_name(&account.id), &explanation);
    }
    known.push(account);
    let over = known.len().saturating_sub(BUILDS_MAX);
    for old in known.drain(..over) {
        if old.ran > 0 {
            store.records().remove(&explanation_name(&old.id));
        }
    }
    write(store, &name("builds"), &known);
}

fn explanation_name(id: &str) -> Digest {
    name(&format!("explanation of build {id}"))
}

/// Where a trace can be found: `kin` is what a Dockerfile is called wherever it is, `place` where
/// it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The same on every machine.
    pub kin: String,
    /// Only here.
    pub place: String,
}

impl Identity {
    /// Both in one.
    pub(crate) fn whole(&self) -> String {
        format!("{} {}", self.kin, self.place)
    }

    /// The trace of the last build.
    pub(crate) fn trace(&self, store: &Store) -> Option<Carried> {
        trace_of(store, &self.whole())
    }

    /// Traces of the last builds of the same in other places.
    pub(crate) fn traces_elsewhere(&self, store: &Store) -> Vec<Carried> {
        let places: Vec<String> = read(store, &self.places_name()).unwrap_or_default();
        let places = places.iter().rev().filter(|place| **place != self.place);
        places
            .filter_map(|place| trace_of(store, &format!("{} {place}", self.kin)))
            .collect()
    }

    /// Keeps the trace of a build in the place of the one before, whose lists of files go unless
    /// this one names them too.
    pub(crate) fn remember_trace(&self, store: &Store, trace: &Carried, before: Option<&Carried>) {
        store
            .records()
            .put(&trace_name(&self.whole()), &trace.to_bytes());
        let named = |list: &String| {
            let mut steps = trace.trace.steps.iter();
            steps.any(|step| step.files.as_ref() == Some(list))
        };
        let old = before.iter().flat_map(|before| &before.trace.steps);
        for list in old.filter_map(|step| step.files.as_ref()) {
            if !named(list) {
                store.records().remove(&self.list_name(list));
            }
        }
        let mut places: Vec<String> = read(store, &self.places_name()).unwrap_or_default();
        if places.last() != Some(&self.place) {
            places.retain(|place| *place != self.place);
            places.push(self.place.clone());
            let over = places.len().saturating_sub(PLACES_MAX);
            for place in places.drain(..over) {
                let name = trace_name(&format!("{} {place}", self.kin));
                store.records().remove(&name);
            }
            write(store, &self.places_name(), &places);
        }
    }

    /// Whether a list of files is kept.
    pub(crate) fn has_list(&self, store: &Store, list: &str) -> bool {
        store.records().has(&self.list_name(list))
    }

    /// Keeps a list of files.
    pub(crate) fn remember_list(&self, store: &Store, list: &str, files: &FileList) {
        store
            .records()
            .put(&self.list_name(list), &files.to_bytes());
    }

    /// The bytes of a list of files.
    pub(crate) fn list(&self, store: &Store, list: &str) -> Option<Vec<u8>> {
        store.records().get(&self.list_name(list))
    }

    /// Lists are kept for each place by itself, so that one that is not needed there can go.
    fn list_name(&self, list: &str) -> Digest {
        name(&format!("files {list} of {}", self.whole()))
    }

    fn places_name(&self) -> Digest {
        name(&format!("places of {}", self.kin))
    }
}

fn trace_of(store: &Store, whole: &str) -> Option<Carried> {
    Carried::from_bytes(&store.records().get(&trace_name(whole))?)
}

fn trace_name(whole: &str) -> Digest {
    name(&format!("trace of {whole}"))
}

/// The names of these records cannot be keys of steps, which are hashes of something else.
fn name(of: &str) -> Digest {
    Digest::of(format!("kiln history: {of}").as_bytes())
}

fn read<T: serde::de::DeserializeOwned>(store: &Store, name: &Digest) -> Option<T> {
    serde_json::from_slice(&store.records().get(name)?).ok()
}

fn write<T: Serialize>(store: &Store, name: &Digest, value: &T) {
    if let Ok(bytes) = serde_json::to_vec(value) {
        store.records().put(name, &bytes);
    }
}
