//! One logical line: the text of an instruction with its continuations joined, which remembers
//! where in the file each of its bytes stands.

use std::ops::Range;

use crate::{Span, Spanned};

/// Text joined from pieces of the file.
#[derive(Debug, Default)]
pub(crate) struct Line {
    text: String,
    /// Where each piece begins: in `text`, and in the file.
    pieces: Vec<(usize, usize)>,
}

impl Line {
    /// Appends a piece of the file that begins at byte `at`.
    pub(crate) fn push(&mut self, piece: &str, at: usize) {
        self.pieces.push((self.text.len(), at));
        self.text.push_str(piece);
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn str(&self, range: Range<usize>) -> &str {
        &self.text[range]
    }

    /// Where a part of the joined text stands in the file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.place(range.start, false);
        Span::new(start, start.max(self.place(range.end, true)))
    }

    pub(crate) fn spanned(&self, range: Range<usize>) -> Spanned<String> {
        Spanned::new(self.str(range.clone()).to_owned(), self.span(range))
    }

    /// An end that falls between two pieces belongs to the earlier one, a start to the later one.
    fn place(&self, at: usize, is_end: bool) -> usize {
        let after = self
            .pieces
            .partition_point(|&(begins, _)| if is_end { begins < at } else { begins <= at });
        match after.checked_sub(1).or(if self.pieces.is_empty() {
            None
        } else {
            Some(0)
        }) {
            Some(piece) => self.pieces[piece].1 + (at - self.pieces[piece].0),
            None => 0,
        }
    }

    /// The range without white space at either end.
    pub(crate) fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = self.str(range.clone());
        let start = range.start + (text.len() - text.trim_start().len());
        let end = range.end - (text.len() - text.trim_end().len());
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::Line;
    use crate::Span;

    #[test]
    fn a_range_across_pieces_spans_from_the_first_to_the_last() {
        let mut line = Line::default();
        line.push("RUN a", 10);
        line.push("b c", 20);
        assert_eq!(line.text(), "RUN ab c");
        assert_eq!(line.span(4..6), Span::new(14, 21));
        assert_eq!(line.span(0..5), Span::new(10, 15));
        assert_eq!(line.span(5..8), Span::new(20, 23));
    }
}
