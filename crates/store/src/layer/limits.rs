//! How much of a layer or archive is read before it counts as an attack.

/// Bytes of tar in one layer: 64 GiB.
const TAR_BYTES_MAX: u64 = 64 << 30;
/// Entries in one layer.
const ENTRIES_MAX: u64 = 10_000_000;
/// Bytes of paths, link targets and extended attributes in one layer, which
/// are all held in memory: 1 GiB.
const NAMES_BYTES_MAX: u64 = 1 << 30;
/// Bytes that one compressed byte may become. gzip cannot do more than 1,032
/// (RFC 1951: 258 bytes from two bits); zstd can do 32,000 and no honest layer
/// does.
const RATIO_MAX: u64 = 1_100;
/// The ratio is not asked before this many bytes came out: small things of
/// zeros are common. 64 MiB.
pub(super) const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Directories below one another.
const DEPTH_MAX: usize = 1_024;

/// Bounds for reading one layer or archive; what exceeds them is refused with
/// the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of tar, decompressed.
    pub tar_bytes: u64,
    /// Entries, metadata headers not counted.
    pub entries: u64,
    /// Bytes of paths, link targets and extended attributes together.
    pub names_bytes: u64,
    /// Decompressed bytes per compressed byte.
    pub ratio: u64,
    /// Components of a path.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tar_bytes: TAR_BYTES_MAX,
            entries: ENTRIES_MAX,
            names_bytes: NAMES_BYTES_MAX,
            ratio: RATIO_MAX,
            depth: DEPTH_MAX,
        }
    }
}
