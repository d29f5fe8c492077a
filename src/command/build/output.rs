//! What is to be made of the image: `--output`, `--push` and `--load`, in buildx's syntax.
//!
//! ```text
//! -o DIRECTORY                 files of the target's root
//! -o -                         the same as a tar on stdout
//! -o type=TYPE[,KEY=VALUE…]    fields are CSV: `"name=a,b"` is one field
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::{Annotations, Destination, Output, Split};
use oci::{Compression, Reference};

use super::{annotation, values};
use crate::error::ProgramError;

/// The outputs of a build, and what their fields say about the whole image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// In the order of the flags, none twice.
    pub(crate) outputs: Vec<Output>,
    /// `name=`, the same for all outputs that have one.
    pub(crate) names: Option<Vec<Reference>>,
    /// `compression=`, the same for all outputs that have one.
    pub(crate) compression: Option<Compression>,
    /// `compression-level=`, the same for all outputs that have one.
    pub(crate) compression_level: Option<i32>,
    /// `annotation.KEY=`, `annotation-index.KEY=` and so on.
    pub(crate) annotations: Annotations,
}

/// What the flags say together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputFlags<'a> {
    /// `--output`
    pub(crate) outputs: &'a [String],
    /// `--push`
    pub(crate) push: bool,
    /// `--load`
    pub(crate) load: bool,
    /// Whether stdout is a terminal, where no archive goes.
    pub(crate) stdout_is_terminal: bool,
}

impl Outputs {
    /// Reads all flags.
    pub(crate) fn read(flags: OutputFlags<'_>) -> Result<Self, ProgramError> {
        let mut all = Self::default();
        for text in flags.outputs {
            let parsed = parse(text)?;
            for output in parsed.outputs {
                all.add(output);
            }
            all.names = same(all.names, parsed.names, "name")?;
            all.compression = same(all.compression, parsed.compression, "compression")?;
            all.compression_level = same(
                all.compression_level,
                parsed.compression_level,
                "compression-level",
            )?;
            all.annotations.extend(parsed.annotations);
        }
        if flags.push {
            all.add(Output::Registry);
        }
        if flags.load {
            all.add(Output::Load);
        }
        let archives = all
            .outputs
            .iter()
            .filter(|output| goes_to_stdout(output))
            .count();
        if archives > 1 {
            return Err(ProgramError::input(
                "only one output can go to stdout: give the others a file with dest=",
            ));
        }
        if archives == 1 && flags.stdout_is_terminal {
            return Err(
                ProgramError::input("an archive is not written to a terminal")
                    .hint("redirect stdout, or name a file with dest="),
            );
        }
        Ok(all)
    }

    /// Whether stdout is taken by an archive.
    pub(crate) fn use_stdout(&self) -> bool {
        self.outputs.iter().any(goes_to_stdout)
    }

    /// Whether the image needs a name.
    pub(crate) fn push(&self) -> bool {
        self.outputs.contains(&Output::Registry)
    }

    fn add(&mut self, output: Output) {
        if !self.outputs.contains(&output) {
            self.outputs.push(output);
        }
    }
}

fn goes_to_stdout(output: &Output) -> bool {
    match output {
        Output::Oci { destination, .. }
        | Output::Docker { destination }
        | Output::Tar { destination, .. } => *destination == Destination::Stdout,
        Output::Registry | Output::Image | Output::Local { .. } | Output::Load => false,
    }
}

fn same<T: PartialEq>(
    before: Option<T>,
    now: Option<T>,
    field: &str,
) -> Result<Option<T>, ProgramError> {
    match (before, now) {
        (Some(before), Some(now)) if before != now => Err(ProgramError::input(format!(
            "outputs with different {field}= in one build are not supported yet"
        ))),
        (Some(value), _) | (None, Some(value)) => Ok(Some(value)),
        (None, None) => Ok(None),
    }
}

/// The fields of one `--output`. What is taken out has been understood.
struct Fields<'a> {
    text: &'a str,
    values: BTreeMap<String, String>,
}

