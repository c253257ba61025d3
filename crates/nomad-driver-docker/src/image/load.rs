//! An image from an archive that lies in the task's directory.

use std::{path::Path, time::Duration};

use futures_util::StreamExt;
use nomad_plugin::driver::DriverError;
use tokio::{fs::File, time::timeout};
use tokio_util::io::ReaderStream;

use crate::engine::Engine;

/// Loads the archive into the engine.
pub(super) async fn load(engine: &Engine, archive: &Path, limit: Duration) -> Result<(), DriverError> {
    let unable = |error: std::io::Error| {
        DriverError::new(format!("unable to open image archive: open {}: {error}", archive.display()))
    };
    let file = File::open(archive).await.map_err(unable)?;
    // A directory opens as well as a file does, and fails only when it is read.
    if file.metadata().await.map_err(unable)?.is_dir() {
        return Err(unable(std::io::ErrorKind::IsADirectory.into()));
    }
    let content = ReaderStream::with_capacity(file, 64 << 10).boxed();
    match timeout(limit, engine.load_images(&archive.display().to_string(), content)).await {
        Ok(loaded) => loaded.map_err(|error| DriverError::new(error.to_string())),
        Err(_) => Err(DriverError::new(format!("loading {} took over {} s", archive.display(), limit.as_secs_f64()))),
    }
}
