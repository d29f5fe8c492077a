//! What holds of every input. Each file is shared with the fuzz target of its name.

pub(crate) mod expansion;
pub(crate) mod ignore;
pub(crate) mod mount;
pub(crate) mod remote;
pub(crate) mod text;
