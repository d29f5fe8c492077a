//! The pipeline from tar bytes to a blob: hash, cut into blocks of fixed size,
//! compress, join in order, hash and write.
//!
//! Every block is a gzip member or a zstd frame of its own: the bytes depend on
//! the input and the level, never on the number of threads or the machine; and
//! whoever reads the blob can start at any block.
//!
//! ```text
//! caller ── blocks ─┬─ in order ── hash: the diff id
//!                   └─ compress ── in order ── hash and write: the blob
//! ```
//!
//! The three are work for the threads of a [`Pool`], each block's for any of
//! them; where order matters, one thread at a time does what has come up to
//! then. A stream of at most one block, or of a pool of one thread, is packed
//! by its caller.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use oci::{Compression, DiffId};

use super::ContentHash;
use super::block_hash::BlockHasher;
use super::codec::{Codec, Engine, Engines};
use super::pool::{Buffer, Pool};
use crate::disk::DiskError;

/// Bytes of tar in one member or frame. Decides the bytes of blobs.
pub const BLOCK_BYTES: usize = 1 << 20;

/// Where compressed bytes go.
pub(crate) trait Output: Send + 'static {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError>;
    /// The error of a compressor that has no memory.
    fn refuse(&self, cause: io::Error) -> DiskError;
}

/// The pipeline. Bytes are put straight into the current block: ask for
/// [`Packer::space`], fill a part, [`Packer::advance`].
pub(crate) struct Packer<O: Output> {
    tar_bytes: u64,
    block: Vec<u8>,
    filled: usize,
    codec: Codec,
    pool: Pool,
    stage: Stage<O>,
}

/// Who packs.
enum Stage<O: Output> {
    /// The caller.
    Inline(Box<Inline<O>>),
    /// The pool.
    Shared(Line<O>),
    /// Nobody any more.
    Over,
}

struct Inline<O> {
    output: O,
    hasher: BlockHasher,
    engine: Engine,
    compressed: Vec<u8>,
}

/// What the pipeline says of its input at the end.
#[derive(Debug)]
pub(crate) struct Packed<O> {
    pub(crate) output: O,
    pub(crate) diff_id: DiffId,
    pub(crate) tar_bytes: u64,
    /// The hash of each block.
    pub(crate) blocks: Vec<ContentHash>,
}

impl<O: Output> Packer<O> {
    pub(crate) fn new(output: O, codec: Codec, pool: Pool) -> Self {
        Self {
            tar_bytes: 0,
            block: vec![0; BLOCK_BYTES],
            filled: 0,
            codec,
            pool,
            stage: Stage::Inline(Box::new(Inline {
                output,
                hasher: BlockHasher::new(),
                engine: Engine::new(codec),
                compressed: Vec::new(),
            })),
        }
    }

    /// Bytes of input so far.
    pub(crate) fn position(&self) -> u64 {
        self.tar_bytes + self.filled as u64
    }

    /// The free part of the current block; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.block[self.filled..]
    }

    /// The first `count` bytes of [`Packer::space`] are input now.
    pub(crate) fn advance(&mut self, count: usize) -> Result<(), DiskError> {
        self.filled += count;
        debug_assert!(self.filled <= BLOCK_BYTES);
        if self.filled == BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.advance(count)?;
        }
        Ok(())
    }

    /// A full block, or all that there is.
    fn end_block(&mut self) -> Result<(), DiskError> {
        let filled = std::mem::take(&mut self.filled);
        self.tar_bytes += filled as u64;
        if filled == BLOCK_BYTES
            && self.pool.is_parallel()
            && let Stage::Inline(_) = self.stage
            && let Stage::Inline(inline) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            self.stage = Stage::Shared(Line::new(*inline, self.codec, self.pool.clone()));
        }
        match &mut self.stage {
            Stage::Inline(inline) => inline.pack(&self.block[..filled]),
            Stage::Shared(line) => {
                let mut buffer = self.pool.buffer();
                buffer.exchange(&mut self.block, filled);
                line.give(buffer)
            }
            Stage::Over => unreachable!("a packer that is over is not written to"),
        }
    }

    pub(crate) fn finish(mut self) -> Result<Packed<O>, DiskError> {
        // Nothing at all is one empty member, not an empty file.
        if self.filled > 0 || self.tar_bytes == 0 {
            self.end_block()?;
        }
        let (output, hasher) = match self.stage {
            Stage::Inline(inline) => (inline.output, inline.hasher),
            Stage::Shared(line) => line.finish()?,
            Stage::Over => unreachable!("a packer is finished once"),
        };
        let (diff_id, blocks) = hasher.finish();
        Ok(Packed {
            output,
            diff_id,
            tar_bytes: self.tar_bytes,
            blocks,
        })
    }
}

