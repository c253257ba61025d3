//! A program that ends by itself.

use std::time::Duration;

use conformance::{Task, fault_proxy::Plan, object, text};
use tokio::time::Instant;

use crate::{
    finding::Question,
    run::{LONGEST, Run, passes, seconds},
};

/// How long a program may run that ends at once, on a busy machine: seconds.
pub(super) const BRIEF: u32 = 10;
/// How long an image may stay that nobody uses: its delay, and some attempts: seconds.
const IMAGE: u32 = 90;

/// A program that ends at once.
pub(crate) async fn live(run: &Run) {
    Box::pin(to_the_end(run, run.task("echo done; exit 3"))).await;
}

/// The same, with an image that is in a registry.
pub(crate) async fn pull(run: &Run) {
    let (world, name) = (run.world.clone(), format!("{}:1", uuid::Uuid::new_v4()));
    let pushed = tokio::task::spawn_blocking(move || world.push(&name)).await;
    let Ok(image) = pushed else { return run.wrong(Question::Serves, "the registry does not take an image") };
    Box::pin(to_the_end(run, run.task("echo done; exit 3").option("image", text(&image)))).await;
    // An engine may work on a removal as long as on anything.
    let removal_waits = |plan: &Plan| plan.fault.keeps_waiting() && plan.call.as_str() == "DELETE /images/NAME";
    let patience = if run.plan.as_ref().is_some_and(removal_waits) { LONGEST } else { seconds(IMAGE) };
    let begin = Instant::now();
    while run.has(&format!("/images/{image}/json")).await {
        if begin.elapsed() > patience {
            return run.wrong(Question::Left, format!("image {image}"));
        }
        passes(Duration::from_millis(500)).await;
    }
}

/// The same, with a log that is no file.
pub(crate) async fn through_the_engine(run: &Run) {
    let logging = object(&[("type", text("local"))]);
    Box::pin(to_the_end(run, run.task("echo one; sleep 1; echo two; exit 3").option("logging", logging))).await;
}

async fn to_the_end(run: &Run, mut task: Task) {
    let Some(started) = run.start(&mut task).await else { return };
    let id = started.handle.config.id;
    run.proxy.enter("run");
    let ended = run.wait(&id, passes(seconds(BRIEF))).await;
    run.judge(&task, &ended, 3).await;
    run.destroy(&id, &ended).await;
}
