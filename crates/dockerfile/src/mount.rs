//! The value of `RUN --mount`: fields between commas, with quotes as in a CSV file.
//!
//! Which fields there can be depends on the type, and every value but that of `from` may contain
//! variables (V1, F8). What a field is by default is decided by whoever knows the stage.

mod field;

use crate::suggest::nearest;
use crate::{Diagnostic, Span, Spanned, size};
use field::{KEYS, KINDS, Key, Kind, key_of};

/// The most fields in one value. There are sixteen that could make sense.
const FIELDS_MAX: usize = 64;

/// The highest permissions: with set-user-id, set-group-id and sticky.
const MODE_MAX: u32 = 0o7777;

/// One mount, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`, and no type at all.
    Bind(BindMount),
    /// `type=cache`
    Cache(CacheMount),
    /// `type=tmpfs`
    Tmpfs(TmpfsMount),
    /// `type=secret`
    Secret(SecretMount),
    /// `type=ssh`
    Ssh(SshMount),
}

/// Files of the context, of a stage or of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Where; empty when it is not said: at the working directory.
    pub target: Spanned<String>,
    /// Which files.
    pub source: Option<Spanned<String>>,
    /// Whose; the context's when absent.
    pub from: Option<Spanned<String>>,
    /// Whether the command may write.
    pub writable: bool,
}

/// A directory that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// Where; empty when it is not said: at the working directory.
    pub target: Spanned<String>,
    /// Its name; the target when absent.
    pub id: Option<Spanned<String>>,
    /// Who else may use it meanwhile.
    pub sharing: CacheSharing,
    /// Which files a new one begins with.
    pub source: Option<Spanned<String>>,
    /// Whose files.
    pub from: Option<Spanned<String>>,
    /// Of a new one.
    pub owner: MountFileOwner,
    /// Whether the command may only read.
    pub read_only: bool,
}

/// `sharing=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSharing {
    /// With everybody; the usual one.
    Shared,
    /// With nobody: another one is made.
    Private,
    /// With nobody: others wait.
    Locked,
}

/// An empty directory in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Where; empty when it is not said: at the working directory.
    pub target: Spanned<String>,
    /// What it holds at most, in bytes.
    pub bytes_max: Option<u64>,
}

/// Something that nobody else is to see. At least one of `id` and `target` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// What it is called.
    pub id: Option<Spanned<String>>,
    /// Where it is a file.
    pub target: Option<Spanned<String>>,
    /// The variable that it is in.
    pub variable: Option<Spanned<String>>,
    /// Of the file.
    pub owner: MountFileOwner,
    /// Whether it has to be there.
    pub required: bool,
}

/// The socket of an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshMount {
    /// What it is called.
    pub id: Option<Spanned<String>>,
    /// Where.
    pub target: Option<Spanned<String>>,
    /// Of the socket.
    pub owner: MountFileOwner,
    /// Whether it has to be there.
    pub required: bool,
}

/// `mode=`, `uid=` and `gid=`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountFileOwner {
    /// Permissions, at most 0o7777.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// `name`, or `name=value`.
#[derive(Debug)]
struct Field {
    name: String,
    value: Option<Spanned<String>>,
    span: Span,
}

/// What expands the variables of a value. Its error is a finding at the value.
pub type Expand<'e> = dyn FnMut(&Spanned<String>) -> Result<String, Diagnostic> + 'e;

/// Reads a mount, and says of which fields it makes nothing. All that is wrong with it is said.
pub fn parse(
    text: &Spanned<String>,
    expand: &mut Expand<'_>,
) -> Result<(Mount, Vec<Diagnostic>), Vec<Diagnostic>> {
    let fields = split(text).map_err(|finding| vec![finding])?;
    let mut reader = Reader {
        whole: text.span,
        kind: Kind::Bind,
        given: Vec::new(),
        findings: Vec::new(),
        warnings: Vec::new(),
    };
    reader.take(fields, expand);
    let mount = reader.mount();
    match mount {
        Some(mount) if reader.findings.is_empty() => Ok((mount, reader.warnings)),
        Some(_) | None => Err(reader.findings),
    }
}

/// What a mount says behind `from=`. Nothing where there is no such field, or where the mount
/// cannot be read, which [`parse`] says.
pub fn from_word(text: &Spanned<String>) -> Option<Spanned<String>> {
    let fields = split(text).ok()?;
    let mut from = fields
        .into_iter()
        .filter(|field| key_of(&field.name) == Some(Key::From));
    from.next()?.value
}

