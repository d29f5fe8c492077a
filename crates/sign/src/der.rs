//! The little of DER (X.690) that messages between programs need: values with tags and definite
//! lengths. Certificates are read by a library; this reads timestamps, whose sets it keeps as they
//! came.

/// A tag of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) u8);

impl Tag {
    pub(crate) const BOOLEAN: Self = Self(0x01);
    pub(crate) const INTEGER: Self = Self(0x02);
    pub(crate) const BIT_STRING: Self = Self(0x03);
    pub(crate) const OCTET_STRING: Self = Self(0x04);
    pub(crate) const NULL: Self = Self(0x05);
    pub(crate) const OID: Self = Self(0x06);
    pub(crate) const UTF8_STRING: Self = Self(0x0c);
    pub(crate) const GENERALIZED_TIME: Self = Self(0x18);
    pub(crate) const SEQUENCE: Self = Self(0x30);
    pub(crate) const SET: Self = Self(0x31);

    /// A context tag around other values.
    pub(crate) const fn constructed(number: u8) -> Self {
        Self(0xa0 | number)
    }

    /// A context tag in the place of a plain value's.
    pub(crate) const fn primitive(number: u8) -> Self {
        Self(0x80 | number)
    }
}

/// Bytes that are not DER, or not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form that its standard prescribes")]
pub struct Malformed;

/// Reads values one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) tag: Tag,
    /// Without tag and length.
    pub(crate) content: &'a [u8],
    /// With them.
    pub(crate) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The end must have been reached.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Value<'a>, Malformed> {
        let bytes = self.rest;
        let [tag, first, ..] = *bytes else {
            return Err(Malformed);
        };
        // Tags of several bytes are in none of the messages that are read here.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (length, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let digits = bytes.get(2..2 + count).ok_or(Malformed)?;
                let length = digits
                    .iter()
                    .fold(0usize, |sum, digit| (sum << 8) | usize::from(*digit));
                // One way to write a length only (X.690, 10.1).
                if digits[0] == 0 || length < 0x80 {
                    return Err(Malformed);
                }
                (length, 2 + count)
            }
            _ => return Err(Malformed),
        };
        let end = header.checked_add(length).ok_or(Malformed)?;
        let whole = bytes.get(..end).ok_or(Malformed)?;
        self.rest = &bytes[end..];
        Ok(Value {
            tag: Tag(tag),
            content: &whole[header..],
            whole,
        })
    }

    /// The next value, which must have a tag.
    pub(crate) fn read(&mut self, tag: Tag) -> Result<Value<'a>, Malformed> {
        let value = self.any()?;
        if value.tag == tag {
            Ok(value)
        } else {
            Err(Malformed)
        }
    }

    /// The next value if it has a tag.
    pub(crate) fn optional(&mut self, tag: Tag) -> Result<Option<Value<'a>>, Malformed> {
        if self.rest.first() == Some(&tag.0) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'a> Value<'a> {
    /// What is inside of it.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// A number that is not negative and not large.
    pub(crate) fn small_number(&self) -> Result<u64, Malformed> {
        match self.content {
            [] => Err(Malformed),
            [first, ..] if first & 0x80 != 0 => Err(Malformed),
            [0, second, ..] if second & 0x80 == 0 => Err(Malformed),
            content if content.len() > 8 => Err(Malformed),
            content => Ok(content
                .iter()
                .fold(0, |sum, digit| (sum << 8) | u64::from(*digit))),
        }
    }
}

impl Value<'_> {
    /// How long a positive number is, in bits.
    pub(crate) fn bits(&self) -> Option<u32> {
        let first = self.content.iter().position(|byte| *byte != 0)?;
        let significant = &self.content[first..];
        u32::try_from(significant.len())
            .ok()?
            .checked_mul(8)?
            .checked_sub(significant.first()?.leading_zeros())
    }
}

/// Writes one value.
pub(crate) fn write(tag: Tag, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut bytes = vec![tag.0];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let first = digits.iter().position(|digit| *digit != 0).unwrap_or(7);
            let digits = &digits[first..];
            // A length has at most eight digits.
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            bytes.extend_from_slice(digits);
        }
    }
    for content in contents {
        bytes.extend_from_slice(content);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_form() {
        let check = |bytes: &[u8], expected: Option<(u8, usize)>| {
            let found = Reader::new(bytes).any().ok();
            let found = found.map(|value| (value.tag.0, value.content.len()));
            assert_eq!(found, expected, "{bytes:02x?}");
        };
        check(&[], None);
        check(&[0x30], None);
        check(&[0x30, 0], Some((0x30, 0)));
        check(&[0x30, 1], None);
        // Indefinite, too long for what there is, longer than need be, a tag of several bytes.
        check(&[0x30, 0x80, 0, 0], None);
        check(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], None);
        check(&[0x04, 0x81, 1, 9], None);
        check(&[0x04, 0x82, 0, 0x80, 9], None);
        check(&[0x1f, 0x81, 0, 0], None);
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let content = vec![7; length];
            check(&write(Tag::OCTET_STRING, &[&content]), Some((4, length)));
        }
    }
}
