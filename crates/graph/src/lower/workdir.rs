//! WORKDIR: a directory for the image and for the steps below.

use dockerfile::{Diagnostic, Rule, Spanned};

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
        // Absolute paths of the base do not count: nobody here knows what it will say next year. The
        // first of a file is enough, because that one being right makes the others right.
        if !state.sets_directory && !written.starts_with('/') {
            let message = format!("WORKDIR {written} is relative to what the base image says");
            let absolute = paths::absolute(&state.working_directory(), &written);
            let mut finding = Diagnostic::warning(word.span, message, "no absolute path")
                .of_rule(Rule::WorkdirRelativePath);
            if !state.base_is_assumed {
                finding = finding.with_help(format!("write `WORKDIR {absolute}`"));
            }
            self.findings.push(line.planned.put(finding));
        }
        state.sets_directory = true;
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
