//! WORKDIR: a directory for the image and for the steps below.

use dockerfile::Spanned;

use super::{Line, Lowerer, State};
use crate::{StepKind, WorkdirStep, paths};

impl Lowerer<'_> {
    pub(super) fn workdir(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        word: &Spanned<String>,
    ) -> Option<()> {
        let written = self.expand(state, line, word)?;
        if written.is_empty() {
            return self.error(line, word.span, "WORKDIR names no directory", "empty");
        }
        let path = paths::absolute(&state.working_directory(), &written);
        path.clone_into(&mut state.container().working_dir);
        let history = format!("WORKDIR {path}");
        if path == "/" {
            state.record(history, None);
            return Some(());
        }
        let step = WorkdirStep {
            path,
            user: state.config.config.user.clone(),
        };
        let text = format!("WORKDIR {}", line.planned.instruction.arguments.value);
        let step = self.step(state, line, StepKind::Workdir(step), &text);
        state.record(history, Some(step));
        Some(())
    }
}
