//! The agent: takes a job for this process and runs it to its end with one driver.
//!
//! ```text
//! lock -> plan (what was left x job) -> driver -> place -> run -> driver's end -> unlock
//! ```
//!
//! Each part takes what it uses and no more: another job in this process needs a lock, a plan and a [`JobRunner`] of its
//! own, and a clone of the same [`Driver`].

#[cfg(test)]
mod tests;

use std::{fs::File, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nomad_plugin::client::Reattach;
use sha2::{Digest, Sha256};

use crate::{
    Failure,
    data_dir::DataDir,
    driver::{Driver, Launch, Supervisor},
    job_file::Loaded,
    job_runner::{Asks, JobRunner},
    network,
    node::Node,
    placement::{self, remove_dirs},
    plan::Plan,
    process::Process,
    record::Record,
    report,
    state::{JobState, Phase},
    validation::{meets_constraints, validate},
};

/// Takes a job for this process.
pub(crate) fn lock(data: &DataDir, job: &str) -> Result<File, Failure> {
    let locked = data.lock(job).map_err(|error| data.failed(&error))?;
    locked.ok_or_else(|| {
        let agent = data.load(job).ok().flatten().map(|state| state.agent).filter(|agent| agent.runs());
        let agent = agent.map_or_else(|| "another process".to_owned(), |agent| format!("process {}", agent.pid));
        Failure::Usage(format!("job {job:?} runs already, under {agent}\nhint: longshore stop {job}"))
    })
}

/// Runs a job to its end. Tasks that an earlier agent left are taken over.
pub(crate) async fn run(loaded: Loaded, data: DataDir, launcher: impl Launch, asks: Asks) -> Result<(), Failure> {
    let failed = |error: std::io::Error| data.failed(&error);
    let id = loaded.parsed.job.id.clone();
    let _lock = lock(&data, &id)?;
    for name in &loaded.parsed.ignored {
        report::note(&format!("`{name}` is ignored on one machine"));
    }
    let before = data.load(&id).map_err(failed)?;
    let mut plan = Plan::new(before.as_ref(), &loaded.parsed.job, &digest(&loaded.source.text), Process::own())?;
    plan.notes.iter().for_each(|note| report::note(note));

    let record = Arc::new(Record::new(data.clone(), plan.state.clone()));
    let on_new = {
        let record = record.clone();
        Box::new(move |reattach: &Reattach| record.change(|state| state.driver = Some(reattach.clone())))
    };
    let supervisor = Supervisor::start(launcher, plan.state.driver.clone(), plan.handles(), on_new).await?;
    // Should this process be killed, the next one finds the driver.
    record.persist().await;
    let driver = supervisor.driver();
    let placed = match network::remove_all(&driver, &mut plan.over).await {
        Ok(()) => place(&loaded, &driver, &record, &data).await,
        Err(failure) => Err(failure),
    };
    let result = match placed {
        Ok(runner) => {
            record.change(|state| state.placed = true);
            remove_dirs(&data, &plan.over);
            Ok(runner.run(std::mem::take(&mut plan.left), asks).await)
        }
        Err(failure) => {
            remove_dirs(&data, record.snapshot().allocs.iter().filter(|alloc| !plan.takes_over(alloc)));
            record.change(|state| state.allocs.retain(|alloc| plan.takes_over(alloc)));
            Err(failure)
        }
    };
    record.change(|state| state.driver = None);
    record.persist().await;
    if result.is_err() && plan.left.is_empty() {
        // Nothing was run: what is known of the job is the run before.
        match before {
            Some(before) => record.change(|state| *state = JobState { allocs: plan.over, ..before }),
            None => data.forget(&id).map_err(failed)?,
        }
        record.persist().await;
    }
    supervisor.end().await;
    outcome(result?, &record.snapshot())
}

fn digest(text: &str) -> String {
    BASE64.encode(Sha256::digest(text))
}

/// Checks the job against the driver and the machine, and places its instances.
async fn place(loaded: &Loaded, driver: &Driver, record: &Arc<Record>, data: &DataDir) -> Result<JobRunner, Failure> {
    let Loaded { source, directory, parsed, passed } = loaded;
    let job = &parsed.job;
    let node = Node::new(&driver.fingerprint().await?).with(passed);
    let schema = driver.call(|client| async move { client.task_config_schema().await }).await;
    let schema = schema.map_err(|error| Failure::Engine(error.to_string()))?;
    validate(job, source, directory, &schema, &node)?;
    meets_constraints(job, &node)?;
    if let Some(missing) = job.groups.iter().find_map(network::missing) {
        return Err(Failure::Usage(missing));
    }
    let ports = placement::place(job, record, data)?;
    Ok(JobRunner {
        job: Arc::new(job.clone()),
        directory: directory.clone(),
        node: Arc::new(node),
        schema: Arc::new(schema),
        ports,
        data: data.clone(),
        driver: driver.clone(),
        record: record.clone(),
    })
}

/// What the command returns for a job that has ended.
fn outcome(phase: Phase, state: &JobState) -> Result<(), Failure> {
    if let Some(alloc) = state.allocs.iter().find(|alloc| alloc.network.is_some()) {
        let message = format!("failed to remove the network of allocation {}", report::short(&alloc.id));
        return Err(Failure::Engine(format!("{message}\nhint: longshore stop {}", state.id)));
    }
    if phase == Phase::Failed { Err(Failure::Task) } else { Ok(()) }
}
