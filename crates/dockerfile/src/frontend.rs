//! Frontends: which of them speak the language that is read here. Nothing that a file names as its
//! frontend is ever fetched or run.

/// What is done where a file asks for another frontend.
pub const INSTEAD: &str = "kiln runs no frontend images: it reads this file as `docker/dockerfile:1` \
                           would, and says so where it cannot";

/// Whether a frontend is one whose language is read here, in whatever version. An empty value asks
/// for none, as in BuildKit; what follows the name are options for it.
pub fn is_known(value: &str) -> bool {
    let Some(image) = value.split_whitespace().next() else {
        return true;
    };
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = name
        .strip_prefix("docker.io/")
        .or_else(|| name.strip_prefix("index.docker.io/"))
        .unwrap_or(name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn every_version_of_the_dockerfile_frontend_is_known() {
        let check = |value: &str, known: bool| assert_eq!(is_known(value), known, "{value}");
        check("", true);
        check("docker/dockerfile", true);
        check("docker/dockerfile:1", true);
        check("docker/dockerfile:1.7-labs", true);
        check("docker/dockerfile:1@sha256:00", true);
        check("docker.io/docker/dockerfile:1.12 option", true);
        check("docker/dockerfile-upstream:master", true);
        check("registry.example:5000/docker/dockerfile:1", false);
        check("docker/dockerfile-experimental", false);
        check("mirror/dockerfile", false);
        check("grafana/pack", false);
    }
}
