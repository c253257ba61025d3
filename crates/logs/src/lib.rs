//! Log collection: what a container writes reaches the host's pipes, each byte once, also over the plugin's death.
//!
//! ```text
//! dockerd -> <id>-json.log (rotated) -> opener thread -> queue of held descriptors -> follower -> delivery -> pipes
//!                                                                                               -> record
//! ```
//! The pipes' writing ends are held by a small process that outlives the driver (`crates/log-holder`): a reader that finds the
//! end of file never comes back.
//!
//! The engine's own log API is slower than the engine writes, so a fast writer outruns it and lines are lost. Here each
//! file is opened at the moment of its rotation, and read later at leisure.

mod collector;
mod delivery;
mod engine_stream;
mod follower;
mod handover;
mod holder;
mod inotify;
mod json_file;
mod log_collector;
mod opener;
mod position;
mod records;
mod report;
mod rotation;
mod sink;
mod task;
mod trail;
pub mod view;
mod wakeup;

pub use collector::{Collector, StartFrom};
pub use delivery::Ends;
pub use engine_stream::{Frame, FrameError, FrameStream, Since};
pub use handover::Arrived;
pub use log_collector::LogCollector;
pub use records::Records;
pub use report::{LogReport, LogSummary, Report};
pub use rotation::Bound;
pub use sink::{LogSink, Stream};
pub use task::LogTask;
