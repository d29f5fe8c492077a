//! Several questions to registries at once, the answers in the order of the questions.

use std::future::Future;

use futures_util::stream::{StreamExt as _, iter};

/// How many questions are open at a time.
const OPEN_MAX: usize = 8;

/// Asks about each of `subjects`.
pub(super) async fn ask<S, T, F>(subjects: Vec<S>, ask: impl Fn(S) -> F) -> Vec<T>
where
    F: Future<Output = T>,
{
    iter(subjects.into_iter().map(ask))
        .buffered(OPEN_MAX)
        .collect()
        .await
}
