//! The comment lines above an instruction: what describes it, and what a `# check=` there asks for.

use crate::{Dockerfile, NodeKind, Spanned};

/// The comment lines directly above each instruction, without `#` and the blanks around, in the
/// order of [`Dockerfile::instructions`]. An empty line or an empty comment between a comment and
/// the instruction parts them.
pub fn above(tree: &Dockerfile, text: &str) -> Vec<Vec<Spanned<String>>> {
    let mut all = vec![Vec::new(); tree.instructions.len()];
    let mut block = Vec::new();
    for node in &tree.nodes {
        match node.kind {
            NodeKind::Comment => {
                let line = node.span.of(text);
                let comment = line.trim().trim_start_matches('#').trim();
                if comment.is_empty() {
                    block.clear();
                } else {
                    let start = node.span.start + (line.len() - line.trim_start().len());
                    let end = node.span.start + line.trim_end().len();
                    let span = crate::Span::new(start, end);
                    block.push(Spanned::new(comment.to_owned(), span));
                }
            }
            NodeKind::Instruction(index) => {
                if let Some(place) = all.get_mut(index) {
                    *place = std::mem::take(&mut block);
                }
                block.clear();
            }
            NodeKind::Blank
            | NodeKind::ByteOrderMark
            | NodeKind::Shebang
            | NodeKind::Directive(_)
            | NodeKind::Invalid => block.clear(),
        }
    }
    all
}

/// What the comments say about a name: the rest of the first line that begins with it.
pub fn description(comments: &[Spanned<String>], name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    comments.iter().find_map(|comment| {
        let rest = comment.value.strip_prefix(name)?.strip_prefix(' ')?;
        Some(rest.to_owned())
    })
}
