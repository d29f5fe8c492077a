//! Where something stands in the text: byte ranges, and the line and column that people count in.

/// A range of bytes of the text, end excluded. Both ends are on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// How many bytes it covers.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it covers nothing.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The smallest range that covers both.
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The bytes that it names in `text`, or nothing when the text is not the one that was parsed.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or("")
    }
}

/// A value and the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where. Where a value crosses continuation lines, the range covers those lines too.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Keeps the place, changes the value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned::new(change(self.value), self.span)
    }
}

/// A position as editors show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// From 1.
    pub line: usize,
    /// From 1, in characters (Unicode scalar values), not bytes.
    pub column: usize,
}

impl LineColumn {
    /// The position of a byte offset of `text`. An offset inside a character counts as that
    /// character; one past the end counts as the end.
    pub fn at(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The position where `span` begins.
    pub fn of(text: &str, span: Span) -> Self {
        Self::at(text, span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::{LineColumn, Span};

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "FROM a\nRUN é x\n";
        let at = |offset| {
            let position = LineColumn::at(text, offset);
            (position.line, position.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(6), (1, 7));
        assert_eq!(at(7), (2, 1));
        assert_eq!(at(12), (2, 5), "inside the two bytes of é");
        assert_eq!(at(14), (2, 7));
        assert_eq!(at(usize::MAX), (3, 1));
        assert_eq!(Span::new(11, 13).of(text), "é");
    }
}
