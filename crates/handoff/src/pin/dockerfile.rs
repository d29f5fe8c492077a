//! Names of images in a Dockerfile: FROM, `--from` of COPY, `from=` of `RUN --mount`, and the
//! default of an argument that FROM consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use dockerfile::{InstructionKind, Span, Spanned};

use super::Findings;

/// Finds them.
pub(super) fn find(text: &str) -> Findings {
    let mut search = Search {
        text,
        found: Findings::default(),
        stages: BTreeSet::new(),
        defaults: BTreeMap::new(),
        seen: BTreeSet::new(),
    };
    let mut stages = 0;
    for instruction in &dockerfile::parse(text).tree.instructions {
        match &instruction.kind {
            InstructionKind::Arg(declarations) if stages == 0 => {
                for declaration in declarations {
                    if let Some(default) = &declaration.default {
                        let name = declaration.name.value.clone();
                        search.defaults.insert(name, default.span);
                    }
                }
            }
            InstructionKind::From(from) => {
                search.from(&from.image);
                stages += 1;
                if let Some(name) = &from.name {
                    search.stages.insert(name.value.to_ascii_lowercase());
                }
            }
            InstructionKind::Copy(copy) => {
                if let Some(from) = &copy.from {
                    search.source(from);
                }
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    search.mount(mount);
                }
            }
            InstructionKind::Add(_)
            | InstructionKind::Arg(_)
            | InstructionKind::Cmd(_)
            | InstructionKind::Entrypoint(_)
            | InstructionKind::Env(_)
            | InstructionKind::Expose(_)
            | InstructionKind::Healthcheck(_)
            | InstructionKind::Label(_)
            | InstructionKind::Maintainer(_)
            | InstructionKind::Onbuild(_)
            | InstructionKind::Shell(_)
            | InstructionKind::StopSignal(_)
            | InstructionKind::User(_)
            | InstructionKind::Volume(_)
            | InstructionKind::Workdir(_) => {}
        }
    }
    let order = |place: &super::Place| place.bytes.start;
    search.found.names.sort_by_key(|name| order(&name.place));
    search
        .found
        .unread
        .sort_by_key(|unread| order(&unread.place));
    search.found
}

struct Search<'t> {
    text: &'t str,
    found: Findings,
    /// Names of the stages so far, in lower case.
    stages: BTreeSet<String>,
    /// Where the defaults of global arguments are.
    defaults: BTreeMap<String, Span>,
    /// Beginnings of places that were taken: an argument may be used by several stages.
    seen: BTreeSet<usize>,
}

impl Search<'_> {
    fn from(&mut self, image: &Spanned<String>) {
        let Some(variable) = lone_variable(&image.value) else {
            return self.source(image);
        };
        match self.defaults.get(variable).copied() {
            Some(default) => self.word(default.start..default.end),
            None => self.leave(image.span, "a build argument without a default fills it in"),
        }
    }

    fn source(&mut self, name: &Spanned<String>) {
        if name.value.contains('$') {
            return self.leave(name.span, "build arguments are a part of it");
        }
        self.word(name.span.start..name.span.end);
    }

    fn mount(&mut self, mount: &Spanned<String>) {
        let Some(at) = mount
            .value
            .split(',')
            .find(|field| field.starts_with("from="))
        else {
            return;
        };
        let name = &at["from=".len()..];
        // A word that goes on behind the end of a line is not what stands in the text.
        let written = mount.span.of(self.text);
        match written.find(at) {
            Some(offset) if !name.contains('$') => {
                let start = mount.span.start + offset + "from=".len();
                self.word(start..start + name.len());
            }
            _ => self.leave(mount.span, "it cannot be told from what is around it"),
        }
    }

    /// A word that is the name of a stage, the number of one, `scratch`, or an image.
    fn word(&mut self, bytes: Range<usize>) {
        let word = self.text[bytes.clone()]
            .trim_matches(['"', '\''])
            .to_owned();
        let quotes = self.text[bytes.clone()].len() - word.len();
        let is_stage = self.stages.contains(&word.to_ascii_lowercase())
            || word.chars().all(|c| c.is_ascii_digit());
        if is_stage || word == "scratch" || word.is_empty() || !self.seen.insert(bytes.start) {
            return;
        }
        if word.contains(['$', '\\', '\n']) {
            return self.leave(Span::new(bytes.start, bytes.end), "it is made from parts");
        }
        let start = bytes.start + quotes / 2;
        self.found.take(self.text, start..start + word.len());
    }

    fn leave(&mut self, span: Span, reason: &str) {
        if self.seen.insert(span.start) {
            self.found.leave(self.text, span.start..span.end, reason);
        }
    }
}

/// The name in `$NAME` or `${NAME}`, when the word is nothing else.
fn lone_variable(word: &str) -> Option<&str> {
    let rest = word.strip_prefix('$')?;
    let name = match rest.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => rest,
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}
