//! What is to be said of images beside them: `--provenance`, `--sbom` and `--attest`, in buildx's
//! syntax.
//!
//! ```text
//! --provenance BOOL|KEY=VALUE,…       short for --attest type=provenance,…
//! --sbom BOOL|KEY=VALUE,…             short for --attest type=sbom,…
//! --attest type=TYPE[,KEY=VALUE…]     fields are CSV
//! ```

use clap::Args;
use dockerfile::suggest::nearest;
use engine::{AttestationRequest, Output, ProvenanceRequest, SbomRequest};
use sign::provenance::ProvenanceMode;
use sign::sbom::SbomFormat;

use super::output::split_csv;
use crate::error::ProgramError;

/// The longest name of a file, in bytes: NAME_MAX of Linux, with room for a platform.
const FILE_NAME_BYTES_MAX: usize = 200;

/// The fields of a provenance.
const PROVENANCE_FIELDS: [&str; 10] = [
    "type",
    "disabled",
    "mode",
    "builder-id",
    "reproducible",
    "version",
    "filename",
    "inline-only",
    "times",
    "referrers",
];
/// The fields of a list of contents.
const SBOM_FIELDS: [&str; 6] = [
    "type",
    "disabled",
    "format",
    "generator",
    "inline-only",
    "referrers",
];

/// The flags.
#[derive(Args, Debug)]
pub(crate) struct AttestFlags {
    /// Attach attestations to the image, can be repeated: type=provenance or type=sbom, with the
    /// fields of docker buildx; referrers=true pushes them as referrers too
    #[arg(long, value_name = "SPEC")]
    attest: Vec<String>,

    /// Attach how the image came to be: true, or mode=min|max and other fields; short for --attest
    /// type=provenance
    #[arg(long, value_name = "BOOL|SPEC")]
    provenance: Option<String>,

    /// Attach what packages are in the image: true, or format=spdx|cyclonedx|both; short for
    /// --attest type=sbom
    #[arg(long, value_name = "BOOL|SPEC")]
    sbom: Option<String>,
}

/// Which kind of attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Provenance,
    Sbom,
}

impl AttestFlags {
    /// What is asked for. `now`: in seconds since 1970, for those who want to say when they built.
    pub(super) fn read(&self, now: i64) -> Result<AttestationRequest, ProgramError> {
        let mut request = AttestationRequest::default();
        let mut seen: Vec<Kind> = Vec::new();
        let short = [
            ("--provenance", Kind::Provenance, &self.provenance),
            ("--sbom", Kind::Sbom, &self.sbom),
        ];
        let short = short.into_iter().filter_map(|(flag, kind, text)| {
            let text = text.as_deref()?;
            Some(Spec::read(flag, text, Some(kind)))
        });
        let long = self.attest.iter();
        let long = long.map(|text| Spec::read("--attest", text, None));
        for spec in long.chain(short) {
            let spec = spec?;
            if seen.contains(&spec.kind) {
                let kind = match spec.kind {
                    Kind::Provenance => "the provenance",
                    Kind::Sbom => "the list of contents",
                };
                return Err(spec.wrong(&format!("{kind} is asked for twice")));
            }
            seen.push(spec.kind);
            spec.add_to(&mut request, now)?;
        }
        Ok(request)
    }
}

/// Refuses what the outputs of the build have no place for.
pub(super) fn check(request: &AttestationRequest, outputs: &[Output]) -> Result<(), ProgramError> {
    if request.referrers && !outputs.contains(&Output::Registry) {
        return Err(ProgramError::input(
            "referrers=true is for images that are pushed, and this build pushes none",
        )
        .hint("push with --push, or leave referrers away"));
    }
    Ok(())
}

/// One attestation as it was written.
struct Spec<'a> {
    flag: &'a str,
    text: &'a str,
    kind: Kind,
    fields: Vec<(String, String)>,
}

