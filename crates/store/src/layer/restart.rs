//! Where the decompression of a layer can begin, and how a layer is cut into spans because of it.
//!
//! A span begins where a decompressor can begin, if such a place is not too far away. gzip members
//! and zstd frames are places that cost nothing to remember; inside of a gzip member the end of
//! every deflate block is one for whoever has the 32 KiB in front of it (RFC 1951, section 2).

/// The least bytes of tar between spans that begin with a member or a frame: 1 MiB, as many as
/// kiln's own blocks have. Some gzip tools make a member of each small file.
const WHOLE_BYTES: u64 = 1 << 20;
/// Bytes of tar after which the end of a deflate block is looked for: 4 MiB. Closer ones cost
/// more to find and to keep than reading gains.
const BLOCK_BYTES: u64 = 4 << 20;
/// The windows of one layer are bounded by looking for fewer in layers beyond 8 GiB: the distance
/// is never less than this part of what lies in front.
const BLOCKS_PER_LAYER: u64 = 2 << 10;
/// Bytes of tar in one span, at most: it is held in memory while it is verified. 32 MiB.
pub(super) const SPAN_BYTES_MAX: u64 = 32 << 20;
/// Bytes that a deflate block can refer back to.
pub(super) const WINDOW_BYTES: usize = 32 * 1024;

/// The beginning of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Where it is in the tar.
    pub(super) tar: u64,
    /// Where it is in the blob: what lies in front of it there is enough for what is in front of it
    /// in the tar.
    pub(super) compressed: u64,
    /// What it takes to begin there.
    pub(super) kind: StartKind,
}

/// What it takes to begin decompression somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartKind {
    /// Nothing: a member, a frame, or no compression at all.
    Whole,
    /// Bits and a window.
    Block {
        /// How many bits of the byte in front belong to what follows: its highest.
        bits: u8,
        /// The bytes of tar in front, compressed with zstd.
        window: Box<[u8]>,
    },
    /// It cannot begin here, only at an earlier span.
    Later,
}

/// Decides where spans begin while a layer is decompressed.
#[derive(Debug)]
pub(super) struct Cutter {
    starts: Vec<Start>,
    /// How many of them were told to whoever hashes the spans.
    told: usize,
}

impl Cutter {
    pub(super) fn new() -> Self {
        let first = Start {
            tar: 0,
            compressed: 0,
            kind: StartKind::Whole,
        };
        Self {
            starts: vec![first],
            told: 1,
        }
    }

    /// Bytes of tar in the current span.
    fn current(&self, tar: u64) -> u64 {
        tar - self.starts.last().map_or(0, |last| last.tar)
    }

    /// A member or a frame begins.
    pub(super) fn whole(&mut self, tar: u64, compressed: u64) {
        let start = Start {
            tar,
            compressed,
            kind: StartKind::Whole,
        };
        let current = self.current(tar);
        match self.starts.last_mut() {
            Some(last) if current == 0 => *last = start,
            _ if current >= WHOLE_BYTES => self.starts.push(start),
            _ => {}
        }
    }

    /// Whether the end of a deflate block is wanted next.
    pub(super) fn wants_block(&self, tar: u64) -> bool {
        self.current(tar) >= BLOCK_BYTES.max(tar / BLOCKS_PER_LAYER)
    }

    /// A span begins where decompression cannot, or not until [`Self::block`] says so. Returns its
    /// number.
    pub(super) fn later(&mut self, tar: u64, compressed: u64) -> usize {
        self.starts.push(Start {
            tar,
            compressed,
            kind: StartKind::Later,
        });
        self.starts.len() - 1
    }

    /// Decompression can begin at that span after all.
    pub(super) fn block(&mut self, number: usize, bits: u8, window: Box<[u8]>) {
        self.starts[number].kind = StartKind::Block { bits, window };
    }

    /// How many bytes may follow until the span is too long; begins a new one where it is.
    pub(super) fn room(&mut self, tar: u64, compressed: u64) -> usize {
        if self.current(tar) >= SPAN_BYTES_MAX {
            self.later(tar, compressed);
        }
        usize::try_from(SPAN_BYTES_MAX - self.current(tar)).unwrap_or(usize::MAX)
    }

    /// Where spans began since this was asked last, in the tar.
    pub(super) fn news(&mut self) -> Vec<u64> {
        let news = self.starts[self.told..].iter().map(|start| start.tar);
        let news = news.collect();
        self.told = self.starts.len();
        news
    }

    pub(super) fn into_starts(self) -> Vec<Start> {
        self.starts
    }
}
