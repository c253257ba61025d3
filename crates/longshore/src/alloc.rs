//! An allocation: one instance of a group, with its directories and its tasks' environment.

pub(crate) mod dir;
pub(crate) mod environment;
