//! A service: it runs until it is stopped.

use std::time::Duration;

use conformance::{Task, text};
use futures_util::{FutureExt, StreamExt};
use nomad_plugin::id::TaskId;
use tokio::sync::oneshot;

use crate::{
    end::Ended,
    finding::Question,
    run::{LONGEST, Run, comes, seconds},
    world::WITH_VOLUME,
};

const SCRIPT: &str = "trap 'echo usr1' USR1; trap 'echo bye; exit 7' TERM; echo ready; n=0; \
    while :; do n=$((n+1)); echo \"a $n\"; sleep 0.5 & wait $!; done";
/// How long what a task does at once may take: seconds.
const SOON: u32 = 20;

/// A service's whole life.
pub(crate) async fn live(run: &Run) {
    let mut task = run.task(SCRIPT).option("image", text(WITH_VOLUME));
    let Some(started) = run.start(&mut task).await else { return };
    let id = started.handle.config.id;
    run.proxy.enter("run");
    let ended = until_stopped(run, &id, async {
        is_ready(run, &task).await;
        work(run, &task, &id).await;
    })
    .await;
    run.judge(&task, &ended, 7).await;
    run.destroy(&id, &ended).await;
}

/// A service that another process of the driver takes over.
pub(crate) async fn recover(run: &mut Run) {
    let mut task = run.task(SCRIPT);
    let Some(started) = run.start(&mut task).await else { return };
    let id = started.handle.config.id.clone();
    is_ready(run, &task).await;
    run.proxy.enter("restart");
    run.fixture.kill_and_start_again().await;
    run.healthy().await;
    run.proxy.enter("recover");
    let answer = run.within("RecoverTask", LONGEST, run.fixture.driver.recover_task(started.handle)).await;
    if let Some(Err(error)) = answer {
        run.wrong(Question::Start, format!("RecoverTask: {error}"));
    }
    run.has_it();
    let ended = until_stopped(run, &id, async {}).await;
    run.judge(&task, &ended, 7).await;
    run.destroy(&id, &ended).await;
}

/// Waits for a task's end, which follows what is done with it, and its stop.
async fn until_stopped(run: &Run, id: &TaskId, with_it: impl Future<Output = ()>) -> Ended {
    let (stopped, must_have_ended) = oneshot::channel();
    let stop = async {
        with_it.await;
        run.stop(id).await;
        let _gave_up = stopped.send(());
    };
    tokio::join!(run.wait(id, must_have_ended.map(drop)), stop).0
}

async fn is_ready(run: &Run, task: &Task) {
    if !comes(seconds(SOON), || task.pipes.stdout.text().contains("ready\n")).await {
        run.wrong(Question::Log, format!("the first line does not come, but {:?}", task.pipes.stdout.text()));
    }
}

/// A command, statistics, a signal.
async fn work(run: &Run, task: &Task, id: &TaskId) {
    run.proxy.enter("exec");
    let (limit, command) = (Duration::from_secs(5), vec!["echo".to_owned(), "heard".to_owned()]);
    let exec = async || run.fixture.driver.exec_task(id.clone(), command.clone(), limit).await;
    let answer = run.twice("ExecTask", limit, exec).await;
    if let Some(answer) = answer.filter(|answer| answer.stdout != b"heard\n" || answer.result.exit_code != 0) {
        run.wrong(Question::Work, format!("ExecTask answers {answer:?}"));
    }
    run.proxy.enter("stats");
    let sample = async || {
        let mut samples = run.fixture.driver.task_stats(id.clone(), Duration::from_secs(1)).await?;
        samples.next().await.transpose()
    };
    if let Some(None) = run.twice("TaskStats", Duration::from_secs(1), sample).await {
        run.wrong(Question::Work, "there are no statistics");
    }
    run.proxy.enter("signal");
    let signal = async || run.fixture.driver.signal_task(id.clone(), "SIGUSR1".to_owned()).await;
    run.twice("SignalTask", LONGEST, signal).await;
    if !comes(seconds(SOON), || task.pipes.stdout.text().contains("usr1\n")).await {
        run.wrong(Question::Work, "the signal does not arrive");
    }
}
