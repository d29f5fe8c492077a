//! The pipeline from tar bytes to a blob: hash, cut into blocks of fixed size,
//! compress the blocks on several threads, join them in order.
//!
//! Every block is a gzip member or a zstd frame of its own: the bytes depend on
//! the input and the level, never on the number of threads or the machine; and
//! whoever reads the blob can start at any block. Memory is bounded by the
//! blocks in flight. A stream of at most one block starts no thread.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor as Deflater};
use oci::{Algorithm, Compression, DiffId, Hasher};

use crate::disk::DiskError;

/// Bytes of tar in one member or frame. Decides the bytes of blobs.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The gzip level where none is asked for: better than zlib's 6 in ratio and
/// speed.
const GZIP_LEVEL: i32 = 4;
/// The zstd level where none is asked for.
const ZSTD_LEVEL: i32 = 3;

/// The levels that a compression has, from the quickest to the smallest.
pub fn levels(compression: Compression) -> std::ops::RangeInclusive<i32> {
    match compression {
        Compression::None => 0..=0,
        Compression::Gzip => 0..=9,
        Compression::Zstd => 1..=22,
    }
}

/// The level that is used when none is asked for.
pub fn default_level(compression: Compression) -> i32 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => GZIP_LEVEL,
        Compression::Zstd => ZSTD_LEVEL,
    }
}

/// Where compressed bytes go.
pub(crate) trait Output {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError>;
    /// The error of a compressor that has no memory.
    fn refuse(&self, cause: io::Error) -> DiskError;
}

/// The pipeline. Bytes are put straight into the current block: ask for
/// [`Packer::space`], fill a part, [`Packer::advance`].
pub(crate) struct Packer<O> {
    output: O,
    hasher: Hasher,
    tar_bytes: u64,
    block: Vec<u8>,
    filled: usize,
    codec: Codec,
    own: Engine,
    threads: NonZeroUsize,
    farm: Option<Farm>,
    compressed: Vec<u8>,
}

/// What the pipeline says of its input at the end.
#[derive(Debug)]
pub(crate) struct Packed<O> {
    pub(crate) output: O,
    pub(crate) diff_id: DiffId,
    pub(crate) tar_bytes: u64,
}

/// Compression and level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codec {
    pub(crate) compression: Compression,
    pub(crate) level: i32,
}

