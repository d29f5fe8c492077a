//! The transaction: a set of images reaches all of its destinations, or becomes visible at none.
//!
//! Blobs first, then manifests and indices by digest, then what is attached to those digests, then
//! tags that never move, then tags that do. No other code of kiln moves a tag.
//!
//! ```text
//! plan         whether a publication can be meant, and its identity
//! transaction  the phases in their order
//! uploads      1: blobs, each once to each registry
//! documents    2: manifests and indices by digest
//! company      3: attachments and seals
//! tags         looked at first, moved last, put back
//! journal      what an earlier run of the same publication came to
//! standing     what a publication that failed left behind
//! report       what was published
//! ```
//!
//! Beside it: images from wherever they are ([`source`], by [`Address`]), and as files ([`sink`]).
//!
//! It gets documents, blobs and seals from whoever made them and does not know how: it has never
//! heard of Dockerfiles, keys or configuration files. What a channel held is a record beside its
//! images ([`channel`]); which rules a channel has is not known here.

mod address;
pub mod channel;
mod company;
mod documents;
mod journal;
mod plan;
mod publication;
mod report;
mod seal;
pub mod sink;
pub mod source;
mod standing;
mod tags;
mod transaction;
mod uploads;
mod watcher;

pub use address::{Address, AddressError, Choice, StoreName};
pub use company::attach;
pub use plan::{DESTINATIONS_MAX, InvalidPublication, TAGS_MAX};
pub use publication::{BlobFault, Blobs, Content, ExpectedTag, Item, Publication, Target};
pub use report::{PublishedImage, PublishedTag, REPORT_SCHEMA, Report, TagChange};
pub use seal::{Seal, SealError, Sealed, Subject};
pub use standing::{DestinationError, PutBack, Reached, Standing, Unfinished};
pub use tags::TagConflict;
pub use transaction::{Context, Outcome, PublishError, publish};
pub use uploads::{Counts, UPLOADS_MAX, UploadError, Uploads};
pub use watcher::{Unwatched, Watcher};