impl<O: Output> std::fmt::Debug for Packer<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer")
            .field("codec", &self.codec)
            .field("tar_bytes", &self.tar_bytes)
            .finish_non_exhaustive()
    }
}

impl<O: Output> Inline<O> {
    fn pack(&mut self, input: &[u8]) -> Result<(), DiskError> {
        self.hasher.update(input);
        self.engine
            .compress(input, &mut self.compressed)
            .map_err(|cause| self.output.refuse(cause))?;
        self.output.append(&self.compressed)
    }
}

/// The way of one stream's blocks through a pool. Dropped, it waits until
/// nobody works for it any more, so that its output is gone when it is.
struct Line<O: Output> {
    shared: Arc<Shared<O>>,
    codec: Codec,
    pool: Pool,
    given: u64,
    /// The output was given back.
    over: bool,
}

struct Shared<O> {
    state: Mutex<Way<O>>,
    /// A block came to its end, or somebody stopped.
    changed: Condvar,
}

struct Way<O> {
    /// To be hashed, in order; the hasher is away while somebody does it.
    unhashed: VecDeque<Arc<Buffer>>,
    hasher: Option<BlockHasher>,
    hashed: u64,
    /// Compressed, and waiting for its turn; the output is away while somebody
    /// writes.
    unwritten: BTreeMap<u64, (Arc<Buffer>, io::Result<Vec<u8>>)>,
    output: Option<O>,
    written: u64,
    failed: Option<DiskError>,
    /// Nobody wants the rest.
    abandoned: bool,
    /// Compressed bytes were here.
    spare: Vec<Vec<u8>>,
}

impl<O: Output> Line<O> {
    /// Where the caller leaves off.
    fn new(inline: Inline<O>, codec: Codec, pool: Pool) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(Way {
                    unhashed: VecDeque::new(),
                    hasher: Some(inline.hasher),
                    hashed: 0,
                    unwritten: BTreeMap::new(),
                    output: Some(inline.output),
                    written: 0,
                    failed: None,
                    abandoned: false,
                    spare: Vec::new(),
                }),
                changed: Condvar::new(),
            }),
            codec,
            pool,
            given: 0,
            over: false,
        }
    }

    fn give(&mut self, block: Buffer) -> Result<(), DiskError> {
        let block = Arc::new(block);
        let mut way = self.shared.lock();
        if let Some(failed) = way.failed.take() {
            way.abandoned = true;
            return Err(failed);
        }
        way.unhashed.push_back(Arc::clone(&block));
        drop(way);
        let (number, codec) = (self.given, self.codec);
        self.given += 1;
        let shared = Arc::clone(&self.shared);
        self.pool.run(Box::new(move |engines| {
            shared.compress(number, block, codec, engines);
        }));
        let shared = Arc::clone(&self.shared);
        self.pool.run(Box::new(move |_| shared.hash()));
        Ok(())
    }

    /// Waits for the end of all that was given.
    fn finish(mut self) -> Result<(O, BlockHasher), DiskError> {
        let shared = Arc::clone(&self.shared);
        let mut way = shared.lock();
        loop {
            if let Some(failed) = way.failed.take() {
                way.abandoned = true;
                return Err(failed);
            }
            let is_done = way.hashed == self.given && way.written == self.given;
            if is_done && let (Some(_), Some(_)) = (&way.output, &way.hasher) {
                self.over = true;
                let output = way.output.take().expect("just seen");
                return Ok((output, way.hasher.take().expect("just seen")));
            }
            way = shared.wait(way);
        }
    }
}

impl<O: Output> Drop for Line<O> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut way = self.shared.lock();
        way.abandoned = true;
        way.unwritten.clear();
        way.unhashed.clear();
        while way.output.is_none() {
            way = self.shared.wait(way);
        }
        way.output = None;
    }
}

