//! `signal`: sends a signal to tasks.

use super::target;
use crate::{
    Failure,
    cli::TaskOf,
    report,
    state::{DataDir, Phase},
};

pub(super) async fn signal(of: &TaskOf, signal: &str, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(&of.target, data)?;
    let found = target::tasks(&job, of.task())?;
    let driver = target::driver(&job).await?;
    let mut sent = 0;
    for found in found.iter().filter(|found| found.state.phase == Phase::Running) {
        let answer = driver.signal_task(found.id(), signal.to_owned()).await;
        answer.map_err(|error| Failure::Usage(error.to_string()))?;
        report::line(&format!("{signal} was sent to {} {}", report::short(&found.alloc.id), found.task));
        sent += 1;
    }
    if sent == 0 {
        return Err(Failure::Usage(format!("no task of job {:?} runs", job.id)));
    }
    Ok(())
}
