//! Waits for a condition, with a deadline.

use std::time::Duration;

use tokio::sync::watch;

/// How long a test waits for what should happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `look` finds something; it is retried at each change. `what` is for the failure message.
///
/// # Panics
///
/// If it finds nothing within two minutes.
pub(crate) async fn until<T>(mut changed: watch::Receiver<u64>, what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            changed.mark_unchanged();
            if let Some(found) = look() {
                return found;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("waited {} s in vain for {what}", PATIENCE.as_secs()))
}
