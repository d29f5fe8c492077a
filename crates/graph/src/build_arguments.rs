//! Build arguments that mean something although no ARG declares them.

/// Build arguments that every RUN gets without a declaration (A8), in either case.
pub(crate) const PROXY_NAMES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Build arguments that steer BuildKit's scanner and are never in an environment (A13).
const SCAN_NAMES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Build arguments that steer the build itself, wherever it is that they are obeyed.
const STEERING_NAMES: [&str; 7] = [
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// Whether an ARG of this name stays out of the environment, declared or not (A13).
pub(crate) fn is_for_the_scanner(name: &str) -> bool {
    SCAN_NAMES.contains(&name)
}

/// Whether a build argument of this name does something without an ARG that declares it.
pub(crate) fn needs_no_declaration(name: &str) -> bool {
    STEERING_NAMES.contains(&name)
        || is_for_the_scanner(name)
        || PROXY_NAMES
            .iter()
            .any(|proxy| proxy.eq_ignore_ascii_case(name))
}