/// Splits a value into fields. A field in double quotes may contain commas, and two quotes there
/// are one (RFC 4180, section 2).
fn split(text: &Spanned<String>) -> Result<Vec<Field>, Diagnostic> {
    let Spanned { value, span } = text;
    // Positions are those of the text where it stands there as it is.
    let exact = value.len() == span.len();
    let place = |start: usize, end: usize| {
        if exact {
            Span::new(span.start + start, span.start + end)
        } else {
            *span
        }
    };
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        let rest = &value[at..];
        let content = if let Some(quoted) = rest.strip_prefix('"') {
            let mut content = String::new();
            let mut end = None;
            let mut characters = quoted.char_indices().peekable();
            while let Some((index, character)) = characters.next() {
                if character != '"' {
                    content.push(character);
                } else if characters.next_if(|(_, next)| *next == '"').is_some() {
                    content.push('"');
                } else {
                    end = Some(index + 1);
                    break;
                }
            }
            let Some(end) = end else {
                let message = "the quote \" is not closed";
                let place = place(start, value.len());
                return Err(Diagnostic::error(place, message, "opened here"));
            };
            at = start + 1 + end;
            if !value[at..].is_empty() && !value[at..].starts_with(',') {
                let message = "a field in quotes ends with its quote";
                let to = value[at..]
                    .find(',')
                    .map_or(value.len(), |comma| at + comma);
                let finding = Diagnostic::error(place(at, to), message, "expected a comma");
                return Err(finding);
            }
            content
        } else {
            at = rest.find(',').map_or(value.len(), |comma| start + comma);
            let content = value[start..at].to_owned();
            if content.contains('"') {
                let message = "a quote stands in the middle of a field";
                let finding = Diagnostic::error(place(start, at), message, "a quote inside");
                return Err(finding.with_help("put the whole field into quotes: \"name=value\""));
            }
            content
        };
        let span = place(start, at);
        let (name, value_text) = match content.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (content.clone(), None),
        };
        let value_text = value_text.map(|text| {
            let plain = exact && span.len() == content.len();
            let from = if plain {
                span.start + name.len() + 1
            } else {
                span.start
            };
            Spanned::new(text, Span::new(from, span.end))
        });
        fields.push(Field {
            name,
            value: value_text,
            span,
        });
        if fields.len() > FIELDS_MAX {
            let message = format!("a mount has at most {FIELDS_MAX} fields");
            return Err(Diagnostic::error(text.span, message, "too many"));
        }
        if at == value.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

/// A field that was understood: its key, its value with variables replaced, and where it stands.
struct Given {
    key: Key,
    name: String,
    value: Option<Spanned<String>>,
    span: Span,
}