impl<'a> Spec<'a> {
    fn read(flag: &'a str, text: &'a str, kind: Option<Kind>) -> Result<Self, ProgramError> {
        let wrong = |reason: &str| ProgramError::input(format!("{flag} {text}: {reason}"));
        // The short flags are also yes and no.
        if let (Some(kind), Some(yes)) = (kind, boolean(text)) {
            let disabled = ("disabled".to_owned(), (!yes).to_string());
            return Ok(Self {
                flag,
                text,
                kind,
                fields: vec![disabled],
            });
        }
        let parts = split_csv(text).ok_or_else(|| wrong("a quote is not closed"))?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in &parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(wrong(&format!("expected name=value, not `{part}`")));
            };
            let key = key.trim().to_ascii_lowercase();
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(wrong(&format!("the field `{key}` is given twice")));
            }
            fields.push((key, value.to_owned()));
        }
        let named = fields.iter().find(|(key, _)| key == "type");
        let named = named.map(|(_, value)| value.as_str());
        let kind = match (kind, named) {
            (None, None) => {
                return Err(wrong("there is no type").hint("the types are provenance and sbom"));
            }
            (None | Some(Kind::Provenance), Some("provenance"))
            | (Some(Kind::Provenance), None) => Kind::Provenance,
            (None | Some(Kind::Sbom), Some("sbom")) | (Some(Kind::Sbom), None) => Kind::Sbom,
            (Some(_), Some(other)) => {
                return Err(wrong(&format!("the type is not `{other}` here")));
            }
            (None, Some(other)) => {
                let error = wrong(&format!("unknown type `{other}`"));
                return Err(match nearest(other, ["provenance", "sbom"]) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("the types are provenance and sbom"),
                });
            }
        };
        let spec = Self {
            flag,
            text,
            kind,
            fields,
        };
        spec.check_names()?;
        Ok(spec)
    }

    fn wrong(&self, reason: &str) -> ProgramError {
        ProgramError::input(format!("{} {}: {reason}", self.flag, self.text))
    }

    fn check_names(&self) -> Result<(), ProgramError> {
        let known: &[&str] = match self.kind {
            Kind::Provenance => &PROVENANCE_FIELDS,
            Kind::Sbom => &SBOM_FIELDS,
        };
        let unknown = self
            .fields
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()));
        let Some((key, _)) = unknown else {
            return Ok(());
        };
        let error = self.wrong(&format!("unknown field `{key}`"));
        Err(match nearest(key, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the fields are {}", known.join(", "))),
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn flag_of(&self, name: &str) -> Result<bool, ProgramError> {
        match self.field(name) {
            None => Ok(false),
            Some(text) => boolean(text).ok_or_else(|| {
                self.wrong(&format!("{name} is `{text}`: expected `true` or `false`"))
            }),
        }
    }

    fn add_to(&self, request: &mut AttestationRequest, now: i64) -> Result<(), ProgramError> {
        let referrers = self.flag_of("referrers")?;
        let inline_only = self.flag_of("inline-only")?;
        let disabled = self.flag_of("disabled")?;
        match self.kind {
            Kind::Provenance => {
                let provenance = ProvenanceRequest {
                    mode: self.mode()?,
                    builder_id: self.builder_id()?,
                    reproducible: self.flag_of("reproducible")?,
                    started_seconds: self.flag_of("times")?.then_some(now),
                    inline_only,
                    file_name: self.file_name()?,
                };
                request.provenance = (!disabled).then_some(provenance);
            }
            Kind::Sbom => {
                let formats = self.formats()?;
                request.sbom = (!disabled).then_some(SbomRequest {
                    formats,
                    inline_only,
                });
            }
        }
        request.referrers |= referrers && !disabled;
        Ok(())
    }

    fn mode(&self) -> Result<ProvenanceMode, ProgramError> {
        match self.field("version") {
            None | Some("v1") => {}
            Some(other) => {
                return Err(self
                    .wrong(&format!("the version `{other}` of SLSA is not written"))
                    .hint("kiln writes version=v1, which is also BuildKit's default"));
            }
        }
        match self.field("mode") {
            None => Ok(ProvenanceMode::default()),
            Some("min") => Ok(ProvenanceMode::Min),
            // As in BuildKit, whose first versions called it so.
            Some("max" | "full") => Ok(ProvenanceMode::Max),
            Some(other) => Err(self
                .wrong(&format!("unknown mode `{other}`"))
                .hint("the modes are min and max")),
        }
    }

    fn builder_id(&self) -> Result<Option<String>, ProgramError> {
        match self.field("builder-id") {
            None | Some("") => Ok(None),
            Some(id) if id.chars().any(char::is_control) => {
                Err(self.wrong("builder-id is the address of a builder"))
            }
            Some(id) => Ok(Some(id.to_owned())),
        }
    }

    fn file_name(&self) -> Result<Option<String>, ProgramError> {
        let Some(name) = self.field("filename") else {
            return Ok(None);
        };
        let is_plain = !matches!(name, "" | "." | "..")
            && name.len() <= FILE_NAME_BYTES_MAX
            && !name.contains(['/', '\0']);
        match is_plain {
            true => Ok(Some(name.to_owned())),
            false => Err(self.wrong("filename is a name without a directory")),
        }
    }

    fn formats(&self) -> Result<Vec<SbomFormat>, ProgramError> {
        if let Some(generator) = self.field("generator") {
            return Err(self
                .wrong(&format!("kiln runs no generator such as `{generator}`"))
                .hint(
                    "leave it away: kiln reads the package databases and lock files of the image \
                     itself, and writes SPDX, or CycloneDX with format=cyclonedx",
                ));
        }
        match self.field("format") {
            None | Some("spdx") => Ok(vec![SbomFormat::Spdx]),
            Some("cyclonedx") => Ok(vec![SbomFormat::CycloneDx]),
            Some("both") => Ok(vec![SbomFormat::Spdx, SbomFormat::CycloneDx]),
            Some(other) => Err(self
                .wrong(&format!("unknown format `{other}`"))
                .hint("the formats are spdx, cyclonedx and both")),
        }
    }
}

/// A word for yes or no, as Go reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(attest: &[&str], provenance: Option<&str>, sbom: Option<&str>) -> String {
        let flags = AttestFlags {
            attest: attest.iter().map(|text| (*text).to_owned()).collect(),
            provenance: provenance.map(str::to_owned),
            sbom: sbom.map(str::to_owned),
        };
        match flags.read(7) {
            Ok(AttestationRequest {
                provenance,
                sbom,
                referrers,
            }) => {
                let provenance = provenance.map(|provenance| {
                    let ProvenanceRequest {
                        mode,
                        builder_id,
                        reproducible,
                        started_seconds,
                        inline_only,
                        file_name,
                    } = provenance;
                    format!(
                        "{mode:?} {builder_id:?} {reproducible} {started_seconds:?} \
                         {inline_only} {file_name:?}"
                    )
                });
                let sbom = sbom.map(|sbom| format!("{:?} {}", sbom.formats, sbom.inline_only));
                format!("{provenance:?} {sbom:?} {referrers}")
                    .replace("\\\"", "'")
                    .replace('"', "")
            }
            Err(error) => error.headline,
        }
    }

    #[test]
    fn what_is_asked_for() {
        let check =
            |attest: &[&str], provenance: Option<&str>, sbom: Option<&str>, expected: &str| {
                assert_eq!(read(attest, provenance, sbom), expected);
            };
        let usual = "Some(Max None false None false None)";
        check(&[], None, None, "None None false");
        check(&[], Some("false"), Some("0"), "None None false");
        check(&[], Some("true"), None, &format!("{usual} None false"));
        check(
            &["type=provenance"],
            None,
            None,
            &format!("{usual} None false"),
        );
        check(
            &["type=provenance,disabled=true"],
            None,
            None,
            "None None false",
        );
        check(
            &[],
            Some("mode=min,version=v1"),
            None,
            "Some(Min None false None false None) None false",
        );
        check(
            &[
                "type=provenance,builder-id=https://ci.example/1,reproducible=true,times=true,inline-only=true,filename=p.json,referrers=true",
            ],
            None,
            None,
            "Some(Max Some('https://ci.example/1') true Some(7) true Some('p.json')) None true",
        );
        check(&[], None, Some("true"), "None Some([Spdx] false) false");
        check(
            &[],
            None,
            Some("format=both"),
            "None Some([Spdx, CycloneDx] false) false",
        );
        check(
            &["type=sbom,format=cyclonedx,referrers=true"],
            None,
            None,
            "None Some([CycloneDx] false) true",
        );
    }

    #[test]
    fn what_cannot_be_meant() {
        let check =
            |attest: &[&str], provenance: Option<&str>, sbom: Option<&str>, expected: &str| {
                let found = read(attest, provenance, sbom);
                assert!(found.contains(expected), "{found}");
            };
        check(&["mode=max"], None, None, "there is no type");
        check(&["type=provenanc"], None, None, "unknown type `provenanc`");
        check(&["type=sbom"], None, Some("true"), "asked for twice");
        check(&["type=sbom,mode=max"], None, None, "unknown field `mode`");
        check(&[], Some("mode=most"), None, "unknown mode `most`");
        check(
            &[],
            Some("version=v0.2"),
            None,
            "the version `v0.2` of SLSA is not written",
        );
        check(&[], Some("yes"), None, "expected name=value, not `yes`");
        check(&[], Some("type=sbom"), None, "the type is not `sbom` here");
        check(&[], Some("times=maybe"), None, "times is `maybe`");
        check(
            &[],
            Some("filename=a/b"),
            None,
            "filename is a name without a directory",
        );
        check(
            &[],
            None,
            Some("generator=docker/x"),
            "runs no generator such as `docker/x`",
        );
        check(&[], None, Some("format=swid"), "unknown format `swid`");
        check(&[], Some("mode=min,mode=max"), None, "given twice");
    }
}
