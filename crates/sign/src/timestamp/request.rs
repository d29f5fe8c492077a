//! What is asked of an authority, and the outer shape of what it answers.

use super::algorithm_of;
use crate::der::{Malformed, Reader, Tag, write};
use crate::key::Hash;

/// Bytes of the number that ties an answer to its question.
pub(super) const NONCE_BYTES: usize = 16;

/// TimeStampReq, asking for the authority's certificates.
pub(super) fn request(hash: Hash, imprint: &[u8], nonce: &[u8]) -> Vec<u8> {
    let version = write(Tag::INTEGER, &[&[1]]);
    let imprint = write(Tag::OCTET_STRING, &[imprint]);
    let imprint = write(Tag::SEQUENCE, &[&algorithm_of(hash), &imprint]);
    let nonce = write(Tag::INTEGER, &[nonce]);
    let certificates = write(Tag::BOOLEAN, &[&[0xff]]);
    write(Tag::SEQUENCE, &[&version, &imprint, &nonce, &certificates])
}

/// A number of DER's one form: positive, its first byte not zero.
pub(super) fn nonce(random: [u8; NONCE_BYTES]) -> [u8; NONCE_BYTES] {
    let mut nonce = random;
    nonce[0] = (nonce[0] & 0x7f) | 0x40;
    nonce
}

/// TimeStampResp.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The token.
    Granted(&'a [u8]),
    /// What the authority says instead.
    Refused {
        /// PKIStatus.
        status: u64,
        /// In its own words.
        words: String,
    },
}

pub(super) fn answer(bytes: &[u8]) -> Result<Answer<'_>, Malformed> {
    let mut outer = Reader::new(bytes);
    let mut fields = outer.read(Tag::SEQUENCE)?.reader();
    outer.finish()?;
    let mut status_fields = fields.read(Tag::SEQUENCE)?.reader();
    let status = status_fields.read(Tag::INTEGER)?.small_number()?;
    // Granted, or granted with changes.
    if status <= 1 {
        let token = fields.read(Tag::SEQUENCE)?;
        fields.finish()?;
        return Ok(Answer::Granted(token.whole));
    }
    let mut words = Vec::new();
    if let Some(texts) = status_fields.optional(Tag::SEQUENCE)? {
        let mut texts = texts.reader();
        while let Some(text) = texts.optional(Tag::UTF8_STRING)? {
            words.push(String::from_utf8_lossy(text.content).into_owned());
        }
    }
    Ok(Answer::Refused {
        status,
        words: crate::said(&words.join(" ")),
    })
}
