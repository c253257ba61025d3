//! Log collection: delivers what a container writes to the host's pipes, each byte once, even if the plugin dies.
//!
//! ```text
//! dockerd -> <id>-json.log (rotated) -> opener thread -> queue of held descriptors -> follower -> delivery -> pipes
//!                                                                                               -> record
//! ```
//! A small process that outlives the driver (`crates/log-holder`) holds the pipes' writing ends: a reader that sees end of file
//! never comes back.
//!
//! The engine's log API is slower than its log files, so a fast writer would outrun it and lines would be lost. Here each file
//! is opened when it is rotated, and read later.

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
mod record;
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
