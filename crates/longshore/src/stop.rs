//! That a job is to end, as the person who runs it wants.

use tokio::sync::watch;

/// How urgently the job is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Not at all.
    No,
    /// Tasks are asked, and killed when their time is over.
    Gently,
    /// Tasks are killed.
    Now,
}

/// Makes what is asked for more urgent, never less.
pub(crate) fn raise(ask: &watch::Sender<Stop>, urgency: Stop) {
    ask.send_if_modified(|asked| urgency > std::mem::replace(asked, urgency.max(*asked)));
}

/// Waits until the job is to end that urgently.
pub(crate) async fn asked(stop: &mut watch::Receiver<Stop>, urgency: Stop) {
    if stop.wait_for(|stop| *stop >= urgency).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
}
