//! The record of a channel: what it held, as of which commit, and what it held before.
//!
//! A record is a small artifact in a repository of its own. It names digests; it moves nothing, and
//! which repositories a channel may name is for its reader to decide.

mod held;
mod history;
mod record;

pub use history::{
    ChannelError, HISTORY_MAX, History, HistoryEnd, KeptRecord, current_record, history, record_at,
};
pub use record::{
    CHANNEL_ARTIFACT, CHANNEL_IMAGES_MAX, CHANNEL_LAYER, CHANNEL_SCHEMA, CURRENT_TAG, ChannelImage,
    ChannelOrigin, ChannelOverride, ChannelRecord, RECORD_BYTES_MAX, RecordError, Who,
};
