//! `kiln build`: what it says about its arguments before anything is built.

use super::{Environment, check, check_in};

/// The flag, and the whole sentence about it.
fn check_wrong(arguments: &[&str], expected: &str) {
    let arguments = [&["build"], arguments].concat();
    check(&arguments, &format!("exit 2\nstderr:\n{expected}\n"));
}

#[test]
fn a_flag_of_buildx_that_means_nothing_here_is_never_ignored() {
    check_wrong(
        &["--builder=default", "."],
        "error: --builder: kiln has no builders to choose from, it builds in its own process\n\
         hint: leave it away",
    );
}

#[test]
fn attestations_that_cannot_be_made_say_why() {
    check_wrong(
        &["--sbom=generator=docker/buildkit-syft-scanner", "."],
        "error: --sbom generator=docker/buildkit-syft-scanner: kiln runs no generator such as \
         `docker/buildkit-syft-scanner`\n\
         hint: leave it away: kiln reads the package databases and lock files of the image itself, \
         and writes SPDX, or CycloneDX with format=cyclonedx",
    );
    check_wrong(
        &["--provenance=mode=mix", "."],
        "error: --provenance mode=mix: unknown mode `mix`\nhint: the modes are min and max",
    );
    check_wrong(
        &["--attest=type=sbon", "."],
        "error: --attest type=sbon: unknown type `sbon`\nhint: did you mean `sbom`?",
    );
    check_wrong(
        &["--provenance=version=v0.2", "."],
        "error: --provenance version=v0.2: the version `v0.2` of SLSA is not written\n\
         hint: kiln writes version=v1, which is also BuildKit's default",
    );
    check_wrong(
        &["--sbom=referrers=true", "."],
        "error: referrers=true is for images that are pushed, and this build pushes none\n\
         hint: push with --push, or leave referrers away",
    );
}

#[test]
fn contexts_that_cannot_be_used_say_why() {
    check_wrong(&["missing"], "error: the context missing does not exist");
    check_wrong(
        &["/proc/self/status"],
        "error: the context /proc/self/status is neither a directory nor a tar archive\n\
         hint: to name a Dockerfile, use --file",
    );
    check_wrong(
        &["-f", "-", "-"],
        "error: the context and the Dockerfile cannot both come from stdin",
    );
    check_wrong(
        &["/dev/null"],
        "error: the context /dev/null is neither a directory nor a file",
    );
    check_wrong(
        &["https://example.com/x.git#-o"],
        "error: the context cannot be used: the ref `-o` begins with `-`, as options do",
    );
    check_wrong(
        &["oci-layout://x"],
        "error: the context oci-layout://x is an image\n\
         hint: images can be named contexts: --build-context NAME=…",
    );
}

#[test]
fn dockerfiles_that_cannot_be_used_say_why() {
    check_wrong(
        &["-f", "missing", "."],
        "error: the Dockerfile missing does not exist\n\
         hint: --file is relative to the current directory, not to the context",
    );
    check_wrong(
        &["-f", ".", "."],
        "error: --file .: this is a directory, not a Dockerfile",
    );
}

#[test]
fn values_are_checked_before_anything_is_done() {
    check_wrong(
        &["--push", "."],
        "error: there is no name to push the image under\nhint: give it one with --tag",
    );
    check_wrong(
        &["--build-arg", "=x", "."],
        "error: --build-arg =x: expected NAME=value, or NAME",
    );
    check_wrong(
        &["--platform", "linux/amd64,linux/amn64", "."],
        "error: --platform: unknown architecture `amn64` in platform `linux/amn64`: known are \
         amd64, arm64, arm, 386, ppc64le, s390x, riscv64, loong64, mips64le, mips64, wasm\n\
         hint: did you mean `amd64`?",
    );
    check_wrong(
        &["--platform", "linux/amd64,linux/arm64", "--load", "."],
        "error: what a local engine loads is one image, and this build makes an index of images\n\
         hint: build for one platform, or write an image layout with `--output type=oci`",
    );
    check_wrong(
        &["--annotation", "index:a=b", "."],
        "error: annotation a is for an index, and this build makes one manifest\n\
         hint: for an index of one image, use --build-arg BUILDKIT_MULTI_PLATFORM=1",
    );
    check_wrong(
        &["-o", "type=floppy", "."],
        "error: --output type=floppy: unknown type `floppy`: known are image, registry, oci, \
         docker, tar and local",
    );
    check_wrong(
        &["--threads", "0", "."],
        "error: --threads 0: expected a number from 1 to 256",
    );
    check_wrong(
        &["--compression-level", "10", "."],
        "error: --compression-level 10: gzip has the levels 0 to 9",
    );
    check_wrong(
        &[
            "--compression",
            "zstd",
            "-o",
            "type=image,compression-level=23",
            ".",
        ],
        "error: --compression-level 23: zstd has the levels 1 to 22",
    );
    check_wrong(
        &["--compression=uncompressed", "--compression-level=1", "."],
        "error: --compression-level 1: what is not compressed has no level",
    );
    check_wrong(
        &["-q", "--progress", "plain", "."],
        "error: --quiet and --progress contradict each other",
    );
    check_wrong(
        &["--metadata-file", "no/such/file", "."],
        "error: --metadata-file no/such/file: the directory of this file does not exist",
    );
}

#[test]
fn the_time_of_the_environment_is_checked() {
    let environment = Environment::new();
    for wrong in ["-1", "99999999999999999999", "noon"] {
        let output = environment
            .kiln(&["build", "."])
            .env("SOURCE_DATE_EPOCH", wrong)
            .output()
            .expect("kiln starts");
        assert_eq!(
            environment.describe(&output),
            format!(
                "exit 2\nstderr:\nerror: SOURCE_DATE_EPOCH is `{wrong}`: expected a number of \
                 seconds since 1970, from 0 to 253402300799\n"
            )
        );
    }
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    check_in(
        &Environment::new(),
        &["build", "--progress", "json", "missing"],
        r#"exit 2
stderr:
{"causes":[],"event":"error","hints":[],"kind":"input","message":"the context missing does not exist","schema":1}
"#,
    );
}

#[test]
fn without_a_home_the_store_must_be_named() {
    let environment = Environment::new();
    environment.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let output = environment
        .kiln(&["build", "."])
        .env_remove("HOME")
        .output()
        .expect("kiln starts");
    let said = environment.describe(&output);
    assert!(
        said.ends_with(
            "error: there is no directory for the store: HOME is not set\n\
             hint: name one with --store or KILN_STORE\n"
        ),
        "{said}"
    );
    assert!(said.starts_with("exit 2"), "{said}");
}
