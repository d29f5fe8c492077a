//! What is said of targets once they are reached: where their layers came from, and what they were
//! made from.

use std::collections::BTreeMap;

use graph::{KeyKind, StepKind};
use oci::Digest;

use super::Drive;
use crate::output::StepOutput;

impl Drive {
    /// Which layers of the targets came of which keys: only of keys that are known in every build,
    /// so that equal builds say the same.
    pub(super) fn came_of(&self, outputs: &[StepOutput]) -> Vec<BTreeMap<Digest, usize>> {
        if !self.tells_what_came_of {
            return Vec::new();
        }
        let targets = self.graph.targets.iter().zip(outputs);
        let came_of = targets.map(|(target, output)| {
            let mut came_of = BTreeMap::new();
            let mut at = Some(target.step);
            while let Some(id) = at {
                let step = self.graph.step(id);
                at = step.parent;
                if matches!(step.kind, StepKind::Scratch | StepKind::Base(_)) {
                    continue;
                }
                let id = self.first(id);
                if let Some(key) = self.solver.key(id, KeyKind::Definition)
                    && let Some(found) = self.recall_anywhere(id, key)
                    && output.stack.starts_with(&found.output.stack)
                {
                    came_of.insert(key.digest().clone(), found.output.stack.len());
                }
            }
            came_of
        });
        came_of.collect()
    }

    /// The definition keys of the targets.
    pub(super) fn definitions(&self) -> Vec<Option<Digest>> {
        let steps = self.graph.targets.iter().map(|target| target.step);
        let keys = steps.map(|step| self.solver.key(self.first(step), KeyKind::Definition));
        keys.map(|key| key.map(|key| key.digest().clone()))
            .collect()
    }
}
