//! The driver as its host sees it, against a scripted engine: no root, no Docker, no package.
//!
//! The clock is paused where time matters; it moves on by itself while everybody waits.

mod case;
mod start;
