//! What holds of every input. Each file is shared with the fuzz target of its name.

pub(crate) mod document;
pub(crate) mod reference;
