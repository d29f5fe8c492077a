//! `--cache-from` and `--cache-to`, in buildx's syntax: a place, and how it is filled.

use std::io::Read as _;
use std::path::Path;

use engine::{CacheMode, CacheRequest, CacheTarget};
use oci::Compression;
use shelf::{KEY_BYTES_MAX, SealKey};

use crate::command::shelf_address::{Fields, Purpose, Variable};
use crate::error::ProgramError;

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";

/// The flags. The layers of a cache are those of the image, which are compressed with
/// `compression`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheFlags<'f> {
    /// `--cache-key-file`
    pub(crate) key: Option<&'f Path>,
    /// `--cache-from`
    pub(crate) from: &'f [String],
    /// `--cache-to`
    pub(crate) to: &'f [String],
    /// The build argument `BUILDKIT_INLINE_CACHE`.
    pub(crate) inline: Option<&'f str>,
    /// How layers are compressed.
    pub(crate) compression: Compression,
    /// The level that was asked for.
    pub(crate) level: Option<i32>,
}

impl CacheFlags<'_> {
    /// Reads the flags.
    pub(crate) fn read(self, variable: Variable<'_>) -> Result<CacheRequest, ProgramError> {
        let mut request = CacheRequest {
            key: self.key.map(key).transpose()?,
            ..CacheRequest::default()
        };
        for text in self.from {
            for mut fields in Fields::read(FROM, text)? {
                let address = fields.address(Purpose::From, variable)?.ok_or_else(|| {
                    let reason = "a cache in an image is read with type=registry and its name";
                    fields.wrong(reason)
                })?;
                fields.finish()?;
                if !request.from.contains(&address) {
                    request.from.push(address);
                }
            }
        }
        for text in self.to {
            for fields in Fields::read(TO, text)? {
                let target = self.target(fields, variable)?;
                request.to.push(target);
            }
        }
        if is_set(self.inline)? && !request.to.contains(&CacheTarget::Inline) {
            request.to.push(CacheTarget::Inline);
        }
        Ok(request)
    }

    fn target(
        &self,
        mut fields: Fields<'_>,
        variable: Variable<'_>,
    ) -> Result<CacheTarget, ProgramError> {
        let address = fields.address(Purpose::To, variable)?;
        let modes = [("min", CacheMode::Min), ("max", CacheMode::Max)];
        let mode = fields.take_word("mode", &modes)?;
        self.check_compression(&mut fields)?;
        // What is always so may be asked for, and nothing else.
        for (key, always) in [
            ("oci-mediatypes", true),
            ("image-manifest", true),
            ("ignore-error", true),
        ] {
            if fields.take_flag(key)? == Some(!always) {
                let reason = format!("{key}={} is not supported: {}", !always, ALWAYS);
                return Err(fields.wrong(&reason));
            }
        }
        let target = match address {
            Some(address) => CacheTarget::Shelf {
                address: Box::new(address),
                mode: mode.unwrap_or_default(),
            },
            None if mode == Some(CacheMode::Max) => {
                let reason = "an image holds its own layers only: mode=max needs another type";
                return Err(fields.wrong(reason));
            }
            None => CacheTarget::Inline,
        };
        fields.finish()?;
        Ok(target)
    }

    /// A cache holds layers as the image has them; another compression would be other layers,
    /// which nobody who has the image could use.
    fn check_compression(&self, fields: &mut Fields<'_>) -> Result<(), ProgramError> {
        if let Some(kind) = fields.take_compression()?
            && kind != self.compression
        {
            let reason = "a cache holds the layers of the image: this compression= is not theirs";
            return Err(fields.wrong(reason).hint("say the same with --compression"));
        }
        if let Some(level) = fields.take("compression-level")
            && level.parse().ok() != self.level
        {
            let reason = "a cache holds the layers of the image: this level is not theirs";
            return Err(fields
                .wrong(reason)
                .hint("say the same with --compression-level"));
        }
        if fields.take_flag("force-compression")? == Some(true) {
            return Err(fields.wrong(
                "force-compression=true is not supported: layers of base images stay as they are",
            ));
        }
        Ok(())
    }
}

/// Why a field has one value only.
const ALWAYS: &str =
    "a cache is an OCI image manifest, and a cache that cannot be written fails no build";

