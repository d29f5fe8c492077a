//! Brings spans from where their blob is: cut into requests, each decompressed and verified.

use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::Digest;
use store::layer::SeekTable;

use super::{Lazy, LazyError, REQUESTS_MAX, runs};
use crate::origins::Origin;
use crate::output::LayerRef;

/// Bytes of blob that neighbouring spans may have together to be fetched at once: 4 MiB. Fewer
/// requests for many small spans, and little memory.
const REQUEST_BYTES: u64 = 4 << 20;
/// Bytes of tar that neighbouring spans may have together: 16 MiB, because all of them are in memory
/// once.
const REQUEST_TAR_BYTES: u64 = 16 << 20;
/// Bytes of blob that are fetched for one span at most, where decompression has to begin far in
/// front of it: 32 MiB.
pub(super) const REQUEST_BYTES_MAX: u64 = 32 << 20;
/// How often a part is fetched again that was damaged on the way.
const ATTEMPTS_MAX: u32 = 2;

impl Lazy {
    /// Fetches spans, or waits for others to have done so. They are at hand then, for a while.
    pub(super) async fn bring(
        &self,
        layer: &LayerRef,
        table: &Arc<SeekTable>,
        wanted: Vec<usize>,
    ) -> Result<(), LazyError> {
        let mut wanted = wanted;
        while !wanted.is_empty() {
            // Before looking who flies: whoever lands from now on is noticed.
            let landed = self.landed.notified();
            let claimed = self.claim(&layer.blob.digest, &wanted);
            if claimed.spans.is_empty() {
                landed.await;
                wanted.retain(|span| self.at_hand(layer, table, *span).is_none());
                continue;
            }
            let requests = requests(table, &claimed.spans);
            stream::iter(requests)
                .map(|spans| self.request(layer, table, spans))
                .buffer_unordered(REQUESTS_MAX)
                .try_collect::<()>()
                .await?;
            wanted.retain(|span| !claimed.spans.contains(span));
        }
        Ok(())
    }

    /// Those of the spans that nobody else fetches are ours now.
    fn claim(&self, blob: &Digest, wanted: &[usize]) -> Claimed<'_> {
        let mut flying = self.flying.lock().expect("no panics under this lock");
        let spans = wanted
            .iter()
            .copied()
            .filter(|span| flying.insert((blob.clone(), *span)))
            .collect();
        Claimed {
            lazy: self,
            blob: blob.clone(),
            spans,
        }
    }

    async fn request(
        &self,
        layer: &LayerRef,
        table: &Arc<SeekTable>,
        spans: Range<usize>,
    ) -> Result<(), LazyError> {
        let _permit = self
            .requests
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let range = table.blob_range(&spans);
        if range.end - range.start > REQUEST_BYTES_MAX {
            return Err(LazyError::Far(layer.blob.digest.clone()));
        }
        let mut attempt = 1;
        loop {
            let compressed = self.part(layer, range.clone()).await?;
            let decoded = self.decode(layer, table, spans.clone(), compressed).await;
            match decoded {
                Err(LazyError::Damaged { .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
                done => return done,
            }
        }
    }

    async fn decode(
        &self,
        layer: &LayerRef,
        table: &Arc<SeekTable>,
        spans: Range<usize>,
        compressed: Bytes,
    ) -> Result<(), LazyError> {
        let (blob, budget) = (
            layer.blob.digest.clone(),
            self.budget.load(Ordering::Relaxed),
        );
        let (table, store) = (Arc::clone(table), self.store.clone());
        let hashes = Arc::clone(&table);
        let is_here = store.blobs().has(&layer.blob);
        let decoded = tokio::task::spawn_blocking(move || {
            let mut contents: Vec<(usize, Arc<[u8]>)> = Vec::new();
            let decoded = table.decode(spans, &compressed[..], &mut |span, content| {
                if !is_here {
                    let start = table.tar_range(span).start;
                    // A full disk costs time later, and nothing now.
                    let _ = store
                        .spans()
                        .put(&blob, start, &content, &table.hash(span), budget);
                }
                contents.push((span, content.into()));
            });
            decoded.map(|()| contents)
        });
        let contents = decoded
            .await
            .expect("decompressing does not panic")
            .map_err(|source| LazyError::Damaged {
                digest: layer.blob.digest.clone(),
                source,
            })?;
        let mut memory = self.memory.lock().expect("no panics under this lock");
        for (span, content) in contents {
            memory.put(&layer.blob.digest, span, hashes.hash(span), content);
        }
        Ok(())
    }

    /// A part of a blob, from wherever it is. That it cannot be had is noted: where only a cache
    /// said to have it, what made it is carried out.
    pub(super) async fn part(
        &self,
        layer: &LayerRef,
        range: Range<u64>,
    ) -> Result<Bytes, LazyError> {
        let part = self.part_from(layer, range).await;
        part.inspect_err(|error| {
            if !error.wants_whole() {
                self.origins.failed(&layer.blob.digest);
            }
        })
    }

    async fn part_from(&self, layer: &LayerRef, range: Range<u64>) -> Result<Bytes, LazyError> {
        let digest = || layer.blob.digest.clone();
        if self.store.blobs().has(&layer.blob) {
            let (blobs, blob) = (self.store.blobs().clone(), layer.blob.clone());
            let read = tokio::task::spawn_blocking(move || {
                let file = blobs.open_file(&blob).map_err(std::io::Error::other)?;
                let mut part = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut part, range.start)?;
                Ok::<_, std::io::Error>(part)
            });
            let part = read.await.expect("reading does not panic");
            return part.map(Bytes::from).map_err(|source| LazyError::Read {
                digest: digest(),
                source,
            });
        }
        let Some(origin) = self.origins.get(&layer.blob.digest) else {
            return Err(LazyError::Lost(digest()));
        };
        match origin {
            Origin::Registry(repository) => self
                .client
                .blob_range(&repository, &layer.blob, range)
                .await
                .map_err(|source| LazyError::Registry {
                    digest: digest(),
                    source,
                }),
            Origin::Shelf(shelf) => {
                shelf
                    .range(&layer.blob, range)
                    .await
                    .map_err(|source| LazyError::Shelf {
                        digest: digest(),
                        source,
                    })
            }
        }
    }
}

/// Spans that one fetches; given back when they have come, or not.
struct Claimed<'l> {
    lazy: &'l Lazy,
    blob: Digest,
    spans: Vec<usize>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        {
            let mut flying = self.lazy.flying.lock().expect("no panics under this lock");
            for span in &self.spans {
                flying.remove(&(self.blob.clone(), *span));
            }
        }
        // Who claimed nothing has nothing to say, least of all to himself.
        if !self.spans.is_empty() {
            self.lazy.landed.notify_waiters();
        }
    }
}

/// Cuts spans into requests: neighbours together, as long as they are not too much.
fn requests(table: &SeekTable, spans: &[usize]) -> Vec<Range<usize>> {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let mut requests = Vec::new();
    for run in runs(&spans) {
        let mut begin = run.start;
        for span in run.clone() {
            let range = table.blob_range(&(begin..span + 1));
            let tar_bytes = table.tar_range(span).end - table.tar_range(begin).start;
            let too_much = range.end - range.start > REQUEST_BYTES || tar_bytes > REQUEST_TAR_BYTES;
            if span > begin && too_much {
                requests.push(begin..span);
                begin = span;
            }
        }
        requests.push(begin..run.end);
    }
    requests
}