struct Reader {
    whole: Span,
    kind: Kind,
    given: Vec<Given>,
    findings: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Reader {
    fn error<T>(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: Option<String>,
    ) -> Option<T> {
        let mut finding = Diagnostic::error(span, message, label);
        finding.help = help;
        self.findings.push(finding);
        None
    }

    /// Finds out what each field is, and the type first of all.
    fn take(&mut self, fields: Vec<Field>, expand: &mut Expand<'_>) {
        for field in fields {
            let Field { name, value, span } = field;
            let Some(key) = key_of(&name) else {
                let help = match nearest(&name, KEYS.iter().map(|(name, _)| *name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "fields are written name=value, with commas between them".to_owned(),
                };
                let (message, label) = if name.is_empty() {
                    ("a mount has an empty field".to_owned(), "nothing here")
                } else {
                    (format!("a mount has no field `{name}`"), "unknown field")
                };
                let _: Option<()> = self.error(span, message, label, Some(help));
                continue;
            };
            if let Some(first) = self.given.iter().find(|given| given.key == key) {
                let message = if first.name == name {
                    format!("the field `{name}` stands there twice")
                } else {
                    format!("`{}` and `{name}` are the same field", first.name)
                };
                let _: Option<()> = self.error(span, message, "the second one", None);
                continue;
            }
            let value = match value {
                // As it is written: an image or a stage, never a variable (F8).
                Some(value) if key == Key::From => Some(value),
                Some(value) => match expand(&value) {
                    Ok(text) => Some(Spanned::new(text, value.span)),
                    Err(finding) => {
                        self.findings.push(finding);
                        continue;
                    }
                },
                None => None,
            };
            self.given.push(Given {
                key,
                name,
                value,
                span,
            });
        }
        self.find_kind();
        for index in 0..self.given.len() {
            let given = &self.given[index];
            if self.kind.has(given.key) {
                continue;
            }
            let kind = self.kind.name();
            let message = format!("a mount of type {kind} has no field `{}`", given.name);
            let span = given.span;
            if self.kind.may_have(given.key) {
                let finding = Diagnostic::warning(span, message, "has no effect");
                self.warnings.push(finding.with_help("remove it"));
            } else {
                let help = format!("{kind} has {}", self.kind.keys().join(", "));
                let _: Option<()> = self.error(span, message, "not for this type", Some(help));
            }
        }
    }

    fn find_kind(&mut self) {
        let Some(word) = self.text(Key::Type) else {
            return;
        };
        let name = word.value.to_ascii_lowercase();
        if let Some(kind) = KINDS.iter().find(|kind| kind.name() == name) {
            self.kind = *kind;
            return;
        }
        let message = format!(
            "`{}` is not a type of mount: expected bind, cache, tmpfs, secret or ssh",
            word.value
        );
        let help = nearest(&name, KINDS.iter().map(|kind| kind.name()))
            .map(|near| format!("did you mean `{near}`?"));
        let _: Option<()> = self.error(word.span, message, "unknown type", help);
        // Which fields there may be is not known then: nothing more is said.
        self.given.clear();
    }

    fn given(&self, key: Key) -> Option<&Given> {
        self.given.iter().find(|given| given.key == key)
    }

    /// The value of a field that may as well be left out: an empty one, as of a variable that is
    /// not set, is.
    fn optional(&mut self, key: Key) -> Option<Spanned<String>> {
        let value = self.given(key)?.value.as_ref();
        if value.is_some_and(|value| value.value.is_empty()) {
            return None;
        }
        self.text(key)
    }

    /// The value of a field that needs one.
    fn text(&mut self, key: Key) -> Option<Spanned<String>> {
        let Given {
            name, value, span, ..
        } = self.given(key)?;
        let (name, span) = (name.clone(), *span);
        match value {
            Some(value) if !value.value.is_empty() => Some(value.clone()),
            Some(_) => self.error(span, format!("the field `{name}` is empty"), "empty", None),
            None => {
                let message = format!("the field `{name}` needs a value");
                self.error(
                    span,
                    message,
                    "no value",
                    Some(format!("write {name}=value")),
                )
            }
        }
    }

    /// A field that says yes by being there.
    fn switch(&mut self, key: Key) -> Option<bool> {
        let Given { name, value, .. } = self.given(key)?;
        let Some(value) = value else {
            return Some(true);
        };
        let (name, value) = (name.clone(), value.clone());
        match value.value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            other => {
                let message = format!("the field `{name}` is true or false, not `{other}`");
                self.error(value.span, message, "expected true or false", None)
            }
        }
    }

    fn number(&mut self, key: Key) -> Option<u32> {
        let word = self.text(key)?;
        // The highest number means "leave as it is" to chown(2).
        let digits = word.value.bytes().all(|byte| byte.is_ascii_digit());
        match word.value.parse::<u32>() {
            Ok(number) if digits && number != u32::MAX => Some(number),
            Ok(_) | Err(_) => {
                let message = format!("`{}` is not the number of a user or group", word.value);
                self.error(word.span, message, "expected 0 to 4294967294", None)
            }
        }
    }

    fn owner(&mut self) -> MountFileOwner {
        let mode = self.text(Key::Mode).and_then(|word| {
            let octal = word.value.bytes().all(|byte| byte.is_ascii_digit());
            match u32::from_str_radix(&word.value, 8) {
                Ok(mode) if octal && mode <= MODE_MAX => Some(mode),
                Ok(_) | Err(_) => {
                    let message = format!("`{}` is not a mode: expected 0 to 7777", word.value);
                    self.error(word.span, message, "not an octal mode", None)
                }
            }
        });
        MountFileOwner {
            mode,
            uid: self.number(Key::Uid),
            gid: self.number(Key::Gid),
        }
    }

    /// Whether `ro` and `rw` together ask for writing.
    fn writable(&mut self, usually: bool) -> bool {
        let (read_only, writable) = (self.switch(Key::ReadOnly), self.switch(Key::ReadWrite));
        if let (Some(read_only), Some(writable)) = (read_only, writable)
            && read_only == writable
        {
            let span = self.given(Key::ReadWrite).map_or(self.whole, |rw| rw.span);
            let message = "`ro` and `rw` contradict each other";
            let _: Option<()> = self.error(span, message, "one of the two", None);
        }
        writable
            .or(read_only.map(|read_only| !read_only))
            .unwrap_or(usually)
    }

    /// What cannot be chosen: `ro` for what is never written to, `rw` for what always is.
    fn fixed(&mut self, key: Key, wrong: bool, message: &str) {
        let said = self.switch(key);
        if said == Some(wrong) {
            let span = self.given(key).map_or(self.whole, |given| given.span);
            let _: Option<()> = self.error(span, message, "not possible", None);
        }
    }

    /// Where the mount is to be: without a target, at the working directory.
    fn target(&mut self) -> Option<Spanned<String>> {
        if self.given(Key::Target).is_none() {
            return Some(Spanned::new(String::new(), self.whole));
        }
        self.text(Key::Target)
    }

    fn mount(&mut self) -> Option<Mount> {
        if self.given.is_empty() && !self.findings.is_empty() {
            return None;
        }
        Some(match self.kind {
            Kind::Bind => Mount::Bind(BindMount {
                writable: self.writable(false),
                source: self.optional(Key::Source),
                from: self.text(Key::From),
                target: self.target()?,
            }),
            Kind::Cache => {
                let sharing = self.sharing();
                if self.given(Key::From).is_none()
                    && let Some(source) = self.given(Key::Source)
                {
                    let message = "`source` of a cache says which files of `from` a new one \
                                   begins with, and there is no `from`";
                    let help = "add from=STAGE, or leave source out".to_owned();
                    let span = source.span;
                    let _: Option<()> = self.error(span, message, "files of what?", Some(help));
                }
                Mount::Cache(CacheMount {
                    id: self.optional(Key::Id),
                    sharing,
                    source: self.optional(Key::Source),
                    from: self.text(Key::From),
                    owner: self.owner(),
                    read_only: !self.writable(true),
                    target: self.target()?,
                })
            }
            Kind::Tmpfs => {
                let message = "a tmpfs begins empty: nobody could use one without writing";
                self.fixed(Key::ReadWrite, false, message);
                let bytes_max = self.text(Key::Size).and_then(|word| {
                    let found = size::parse(&word.value);
                    found.map_or_else(
                        |error| self.error(word.span, error.to_string(), "not a size", None),
                        Some,
                    )
                });
                Mount::Tmpfs(TmpfsMount {
                    bytes_max,
                    target: self.target()?,
                })
            }
            Kind::Secret => self.secret()?,
            Kind::Ssh => Mount::Ssh(SshMount {
                id: self.optional(Key::Id),
                target: self.text(Key::Target),
                owner: self.owner(),
                required: self.switch(Key::Required).unwrap_or(false),
            }),
        })
    }

    fn secret(&mut self) -> Option<Mount> {
        self.fixed(Key::ReadOnly, false, "a secret can only be read");
        if let (Some(_), Some(source)) = (self.given(Key::Id), self.given(Key::Source)) {
            let message = "`id` and `source` of a secret mean the same: one is enough";
            let span = source.span;
            return self.error(span, message, "the second one", None);
        }
        // A variable alone does not say which: its name is the command's, not the user's.
        let names = [Key::Id, Key::Source, Key::Target];
        if names.iter().all(|key| self.given(*key).is_none()) {
            let message = "a mount of type secret needs to say which";
            let help = "write id=NAME, and give it with --secret id=NAME,src=FILE".to_owned();
            return self.error(self.whole, message, "no id", Some(help));
        }
        let id = self.text(Key::Id).or_else(|| self.text(Key::Source));
        let variable = self.text(Key::Env);
        let variable = variable.and_then(|word| {
            if word.value.contains(['=', '\0']) {
                let message = format!("`{}` cannot be the name of a variable", word.value);
                return self.error(word.span, message, "not a name", None);
            }
            Some(word)
        });
        Some(Mount::Secret(SecretMount {
            id,
            target: self.text(Key::Target),
            variable,
            owner: self.owner(),
            required: self.switch(Key::Required).unwrap_or(false),
        }))
    }

    fn sharing(&mut self) -> CacheSharing {
        let Some(word) = self.text(Key::Sharing) else {
            return CacheSharing::Shared;
        };
        match word.value.to_ascii_lowercase().as_str() {
            "shared" => CacheSharing::Shared,
            "private" => CacheSharing::Private,
            "locked" => CacheSharing::Locked,
            other => {
                let message = format!(
                    "`{}` is no way of sharing: expected shared, private or locked",
                    word.value
                );
                let help = nearest(other, ["shared", "private", "locked"])
                    .map(|near| format!("did you mean `{near}`?"));
                let _: Option<()> = self.error(word.span, message, "unknown", help);
                CacheSharing::Shared
            }
        }
    }
}

#[cfg(test)]
mod tests;
