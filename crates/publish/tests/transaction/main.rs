//! Publications against registries that behave, fail, and are left alone in the middle.

mod company;
mod faults;
mod kills;
mod order;
mod plans;
mod scene;
mod tags;
