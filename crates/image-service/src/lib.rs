//! What a driver reports and does beside the plugin protocol: its images, and what nobody owns. Two small gRPC services,
//! both ends.
//!
//! A driver serves it in its own process, on the plugin's socket. A Nomad agent does not know it and never asks;
//! `longshore` does, for its commands `images`, `prefetch` and `gc`, and to draw how far pulls are. Neither end names Docker.

mod client;
mod garbage;
mod garbage_service;
mod image;
mod pull;
mod server;

pub use client::{ImageClient, ImageError};
pub use garbage::{Claims, Collect, Home, Kind, Leftover, Reason, Remove};
pub use garbage_service::{GarbageClient, GarbageService, garbage_service};
pub use image::{Fate, Image, Kept, Listed, TaskOf};
pub use pull::{Layer, LayerState, Outcome, Prefetched, Pull, Step};
pub use server::{BoxStream, ImageService, service};

#[expect(clippy::all, clippy::pedantic, clippy::allow_attributes, unreachable_pub, reason = "generated")]
mod proto {
    include!("gen/longshore.images.v1.rs");
}

#[expect(clippy::all, clippy::pedantic, clippy::allow_attributes, unreachable_pub, reason = "generated")]
mod garbage_proto {
    include!("gen/longshore.garbage.v1.rs");
}
