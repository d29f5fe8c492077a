//! Undoes the compression of a layer or an archive: every member and frame of
//! it, to the last byte.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::Compression;

use super::gunzip::Gunzip;
use super::limits::{Limits, RATIO_FREE_BYTES};
use super::restart::{Cutter, Start};
use super::unzstd::Unzstd;

/// log₂ of the largest zstd window, 128 MiB. A frame may ask for terabytes, and
/// a decoder may refuse that (RFC 8878, 3.1.1.1.2).
pub(super) const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes of memory that an xz decoder may take, in KiB: what `xz -9` needs.
const XZ_MEMORY_KIB_MAX: u32 = 128 * 1024;
/// How much is read from the source at once.
const INPUT_BYTES: usize = 256 * 1024;
/// How many bytes tell what a stream is: a whole tar header.
pub(super) const SNIFF_BYTES: usize = 512;

/// What the first bytes of a stream say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Not compressed in a way that kiln knows.
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Wrapping {
    /// Tells by the magic numbers.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or one to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "not compressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

impl From<Compression> for Wrapping {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Plain,
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// Why a compressed stream is refused. Travels inside an [`io::Error`] where a
/// [`Read`] stands between.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The label and the bytes disagree.
    #[error("labelled {}, but the bytes are {}", .labelled.name(), .found.name())]
    Mismatch {
        /// By the media type.
        labelled: Wrapping,
        /// By the first bytes.
        found: Wrapping,
    },
    /// More bytes than the limit.
    #[error("it decompresses to more than {0} bytes")]
    Bytes(u64),
    /// A bomb.
    #[error("{compressed} bytes decompress to more than {limit} times as many")]
    Ratio {
        /// Read until then.
        compressed: u64,
        /// The limit.
        limit: u64,
    },
}

/// The bytes behind a layer's blob, cut into spans.
pub(super) struct Unwrapped<R> {
    inner: Bounded<Layer<R>>,
}

enum Layer<R> {
    Plain(Plain<R>),
    Gzip(Gunzip<R>),
    Zstd(Unzstd<R>),
}

impl<R: BufRead> Unwrapped<R> {
    /// Where spans began since this was asked last, in the tar.
    pub(super) fn news(&mut self) -> Vec<u64> {
        let cutter = match &mut self.inner.input {
            Layer::Plain(plain) => Some(&mut plain.cutter),
            Layer::Gzip(gunzip) => gunzip.cutter(),
            Layer::Zstd(unzstd) => unzstd.cutter(),
        };
        cutter.map(Cutter::news).unwrap_or_default()
    }

    /// Where decompression can begin, and how many bytes the blob has that were read.
    pub(super) fn into_starts(self) -> (Vec<Start>, u64) {
        let blob_bytes = self.inner.compressed.load(Ordering::Relaxed);
        let cutter = match self.inner.input {
            Layer::Plain(plain) => Some(plain.cutter),
            Layer::Gzip(gunzip) => gunzip.into_cutter(),
            Layer::Zstd(unzstd) => unzstd.into_cutter(),
        };
        (
            cutter.map(Cutter::into_starts).unwrap_or_default(),
            blob_bytes,
        )
    }
}

impl<R: BufRead> Read for Unwrapped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<R: BufRead> Read for Layer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(buffer),
            Self::Gzip(gunzip) => gunzip.read(buffer),
            Self::Zstd(unzstd) => unzstd.read(buffer),
        }
    }
}

/// Bytes that are what they are.
struct Plain<R> {
    input: R,
    cutter: Cutter,
    read: u64,
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cutter.whole(self.read, self.read);
        // No further than to where the next span may begin.
        let room = usize::try_from(PLAIN_BYTES - self.read % PLAIN_BYTES).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let count = self.input.read(&mut buffer[..room])?;
        self.read += count as u64;
        Ok(count)
    }
}

