//! The name of a registry, as people write it.

use crate::error::ProgramError;

/// `HOST[:PORT]` of a registry: an address is cut down to it, as docker does, and all names of Docker
/// Hub are one.
pub(super) fn registry_host(text: &str) -> Result<String, ProgramError> {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let host = bare.split('/').next().unwrap_or("");
    if matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    ) {
        return Ok("docker.io".to_owned());
    }
    let parsed: Option<oci::Repository> = format!("{host}/x").parse().ok();
    match parsed {
        Some(repository) if repository.registry() == host => Ok(host.to_owned()),
        _ => Err(ProgramError::input(format!(
            "`{}` is not the name of a registry",
            text.chars()
                .filter(|c| !c.is_control())
                .take(100)
                .collect::<String>()
        ))
        .hint("a registry is HOST or HOST:PORT, such as ghcr.io or localhost:5000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_by_name_and_by_address() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(registry_host(text).ok().as_deref(), expected, "{text}");
        };
        check("ghcr.io", Some("ghcr.io"));
        check("localhost:5000", Some("localhost:5000"));
        check("https://a.io/v2/", Some("a.io"));
        check("us-docker.pkg.dev/p/r", Some("us-docker.pkg.dev"));
        check("https://index.docker.io/v1/", Some("docker.io"));
        check("docker.io", Some("docker.io"));
        check("", None);
        check("team", None);
        check("a b.io", None);
        check("a.io\nb.io", None);
    }
}
