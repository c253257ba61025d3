//! What a driver reports and does of its images, beside the plugin protocol: a small gRPC service, both ends.
//!
//! A driver serves it in its own process, on the plugin's socket. A Nomad agent does not know it and never asks;
//! `longshore` does, for its commands about images and to draw how far pulls are. Neither end names Docker.

mod client;
mod image;
mod pull;
mod server;

pub use client::{ImageClient, ImageError};
pub use image::{Fate, Image, Kept, Listed, TaskOf};
pub use pull::{Layer, LayerState, Outcome, Prefetched, Pull, Step};
pub use server::{BoxStream, ImageService, service};

#[expect(clippy::all, clippy::pedantic, clippy::allow_attributes, unreachable_pub, reason = "generated")]
mod proto {
    include!("gen/longshore.images.v1.rs");
}