/// Bytes of a layer that is not compressed in one span: 1 MiB.
const PLAIN_BYTES: u64 = 1 << 20;

/// The bytes behind `input`, which must be what its label says.
///
/// # Errors
///
/// [`DecompressError::Mismatch`] as an [`io::Error`], and reading.
pub(super) fn labelled<R: Read>(
    input: R,
    compression: Compression,
    limits: Limits,
) -> io::Result<Unwrapped<impl BufRead>> {
    let counted = Counted::new(input);
    let compressed = counted.count.clone();
    let (start, input) = sniff(counted)?;
    let found = Wrapping::of(&start);
    let labelled = Wrapping::from(compression);
    // bzip2 and xz are no compressions of layers, so such bytes under a label
    // are a mismatch like any other; plain bytes are judged by the tar reader.
    if found != labelled {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            DecompressError::Mismatch { labelled, found },
        ));
    }
    let layer = match compression {
        Compression::None => Layer::Plain(Plain {
            input,
            cutter: Cutter::new(),
            read: 0,
        }),
        Compression::Gzip => Layer::Gzip(Gunzip::finding(input)?),
        Compression::Zstd => Layer::Zstd(Unzstd::new(input, Some(Cutter::new()))?),
    };
    Ok(Unwrapped {
        inner: Bounded::new(layer, compressed, limits),
    })
}

/// The bytes behind `input`, whatever it is.
///
/// # Errors
///
/// Reading.
pub(super) fn detected<'r>(
    input: impl Read + Send + 'r,
    limits: Limits,
) -> io::Result<(Wrapping, Box<dyn Read + Send + 'r>)> {
    let counted = Counted::new(input);
    let compressed = counted.count.clone();
    let (start, input) = sniff(counted)?;
    let found = Wrapping::of(&start);
    Ok((
        found,
        Box::new(Bounded::new(unwrap(found, input)?, compressed, limits)),
    ))
}

type Sniffed<R> = BufReader<io::Chain<io::Cursor<Box<[u8]>>, R>>;

fn sniff<R: Read>(mut input: R) -> io::Result<(Box<[u8]>, Sniffed<R>)> {
    let mut start = Vec::new();
    (&mut input)
        .take(SNIFF_BYTES as u64)
        .read_to_end(&mut start)?;
    let start: Box<[u8]> = start.into();
    let whole = io::Cursor::new(start.clone()).chain(input);
    Ok((start, BufReader::with_capacity(INPUT_BYTES, whole)))
}

fn unwrap<'r>(
    wrapping: Wrapping,
    input: impl BufRead + Send + 'r,
) -> io::Result<Box<dyn Read + Send + 'r>> {
    Ok(match wrapping {
        Wrapping::Plain => Box::new(input),
        Wrapping::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Wrapping::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Wrapping::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            input,
            true,
            XZ_MEMORY_KIB_MAX,
        )),
        Wrapping::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Counts what is read, for a reader further down the line.
struct Counted<R> {
    input: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            count: Arc::default(),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Stops at a number of bytes, or when few bytes have become too many.
struct Bounded<R> {
    input: R,
    compressed: Arc<AtomicU64>,
    decompressed: u64,
    limits: Limits,
}

impl<R> Bounded<R> {
    fn new(input: R, compressed: Arc<AtomicU64>, limits: Limits) -> Self {
        Self {
            input,
            compressed,
            decompressed: 0,
            limits,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.decompressed += count as u64;
        let compressed = self.compressed.load(Ordering::Relaxed);
        let refused = if self.decompressed > self.limits.tar_bytes {
            Some(DecompressError::Bytes(self.limits.tar_bytes))
        } else if self.decompressed > RATIO_FREE_BYTES
            && self.decompressed / compressed.max(1) > self.limits.ratio
        {
            Some(DecompressError::Ratio {
                compressed,
                limit: self.limits.ratio,
            })
        } else {
            None
        };
        match refused {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            None => Ok(count),
        }
    }
}
