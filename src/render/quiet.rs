//! Nothing at all: errors are printed by the program's end, the digest goes to stdout.

use std::time::Duration;

use engine::Event;

use super::Renderer;

/// Shows nothing.
pub(crate) struct Quiet;

impl Renderer for Quiet {
    fn event(&mut self, _: Duration, _: &Event, _: &mut String) {}

    fn tick(&mut self, _: Duration, _: &mut String) {}

    fn close(&mut self, _: Duration, _: &mut String) {}
}