impl Fields<'_> {
    fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    fn take_flag(&mut self, key: &str) -> Result<Option<bool>, ProgramError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.wrong(&format!("{key}={other} is neither true nor false"))),
        }
    }

    fn take_split(&mut self) -> Result<Split, ProgramError> {
        Ok(match self.take_flag("platform-split")? {
            None => Split::Automatic,
            Some(true) => Split::Always,
            Some(false) => Split::Never,
        })
    }

    fn wrong(&self, reason: &str) -> ProgramError {
        ProgramError::input(format!("--output {}: {reason}", self.text))
    }

    /// The destination of an archive: stdout when none is given, as buildx has it.
    fn take_archive(&mut self) -> Destination {
        match self.take("dest") {
            None => Destination::Stdout,
            Some(dest) if dest == "-" => Destination::Stdout,
            Some(dest) => Destination::File(PathBuf::from(dest)),
        }
    }
}

fn parse(text: &str) -> Result<Outputs, ProgramError> {
    let fields = split_csv(text)
        .ok_or_else(|| ProgramError::input(format!("--output {text}: a quote is not closed")))?;
    if let [only] = fields.as_slice()
        && !only.starts_with("type=")
    {
        let output = match only.as_str() {
            "" => return Err(ProgramError::input("--output: the value is empty")),
            "-" => Output::Tar {
                destination: Destination::Stdout,
                split: Split::Automatic,
            },
            directory => Output::Local {
                directory: PathBuf::from(directory),
                split: Split::Automatic,
            },
        };
        return Ok(Outputs {
            outputs: vec![output],
            ..Outputs::default()
        });
    }
    let mut values = BTreeMap::new();
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(ProgramError::input(format!(
                "--output {text}: field `{field}` has no value: expected key=value"
            )));
        };
        // The keys of annotations are the user's; all others are ours, in any case.
        let key = match key.trim() {
            key if key.starts_with("annotation") => key.to_owned(),
            key => key.to_ascii_lowercase(),
        };
        if values.insert(key.clone(), value.to_owned()).is_some() {
            return Err(ProgramError::input(format!(
                "--output {text}: field `{key}` is given twice"
            )));
        }
    }
    let mut fields = Fields { text, values };
    let Some(kind) = fields.take("type") else {
        return Err(fields.wrong("no type= is given"));
    };
    let mut parsed = Outputs::default();
    if matches!(kind.as_str(), "image" | "registry" | "oci" | "docker") {
        image_fields(&mut fields, &mut parsed)?;
    }
    parsed.outputs = match kind.as_str() {
        "registry" => match fields.take_flag("push")? {
            None | Some(true) => vec![Output::Registry],
            Some(false) => return Err(fields.wrong("type=registry is a push: use type=image")),
        },
        "image" => match fields.take_flag("push")? {
            Some(true) => vec![Output::Image, Output::Registry],
            None | Some(false) => vec![Output::Image],
        },
        "oci" => {
            let tar = fields.take_flag("tar")?.unwrap_or(true);
            let destination = fields.take_archive();
            if !tar && destination == Destination::Stdout {
                return Err(fields.wrong("a directory (tar=false) needs a dest="));
            }
            vec![Output::Oci { destination, tar }]
        }
        "docker" => {
            if fields.take_flag("tar")? == Some(false) {
                return Err(fields.wrong("tar=false is not supported yet for type=docker"));
            }
            // Without a destination docker itself is meant, as with --load.
            if fields.values.contains_key("dest") {
                let destination = fields.take_archive();
                vec![Output::Docker { destination }]
            } else {
                vec![Output::Load]
            }
        }
        "tar" => vec![Output::Tar {
            destination: fields.take_archive(),
            split: fields.take_split()?,
        }],
        "local" => match fields.take("dest").as_deref() {
            None | Some("") => return Err(fields.wrong("type=local needs a dest=")),
            Some("-") => return Err(fields.wrong("a directory cannot go to stdout: use type=tar")),
            Some(directory) => vec![Output::Local {
                directory: PathBuf::from(directory),
                split: fields.take_split()?,
            }],
        },
        "cacheonly" => {
            return Err(fields.wrong("type=cacheonly is not supported yet: without --output the image stays in the store"));
        }
        _ => {
            return Err(fields.wrong(&format!(
                "unknown type `{kind}`: known are image, registry, oci, docker, tar and local"
            )));
        }
    };
    match fields.values.keys().next() {
        None => Ok(parsed),
        Some(key) => Err(fields.wrong(&format!("field `{key}` is not supported for type={kind}"))),
    }
}

