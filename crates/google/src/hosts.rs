//! Which registries are Google's.

/// Registries that every project has, for tools that want a list. Artifact Registry has one more for
/// each location: `LOCATION-docker.pkg.dev`.
pub const REGISTRY_HOSTS: [&str; 4] = ["gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"];

/// Whether a registry by this name takes Google's tokens: `gcr.io` and below, `pkg.dev` below, and
/// the regional endpoints `docker.LOCATION.rep.pkg.dev`. A port makes it somebody else's.
pub fn is_registry_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    // A label in front is needed: nothing answers at `pkg.dev` itself.
    let is_below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|front| front.len() > 1 && front.ends_with('.') && !front.starts_with('.'))
    };
    host == "gcr.io" || is_below("gcr.io") || is_below("pkg.dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_google_and_of_others() {
        for host in [
            "gcr.io",
            "eu.gcr.io",
            "us-west1-docker.pkg.dev",
            "docker.us-west1.rep.pkg.dev",
            "US-docker.pkg.dev",
        ] {
            assert!(is_registry_host(host), "{host}");
        }
        for host in [
            "pkg.dev",
            ".pkg.dev",
            "evilgcr.io",
            "notpkg.dev",
            "gcr.io.example",
            "us-docker.pkg.dev.example",
            "gcr.io:5000",
            "us-docker.pkg.dev:443",
            "docker.io",
            "",
        ] {
            assert!(!is_registry_host(host), "{host}");
        }
    }
}
