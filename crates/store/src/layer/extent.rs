//! Where the contents of files lie in the tar of their layer, so that one file can be read without
//! the others.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Parts of sparse files that one index remembers. A layer with more of them has files that can
/// only be had by unpacking it: 2²⁰, some 24 MiB.
pub(super) const SPARSE_PARTS_MAX: usize = 1 << 20;

/// Where the content of one regular file lies in the tar of its layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileExtent {
    size: u64,
    data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    /// In one piece from here on.
    Whole(u64),
    /// In parts, with holes between them.
    Sparse(Arc<[ExtentPart]>),
}

/// A part of a sparse file that is in the tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentPart {
    /// Where it begins in the file.
    pub file_offset: u64,
    /// Where it begins in the tar.
    pub tar_offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What a stretch of a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of the tar, from an offset on.
    Tar {
        /// Where they begin.
        offset: u64,
        /// How many there are, at least one.
        bytes: u64,
    },
    /// So many zero bytes, at least one.
    Zeros(u64),
}

impl FileExtent {
    /// Bytes of content, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the bytes from `offset` on are, `bytes` of them, or as many as there are until the end.
    pub fn pieces(&self, offset: u64, bytes: u64) -> Vec<Piece> {
        let end = offset.saturating_add(bytes).min(self.size);
        let mut at = offset;
        let mut pieces = Vec::new();
        match &self.data {
            Data::Whole(start) if at < end => pieces.push(Piece::Tar {
                offset: start + at,
                bytes: end - at,
            }),
            Data::Whole(_) => {}
            Data::Sparse(parts) => {
                let first = parts.partition_point(|part| part.file_offset + part.bytes <= at);
                for part in &parts[first..] {
                    if at >= end || part.file_offset >= end {
                        break;
                    }
                    if part.file_offset > at {
                        pieces.push(Piece::Zeros(part.file_offset - at));
                        at = part.file_offset;
                    }
                    let stop = (part.file_offset + part.bytes).min(end);
                    if stop > at {
                        pieces.push(Piece::Tar {
                            offset: part.tar_offset + (at - part.file_offset),
                            bytes: stop - at,
                        });
                        at = stop;
                    }
                }
                if at < end {
                    pieces.push(Piece::Zeros(end - at));
                }
            }
        }
        pieces
    }
}

/// The places of all contents of one layer, by the number of the entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Of each entry; `None` for what has no content, is sparse, or is not known. A header is in
    /// front of every content, so that no content lies at 0.
    pub(super) starts: Vec<Option<NonZeroU64>>,
    /// Of those with holes.
    pub(super) sparse: BTreeMap<u32, Arc<[ExtentPart]>>,
}

impl Extents {
    /// Where the content of the entry of that number lies, a regular file of `size` bytes. `None`
    /// when it can only be had by unpacking the layer.
    pub(super) fn of(&self, entry: usize, size: u64) -> Option<FileExtent> {
        let data = match u32::try_from(entry).ok().and_then(|n| self.sparse.get(&n)) {
            Some(parts) => Data::Sparse(Arc::clone(parts)),
            None if size == 0 => Data::Whole(0),
            None => Data::Whole((*self.starts.get(entry)?)?.get()),
        };
        Some(FileExtent { size, data })
    }

    /// Notes where the content of the next entry begins.
    pub(super) fn push(&mut self, start: Option<u64>) {
        self.starts.push(start.and_then(NonZeroU64::new));
    }

    /// Whether every content lies inside of a tar of that many bytes, in parts that are in order.
    /// `sizes`: what the entries claim, in their order.
    pub(super) fn fit(&self, sizes: impl Iterator<Item = Option<u64>>, tar_bytes: u64) -> bool {
        let inside =
            |start: u64, bytes: u64| start.checked_add(bytes).is_some_and(|end| end <= tar_bytes);
        let mut count = 0;
        for (entry, size) in sizes.enumerate() {
            count += 1;
            let start = self.starts.get(entry).copied().flatten();
            let parts = u32::try_from(entry).ok().and_then(|n| self.sparse.get(&n));
            let good = match (size, start, parts) {
                (None, None, None) | (Some(_), None, None) => true,
                (Some(size), Some(start), None) => inside(start.get(), size),
                (Some(size), None, Some(parts)) => {
                    let mut end = 0;
                    parts.iter().all(|part| {
                        let in_order = part.file_offset >= end;
                        end = part.file_offset.saturating_add(part.bytes);
                        in_order && end <= size && inside(part.tar_offset, part.bytes)
                    })
                }
                (Some(_), Some(_), Some(_)) | (None, _, _) => false,
            };
            if !good {
                return false;
            }
        }
        let beyond = self.sparse.last_key_value();
        self.starts.len() == count && beyond.is_none_or(|(last, _)| (*last as usize) < count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_a_sparse_file_is_data_and_zeros() {
        let part = |file_offset, tar_offset, bytes| ExtentPart {
            file_offset,
            tar_offset,
            bytes,
        };
        let extent = FileExtent {
            size: 100,
            data: Data::Sparse([part(10, 1_000, 5), part(20, 1_005, 30)].into()),
        };
        let tar = |offset, bytes| Piece::Tar { offset, bytes };
        let check = |offset, bytes, expected: &[Piece]| {
            assert_eq!(extent.pieces(offset, bytes), expected, "{offset} {bytes}");
        };
        check(0, 5, &[Piece::Zeros(5)]);
        check(12, 2, &[tar(1_002, 2)]);
        check(
            0,
            u64::MAX,
            &[
                Piece::Zeros(10),
                tar(1_000, 5),
                Piece::Zeros(5),
                tar(1_005, 30),
                Piece::Zeros(50),
            ],
        );
        check(99, 10, &[Piece::Zeros(1)]);
        check(100, 10, &[]);
        check(u64::MAX, u64::MAX, &[]);
    }

    #[test]
    fn a_whole_file_ends_where_it_ends() {
        let extent = FileExtent {
            size: 7,
            data: Data::Whole(512),
        };
        let tar = |offset, bytes| vec![Piece::Tar { offset, bytes }];
        assert_eq!(extent.pieces(0, 100), tar(512, 7));
        assert_eq!(extent.pieces(6, 100), tar(518, 1));
        assert_eq!(extent.pieces(7, 100), []);
    }
}