impl<O: Output> Packer<O> {
    pub(crate) fn new(output: O, codec: Codec, threads: NonZeroUsize) -> Self {
        Self {
            output,
            hasher: Hasher::new(Algorithm::Sha256),
            tar_bytes: 0,
            block: vec![0; BLOCK_BYTES],
            filled: 0,
            codec,
            own: Engine::new(codec),
            threads,
            farm: None,
            compressed: Vec::new(),
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

    fn end_block(&mut self) -> Result<(), DiskError> {
        let input = &self.block[..self.filled];
        self.hasher.update(input);
        self.tar_bytes += input.len() as u64;
        if self.codec.compression == Compression::None {
            self.output.append(input)?;
        } else if self.threads.get() == 1 {
            self.own
                .compress(input, &mut self.compressed)
                .map_err(|cause| self.output.refuse(cause))?;
            self.output.append(&self.compressed)?;
        } else {
            let farm = self
                .farm
                .get_or_insert_with(|| Farm::start(self.codec, self.threads));
            let empty = farm.give(
                &mut self.output,
                std::mem::take(&mut self.block),
                self.filled,
            )?;
            self.block = empty;
        }
        self.filled = 0;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Packed<O>, DiskError> {
        if self.farm.is_none() {
            // All that there is, or the rest behind blocks compressed inline.
            self.threads = NonZeroUsize::MIN;
        }
        // Nothing at all is one empty member, not an empty file.
        if self.filled > 0 || self.tar_bytes == 0 {
            self.end_block()?;
        }
        if let Some(farm) = &mut self.farm {
            farm.finish(&mut self.output)?;
        }
        Ok(Packed {
            output: self.output,
            diff_id: DiffId(self.hasher.finish()),
            tar_bytes: self.tar_bytes,
        })
    }
}

impl<O> std::fmt::Debug for Packer<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer")
            .field("codec", &self.codec)
            .field("tar_bytes", &self.tar_bytes)
            .finish_non_exhaustive()
    }
}

/// The compressors of one thread, made when first needed.
struct Engine {
    codec: Codec,
    deflate: Option<Deflater>,
    store: Option<Deflater>,
    trial: Option<Deflater>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    sample: Vec<u8>,
}

impl Engine {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            deflate: None,
            store: None,
            trial: None,
            zstd: None,
            sample: Vec::new(),
        }
    }

    /// Makes `output` the member or frame of `input`.
    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        output.clear();
        match self.codec.compression {
            Compression::None => output.extend_from_slice(input),
            Compression::Gzip => {
                let deflater = if self.is_incompressible(input) {
                    self.store.get_or_insert_with(|| deflater(0))
                } else {
                    let level = self.codec.level;
                    self.deflate.get_or_insert_with(|| deflater(level))
                };
                output.resize(deflater.gzip_compress_bound(input.len()), 0);
                let size = deflater
                    .gzip_compress(input, output)
                    .map_err(|_| io::Error::other("libdeflate took its own bound for too small"))?;
                output.truncate(size);
            }
            Compression::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::bulk::Compressor::new(self.codec.level)?);
                }
                let compressor = self.zstd.as_mut().expect("made above");
                output.reserve(zstd::zstd_safe::compress_bound(input.len()));
                compressor.compress_to_buffer(input, output)?;
            }
        }
        Ok(())
    }

    /// Whether compressing a block would be work for nothing: archives, images
    /// and the like. A guess from some of its bytes, and only from them and in
    /// whole numbers, so that it comes out the same everywhere.
    fn is_incompressible(&mut self, block: &[u8]) -> bool {
        let stride = block.len() / SAMPLES;
        if stride < SAMPLE_BYTES {
            return false;
        }
        self.sample.clear();
        for index in 0..SAMPLES {
            let start = index * stride;
            self.sample
                .extend_from_slice(&block[start..start + SAMPLE_BYTES]);
        }
        let mut counts = [0u64; 256];
        for byte in &self.sample {
            counts[usize::from(*byte)] += 1;
        }
        // Of bytes that are all equally frequent, the chance that two picked
        // at random are equal is 1/256. Up to a tenth more still is noise;
        // text has ten times as much, machine code even more.
        let count = self.sample.len() as u64;
        let pairs: u64 = counts.iter().map(|count| count * count).sum();
        if pairs * 256 * 10 > count * count * 11 {
            return false;
        }
        // Repetition does not show in frequencies: ask a compressor.
        let trial = self.trial.get_or_insert_with(|| deflater(1));
        let mut output = vec![0; trial.deflate_compress_bound(self.sample.len())];
        trial
            .deflate_compress(&self.sample, &mut output)
            .is_ok_and(|size| size * 50 > self.sample.len() * 49)
    }
}

/// Stretches of a block that are looked at, and their length: as long as the
/// window in which deflate finds repetitions would be best, but a quarter of it
/// finds most.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 8 * 1024;

fn deflater(level: i32) -> Deflater {
    Deflater::new(CompressionLvl::new(level).expect("levels are checked at the door"))
}

/// Threads that compress.
struct Farm {
    queue: Arc<Queue>,
    done: mpsc::Receiver<Block>,
    workers: Vec<JoinHandle<()>>,
    blocks_max: usize,
    in_flight: usize,
    given: u64,
    written: u64,
    /// Compressed, but an earlier block is not.
    early: BTreeMap<u64, Block>,
    free: Vec<Block>,
}

