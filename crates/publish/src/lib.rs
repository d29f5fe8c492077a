//! The transaction: a set of images reaches all of its destinations, or becomes visible at none.
//!
//! Blobs first, then manifests and indices by digest, then what is attached to those digests, then
//! tags that never move, then tags that do. No other code of kiln moves a tag.
//!
//! It gets documents, blobs and seals from whoever made them and does not know how: it has never
//! heard of Dockerfiles, keys or configuration files. What a channel held is a record beside its
//! images ([`channel`]); which rules a channel has is not known here.

pub mod channel;
mod publication;
mod report;
mod seal;

pub use publication::{Blobs, Content, Item, Publication, Target};
pub use report::{PublishedImage, PublishedTag, Report, TagChange};
pub use seal::{Seal, SealError, Sealed, Subject};
