//! The private keys that `cosign generate-key-pair` writes: JSON in PEM, PKCS #8 sealed with scrypt
//! (RFC 7914) and NaCl's secretbox (XSalsa20 and Poly1305).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{KeyError, Passphrase};

/// The most memory that opening a key may take, in bytes: what it says itself decides it. Cosign
/// writes keys that need 32 MiB.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most passes over that memory.
const SCRYPT_PARALLEL_MAX: u32 = 16;

#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: KdfParameters,
    salt: String,
}

#[derive(Deserialize)]
struct KdfParameters {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// What is inside.
pub(super) fn decrypt(
    content: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let sealed: Sealed = serde_json::from_slice(content).map_err(|_| KeyError::Malformed)?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        let name = |name: &str| name.chars().take(32).collect::<String>();
        return Err(KeyError::Encryption(format!(
            "{:?} with {:?}",
            name(&sealed.cipher.name),
            name(&sealed.kdf.name)
        )));
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| KeyError::Malformed);
    let salt = bytes(&sealed.kdf.salt)?;
    let nonce: [u8; 24] = bytes(&sealed.cipher.nonce)?
        .try_into()
        .map_err(|_| KeyError::Malformed)?;
    let mut key = Zeroizing::new([0u8; 32]);
    let parameters = parameters(&sealed.kdf.params)?;
    scrypt::scrypt(passphrase.expose(), &salt, &parameters, key.as_mut())
        .map_err(|_| KeyError::Malformed)?;
    open(&key, &nonce, &bytes(&sealed.ciphertext)?).ok_or(KeyError::PassphraseWrong)
}

fn parameters(wanted: &KdfParameters) -> Result<scrypt::Params, KeyError> {
    let excessive = || KeyError::Encryption("scrypt with excessive parameters".to_owned());
    let memory = wanted.cost.checked_mul(128 * u64::from(wanted.r));
    if !wanted.cost.is_power_of_two()
        || memory.is_none_or(|memory| memory > SCRYPT_BYTES_MAX)
        || wanted.p > SCRYPT_PARALLEL_MAX
    {
        return Err(excessive());
    }
    let log = u8::try_from(wanted.cost.trailing_zeros()).map_err(|_| excessive())?;
    scrypt::Params::new(log, wanted.r, wanted.p).map_err(|_| excessive())
}

/// NaCl's `crypto_secretbox_open`: the first 32 bytes of the key stream are the key of the
/// authenticator, which covers what is encrypted with the rest.
fn open(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (tag, encrypted) = sealed.split_at_checked(16)?;
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut first = Zeroizing::new([0u8; 32]);
    stream.apply_keystream(first.as_mut());
    let mut authenticator = poly1305::Poly1305::new((&*first).into());
    let mut blocks = encrypted.chunks_exact(16);
    for block in blocks.by_ref() {
        authenticator.update(&[poly1305::Block::try_from(block).ok()?]);
    }
    let expected = authenticator.compute_unpadded(blocks.remainder());
    aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag).ok()?;
    let mut opened = Zeroizing::new(encrypted.to_vec());
    stream.apply_keystream(&mut opened);
    Some(opened)
}
