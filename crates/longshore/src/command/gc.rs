//! `gc`: lists what this data directory's jobs left in the engine and in their state directories and nobody owns; removes it
//! on request.
//!
//! A job that is not over owns its tasks, its networks and its images, whether its agent runs or not: the next agent adopts
//! them. Nothing is judged by a name alone: each job has a node of its own, which its containers name.

use std::{collections::BTreeSet, path::Path};

use image_service::{Claims, Collect, GarbageClient, Home, ImageError, Kind, Leftover, Reason, Remove};
use nomad_plugin::client::DriverClient;
use serde_json::json;

use crate::{
    Failure,
    cli::Options,
    data_dir::{DataDir, Held},
    driver::{Launch, Launcher, no_engine},
    report,
    state::{JobState, Phase},
};

/// Something that nobody owns, and the job whose it was; `None` if there is no such job.
struct Found {
    job: Option<String>,
    leftover: Leftover,
}

pub(super) async fn gc(remove: Remove, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let driver = Launcher::new(options)?.standalone(data).launch().await?;
    let collected = Collector { data, remove, driver: GarbageClient::new(driver.channel()) }.all().await;
    driver.kill().await;
    let found = collected?;
    if options.json {
        report::json(&found.iter().map(value).collect::<Vec<_>>());
    } else {
        show(&found, remove);
    }
    let failed = found.iter().filter(|found| matches!(found.leftover.removed, Some(Err(_)))).count();
    if failed > 0 {
        return Err(Failure::Engine(format!("not removed: {failed} of {}", found.len())));
    }
    Ok(())
}

/// Collects from all jobs of a data directory.
struct Collector<'a> {
    data: &'a DataDir,
    remove: Remove,
    /// Asks for the jobs whose drivers do not run.
    driver: GarbageClient,
}

impl Collector<'_> {
    async fn all(mut self) -> Result<Vec<Found>, Failure> {
        let failed = |error: std::io::Error| self.data.failed(&error);
        let mut found = Vec::new();
        let homes = self.data.homes().map_err(failed)?;
        for home in &homes {
            // Locked until it is done, so that no agent starts meanwhile.
            let held = DataDir::hold(home).map_err(failed)?;
            let state = DataDir::state_at(home).map_err(failed)?;
            self.of_home(home, held, state, &mut found).await?;
        }
        let known: BTreeSet<&Path> = homes.iter().map(AsRef::as_ref).collect();
        for node in self.driver.nodes(&self.data.jobs()).await.map_err(unanswered)? {
            if !known.contains(Path::new(&node)) {
                self.of_lost(&node, &mut found).await?;
            }
        }
        Ok(found)
    }

    /// A job's leftovers. `held` says whether its agent runs.
    async fn of_home(
        &mut self,
        home: &Path,
        held: Held,
        state: Option<JobState>,
        found: &mut Vec<Found>,
    ) -> Result<(), Failure> {
        let job = state.as_ref().map(|state| state.id.clone());
        let name = job.clone().unwrap_or_else(|| home.display().to_string());
        let running = match state.as_ref().and_then(|state| state.driver.clone()) {
            Some(reattach) => DriverClient::reattach(reattach).await.ok(),
            None => None,
        };
        let attended = matches!(held, Held::ByAgent);
        let claims = state.as_ref().map(|state| claims(state, attended)).unwrap_or_default();
        if let Some(state) = state.as_ref().filter(|state| !attended && !state.phase().is_over()) {
            report::note(&unattended(state));
        }
        let state_dir = home.join("driver");
        let location = match &running {
            Some(_) => Home::Own,
            None if attended => {
                report::note(&format!("job {name:?} is left alone: its agent runs, but its driver does not respond"));
                return Ok(());
            }
            None if state_dir.is_dir() => Home::StateDir(state_dir),
            None => Home::Lost,
        };
        let request = Collect { node: home.display().to_string(), home: location, claims, remove: self.remove };
        let collected = match &running {
            Some(driver) => GarbageClient::new(driver.channel()).collect(request).await,
            None => self.driver.collect(request).await,
        };
        match collected {
            Ok(left) => found.extend(left.into_iter().map(|leftover| Found { job: job.clone(), leftover })),
            // The others are not to suffer from one.
            Err(error) if running.is_some() => report::note(&format!("job {name:?} is left alone: {error}")),
            Err(error) => return Err(unanswered(error)),
        }
        drop(held);
        Ok(())
    }

    /// The leftovers of a job whose directory somebody removed.
    async fn of_lost(&mut self, node: &str, found: &mut Vec<Found>) -> Result<(), Failure> {
        let home = Path::new(node);
        let failed = |error: std::io::Error| self.data.failed(&error);
        let held = match self.remove {
            Remove::No => None,
            // An agent could begin to run the same job.
            Remove::Yes => Some(DataDir::hold_lost(home).map_err(failed)?),
        };
        if matches!(held, Some(Held::ByAgent)) || DataDir::state_at(home).map_err(failed)?.is_some() {
            return Ok(());
        }
        let request =
            Collect { node: node.to_owned(), home: Home::Lost, claims: Claims::default(), remove: self.remove };
        let left = self.driver.collect(request).await.map_err(unanswered)?;
        found.extend(left.into_iter().map(|leftover| Found { job: None, leftover }));
        if held.is_some() {
            DataDir::remove_home(home).map_err(failed)?;
        }
        Ok(())
    }
}

