//! The values of `kiln build`'s flags, checked at the door.

use std::net::IpAddr;

use engine::ImageName;
use graph::ExtraHost;
use oci::Reference;

use crate::error::ProgramError;

/// The latest time that `SOURCE_DATE_EPOCH` may name: the end of the year 9999, the last that
/// RFC 3339 can write.
const EPOCH_SECONDS_MAX: i64 = 253_402_300_799;

/// `NAME=value` of `--build-arg`; `NAME` alone takes the value from the environment, and gives
/// nothing when there is none, as docker has it.
pub(crate) fn build_argument(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<(String, String)>, ProgramError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, environment(text)),
    };
    if name.is_empty() {
        return Err(form("--build-arg", text, "NAME=value, or NAME"));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

/// `key=value` of `--label`; `key` alone is an empty label, as docker has it.
pub(crate) fn label(text: &str) -> Result<(String, String), ProgramError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(form("--label", text, "key=value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `name:ip` or `name=ip` of `--add-host`.
pub(crate) fn extra_host(text: &str) -> Result<ExtraHost, ProgramError> {
    let expected = "name:address, with an IPv4 or IPv6 address";
    let Some((name, address)) = text.split_once(['=', ':']) else {
        return Err(form("--add-host", text, expected));
    };
    if address == "host-gateway" {
        return Err(ProgramError::input(format!(
            "--add-host {text}: host-gateway is not supported yet: give an address"
        )));
    }
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(form("--add-host", text, expected));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(ExtraHost {
            name: name.to_owned(),
            address: address.to_string(),
        }),
        Err(_) => Err(form("--add-host", text, expected)),
    }
}

/// A name to give to the image.
pub(crate) fn tag(flag: &str, text: &str) -> Result<Reference, ProgramError> {
    let reference: Reference = text
        .parse()
        .map_err(|error: oci::ReferenceError| ProgramError::input(format!("{flag}: {error}")))?;
    if text == "scratch" {
        return Err(ProgramError::input(format!(
            "{flag} scratch: this is the name of the empty image, which cannot be given to another"
        )));
    }
    if reference.digest().is_some() {
        return Err(ProgramError::input(format!(
            "{flag} {text}: a name for a new image cannot have a digest"
        )));
    }
    Ok(reference)
}

/// The image that `kiln push` is asked for.
pub(crate) fn image_name(text: &str) -> Result<ImageName, ProgramError> {
    if text.starts_with("sha256:") || text.starts_with("sha512:") {
        return text
            .parse()
            .map(ImageName::Digest)
            .map_err(|error: oci::DigestError| ProgramError::input(error.to_string()));
    }
    text.parse()
        .map(ImageName::Reference)
        .map_err(|error: oci::ReferenceError| ProgramError::input(error.to_string()))
}

/// `SOURCE_DATE_EPOCH`: seconds since 1970.
pub(crate) fn epoch_seconds(text: &str) -> Result<i64, ProgramError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<i64>() {
        Ok(seconds) if digits && seconds <= EPOCH_SECONDS_MAX => Ok(seconds),
        _ => Err(ProgramError::input(format!(
            "SOURCE_DATE_EPOCH is `{text}`: expected a number of seconds since 1970, from 0 to \
             {EPOCH_SECONDS_MAX}"
        ))),
    }
}

fn form(flag: &str, text: &str, expected: &str) -> ProgramError {
    ProgramError::input(format!("{flag} {text}: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    /// The value as text, or the headline of the error.
    fn check<T: std::fmt::Debug>(found: Result<T, ProgramError>, expected: &str) {
        let found = match found {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.headline,
        };
        assert!(
            found == expected || found.contains(expected) && expected.len() > 12,
            "{found}"
        );
    }

    #[test]
    fn build_arguments_come_from_the_flag_or_the_environment() {
        let environment = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        let argument = |text| build_argument(text, &environment);
        check(argument("A=b=c"), r#"Some(("A", "b=c"))"#);
        check(argument("A="), r#"Some(("A", ""))"#);
        check(argument("HERE"), r#"Some(("HERE", "yes"))"#);
        check(argument("ABSENT"), "None");
        check(argument("=x"), "expected NAME=value, or NAME");
    }

    #[test]
    fn labels_are_pairs() {
        check(label("a=b=c"), r#"("a", "b=c")"#);
        check(label("a"), r#"("a", "")"#);
        check(label("=b"), "expected key=value");
    }

    #[test]
    fn hosts_have_a_name_and_an_address() {
        check(
            extra_host("db:10.0.0.1"),
            r#"ExtraHost { name: "db", address: "10.0.0.1" }"#,
        );
        check(
            extra_host("db=::1"),
            r#"ExtraHost { name: "db", address: "::1" }"#,
        );
        check(
            extra_host("db:[fe80::1]"),
            r#"ExtraHost { name: "db", address: "fe80::1" }"#,
        );
        check(extra_host("db"), "expected name:address");
        check(extra_host("d b:10.0.0.1"), "expected name:address");
        check(extra_host("db:10.0.0.1\nevil"), "expected name:address");
        check(
            extra_host("db:host-gateway"),
            "host-gateway is not supported yet",
        );
    }

    #[test]
    fn times_are_whole_and_not_before_1970() {
        check(epoch_seconds("0"), "0");
        check(epoch_seconds("253402300799"), "253402300799");
        for wrong in [
            "-1",
            "+1",
            "",
            "1.5",
            "99999999999999999999",
            "253402300800",
            " 1",
        ] {
            check(epoch_seconds(wrong), "expected a number of seconds");
        }
    }

    #[test]
    fn names_have_no_digest() {
        let digest = Digest::of(b"");
        check(tag("--tag", &format!("x@{digest}")), "cannot have a digest");
        check(tag("--tag", "UPPER"), "--tag: `UPPER`");
        check(
            image_name(digest.as_str()).map(|name| matches!(name, ImageName::Digest(_))),
            "true",
        );
        check(image_name("sha256:12"), "lower-case hex digits");
    }
}
