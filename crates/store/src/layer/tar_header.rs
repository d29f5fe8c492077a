//! The 512 bytes of a tar header, field by field.

use super::sparse::Segment;

/// A tar is blocks of this many bytes.
pub(super) const BLOCK: usize = 512;

/// A header field that cannot be what it is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Neither octal digits nor base 256.
    #[error("the field `{field}` is not a number: `{text}`")]
    Digits {
        /// Which.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// Below zero or beyond 2⁶³.
    #[error("the field `{field}` is out of range")]
    Range {
        /// Which.
        field: &'static str,
    },
}

/// Which family a header belongs to: they use the bytes from 257 on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Unix V7: nothing behind the link's target.
    Old,
    /// POSIX ustar and PAX: a prefix for the name.
    Ustar,
    /// GNU: times, and a sparse map.
    Gnu,
}

/// One block.
pub(super) struct Block([u8; BLOCK]);

impl Block {
    pub(super) fn new(bytes: [u8; BLOCK]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// The sum of all bytes, with the checksum itself as blanks. Old writers
    /// summed signed bytes.
    pub(super) fn checksum_holds(&self) -> bool {
        let Ok(stored) = number("checksum", &self.0[148..156]) else {
            return false;
        };
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stored == unsigned || stored == signed
    }

    pub(super) fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::Old,
        }
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Old | Format::Gnu => b"",
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn type_letter(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn mode(&self) -> Result<u32, NumberError> {
        let mode = number("mode", &self.0[100..108])?;
        // Some writers put the file type into the upper bits.
        Ok(u32::try_from(mode & 0o7777).expect("twelve bits"))
    }

    pub(super) fn uid(&self) -> Result<u64, NumberError> {
        unsigned("uid", &self.0[108..116])
    }

    pub(super) fn gid(&self) -> Result<u64, NumberError> {
        unsigned("gid", &self.0[116..124])
    }

    pub(super) fn size(&self) -> Result<u64, NumberError> {
        unsigned("size", &self.0[124..136])
    }

    /// May lie before 1970.
    pub(super) fn mtime(&self) -> Result<i64, NumberError> {
        number("mtime", &self.0[136..148])
    }

    pub(super) fn device(&self) -> Result<(u32, u32), NumberError> {
        if self.format() == Format::Old {
            return Ok((0, 0));
        }
        let half = |field, bytes: &[u8]| {
            u32::try_from(unsigned(field, bytes)?).map_err(|_| NumberError::Range { field })
        };
        Ok((
            half("devmajor", &self.0[329..337])?,
            half("devminor", &self.0[337..345])?,
        ))
    }

    /// The first four parts of a GNU sparse file, and whether blocks with more
    /// follow.
    pub(super) fn sparse_map(&self) -> Result<(Vec<Segment>, bool), NumberError> {
        let mut segments = Vec::new();
        sparse_parts(&self.0[386..482], &mut segments)?;
        Ok((segments, self.0[482] != 0))
    }

    /// Reads this block as a continuation of a sparse map; whether one more follows.
    pub(super) fn extend_sparse_map(
        &self,
        segments: &mut Vec<Segment>,
    ) -> Result<bool, NumberError> {
        sparse_parts(&self.0[..504], segments)?;
        Ok(self.0[504] != 0)
    }

    /// The dense size of a GNU sparse file.
    pub(super) fn sparse_size(&self) -> Result<u64, NumberError> {
        unsigned("realsize", &self.0[483..495])
    }
}

fn sparse_parts(bytes: &[u8], segments: &mut Vec<Segment>) -> Result<(), NumberError> {
    for part in bytes.chunks_exact(24) {
        // An unused part is all zero; a used one has at least its digits.
        if part[0] == 0 && part[12] == 0 {
            break;
        }
        segments.push(Segment {
            offset: unsigned("sparse offset", &part[..12])?,
            bytes: unsigned("sparse length", &part[12..])?,
        });
    }
    Ok(())
}

/// Up to the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

fn unsigned(field: &'static str, bytes: &[u8]) -> Result<u64, NumberError> {
    u64::try_from(number(field, bytes)?).map_err(|_| NumberError::Range { field })
}

/// Octal digits between blanks, or (GNU) base 256 where the first bit is set.
fn number(field: &'static str, bytes: &[u8]) -> Result<i64, NumberError> {
    let range = || NumberError::Range { field };
    if bytes[0] & 0x80 != 0 {
        // Two's complement over all bits but the first.
        let negative = bytes[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, byte) in bytes.iter().enumerate() {
            let byte = match (at, negative) {
                (0, true) => *byte,
                (0, false) => *byte & 0x7f,
                _ => *byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| range());
    }
    let digits = text(bytes).trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    let mut value = 0_i64;
    for digit in digits {
        if !matches!(digit, b'0'..=b'7') {
            return Err(NumberError::Digits {
                field,
                text: String::from_utf8_lossy(digits).into_owned(),
            });
        }
        value = value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(range)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<i64>) {
        assert_eq!(number("f", bytes).ok(), expected, "{bytes:?}");
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"77777777777\0", Some(0o77_777_777_777));
        check(b"777777777777", Some(0o777_777_777_777));
        check(b"-1\0", None);
        check(b"8\0", None);
        check(b"6 4\0", None);
        check(b"0x1f\0", None);
        check(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], Some(256));
        check(&[0xff; 12], Some(-1));
        check(
            &[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,
            ],
            Some(-256),
        );
        check(
            &[
                0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
            Some(i64::MAX),
        );
        check(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], None);
        check(
            &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Some((1 << 56) - 1),
        );
    }
}
