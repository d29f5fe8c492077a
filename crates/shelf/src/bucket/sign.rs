//! Signatures of requests: AWS Signature Version 4 ("Signature Version 4 signing process"), and
//! Azure's shared key ("Authorize with Shared Key").

use http::HeaderMap;
use reqwest::{Method, Url};
use sha2::{Digest as _, Sha256};

use crate::S3Credentials;

/// The block of SHA-256, in bytes (RFC 2104, section 2).
const BLOCK_BYTES: usize = 64;

/// HMAC with SHA-256 (RFC 2104).
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message);
    let outer = Sha256::new().chain_update(padded(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every byte but letters, digits, `-._~` and, in paths, `/` as `%XX`.
pub(crate) fn encode(text: &str, in_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte as char);
            }
            b'/' if in_path => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Signs a request to S3. `time` is `YYYYMMDDTHHMMSSZ`; all headers must be in, but for the
/// signature, and are signed if their names begin with `x-amz-`.
pub(crate) fn aws(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    payload: &str,
    credentials: &S3Credentials,
    region: &str,
    time: &str,
) -> String {
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or("")),
        None => url.host_str().unwrap_or("").to_owned(),
    };
    let mut signed: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-amz-") || *name == "range")
        .map(|(name, value)| {
            let value = value.to_str().unwrap_or("").trim().to_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    signed.push(("host".to_owned(), host));
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let mut query: Vec<(String, String)> = url
        .query_pairs()
        .map(|(key, value)| (encode(&key, false), encode(&value, false)))
        .collect();
    query.sort();
    let query: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let request = format!(
        "{method}\n{}\n{}\n{lines}\n{names}\n{payload}",
        url.path(),
        query.join("&")
    );
    let day = &time[..8.min(time.len())];
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let mut key = hmac(secret.as_bytes(), day.as_bytes());
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        credentials.access_key_id
    )
}

/// What is signed with an account's key for Azure.
pub(crate) fn azure_text(
    method: &Method,
    url: &Url,
    account: &str,
    headers: &HeaderMap,
    length: u64,
) -> String {
    let mut own: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("").trim()))
        .collect();
    own.sort_unstable();
    let own: String = own
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let length = match length {
        0 => String::new(),
        length => length.to_string(),
    };
    let range = headers.get("range").and_then(|value| value.to_str().ok());
    let mut resource = format!("/{account}{}", url.path());
    let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    query.sort();
    for (key, value) in query {
        resource.push_str(&format!("\n{}:{value}", key.to_ascii_lowercase()));
    }
    // Encoding, language, length, MD5, type, date, four conditions, range.
    format!(
        "{method}\n\n\n{length}\n\n\n\n\n\n\n\n{}\n{own}{resource}",
        range.unwrap_or("")
    )
}

#[cfg(test)]
mod tests {
    use registry::Secret;

    use super::*;

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn hmac_is_that_of_the_standard() {
        let check = |key: &[u8], message: &[u8], expected: &str| {
            assert_eq!(hex(&hmac(key, message)), expected);
        };
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    /// "Signature Calculations for the Authorization Header", the example of a GET with a range.
    #[test]
    fn requests_are_signed_as_in_the_example() {
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut headers = HeaderMap::new();
        headers.insert("range", "bytes=0-9".parse().unwrap());
        headers.insert("x-amz-content-sha256", empty.parse().unwrap());
        headers.insert("x-amz-date", "20130524T000000Z".parse().unwrap());
        let credentials = S3Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let signed = aws(
            &Method::GET,
            &url,
            &headers,
            empty,
            &credentials,
            "us-east-1",
            "20130524T000000Z",
        );
        assert!(
            signed.ends_with(
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            ),
            "{signed}"
        );
    }
}
