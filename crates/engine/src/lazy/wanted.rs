//! What is wanted of one layer.

use std::ops::Range;

use store::layer::{FileExtent, Piece};

/// Stretches of one layer's tar that somebody is going to read.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// `None` once there is a file of which nobody knows where it lies.
    ranges: Option<Vec<Range<u64>>>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            ranges: Some(Vec::new()),
        }
    }
}

impl Wanted {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: Option<FileExtent>) {
        match (&mut self.ranges, file) {
            (Some(ranges), Some(file)) => {
                for piece in file.pieces(0, u64::MAX) {
                    if let Piece::Tar { offset, bytes } = piece {
                        ranges.push(offset..offset.saturating_add(bytes));
                    }
                }
            }
            (ranges, None) => *ranges = None,
            (None, Some(_)) => {}
        }
    }

    /// All of them; `None` where the layer has to be unpacked to get at a file.
    pub(crate) fn ranges(&self) -> Option<&[Range<u64>]> {
        self.ranges.as_deref()
    }
}
