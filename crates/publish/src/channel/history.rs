//! Records as a registry has them.

use oci::{Digest, Document, Reference, Repository};
use registry::{Client, ErrorKind};

use super::record::{
    CHANNEL_ARTIFACT, CHANNEL_LAYER, CURRENT_TAG, ChannelRecord, RECORD_BYTES_MAX, RecordError,
};

/// The most records that are read one after the other.
pub const HISTORY_MAX: usize = 1000;

/// A record, and the digest that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What it says.
    pub record: ChannelRecord,
}

/// Records, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The records.
    pub records: Vec<KeptRecord>,
    /// Why there are no more.
    pub end: HistoryEnd,
}

/// Why a history has no more records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEnd {
    /// The last one is the first that was written, or the channel has none.
    First,
    /// The registry no longer has the one before.
    Gone(Digest),
    /// There may be more: as many were read as were asked for.
    Bound,
}

/// Why a record could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The registry did not give it.
    #[error("could not read the record of the channel `{channel}`")]
    Wire {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: registry::Error,
    },
    /// What is there is no record of this channel.
    #[error("{reference} is not what the channel `{channel}` can be read from")]
    Record {
        /// The channel.
        channel: String,
        /// What was read.
        reference: Box<Reference>,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
}

/// The record that a channel has now; `None` when it has none.
///
/// # Errors
///
/// When the registry does not answer, or has something else there.
pub async fn current_record(
    client: &Client,
    repository: &Repository,
    channel: &str,
) -> Result<Option<KeptRecord>, ChannelError> {
    let reference = tagged(repository, CURRENT_TAG);
    read(client, &reference, channel).await
}

/// The record under a digest; `None` when it is gone.
///
/// # Errors
///
/// When the registry does not answer, or has something else there.
pub async fn record_at(
    client: &Client,
    repository: &Repository,
    channel: &str,
    digest: &Digest,
) -> Result<Option<KeptRecord>, ChannelError> {
    read(client, &repository.at_digest(digest.clone()), channel).await
}

/// The record that a channel has now, and at most `records_max` in all of those before it.
///
/// # Errors
///
/// When the registry does not answer, or has something else there.
pub async fn history(
    client: &Client,
    repository: &Repository,
    channel: &str,
    records_max: usize,
) -> Result<History, ChannelError> {
    let mut records = Vec::new();
    let mut next = current_record(client, repository, channel).await?;
    let end = loop {
        let Some(kept) = next else {
            break HistoryEnd::First;
        };
        let previous = kept.record.previous.clone();
        records.push(kept);
        let Some(previous) = previous else {
            break HistoryEnd::First;
        };
        if records.len() >= records_max.min(HISTORY_MAX) {
            break HistoryEnd::Bound;
        }
        next = record_at(client, repository, channel, &previous).await?;
        if next.is_none() {
            break HistoryEnd::Gone(previous);
        }
    };
    Ok(History { records, end })
}

fn tagged(repository: &Repository, tag: &str) -> Reference {
    let tag = tag.parse().expect("a constant that is a tag");
    repository.at_tag(tag)
}

async fn read(
    client: &Client,
    reference: &Reference,
    channel: &str,
) -> Result<Option<KeptRecord>, ChannelError> {
    let wire = |source| ChannelError::Wire {
        channel: channel.to_owned(),
        source,
    };
    let wrong = |source| ChannelError::Record {
        channel: channel.to_owned(),
        reference: Box::new(reference.clone()),
        source,
    };
    let document = match client.manifest(reference).await {
        Ok(document) => document,
        Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wire(error)),
    };
    let foreign = |what: &str| wrong(RecordError::NotARecord(what.to_owned()));
    let Document::Manifest(manifest) = &document else {
        return Err(foreign("it is an index of images"));
    };
    if manifest.value().artifact_type.as_deref() != Some(CHANNEL_ARTIFACT) {
        return Err(foreign("it is an image, or another artifact"));
    }
    let [layer] = &manifest.value().layers[..] else {
        return Err(foreign("it does not have one layer"));
    };
    if layer.media_type.as_str() != CHANNEL_LAYER {
        return Err(foreign("its layer is of another type"));
    }
    let json = client
        .document(reference.repository(), layer, RECORD_BYTES_MAX)
        .await
        .map_err(wire)?;
    let record = ChannelRecord::from_json(&json).map_err(wrong)?;
    if record.channel != channel {
        return Err(wrong(RecordError::OtherChannel(record.channel)));
    }
    Ok(Some(KeptRecord {
        digest: document.descriptor().digest,
        record,
    }))
}

#[cfg(test)]
mod tests;
