//! Where a file is cut into chunks: where its content says so, so that bytes that are put in or
//! taken out change the chunks around them and no others (Xia and others, "FastCDC", USENIX ATC
//! 2016: a gear hash, and a mask that is harder to meet below the usual length than above it).
//!
//! The table and the masks are part of the format: other ones cut elsewhere, and nothing that was
//! saved before would be found again.

/// No chunk is shorter, but for the last of a file.
pub const CHUNK_BYTES_MIN: usize = 64 * 1024;
/// What most are near to.
pub const CHUNK_BYTES_USUAL: usize = 256 * 1024;
/// No chunk is longer.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Below the usual length one place in 2²⁰ is a cut, above it one in 2¹⁶. The upper bits of the
/// hash have seen most bytes.
const MASK_BELOW: u64 = 0xfffff << 44;
const MASK_ABOVE: u64 = 0xffff << 48;

/// A random number for each byte, made by SplitMix64 from 0.
const GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state: u64 = 0;
    let mut byte = 0;
    while byte < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[byte] = z ^ (z >> 31);
        byte += 1;
    }
    table
}

/// The length of the first chunk of `data`, which is the rest of a file or at least
/// [`CHUNK_BYTES_MAX`] of it.
pub(super) fn first_chunk(data: &[u8]) -> usize {
    let end = data.len().min(CHUNK_BYTES_MAX);
    if end <= CHUNK_BYTES_MIN {
        return end;
    }
    let middle = end.min(CHUNK_BYTES_USUAL);
    let mut hash: u64 = 0;
    for (range, mask) in [
        (CHUNK_BYTES_MIN..middle, MASK_BELOW),
        (middle..end, MASK_ABOVE),
    ] {
        let start = range.start;
        for (place, byte) in data[range].iter().enumerate() {
            hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            if hash & mask == 0 {
                return start + place + 1;
            }
        }
    }
    end
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes that do not repeat.
    pub(in super::super) fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn cut(mut data: &[u8]) -> Vec<&[u8]> {
        let mut chunks = Vec::new();
        while !data.is_empty() {
            let (chunk, rest) = data.split_at(first_chunk(data));
            chunks.push(chunk);
            data = rest;
        }
        chunks
    }

    #[test]
    fn cuts_are_where_the_content_says_so() {
        let data = noise(7, 16 << 20);
        let chunks = cut(&data);
        let (last, others) = chunks.split_last().expect("there are some");
        assert!(last.len() <= CHUNK_BYTES_MAX);
        for chunk in others {
            assert!((CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk.len()));
        }
        // Many are near to the usual length.
        assert!((40..=90).contains(&chunks.len()), "{}", chunks.len());
        // A byte put in somewhere changes what is around it.
        let mut changed = data.clone();
        changed.insert(5 << 20, b'!');
        let known: std::collections::HashSet<_> = chunks.iter().collect();
        let changed = cut(&changed);
        let new = changed.iter().filter(|chunk| !known.contains(chunk));
        assert!((1..=3).contains(&new.count()));
    }

    #[test]
    fn what_is_short_is_one_chunk_and_what_repeats_is_cut_too() {
        assert_eq!(first_chunk(b""), 0);
        assert_eq!(first_chunk(b"short"), 5);
        assert_eq!(first_chunk(&vec![0; 8 << 20]), CHUNK_BYTES_MAX);
    }

    /// The table and the masks are a promise to what was saved.
    #[test]
    fn cuts_stay_where_they_are() {
        let data = noise(1, 4 << 20);
        let lengths: Vec<usize> = cut(&data).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, CUTS);
    }

    const CUTS: &[usize] = &[
        285_311, 290_158, 287_884, 415_253, 393_825, 370_910, 326_465, 104_868, 385_885, 382_748,
        127_110, 274_980, 282_817, 266_090,
    ];
}
