//! A group's network, with a task in it.

use std::path::Path;

use conformance::{Task, text};
use nomad_plugin::driver::CreatedNetwork;

use super::batch::BRIEF;
use crate::{
    finding::Question,
    run::{LONGEST, Run, comes, is_refusal, passes, seconds},
};

/// The life of a network.
pub(crate) async fn live(run: &Run) {
    let mut task = run.task("echo done; exit 3").option("network_mode", text(""));
    let alloc = task.config.alloc_id.clone();
    let namespace = format!("/run/netns/longshore-{alloc}");
    run.proxy.enter("network");
    let Some(made) = create(run, &task).await else {
        // An agent that has no network asks for the end of none.
        return;
    };
    task.config.network_isolation = Some(made.isolation.clone());
    if let Some(started) = run.start(&mut task).await {
        let id = started.handle.config.id;
        run.proxy.enter("run");
        let ended = run.wait(&id, passes(seconds(BRIEF))).await;
        run.judge(&task, &ended, 3).await;
        run.destroy(&id, &ended).await;
    }
    run.proxy.enter("end of network");
    let destroy = run.fixture.driver.destroy_network(alloc.clone(), Some(made.isolation));
    if let Some(Err(error)) = run.within("DestroyNetwork", LONGEST, destroy).await {
        run.remark(format!("DestroyNetwork: {error}"));
    }
    if !comes(LONGEST, || !Path::new(&namespace).exists()).await {
        run.wrong(Question::Left, namespace);
    }
}

/// Makes the network, which no agent tries twice.
async fn create(run: &Run, task: &Task) -> Option<CreatedNetwork> {
    let create = run.fixture.driver.create_network(task.config.alloc_id.clone(), "web-1".into());
    match run.within("CreateNetwork", LONGEST, create).await? {
        Ok(made) => Some(made),
        Err(error) => {
            run.helps("CreateNetwork", &error);
            if run.plan.as_ref().is_some_and(is_refusal) {
                run.remark(format!("CreateNetwork: {error}"));
            } else {
                run.wrong(Question::Start, format!("CreateNetwork: {error}"));
            }
            None
        }
    }
}
