//! A few spans in memory, the ones that were used last.

use std::collections::VecDeque;
use std::sync::Arc;

use oci::Digest;

/// Spans by blob and number, the one used last behind the others.
pub(super) struct Memory {
    spans: VecDeque<(Digest, usize, Arc<[u8]>)>,
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

    pub(super) fn contains(&self, blob: &Digest, span: usize) -> bool {
        self.position(blob, span).is_some()
    }

    pub(super) fn get(&mut self, blob: &Digest, span: usize) -> Option<Arc<[u8]>> {
        let found = self.spans.remove(self.position(blob, span)?)?;
        let content = Arc::clone(&found.2);
        self.spans.push_back(found);
        Some(content)
    }

    /// Keeps a span, the latest even if it is too large.
    pub(super) fn put(&mut self, blob: &Digest, span: usize, content: Arc<[u8]>) {
        if self.contains(blob, span) {
            return;
        }
        self.bytes += content.len();
        self.spans.push_back((blob.clone(), span, content));
        while self.bytes > self.bytes_max && self.spans.len() > 1 {
            if let Some((_, _, oldest)) = self.spans.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    fn position(&self, blob: &Digest, span: usize) -> Option<usize> {
        self.spans
            .iter()
            .position(|(of, number, _)| *number == span && of == blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let blob = Digest::of(b"blob");
        let mut memory = Memory::new(10);
        let content = |byte: u8| Arc::from([byte; 4]);
        memory.put(&blob, 1, content(1));
        memory.put(&blob, 2, content(2));
        assert!(memory.get(&blob, 1).is_some());
        memory.put(&blob, 3, content(3));
        assert_eq!(memory.get(&blob, 1).as_deref(), Some(&[1; 4][..]));
        assert!(memory.get(&blob, 2).is_none());
        assert!(memory.get(&Digest::of(b"other"), 3).is_none());
        memory.put(&blob, 9, Arc::from([9; 40]));
        assert_eq!(memory.get(&blob, 9).as_deref(), Some(&[9; 40][..]));
        assert_eq!(memory.bytes, 40);
    }
}
