//! PEM (RFC 7468): blocks with labels, whatever stands between them skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The most bytes of a file of keys or certificates: a bundle of all public roots has a quarter of
/// this.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;
/// The most blocks of a file.
const BLOCKS_MAX: usize = 1024;

/// One block.
pub(crate) struct Block {
    /// `PRIVATE KEY`, `CERTIFICATE`, ….
    pub(crate) label: String,
    /// Whether headers say that the content is encrypted in the way of OpenSSL before PKCS #8
    /// (RFC 1421, "Proc-Type").
    pub(crate) encrypted_traditionally: bool,
    /// What the base64 stands for.
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// Why a text is not PEM. Says nothing of what the text holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Larger than [`PEM_BYTES_MAX`].
    #[error("it is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    /// Too many blocks.
    #[error("it has more than {BLOCKS_MAX} PEM blocks")]
    TooMany,
    /// Not a text.
    #[error("it is not a text")]
    NotText,
    /// A block that begins and does not end, or not with its own label.
    #[error("the PEM block `{0}` has no end")]
    Unfinished(String),
    /// What is in a block is not base64.
    #[error("the PEM block `{0}` is not base64")]
    NotBase64(String),
}

/// The blocks of a text, in its order. Text between blocks is allowed: programs write the subject
/// of a certificate above it (image-builder.md §13.6).
pub(crate) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, PemError> {
    if bytes.len() > PEM_BYTES_MAX {
        return Err(PemError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PemError::NotText)?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"))
        else {
            continue;
        };
        if blocks.len() == BLOCKS_MAX {
            return Err(PemError::TooMany);
        }
        let end = format!("-----END {label}-----");
        let mut encoded = Zeroizing::new(String::new());
        let mut encrypted_traditionally = false;
        let mut finished = false;
        for line in lines.by_ref() {
            if line == end {
                finished = true;
                break;
            }
            if line.starts_with("-----") {
                break;
            }
            if line.contains(':') {
                encrypted_traditionally |= line.starts_with("Proc-Type:");
                continue;
            }
            encoded.push_str(line);
        }
        let label = printable(label);
        if !finished {
            return Err(PemError::Unfinished(label));
        }
        let content = if encrypted_traditionally {
            Vec::new()
        } else {
            let decoded = STANDARD.decode(encoded.as_bytes());
            decoded.map_err(|_| PemError::NotBase64(label.clone()))?
        };
        blocks.push(Block {
            label,
            encrypted_traditionally,
            content: Zeroizing::new(content),
        });
    }
    Ok(blocks)
}

/// A label that can be shown.
fn printable(label: &str) -> String {
    let printable = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == ' ';
    label.chars().filter(printable).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_between_blocks_is_skipped() {
        let check = |text: &str, expected: Result<&[(&str, &[u8])], PemError>| {
            let found = blocks(text.as_bytes()).map(|blocks| {
                let pairs = blocks.iter();
                let pairs = pairs.map(|block| (block.label.clone(), block.content.to_vec()));
                pairs.collect::<Vec<_>>()
            });
            let expected = expected.map(|blocks| {
                let pairs = blocks.iter();
                let pairs = pairs.map(|(label, content)| ((*label).to_owned(), content.to_vec()));
                pairs.collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{text}");
        };
        check("", Ok(&[]));
        check(
            "subject=CN = a\nissuer=CN = b\n-----BEGIN CERTIFICATE-----\r\nAQI\r\nD\r\n-----END CERTIFICATE-----\nmore\n-----BEGIN X-----\n-----END X-----",
            Ok(&[("CERTIFICATE", &[1, 2, 3]), ("X", &[])]),
        );
        check(
            "-----BEGIN A-----\nAQID\n",
            Err(PemError::Unfinished("A".into())),
        );
        check(
            "-----BEGIN A-----\nAQID\n-----END B-----",
            Err(PemError::Unfinished("A".into())),
        );
        check(
            "-----BEGIN A-----\n?\n-----END A-----",
            Err(PemError::NotBase64("A".into())),
        );
    }
}
