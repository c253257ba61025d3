//! How much space an archive may take on the engine's disk.

use engine::Engine;

/// Used if the free space of the engine's disk is unknown.
const UNKNOWN: u64 = 64 << 30;

/// The operator's bound, or else the free space of the engine's disk except for a tenth.
pub(super) async fn of(engine: &Engine, bound: Option<u64>) -> u64 {
    if let Some(bound) = bound {
        return bound;
    }
    let Some(root) = engine.facts().await.ok().map(|facts| facts.root_dir.clone()).filter(|_| engine.is_local()) else {
        return UNKNOWN;
    };
    let found = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&root)).await;
    found.ok().and_then(Result::ok).map_or(UNKNOWN, |disk| (disk.f_bavail.saturating_mul(disk.f_frsize)) / 10 * 9)
}