/// What a job owns. While its agent runs, a task may be starting.
fn claims(state: &JobState, attended: bool) -> Claims {
    let mut claims = Claims::default();
    for alloc in state.allocs.iter().filter(|alloc| alloc.is_live()) {
        claims.allocs.push(alloc.id.clone());
        let tasks = alloc.tasks.iter().filter(|(_, task)| !task.phase.is_over());
        let owned = tasks.filter(|(_, task)| attended || task.handle.is_some());
        claims.tasks.extend(owned.map(|(name, _)| (alloc.id.clone(), name.clone())));
    }
    claims
}

/// What an operator may do about a job that is not over and has no agent.
fn unattended(state: &JobState) -> String {
    let tasks = state.allocs.iter().flat_map(|alloc| alloc.tasks.values());
    let running = tasks.filter(|task| task.phase == Phase::Running).count();
    let id = &state.id;
    format!(
        "job {id:?} has no running agent; its {running} running task(s) are left alone: longshore run FILE adopts them, \
         longshore stop {id} ends them"
    )
}

fn unanswered(error: ImageError) -> Failure {
    match error {
        ImageError::Unserved => Failure::Engine("the driver does not list what nobody owns".to_owned()),
        ImageError::Refused(_) => Failure::Engine(error.to_string()),
        ImageError::Failed(description) => no_engine(&description),
    }
}

fn show(found: &[Found], remove: Remove) {
    if found.is_empty() {
        return report::line("No garbage");
    }
    let mut rows = vec![["Kind", "ID", "Name", "Job", "Why"].map(str::to_owned)];
    for Found { job, leftover } in found {
        let Leftover { kind, id, name, removed, .. } = leftover;
        let short = match kind {
            Kind::Container | Kind::Volume => id.chars().take(12).collect(),
            Kind::Image => id.trim_start_matches("sha256:").chars().take(12).collect(),
            Kind::Network | Kind::File => id.clone(),
        };
        let why = match removed {
            None => why(leftover.reason, job.is_some()).to_owned(),
            Some(Ok(())) => format!("removed: {}", why(leftover.reason, job.is_some())),
            Some(Err(error)) => format!("not removed: {error}"),
        };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows.push([noun(*kind).to_owned(), short, or_dash(name), or_dash(job.as_deref().unwrap_or_default()), why]);
    }
    report::table(&rows, None);
    if remove == Remove::No {
        report::note("nothing was removed; longshore gc -now removes these");
    }
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Container => "container",
        Kind::Volume => "volume",
        Kind::Network => "network",
        Kind::Image => "image",
        Kind::File => "file",
    }
}

fn why(reason: Reason, has_job: bool) -> &'static str {
    match reason {
        Reason::AllocationOver if !has_job => "no job has its allocation",
        Reason::AllocationOver => "its allocation is over",
        Reason::NoTask => "no task is in it: a start was interrupted",
        Reason::OfGarbage => "only such a container uses it",
        Reason::Unused => "a driver pulled it, and nothing uses it",
        Reason::NoContainer => "its container does not exist",
    }
}

/// A leftover as programs see it.
fn value(Found { job, leftover }: &Found) -> serde_json::Value {
    let Leftover { kind, id, name, reason, removed } = leftover;
    let error = removed.as_ref().and_then(|removed| removed.as_ref().err());
    json!({
        "kind": noun(*kind),
        "id": id,
        "name": name,
        "job": job,
        "reason": why(*reason, job.is_some()),
        "removed": matches!(removed, Some(Ok(()))),
        "error": error,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::state::{AllocState, NetworkState, TaskState};

    fn job(tasks: &[(&str, Phase, bool)], network: Option<NetworkState>) -> JobState {
        let task = |(name, phase, has_handle): &(&str, Phase, bool)| {
            let handle = has_handle.then(|| "aGFuZGxl".to_owned());
            ((*name).to_owned(), TaskState { phase: *phase, handle, ..TaskState::default() })
        };
        let tasks: BTreeMap<_, _> = tasks.iter().map(task).collect();
        let alloc = AllocState { network, ..AllocState::of_test(tasks) };
        JobState { id: "web".into(), allocs: vec![alloc], ..JobState::default() }
    }

    #[test]
    fn a_job_owns_what_runs_and_its_agent_also_what_is_starting() {
        let tasks =
            [("runs", Phase::Running, true), ("starts", Phase::Pending, false), ("ended", Phase::Complete, false)];
        let names = |attended| -> Vec<String> {
            claims(&job(&tasks, None), attended).tasks.into_iter().map(|(_, name)| name).collect()
        };

        assert_eq!((names(false), names(true)), (vec!["runs".to_owned()], vec!["runs".into(), "starts".into()]));
    }

    #[test]
    fn a_job_that_is_over_owns_nothing_but_a_network_that_is_not_removed_yet() {
        let over = [("ended", Phase::Failed, false)];

        assert_eq!(claims(&job(&over, None), false), Claims::default());
        assert_eq!(claims(&job(&over, Some(NetworkState::default())), false).allocs, ["a"]);
    }
}
