//! The lives, call by call.

mod batch;
mod network;
mod service;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use conformance::{
    DEADLINE,
    fault_proxy::{Noted, Plan},
};
use nomad_plugin::{client::ClientError, driver::Force};
use tokio::time::{Instant, timeout};

use super::{
    case::Life,
    finding::{Outcome, Question},
    run::Run,
    world::World,
};

/// How long a life may be: the longest call may take five minutes, and images are pushed one after another.
const LIFE: Duration = Duration::from_secs(900);

/// What a life is like without a fault.
#[derive(Default)]
pub(crate) struct Normal {
    /// The calls.
    pub(crate) journal: Vec<Noted>,
    /// The files that the driver has in the end.
    pub(crate) files: BTreeSet<String>,
}

/// Plays a life, with a fault or without, and compares what is left with what a life without leaves.
pub(crate) async fn play(world: Arc<World>, life: Life, plan: Option<Plan>, normal: &Normal) -> (Outcome, Normal) {
    let begin = Instant::now();
    let mut run = Run::begin(world, plan.clone(), &[]).await;
    if timeout(LIFE, live(&mut run, life)).await.is_err() {
        run.wrong(Question::Deadline, format!("the life did not end within {LIFE:?}"));
    }
    run.proxy.enter("end");
    if plan.is_some() {
        serve(&run).await;
        run.judge_left(&normal.files).await;
    }
    let (findings, remarks) = run.found();
    let met = run.proxy.has_made_its_fault();
    let lived = Normal { journal: run.proxy.journal(), files: run.files() };
    run.end().await;
    (Outcome { met, findings, remarks, took: begin.elapsed() }, lived)
}

/// What a driver does that serves: it is healthy, and another task runs to its end.
async fn serve(run: &Run) {
    run.healthy().await;
    let task = run.fixture.task("next", "exit 4");
    let (driver, id) = (&run.fixture.driver, &task.config.id);
    let served = async {
        driver.start_task(task.config.clone()).await?;
        let ended = driver.wait_task(id.clone()).await?;
        driver.destroy_task(id.clone(), Force::No).await?;
        Ok::<_, ClientError>(ended.result.exit_code)
    };
    match timeout(*DEADLINE, Box::pin(served)).await {
        Ok(Ok(4)) => {}
        other => run.wrong(Question::Serves, format!("another task does not run to its end: {other:?}")),
    }
}

async fn live(run: &mut Run, life: Life) {
    match life {
        Life::Service => Box::pin(service::live(run)).await,
        Life::Batch => Box::pin(batch::live(run)).await,
        Life::Pull => Box::pin(batch::pull(run)).await,
        Life::Logs => Box::pin(batch::through_the_engine(run)).await,
        Life::Network => Box::pin(network::live(run)).await,
        Life::Recovery => Box::pin(service::recover(run)).await,
    }
}

impl Run {
    /// Makes a call that may fail once, and must then be right.
    async fn twice<T>(
        &self,
        name: &str,
        deadline: Duration,
        mut call: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Option<T> {
        for _ in 0..2 {
            match self.within(name, deadline, call()).await {
                Some(Ok(answer)) => return Some(answer),
                Some(Err(error)) => self.remark(format!("{name}: {error}")),
                None => {}
            }
        }
        self.wrong(Question::Work, format!("{name} failed twice"));
        None
    }
}
