//! Calls that survive an engine restart.

use std::time::Duration;

use tokio::time::Instant;

use super::EngineError;

/// The interval and the total time of retries while the engine is away.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// Retries a call about a container while the engine is away: an engine restart must not fail a request that is made only once.
pub async fn persist<F: Future<Output = Result<(), EngineError>>>(
    container: &str,
    call: impl Fn() -> F,
) -> Result<(), EngineError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tracing::warn!(container, %error, "cannot reach Docker; retrying");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            other => return other,
        }
    }
}
