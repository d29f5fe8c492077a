//! How much there is to do, before anything is known of caches.

use std::collections::HashSet;

use crate::{BuildGraph, CacheKey, KeyParts, StepKind};

impl BuildGraph {
    /// How many steps there are that take time, those that do the same on the same counted once.
    /// Bases and merges take none.
    pub fn distinct_steps(&self) -> usize {
        let mut keys: Vec<CacheKey> = Vec::with_capacity(self.steps.len());
        let mut distinct = HashSet::new();
        for step in &self.steps {
            let mut parts = KeyParts::of_operation(&step.kind);
            for (number, input) in step.inputs().enumerate() {
                parts.digest(
                    format!("input.{number}"),
                    keys[input.index()].digest().clone(),
                );
            }
            let key = parts.key();
            match step.kind {
                StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => {}
                StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => {
                    distinct.insert(key.clone());
                }
            }
            keys.push(key);
        }
        distinct.len()
    }
}