/// Reads the file of `--cache-key-file`.
fn key(path: &Path) -> Result<SealKey, ProgramError> {
    let cannot = || {
        format!(
            "the key of --cache-key-file {} cannot be used",
            path.display()
        )
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(2 * KEY_BYTES_MAX as u64).read_to_end(&mut bytes))
        .map_err(|error| ProgramError::input(cannot()).because(&error))?;
    SealKey::new(&bytes).map_err(|error| {
        ProgramError::input(cannot())
            .because(&error)
            .hint("make one with `head -c 32 /dev/urandom | base64`")
    })
}

/// Whether a cache in the image is asked for by build argument.
fn is_set(inline: Option<&str>) -> Result<bool, ProgramError> {
    match inline {
        None | Some("" | "0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(other) => Err(ProgramError::input(format!(
            "BUILDKIT_INLINE_CACHE={other} is neither 1 nor 0"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        from: &[&str],
        to: &[&str],
        inline: Option<&str>,
    ) -> Result<CacheRequest, ProgramError> {
        let owned =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
        let flags = CacheFlags {
            key: None,
            from: &owned(from),
            to: &owned(to),
            inline,
            compression: Compression::Gzip,
            level: Some(6),
        };
        flags.read(&|_| None)
    }

    #[test]
    fn caches_are_asked_in_their_order() {
        let request = read(&["b", "type=local,src=/c", "a", "b"], &[], None).unwrap();
        let from: Vec<String> = request.from.iter().map(ToString::to_string).collect();
        let latest = |name: &str| format!("docker.io/library/{name}:latest");
        assert_eq!(from, [latest("b"), "/c:latest".to_owned(), latest("a")]);
    }

    #[test]
    fn targets_have_modes() {
        let check = |to: &[&str], inline: Option<&str>, expected: &[&str]| {
            let request = read(&[], to, inline).expect("targets");
            let shown: Vec<String> = request
                .to
                .iter()
                .map(|target| match target {
                    CacheTarget::Shelf { address, mode } => format!("{address} {mode:?}"),
                    CacheTarget::Inline => "inline".to_owned(),
                })
                .collect();
            assert_eq!(shown, expected, "{to:?} {inline:?}");
        };
        let max = "type=registry,ref=r.example/a:c,mode=max,image-manifest=true,\
                   oci-mediatypes=true,ignore-error=true,compression=gzip,force-compression=false,compression-level=6";
        check(&["r.example/a:c"], None, &["r.example/a:c Min"]);
        check(&[max], None, &["r.example/a:c Max"]);
        check(&["type=inline"], Some("1"), &["inline"]);
        check(
            &["type=local,dest=/c"],
            Some("1"),
            &["/c:latest Min", "inline"],
        );
        check(&[], Some("0"), &[]);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let check = |from: &[&str], to: &[&str], inline: Option<&str>, expected: &str| {
            let error = read(from, to, inline).expect_err(expected).headline;
            assert!(error.contains(expected), "{error}");
        };
        check(&["type=inline"], &[], None, "is read with type=registry");
        check(
            &["type=local,src=/c,mode=max"],
            &[],
            None,
            "unknown field `mode`",
        );
        check(&[], &["type=inline,mode=max"], None, "its own layers only");
        check(
            &[],
            &["type=local,dest=/c,mode=maxx"],
            None,
            "did you mean `max`?",
        );
        check(
            &[],
            &["type=local,dest=/c,compression=zstd"],
            None,
            "is not theirs",
        );
        check(
            &[],
            &["type=local,dest=/c,compression=lzma"],
            None,
            "known are gzip",
        );
        check(
            &[],
            &["type=local,dest=/c,force-compression=true"],
            None,
            "force-compression=true is not supported",
        );
        check(
            &[],
            &["type=local,dest=/c,compression-level=9"],
            None,
            "level is not theirs",
        );
        for field in ["oci-mediatypes", "image-manifest", "ignore-error"] {
            let expected = format!("{field}=false is not supported");
            check(
                &[],
                &[&format!("type=local,dest=/c,{field}=false")],
                None,
                &expected,
            );
        }
        check(&[], &[], Some("yes"), "neither 1 nor 0");
    }
}
