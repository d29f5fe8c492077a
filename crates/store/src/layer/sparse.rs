//! Sparse files in a tar: which parts of a file the archive holds. Four
//! notations (GNU tar manual, "Storing Sparse Files"), one meaning.

/// A part of a file that is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// Why a map of parts is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SparseError {
    /// Not numbers where numbers should be, or fewer than announced.
    #[error("its map is not a list of offsets and lengths")]
    Map,
    /// The map alone is a bomb.
    #[error("its map is longer than {0} bytes")]
    Long(u64),
    /// Overlapping, unsorted, or beyond the end.
    #[error("its parts overlap, are out of order, or lie beyond its end")]
    Order,
    /// Parts and archive disagree.
    #[error("its parts have {parts} bytes, the archive has {packed}")]
    Size {
        /// Sum of the map.
        parts: u64,
        /// Bytes in the archive.
        packed: u64,
    },
    /// Two maps.
    #[error("it is described twice")]
    Twice,
    /// A map that the entry's type or format cannot have.
    #[error("its entry is of a type or format without sparse files")]
    Format,
}

/// Checks that the parts are in order, inside the file, and as many bytes as
/// the archive holds.
pub(super) fn check(
    segments: Vec<Segment>,
    size: u64,
    packed: u64,
) -> Result<Vec<Segment>, SparseError> {
    let mut end = 0_u64;
    let mut parts = 0_u64;
    for segment in &segments {
        if segment.offset < end {
            return Err(SparseError::Order);
        }
        end = segment
            .offset
            .checked_add(segment.bytes)
            .filter(|end| *end <= size)
            .ok_or(SparseError::Order)?;
        // Cannot overflow: the parts do not overlap.
        parts += segment.bytes;
    }
    if parts != packed {
        return Err(SparseError::Size { parts, packed });
    }
    Ok(segments)
}

/// Pairs up offsets and lengths.
pub(super) fn pairs(numbers: &[u64]) -> Result<Vec<Segment>, SparseError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SparseError::Map);
    }
    Ok(pairs
        .iter()
        .map(|[offset, bytes]| Segment {
            offset: *offset,
            bytes: *bytes,
        })
        .collect())
}

/// Decimal digits and nothing else, below 2⁶³.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    text.parse::<i64>().ok()?.try_into().ok()
}

/// The map of format 1.0, which stands in front of the content: a count, then
/// so many pairs, each number on its line.
#[derive(Debug, Default)]
pub(super) struct MapReader {
    line: Vec<u8>,
    numbers: Vec<u64>,
}

impl MapReader {
    /// Takes one block; the parts, once they are complete. The rest of that
    /// block is padding.
    pub(super) fn push(&mut self, block: &[u8]) -> Result<Option<Vec<Segment>>, SparseError> {
        for byte in block {
            if *byte != b'\n' {
                // 20 digits are more than 2⁶³.
                if self.line.len() >= 20 {
                    return Err(SparseError::Map);
                }
                self.line.push(*byte);
                continue;
            }
            let number = decimal(&self.line).ok_or(SparseError::Map)?;
            self.line.clear();
            self.numbers.push(number);
            let wanted = self.numbers[0].checked_mul(2).ok_or(SparseError::Map)?;
            if self.numbers.len() as u64 - 1 == wanted {
                return pairs(&self.numbers[1..]).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_map(parts: &[(u64, u64)], size: u64, packed: u64, holds: bool) {
        let segments = parts
            .iter()
            .map(|(offset, bytes)| Segment {
                offset: *offset,
                bytes: *bytes,
            })
            .collect();
        assert_eq!(
            check(segments, size, packed).is_ok(),
            holds,
            "{parts:?} {size} {packed}"
        );
    }

    #[test]
    fn parts_are_in_order_and_add_up() {
        check_map(&[], 100, 0, true);
        check_map(&[(0, 10), (50, 10), (100, 0)], 100, 20, true);
        check_map(&[(0, 10), (5, 10)], 100, 20, false);
        check_map(&[(50, 10), (0, 10)], 100, 20, false);
        check_map(&[(95, 10)], 100, 10, false);
        check_map(&[(u64::MAX, 10)], 100, 10, false);
        check_map(&[(0, 10)], 100, 11, false);
    }

    #[test]
    fn a_map_in_front_of_the_content() {
        let read = |text: &[u8]| MapReader::default().push(text);
        assert_eq!(read(b"0\n\0\0").unwrap(), Some(vec![]));
        assert_eq!(read(b"1\n5\n6\n").unwrap().unwrap().len(), 1);
        assert_eq!(read(b"2\n5\n6\n").unwrap(), None);
        assert!(read(b"1\n5\n-6\n").is_err());
        assert!(read(b"9223372036854775808\n1\n").is_err());
        assert!(read(b"\n").is_err());
        assert!(read(&[b'1'; 512]).is_err());
    }
}