/// The fields that all kinds of images share.
fn image_fields(fields: &mut Fields<'_>, parsed: &mut Outputs) -> Result<(), ProgramError> {
    if let Some(names) = fields.take("name") {
        let names = names.split(',').map(str::trim);
        let names: Result<_, _> = names.map(|name| values::tag("name", name)).collect();
        parsed.names = Some(names?);
    }
    if let Some(compression) = fields.take("compression") {
        parsed.compression = Some(match compression.as_str() {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            "uncompressed" => Compression::None,
            other => {
                return Err(fields.wrong(&format!(
                    "compression={other} is not supported: gzip, zstd and uncompressed are"
                )));
            }
        });
    }
    if let Some(level) = fields.take("compression-level") {
        let number = level.parse().map_err(|_| {
            fields.wrong(&format!("compression-level={level} is not a whole number"))
        })?;
        parsed.compression_level = Some(number);
    }
    // What kiln always does may be asked for, and nothing else.
    for (key, always) in [
        ("oci-mediatypes", true),
        ("rewrite-timestamp", true),
        ("force-compression", false),
    ] {
        if fields.take_flag(key)? == Some(!always) {
            return Err(fields.wrong(&format!("{key}={} is not supported", !always)));
        }
    }
    let keys: Vec<String> = fields.values.keys().cloned().collect();
    for key in keys {
        if let Some(read) = annotation::field(&key)
            && let Some(value) = fields.take(&key)
        {
            let (on, name) = read?;
            parsed.annotations.add(on, name, value);
        }
    }
    Ok(())
}

