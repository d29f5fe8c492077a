//! The client against registries that fail, lie and stall.

mod accounts;
mod common;
mod faults;
mod helpers;
mod lists;
mod origins;
mod ranges;
mod real;