/// A block on its way.
struct Block {
    number: u64,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    result: io::Result<()>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<(VecDeque<Block>, bool)>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Block>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next block, or `None` when no more will come.
    fn take(&self) -> Option<Block> {
        let mut state = self.lock();
        loop {
            if let Some(block) = state.0.pop_front() {
                return Some(block);
            }
            if state.1 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Farm {
    fn start(codec: Codec, threads: NonZeroUsize) -> Self {
        let queue = Arc::new(Queue::default());
        let (sender, done) = mpsc::channel();
        let workers = (0..threads.get())
            .filter_map(|number| {
                let (queue, sender) = (Arc::clone(&queue), sender.clone());
                std::thread::Builder::new()
                    .name(format!("compress-{number}"))
                    .spawn(move || {
                        let mut engine = Engine::new(codec);
                        while let Some(mut block) = queue.take() {
                            block.result =
                                engine.compress(&block.input[..block.filled], &mut block.output);
                            if sender.send(block).is_err() {
                                return;
                            }
                        }
                    })
                    .ok()
            })
            .collect();
        Self {
            queue,
            done,
            workers,
            blocks_max: 2 * threads.get(),
            in_flight: 0,
            given: 0,
            written: 0,
            early: BTreeMap::new(),
            free: Vec::new(),
        }
    }

    /// Hands over a full block, writes what is finished, and returns an empty
    /// one. Waits while too many are in flight.
    fn give<O: Output>(
        &mut self,
        output: &mut O,
        input: Vec<u8>,
        filled: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let mut spare = self.free.pop();
        let fresh = match &mut spare {
            Some(block) => std::mem::take(&mut block.input),
            None => vec![0; BLOCK_BYTES],
        };
        let block = Block {
            number: self.given,
            input,
            filled,
            output: spare.map(|block| block.output).unwrap_or_default(),
            result: Ok(()),
        };
        self.given += 1;
        self.in_flight += 1;
        self.queue.lock().0.push_back(block);
        self.queue.changed.notify_one();
        while let Ok(block) = self.done.try_recv() {
            self.collect(output, block)?;
        }
        while self.in_flight >= self.blocks_max {
            self.wait_for_one(output)?;
        }
        Ok(fresh)
    }

    fn finish<O: Output>(&mut self, output: &mut O) -> Result<(), DiskError> {
        while self.in_flight > 0 {
            self.wait_for_one(output)?;
        }
        Ok(())
    }

    fn wait_for_one<O: Output>(&mut self, output: &mut O) -> Result<(), DiskError> {
        match self.done.recv() {
            Ok(block) => self.collect(output, block),
            Err(mpsc::RecvError) => {
                Err(output.refuse(io::Error::other("no thread could be started")))
            }
        }
    }

    /// Writes `block` and those behind it, if it is their turn.
    fn collect<O: Output>(&mut self, output: &mut O, block: Block) -> Result<(), DiskError> {
        self.early.insert(block.number, block);
        while let Some(block) = self.early.remove(&self.written) {
            self.written += 1;
            self.in_flight -= 1;
            if let Err(cause) = block.result {
                return Err(output.refuse(cause));
            }
            output.append(&block.output)?;
            self.free.push(Block {
                result: Ok(()),
                ..block
            });
        }
        Ok(())
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        {
            let mut state = self.queue.lock();
            state.0.clear();
            state.1 = true;
        }
        self.queue.changed.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use oci::Digest;

    use super::*;

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
    fn input(bytes: usize) -> Vec<u8> {
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
        let threads = NonZeroUsize::new(threads).unwrap();
        let mut packer = Packer::new(Vec::new(), codec, threads);
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
    fn noise_is_stored_and_the_rest_is_not() {
        let codec = Codec {
            compression: Compression::Gzip,
            level: GZIP_LEVEL,
        };
        let mut engine = Engine::new(codec);
        let input = input(BLOCK_BYTES);
        let quarter = BLOCK_BYTES / 4;
        let noise = &input[quarter..2 * quarter];
        let repeated: Vec<u8> = noise[..1024]
            .iter()
            .copied()
            .cycle()
            .take(quarter)
            .collect();
        let cases = [
            (&input[..quarter], false),
            (noise, true),
            (&input[2 * quarter..3 * quarter], false),
            (&repeated, false),
            // Too small for a guess.
            (&noise[..1024], false),
        ];
        for (number, (bytes, expected)) in cases.into_iter().enumerate() {
            assert_eq!(engine.is_incompressible(bytes), expected, "case {number}");
        }
        let mut output = Vec::new();
        engine.compress(noise, &mut output).unwrap();
        assert!(output.len() < noise.len() + noise.len() / 1000);
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
            level: ZSTD_LEVEL,
        };
        let mut packer = Packer::new(Full(1_000_000), codec, NonZeroUsize::new(3).unwrap());
        let input = input(8 * BLOCK_BYTES);
        let error = packer
            .write(&input)
            .and_then(|()| packer.finish().map(|_| ()))
            .unwrap_err();
        assert!(error.is_full() && error.to_string().contains("inodes are free"));
    }
}
