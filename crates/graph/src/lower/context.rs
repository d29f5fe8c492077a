//! A named context as the base of a stage: all of its files on nothing (F7).

use dockerfile::Span;

use super::{Lowerer, State, empty_config};
use crate::stage::Stage;
use crate::{
    ContextName, CopySource, CopyStep, FileSource, Origin, Step, StepId, StepKind, Unpack,
};

impl Lowerer<'_> {
    pub(super) fn begin_with_files(
        &mut self,
        stage: &Stage,
        context: usize,
        step_count: usize,
    ) -> State {
        let name = self.set.contexts[context].clone();
        let text = format!("FROM {name}");
        let nothing = self.push(
            StepKind::Scratch,
            stage.span,
            text.clone(),
            stage.shown.clone(),
        );
        let platform = stage.platform.clone();
        let config = empty_config(stage);
        let mut state = State::new(StepId(0), config, Vec::new(), platform, step_count + 1);
        let title = self.title(&mut state, stage, &text);
        state.step = self.add_step(Step {
            image: self.request.image,
            kind: StepKind::Copy(everything(
                ContextName::Named(self.request.image, name),
                stage.span,
            )),
            parent: Some(nothing),
            span: stage.span,
            origin: Origin::Dockerfile,
            title,
            stage: stage.shown.clone(),
            ignores_cache: false,
        });
        state.record(format!("{text} # buildkit"), Some(state.step));
        state
    }
}

fn everything(name: ContextName, span: Span) -> CopyStep {
    CopyStep {
        sources: vec![CopySource::Files {
            from: FileSource::Context(name),
            pattern: String::new(),
            pivot: 0,
            span,
        }],
        destination: "/".to_owned(),
        destination_is_directory: true,
        chown: None,
        chmod: None,
        unpack: Unpack::Nothing,
        parents: false,
        excludes: Vec::new(),
    }
}
