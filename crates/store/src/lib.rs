//! The disk: all local state that outlives a step — blobs, layers and their
//! indexes, records, unpacked layers — and what may be done with it by several
//! processes at once, any of which may be killed.
//!
//! It does not know that registries exist, nor Dockerfiles.
//!
//! ```text
//! STORE/                 0700: holds set-uid files of images (CVE-2021-41091)
//!   format               the version of this layout
//!   lock                 shared by every process, alone by who prunes
//!   sweep                held while cleaning up behind dead processes
//!   blobs/sha256/ab/…    content by digest: layers, configs, manifests
//!   indexes/sha256/ab/…  what is in a layer, by diff id
//!   seek/sha256/ab/…     how to read parts of a layer, by the digest of its blob
//!   spans/ab/DIGEST/…    parts of layers that were read so
//!   unpacked/ab/KEY.TAG/ a layer or a stack as a directory, for mounting
//!   unpacked/ab/KEY      the record that such a directory is complete
//!   records/ab/…         answers of the build cache, by key
//!   caches/ab/HASH/      directories of `RUN --mount=type=cache`
//!   images/…             names of images: they keep blobs alive
//!   journals/DIGEST      what publishing has come to, until it is finished
//!   journals/DIGEST.lock held by who publishes it
//!   publications/…       what was published
//!   stat/…               content hashes of files in build contexts
//!   turns/ab             held by who does what others need not do too
//!   tmp/PROCESS.lock     held by a living process, which owns
//!   tmp/PROCESS/         its unfinished work
//!   trash/               on its way out: emptied when nobody waits
//! ```
//!
//! Three rules make it survive anything:
//!
//! 1. What is complete appears by rename. Nobody sees half an object.
//! 2. A record that names objects appears only after they are durable
//!    ([`commit`]). Until then only the process that made it sees it.
//! 3. What does not fit its digest or checksum is absent, and is made again.

pub mod blob;
pub mod cache_mounts;
pub mod commit;
pub mod dir;
mod disk;
pub mod gc;
pub mod image;
pub mod indexes;
pub mod inventory;
pub mod journal;
pub mod layer;
mod lock;
pub mod publication;
pub mod record;
pub mod replace;
pub mod scratch;
pub mod seek_tables;
pub mod snapshot;
pub mod spans;
pub mod stat_cache;
mod store;
mod trash;
pub mod turns;
pub mod unpacked;

pub use disk::DiskError;
pub use store::{Store, StoreError};