impl<O: Output> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, Way<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, way: MutexGuard<'a, Way<O>>) -> MutexGuard<'a, Way<O>> {
        self.changed
            .wait(way)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes what has come, unless somebody is at it, who then goes on to it.
    fn hash(&self) {
        let mut way = self.lock();
        let Some(mut hasher) = way.hasher.take() else {
            return;
        };
        while let Some(block) = way.unhashed.pop_front() {
            drop(way);
            hasher.update(&block);
            drop(block);
            way = self.lock();
            way.hashed += 1;
        }
        way.hasher = Some(hasher);
        drop(way);
        self.changed.notify_all();
    }

    /// Compresses one block, and writes it and those behind it if it is their
    /// turn.
    fn compress(&self, number: u64, block: Arc<Buffer>, codec: Codec, engines: &mut Engines) {
        let mut compressed = {
            let mut way = self.lock();
            if way.abandoned {
                return;
            }
            way.spare.pop().unwrap_or_default()
        };
        let result = match codec.compression {
            // It is written as it is.
            Compression::None => Ok(compressed),
            Compression::Gzip | Compression::Zstd => engines
                .of(codec)
                .compress(&block, &mut compressed)
                .map(|()| compressed),
        };
        let mut way = self.lock();
        if way.abandoned {
            return;
        }
        way.unwritten.insert(number, (block, result));
        self.write(way, codec);
    }

    /// Writes what is next, unless somebody is at it, who then goes on to it.
    fn write<'a>(&'a self, mut way: MutexGuard<'a, Way<O>>, codec: Codec) {
        let Some(mut output) = way.output.take() else {
            return;
        };
        let mut result = Ok(());
        while result.is_ok()
            && !way.abandoned
            && let Some((block, compressed)) = {
                let next = way.written;
                way.unwritten.remove(&next)
            }
        {
            drop(way);
            let mut spent = None;
            result = match (codec.compression, compressed) {
                (_, Err(cause)) => Err(output.refuse(cause)),
                (Compression::None, Ok(_)) => output.append(&block),
                (Compression::Gzip | Compression::Zstd, Ok(bytes)) => {
                    let appended = output.append(&bytes);
                    spent = Some(bytes);
                    appended
                }
            };
            drop(block);
            way = self.lock();
            way.written += 1;
            way.spare.extend(spent);
        }
        way.output = Some(output);
        if let Err(error) = result {
            way.failed = Some(error);
            way.abandoned = true;
            way.unwritten.clear();
        }
        drop(way);
        self.changed.notify_all();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read as _;

    use std::num::NonZeroUsize;

    use oci::Digest;

    use super::super::codec::default_level;
    use super::*;

    fn pool(threads: usize) -> Pool {
        let pool = Pool::default();
        pool.allow(NonZeroUsize::new(threads).unwrap());
        pool
    }

    impl Output for Vec<u8> {
        fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
            self.extend_from_slice(bytes);
            Ok(())
        }

