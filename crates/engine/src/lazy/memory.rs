//! A few spans in memory, the ones that were used last.

use std::collections::VecDeque;
use std::sync::Arc;

use oci::Digest;
use store::layer::ContentHash;

/// Spans by blob and number, the one used last behind the others. Two tables of one blob need not have
/// the same spans under the same numbers: what a shelf said of a layer gives way to what is found out
/// here. So a span is asked for with its hash.
pub(super) struct Memory {
    spans: VecDeque<(Digest, usize, ContentHash, Arc<[u8]>)>,
    bytes: usize,
    bytes_max: usize,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            spans: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn contains(&self, blob: &Digest, span: usize, hash: ContentHash) -> bool {
        self.position(blob, span, hash).is_some()
    }

    pub(super) fn get(
        &mut self,
        blob: &Digest,
        span: usize,
        hash: ContentHash,
    ) -> Option<Arc<[u8]>> {
        let found = self.spans.remove(self.position(blob, span, hash)?)?;
        let content = Arc::clone(&found.3);
        self.spans.push_back(found);
        Some(content)
    }

    /// Keeps a span, the latest even if it is too large.
    pub(super) fn put(
        &mut self,
        blob: &Digest,
        span: usize,
        hash: ContentHash,
        content: Arc<[u8]>,
    ) {
        if self.contains(blob, span, hash) {
            return;
        }
        self.bytes += content.len();
        self.spans.push_back((blob.clone(), span, hash, content));
        while self.bytes > self.bytes_max && self.spans.len() > 1 {
            if let Some((_, _, _, oldest)) = self.spans.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    fn position(&self, blob: &Digest, span: usize, hash: ContentHash) -> Option<usize> {
        self.spans
            .iter()
            .position(|(of, number, found, _)| *number == span && *found == hash && of == blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: ContentHash = ContentHash([0; 32]);

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let blob = Digest::of(b"blob");
        let mut memory = Memory::new(10);
        let content = |byte: u8| Arc::from([byte; 4]);
        memory.put(&blob, 1, HASH, content(1));
        memory.put(&blob, 2, HASH, content(2));
        assert!(memory.get(&blob, 1, HASH).is_some());
        memory.put(&blob, 3, HASH, content(3));
        let kept = memory.get(&blob, 1, HASH);
        assert_eq!(kept.as_deref(), Some(&[1; 4][..]));
        assert!(memory.get(&blob, 2, HASH).is_none());
        assert!(memory.get(&Digest::of(b"other"), 3, HASH).is_none());
        memory.put(&blob, 9, HASH, Arc::from([9; 40]));
        let large = memory.get(&blob, 9, HASH);
        assert_eq!(large.as_deref(), Some(&[9; 40][..]));
        assert_eq!(memory.bytes, 40);
    }

    #[test]
    fn spans_of_another_table_are_other_spans() {
        let blob = Digest::of(b"blob");
        let mut memory = Memory::new(100);
        let other = ContentHash([7; 32]);
        memory.put(&blob, 1, HASH, Arc::from([1; 4]));
        assert!(memory.get(&blob, 1, other).is_none());
        memory.put(&blob, 1, other, Arc::from([2; 8]));
        let found = memory.get(&blob, 1, other);
        assert_eq!(found.as_deref(), Some(&[2; 8][..]));
        let first = memory.get(&blob, 1, HASH);
        assert_eq!(first.as_deref(), Some(&[1; 4][..]));
    }
}
