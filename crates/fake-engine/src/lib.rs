//! A scripted Docker Engine on a Unix socket, for tests.
//!
//! ```text
//! serving <-> stopped
//! ```
//!
//! It answers like an engine with API 1.41, from a small model of containers, images and networks. A script changes the
//! response to a call: an error, silence, a broken connection, a restart. A journal records every request, and a test can wait
//! for one.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use fake_engine::{FakeEngine, Image, Reply};
//!
//! let engine = FakeEngine::start();
//! engine.add_image(Image::named("busybox:1"));
//! engine.on("POST /containers/*/start").once(Reply::error(500, "no space left on device"));
//! # }
//! ```
//!
//! If tokio's clock is paused, it moves in small steps as long as an engine lives, so a thread that works for a test has time
//! to do so before its deadline.

mod answer;
mod call;
mod calls;
mod clock;
mod engine;
mod events;
mod journal;
mod model;
mod pattern;
mod script;
mod server;
mod tasks;
mod waiting;
mod world;

pub use engine::FakeEngine;
pub use events::Event;
pub use journal::Request;
pub use model::{Container, Exec, Image, Network, OnSignal, State};
pub use script::Gate;

/// A scripted response of the engine.
pub type Reply = script::Reply<FakeEngine>;
/// Adds scripts for a pattern.
pub type On<'a> = script::On<'a, FakeEngine>;