        fn refuse(&self, cause: io::Error) -> DiskError {
            DiskError::new("compress", "test".as_ref(), cause)
        }
    }

    /// Bytes that look like text, like numbers, and like nothing, in turns, from
    /// a generator of our own: no crate may change them.
    pub(crate) fn input(bytes: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut out = Vec::with_capacity(bytes + 16);
        while out.len() < bytes {
            match (out.len() >> 18) % 4 {
                0 => out.extend_from_slice(format!("line {}\n", random() % 1000).as_bytes()),
                1 => out.extend_from_slice(&random().to_le_bytes()),
                2 => out.extend_from_slice(&(random() % 77).to_le_bytes()),
                _ => out.extend_from_slice(&[0; 16]),
            }
        }
        out.truncate(bytes);
        out
    }

    fn pack(input: &[u8], compression: Compression, threads: usize) -> (Vec<u8>, DiffId) {
        let codec = Codec {
            compression,
            level: default_level(compression),
        };
        let mut packer = Packer::new(Vec::new(), codec, pool(threads));
        for piece in input.chunks(7_777) {
            packer.write(piece).unwrap();
        }
        let packed = packer.finish().unwrap();
        assert_eq!(packed.tar_bytes, input.len() as u64);
        (packed.output, packed.diff_id)
    }

    fn unpack(blob: &[u8], compression: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(blob),
            Compression::Gzip => {
                flate2::read::MultiGzDecoder::new(blob)
                    .read_to_end(&mut out)
                    .unwrap();
            }
            Compression::Zstd => {
                zstd::stream::copy_decode(blob, &mut out).unwrap();
            }
        }
        out
    }

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    #[test]
    fn any_number_of_threads_gives_the_same_bytes_and_they_decompress() {
        let sizes = [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES - 3];
        for (size, compression) in sizes
            .into_iter()
            .flat_map(|size| ALL.map(|compression| (size, compression)))
        {
            let input = input(size);
            let one = pack(&input, compression, 1);
            assert_eq!(one.1, DiffId(Digest::of(&input)));
            assert!(
                unpack(&one.0, compression) == input,
                "{size} {compression:?}"
            );
            for threads in [2, 3, 8] {
                assert!(pack(&input, compression, threads) == one, "{threads}");
            }
        }
    }

    /// As for the tar: a new version of a compressor that writes other bytes is
    /// a change of format.
    #[test]
    fn the_bytes_are_a_contract() {
        let input = input(3 * BLOCK_BYTES + 5);
        let digests = ALL.map(|compression| Digest::of(&pack(&input, compression, 2).0));
        let digests = digests.map(|digest| digest.short().to_owned());
        assert_eq!(digests, ["794fcb4b63c2", "d167706ebd34", "6b51dda60cb6"]);
    }

    #[test]
    fn a_full_disk_ends_the_pipeline_and_its_threads() {
        struct Full(usize);
        impl Output for Full {
            fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| {
                    let cause = io::Error::from(io::ErrorKind::StorageFull);
                    DiskError::new("write", "/".as_ref(), cause)
                })?;
                Ok(())
            }

            fn refuse(&self, cause: io::Error) -> DiskError {
                DiskError::new("compress", "/".as_ref(), cause)
            }
        }
        let codec = Codec {
            compression: Compression::Zstd,
            level: default_level(Compression::Zstd),
        };
        let mut packer = Packer::new(Full(1_000_000), codec, pool(3));
        let input = input(8 * BLOCK_BYTES);
        let error = packer
            .write(&input)
            .and_then(|()| packer.finish().map(|_| ()))
            .unwrap_err();
        assert!(error.is_full() && error.to_string().contains("inodes are free"));
    }

    /// Many layers at once share threads and buffers, and none waits for another for ever.
    #[test]
    fn a_pool_serves_many_streams_at_once() {
        let pool = pool(2);
        let input = input(12 * BLOCK_BYTES + 17);
        let expected = pack(&input, Compression::Zstd, 1);
        let codec = Codec {
            compression: Compression::Zstd,
            level: default_level(Compression::Zstd),
        };
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (pool, input, expected) = (pool.clone(), &input, &expected);
                scope.spawn(move || {
                    let mut packer = Packer::new(Vec::new(), codec, pool);
                    if number % 3 == 0 {
                        // Given up half-way.
                        return packer.write(&input[..5 * BLOCK_BYTES]).unwrap();
                    }
                    packer.write(input).unwrap();
                    let packed = packer.finish().unwrap();
                    assert!((packed.output, packed.diff_id) == *expected);
                });
            }
        });
    }

    /// Who gives up a stream can rely on nothing being left of it.
    #[test]
    fn the_output_of_an_unfinished_stream_goes_with_it() {
        struct Alive {
            _token: Arc<()>,
        }
        impl Output for Alive {
            fn append(&mut self, _: &[u8]) -> Result<(), DiskError> {
                std::thread::yield_now();
                Ok(())
            }

            fn refuse(&self, cause: io::Error) -> DiskError {
                DiskError::new("compress", "/".as_ref(), cause)
            }
        }
        let pool = pool(3);
        let codec = Codec {
            compression: Compression::None,
            level: 0,
        };
        let alive = Arc::new(());
        for blocks in 0..20 {
            let mut packer = Packer::new(
                Alive {
                    _token: Arc::clone(&alive),
                },
                codec,
                pool.clone(),
            );
            packer.write(&vec![0; blocks * BLOCK_BYTES / 2]).unwrap();
            drop(packer);
            assert_eq!(Arc::strong_count(&alive), 1, "{blocks}");
        }
    }
}