/// One line of CSV (RFC 4180). Nothing when a quote is not closed.
pub(crate) fn split_csv(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use engine::Annotated;

    use super::*;

    fn read(outputs: &[&str]) -> Result<Outputs, ProgramError> {
        let outputs: Vec<String> = outputs.iter().map(|&output| output.to_owned()).collect();
        Outputs::read(OutputFlags {
            outputs: &outputs,
            push: false,
            load: false,
            stdout_is_terminal: false,
        })
    }

    fn check(text: &str, expected: &[Output]) {
        assert_eq!(read(&[text]).expect(text).outputs, expected, "{text}");
    }

    fn check_wrong(texts: &[&str], expected: &str) {
        let headline = read(texts).expect_err(&format!("{texts:?}")).headline;
        assert!(headline.contains(expected), "{headline}");
    }

    fn file(path: &str) -> Destination {
        Destination::File(PathBuf::from(path))
    }

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let local = |path: &str| Output::Local {
            directory: PathBuf::from(path),
            split: Split::Automatic,
        };
        check("out", &[local("out")]);
        check("a=b", &[local("a=b")]);
        check("type=local,dest=out", &[local("out")]);
        check(
            "-",
            &[Output::Tar {
                destination: Destination::Stdout,
                split: Split::Automatic,
            }],
        );
        check(
            "type=tar",
            &[Output::Tar {
                destination: Destination::Stdout,
                split: Split::Automatic,
            }],
        );
        check(
            "type=tar,dest=a.tar",
            &[Output::Tar {
                destination: file("a.tar"),
                split: Split::Automatic,
            }],
        );
        check("type=image", &[Output::Image]);
        check("type=image,push=true", &[Output::Image, Output::Registry]);
        check("type=registry", &[Output::Registry]);
        check(
            "type=oci,dest=a,tar=false",
            &[Output::Oci {
                destination: file("a"),
                tar: false,
            }],
        );
        check(
            "type=oci,dest=-",
            &[Output::Oci {
                destination: Destination::Stdout,
                tar: true,
            }],
        );
        check(
            "type=docker,dest=a.tar",
            &[Output::Docker {
                destination: file("a.tar"),
            }],
        );
        check("type=docker", &[Output::Load]);
        check(
            "\"type=tar\",\"dest=a,\"\"b\"\".tar\"",
            &[Output::Tar {
                destination: file("a,\"b\".tar"),
                split: Split::Automatic,
            }],
        );
    }

    #[test]
    fn platforms_are_kept_apart_as_asked() {
        check(
            "type=local,dest=out,platform-split=false",
            &[Output::Local {
                directory: PathBuf::from("out"),
                split: Split::Never,
            }],
        );
        check(
            "type=tar,dest=a.tar,platform-split=true",
            &[Output::Tar {
                destination: file("a.tar"),
                split: Split::Always,
            }],
        );
    }

    #[test]
    fn fields_of_images_are_kept() {
        let outputs = read(&[
            "type=registry,\"name=a,b:2\",compression=zstd,compression-level=9,annotation.k=v,oci-mediatypes=true",
        ])
        .expect("an output");
        let names: Vec<String> = outputs
            .names
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            names,
            ["docker.io/library/a:latest", "docker.io/library/b:2"]
        );
        assert_eq!(outputs.compression, Some(Compression::Zstd));
        assert_eq!(outputs.compression_level, Some(9));
        let annotations: Vec<_> = outputs.annotations.iter().collect();
        let expected = (Annotated::Manifest(None), "k".to_owned(), "v".to_owned());
        assert_eq!(annotations, [&expected]);
    }

    #[test]
    fn wrong_outputs_say_why() {
        check_wrong(&[""], "the value is empty");
        check_wrong(&["type=floppy"], "unknown type `floppy`");
        check_wrong(&["dest=a,tar=true"], "no type= is given");
        check_wrong(&["type=tar,dest"], "field `dest` has no value");
        check_wrong(&["type=tar,\"dest=a"], "a quote is not closed");
        check_wrong(&["type=tar,dest=a,dest=b"], "given twice");
        check_wrong(&["type=tar,speed=11"], "field `speed` is not supported");
        check_wrong(&["type=local"], "needs a dest=");
        check_wrong(&["type=local,dest=-"], "cannot go to stdout");
        check_wrong(&["type=oci,tar=false"], "needs a dest=");
        check_wrong(&["type=oci,tar=maybe"], "neither true nor false");
        check_wrong(&["type=registry,dest=a"], "field `dest` is not supported");
        check_wrong(
            &["type=image,oci-mediatypes=false"],
            "oci-mediatypes=false is not supported",
        );
        check_wrong(&["type=image,compression=estargz"], "compression=estargz");
        check_wrong(&["type=image,compression-level=best"], "not a whole number");
        check_wrong(&["-", "type=oci"], "only one output can go to stdout");
        check_wrong(
            &[
                "type=oci,dest=a,compression=gzip",
                "type=oci,dest=b,compression=zstd",
            ],
            "different compression=",
        );
    }

    #[test]
    fn push_and_load_add_an_output() {
        let outputs = Outputs::read(OutputFlags {
            outputs: &["type=registry".to_owned(), "out".to_owned()],
            push: true,
            load: true,
            stdout_is_terminal: false,
        })
        .expect("outputs");
        assert_eq!(outputs.outputs.len(), 3);
        assert!(outputs.push());
    }

    #[test]
    fn archives_do_not_go_to_a_terminal() {
        let error = Outputs::read(OutputFlags {
            outputs: &["-".to_owned()],
            push: false,
            load: false,
            stdout_is_terminal: true,
        })
        .expect_err("a terminal");
        assert!(error.headline.contains("terminal"));
    }
}
