//! What a build came to, in numbers: counted once here, shown by the summary, the JSON lines and
//! the metadata file.

use engine::{BuildReport, CachePlace, StepOutcome, StepReport};

/// How many of the slowest steps are listed.
const SLOWEST_MAX: usize = 3;

/// The numbers of a build.
#[derive(Clone, Debug)]
pub(crate) struct Numbers<'a> {
    /// Steps that the target needed.
    pub(crate) steps: usize,
    /// Of these, found in the cache.
    pub(crate) cached: usize,
    /// Of these, in a cache that machines share.
    pub(crate) shared: usize,
    /// Of steps, executed.
    pub(crate) ran: usize,
    /// The steps that took longest, longest first; none that took no time.
    pub(crate) slowest: Vec<&'a StepReport>,
}

impl<'a> Numbers<'a> {
    /// Counts.
    pub(crate) fn of(report: &'a BuildReport) -> Self {
        let count = |outcome| {
            let steps = report.steps.iter();
            steps.filter(|step| step.outcome == outcome).count()
        };
        let mut slowest: Vec<&StepReport> = report
            .steps
            .iter()
            .filter(|step| step.outcome == StepOutcome::Ran && !step.duration.is_zero())
            .collect();
        slowest.sort_by_key(|step| std::cmp::Reverse(step.duration));
        slowest.truncate(SLOWEST_MAX);
        Self {
            steps: report.steps.len(),
            cached: count(StepOutcome::Cached),
            shared: report
                .steps
                .iter()
                .filter(|step| matches!(step.cache, Some(CachePlace::Shared(_))))
                .count(),
            ran: count(StepOutcome::Ran),
            slowest,
        }
    }
}
