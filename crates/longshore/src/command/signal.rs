//! `signal`: sends a signal to tasks.

use super::target;
use crate::{Failure, cli::TaskOf, data_dir::DataDir, report};

pub(super) async fn signal(of: &TaskOf, signal: &str, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(&of.target, data)?;
    let found = target::running(&job, of.task(), data).await?;
    let driver = target::driver(&job).await?;
    for found in &found {
        let answer = driver.signal_task(found.id(), signal.to_owned()).await;
        answer.map_err(|error| Failure::Usage(error.to_string()))?;
        report::line(&format!("sent {signal} to {} {}", report::short(&found.alloc.id), found.task));
    }
    Ok(())
}
