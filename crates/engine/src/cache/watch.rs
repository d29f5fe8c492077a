//! Whether something still moves. A registry that takes a layer slowly is waited for; one that
//! takes nothing any more is not.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry::BlobSource;

/// Counts what moves. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<AtomicU64>);

impl Watch {
    /// So much has moved: bytes, or something that has come to its end.
    pub(crate) fn saw(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The same blob, whose bytes are counted when they are read.
    pub(crate) fn over(&self, source: Arc<dyn BlobSource>) -> Arc<dyn BlobSource> {
        Arc::new(Watched {
            watch: self.clone(),
            source,
        })
    }

    /// Ends when nothing has moved for so long.
    pub(crate) async fn stands_still(&self, patience: Duration) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(patience).await;
            if self.0.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

struct Watched {
    watch: Watch,
    source: Arc<dyn BlobSource>,
}

impl BlobSource for Watched {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader {
            watch: self.watch.clone(),
            input: self.source.open(offset)?,
        }))
    }
}

struct Reader {
    watch: Watch,
    input: Box<dyn Read + Send>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.watch.saw(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn what_moves_is_waited_for() {
        let watch = Watch::default();
        let blob = watch.over(Arc::new(Bytes::from_static(b"a layer")));
        let (patience, reads) = (Duration::from_millis(200), 6);
        let reading = watch.clone();
        let slow = tokio::spawn(async move {
            for _ in 0..reads {
                io::copy(&mut blob.open(0).unwrap(), &mut io::sink()).unwrap();
                tokio::time::sleep(patience / 4).await;
            }
            reading.0.load(Ordering::Relaxed)
        });
        watch.stands_still(patience).await;
        // It came to its end before it stood still.
        assert_eq!(slow.await.unwrap(), reads * 7);
        assert_eq!(watch.0.load(Ordering::Relaxed), reads * 7);
    }
}
