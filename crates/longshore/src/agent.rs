//! The agent of one job: places its groups on this machine, runs their tasks, and keeps its state on disk.

use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::StreamExt;
use image_service::ImageClient;
use nomad_jobspec::{
    Diagnostics,
    decode::decode,
    job::{Constraint, Group, Job},
};
use nomad_plugin::{
    client::Reattach,
    driver::{PortMapping, TaskHandle},
    hclspec::Spec,
    id::TaskId,
};
use sha2::{Digest, Sha256};
use tokio::{signal::unix::Signal, sync::watch, task::JoinSet};

use crate::{
    Failure,
    alloc::{
        dir::AllocDir,
        environment::{alloc_name, never_resolved},
    },
    bars::{self, Bars},
    constraint,
    cores::Cores,
    driver::{Driver, Launcher},
    group_runner::GroupRunner,
    job_file::Loaded,
    network,
    node::Node,
    ports::{Owner, Ports},
    process::Process,
    record::Record,
    report,
    state::{AllocState, DataDir, JobState, Phase, PortState, TaskState},
    stop::{Stop, raise},
    task_runner::left_running,
    template,
    turn::Turn,
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

/// How an agent is asked to end what it runs.
pub(crate) struct Asks {
    /// The whole job.
    pub(crate) job: watch::Receiver<Stop>,
    /// Allocations: the data directory has which.
    pub(crate) allocs: Signal,
}

/// Runs a job to its end. Tasks that an earlier agent left are taken over.
pub(crate) async fn run(loaded: Loaded, data: DataDir, launcher: Launcher, asks: Asks) -> Result<(), Failure> {
    let usage = |error: std::io::Error| data.failed(&error);
    let Loaded { source, directory, parsed, passed } = loaded;
    let job = Arc::new(parsed.job);
    let _lock = lock(&data, &job.id)?;
    for name in &parsed.ignored {
        report::note(&format!("`{name}` is ignored on one machine"));
    }
    let mut before = data.load(&job.id).map_err(usage)?;
    let mut state = before.clone().unwrap_or_default();
    state.placed = false;
    let mut left: BTreeMap<String, BTreeMap<String, TaskHandle>> = BTreeMap::new();
    if state.phase().is_over() {
        state.allocs.clear();
    } else {
        continues(&state, &job)?;
        report::note(&format!("taking over {} allocation(s) that an earlier agent left", state.allocs.len()));
        if state.source_digest != digest(&source.text) {
            report::note(
                "the job file has changed since: what runs goes on as it was; stop the job to apply the change",
            );
        }
        left.extend(state.allocs.iter().map(|alloc| (alloc.id.clone(), left_running(&alloc.tasks))));
    }
    (state.id, state.agent) = (job.id.clone(), Process::own());
    state.source_digest = digest(&source.text);

    let earlier = state.driver.clone();
    let record = Arc::new(Record::new(data.clone(), state));
    let on_new = {
        let record = record.clone();
        Box::new(move |reattach: &Reattach| record.change(|state| state.driver = Some(reattach.clone())))
    };
    let handles: BTreeMap<TaskId, TaskHandle> = left
        .values()
        .flat_map(|tasks| tasks.values().map(|handle| (handle.config.id.clone(), handle.clone())))
        .collect();
    let driver = Arc::new(Driver::start(launcher, earlier, handles, on_new).await?);
    let kept: Vec<String> = left.keys().cloned().collect();
    // Those whose tasks ended while no agent was there, or whose networks could not be removed then.
    let over = before.iter_mut().flat_map(|before| &mut before.allocs).filter(|alloc| !kept.contains(&alloc.id));
    let placed = match network::remove_all(&driver, over).await {
        Ok(()) => place(&job, &source, &directory, &passed, &driver, &record, &data).await,
        Err(failure) => Err(failure),
    };
    let result = match placed {
        Ok(placed) => {
            record.change(|state| state.placed = true);
            remove_dirs(&data, before.as_ref().map_or(&[], |before| &before.allocs), &kept);
            Ok(placed.run(left, &driver, &record, asks).await)
        }
        Err(failure) => {
            remove_dirs(&data, &record.snapshot().allocs, &kept);
            record.change(|state| state.allocs.retain(|alloc| kept.contains(&alloc.id)));
            Err(failure)
        }
    };
    record.change(|state| state.driver = None);
    if result.is_err() && kept.is_empty() {
        // Nothing was run, so nothing is told of it but of the run before.
        match before {
            Some(before) => record.change(|state| *state = before),
            None => data.forget(&job.id).map_err(usage)?,
        }
    }
    if let Some(driver) = Arc::into_inner(driver) {
        driver.end().await;
    }
    let phase = result?;
    if let Some(alloc) = record.snapshot().allocs.iter().find(|alloc| alloc.network.is_some()) {
        let message = format!("the network of allocation {} could not be removed", report::short(&alloc.id));
        return Err(Failure::Engine(format!("{message}\nhint: longshore stop {} tries again", job.id)));
    }
    if phase == Phase::Failed { Err(Failure::Task) } else { Ok(()) }
}

fn digest(text: &str) -> String {
    BASE64.encode(Sha256::digest(text))
}

/// Whether the job file still has what an earlier agent left of it.
fn continues(state: &JobState, job: &Job) -> Result<(), Failure> {
    let has = |group: &str, task: &String| {
        job.groups.iter().any(|known| known.name == group && known.tasks.iter().any(|known| known.name == *task))
    };
    for alloc in &state.allocs {
        if let Some(task) = alloc.tasks.keys().find(|task| !has(&alloc.group, task)) {
            let group = &alloc.group;
            let message =
                format!("the job file has no task {task:?} of group {group:?} any more, which is not over yet");
            return Err(Failure::Usage(format!("{message}\nhint: longshore stop {}", job.id)));
        }
    }
    Ok(())
}

/// Removes the directories of allocations that are not kept.
fn remove_dirs(data: &DataDir, allocs: &[AllocState], kept: &[String]) {
    for alloc in allocs.iter().filter(|alloc| !kept.contains(&alloc.id)) {
        if let Err(error) = AllocDir::new(data.path(), &alloc.id).remove() {
            report::note(&format!("failed to remove the directory of allocation {}: {error}", alloc.id));
        }
    }
}

/// A job that this machine can run.
struct Placed {
    job: Arc<Job>,
    directory: Arc<Path>,
    node: Arc<Node>,
    schema: Arc<Spec>,
    ports: Ports,
    data: DataDir,
}

/// Checks the job against the driver and the machine, and gives each instance its ports.
async fn place(
    job: &Arc<Job>,
    source: &nomad_jobspec::Source,
    directory: &Arc<Path>,
    passed: &BTreeMap<String, String>,
    driver: &Arc<Driver>,
    record: &Arc<Record>,
    data: &DataDir,
) -> Result<Placed, Failure> {
    let node = Arc::new(Node::new(&driver.fingerprint().await?).with(passed));
    let schema = driver.call(|client| async move { client.task_config_schema().await }).await;
    let schema = schema.map_err(|error| Failure::Engine(error.to_string()))?;
    check(job, source, directory, &schema, &node)?;
    check_constraints(job, &node)?;
    if let Some(missing) = job.groups.iter().find_map(network::missing) {
        return Err(Failure::Usage(missing));
    }

    let ports = Ports::default();
    for alloc in &record.snapshot().allocs {
        ports.keep(&mappings(&alloc.ports), &Owner::ThisJob);
    }
    let failed = |error: std::io::Error| data.failed(&error);
    let _turn = data.lock_ports().map_err(failed)?;
    for other in data.all().map_err(failed)?.iter().filter(|other| other.id != job.id) {
        for alloc in other.allocs.iter().filter(|alloc| alloc.is_live()) {
            ports.keep(&mappings(&alloc.ports), &Owner::Job(other.id.clone()));
        }
    }
    let known = record.snapshot();
    let with_cores = known.allocs.iter().flat_map(|alloc| alloc.tasks.values().flat_map(|task| &task.cores));
    let mut cores = Cores::without(with_cores);
    for group in &job.groups {
        for index in 0..group.count {
            let known = record.snapshot().allocs;
            if known.iter().any(|alloc| alloc.group == group.name && alloc.index == index) {
                continue;
            }
            let taken = ports.take(&group.network.ports).map_err(Failure::Usage)?;
            let alloc = new_alloc(group, index, &taken, &mut cores).map_err(Failure::Usage)?;
            let dir = AllocDir::new(data.path(), &alloc.id);
            let tasks: Vec<String> = group.tasks.iter().map(|task| task.name.clone()).collect();
            dir.make(&tasks).map_err(|error| Failure::Usage(format!("{}: {error}", dir.path().display())))?;
            record.change(|state| state.allocs.push(alloc));
        }
    }
    Ok(Placed {
        job: job.clone(),
        directory: directory.clone(),
        node,
        schema: Arc::new(schema),
        ports,
        data: data.clone(),
    })
}

fn new_alloc(group: &Group, index: u32, ports: &[PortMapping], cores: &mut Cores) -> Result<AllocState, String> {
    let task = |task: &nomad_jobspec::job::Task| {
        let state = TaskState {
            cores: cores.take(&task.name, task.resources.cores)?,
            turn: Turn::of(task),
            kill_timeout_ms: u64::try_from(task.kill_timeout.as_millis()).unwrap_or(u64::MAX),
            kill_signal: task.kill_signal.clone(),
            ..TaskState::default()
        };
        Ok((task.name.clone(), state))
    };
    let port = |port: &PortMapping| PortState {
        label: port.label.clone(),
        host_ip: port.host_ip.clone(),
        value: port.value,
        to: port.to,
    };
    Ok(AllocState {
        id: uuid::Uuid::new_v4().to_string(),
        group: group.name.clone(),
        index,
        ports: ports.iter().map(port).collect(),
        network: None,
        tasks: group.tasks.iter().map(task).collect::<Result<_, String>>()?,
    })
}

fn mappings(ports: &[PortState]) -> Vec<PortMapping> {
    let mapping = |port: &PortState| PortMapping {
        label: port.label.clone(),
        value: port.value,
        to: port.to,
        host_ip: port.host_ip.clone(),
    };
    ports.iter().map(mapping).collect()
}

/// Every task's configuration against the driver's schema, what it refers to, and its templates' paths: all that is wrong,
/// before anything runs. `directory` is the job file's.
pub(crate) fn check(
    job: &Job,
    source: &nomad_jobspec::Source,
    directory: &Path,
    schema: &Spec,
    node: &Node,
) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for (group, task) in job.groups.iter().flat_map(|group| group.tasks.iter().map(move |task| (group, task))) {
        problems.extend(task.templates.iter().flat_map(|each| template::misplaced(each, &task.name, directory)));
        if task.driver != "docker" {
            let message =
                format!("task {:?} needs the driver {:?}; there is the driver docker here", task.name, task.driver);
            problems.push(nomad_jobspec::Problem::new(message));
            continue;
        }
        problems.extend(never_resolved(job, group, task, node));
        // References are resolved when the task starts; here each stands for a number, which is also a text.
        problems.extend(decode(&task.config, schema, &|_| Some("1".to_owned())).err().unwrap_or_default());
    }
    let malformed = constraints(job).filter_map(constraint::malformed);
    problems.extend(malformed.map(nomad_jobspec::Problem::new));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(Diagnostics::new(source, problems).to_string()))
}

/// The constraints of a job, its groups and their tasks.
fn constraints(job: &Job) -> impl Iterator<Item = &Constraint> {
    let groups = job.groups.iter();
    let of_groups =
        groups.flat_map(|group| group.constraints.iter().chain(group.tasks.iter().flat_map(|task| &task.constraints)));
    job.constraints.iter().chain(of_groups)
}

fn check_constraints(job: &Job, node: &Node) -> Result<(), Failure> {
    let unmet = constraints(job).filter_map(|each| constraint::unmet(each, &|name| node.get(name)));
    let unmet: Vec<String> = unmet.collect();
    if unmet.is_empty() { Ok(()) } else { Err(Failure::Usage(unmet.join("\n"))) }
}

impl Placed {
    /// Runs all instances; failed where one failed.
    async fn run(
        self,
        mut left: BTreeMap<String, BTreeMap<String, TaskHandle>>,
        driver: &Arc<Driver>,
        record: &Arc<Record>,
        asks: Asks,
    ) -> Phase {
        let Asks { job: mut stop, allocs: mut wakes } = asks;
        let mut phase = Phase::Complete;
        let mut stops = BTreeMap::new();
        let mut allocs = JoinSet::new();
        for alloc in record.snapshot().allocs {
            let Some(group) = self.job.groups.iter().find(|group| group.name == alloc.group) else { continue };
            if !alloc.is_live() {
                // An earlier agent has seen its end.
                if alloc.tasks.values().any(|task| task.phase == Phase::Failed) {
                    phase = Phase::Failed;
                }
                continue;
            }
            let ports = mappings(&alloc.ports);
            let name = alloc_name(&self.job.id, &group.name, alloc.index);
            let places: Vec<String> =
                ports.iter().map(|port| format!("{} at {}:{}", port.label, port.host_ip, port.value)).collect();
            let places = if places.is_empty() { String::new() } else { format!(": {}", places.join(", ")) };
            report::note(&format!("allocation {} of {name}{places}", report::short(&alloc.id)));
            let running = left.remove(&alloc.id).unwrap_or_default();
            let (ask, asked) = watch::channel(*stop.borrow());
            let id = alloc.id.clone();
            stops.insert(id.clone(), ask);
            let runner = GroupRunner {
                job: self.job.clone(),
                job_dir: self.directory.clone(),
                group: group.clone(),
                alloc,
                ports,
                node: self.node.clone(),
                schema: self.schema.clone(),
                data: self.data.clone(),
                driver: driver.clone(),
                record: record.clone(),
                stop: asked,
            };
            allocs.spawn(async move { (id, runner.run(running).await) });
        }
        let mut events = JoinSet::new();
        events.spawn(tell_events(driver.clone(), record.clone()));
        if bars::are_shown() {
            events.spawn(draw_pulls(driver.clone()));
        }
        loop {
            for ask in stops.values() {
                raise(ask, *stop.borrow_and_update());
            }
            for alloc in self.asked_to_stop() {
                match stops.get(&alloc) {
                    Some(ask) => raise(ask, Stop::Gently),
                    None => self.has_stopped(&alloc),
                }
            }
            tokio::select! {
                ended = allocs.join_next() => match ended {
                    None => break,
                    Some(Ok((alloc, ended))) => {
                        stops.remove(&alloc);
                        self.has_stopped(&alloc);
                        if ended != Phase::Complete {
                            phase = Phase::Failed;
                        }
                    }
                    Some(Err(_)) => phase = Phase::Failed,
                },
                Ok(()) = stop.changed() => {}
                Some(()) = wakes.recv() => {}
            }
        }
        events.shutdown().await;
        self.ports
            .release(&record.snapshot().allocs.iter().flat_map(|alloc| mappings(&alloc.ports)).collect::<Vec<_>>());
        phase
    }

    fn asked_to_stop(&self) -> Vec<String> {
        self.data.asked_to_stop(&self.job.id).unwrap_or_else(|error| {
            report::note(&format!("failed to read which allocations are to end: {error}"));
            Vec::new()
        })
    }

    fn has_stopped(&self, alloc: &str) {
        if let Err(error) = self.data.has_stopped(&self.job.id, alloc) {
            report::note(&format!("failed to forget that an allocation was to end: {error}"));
        }
    }
}

/// Passes the driver's events on, also those of the next process.
async fn tell_events(driver: Arc<Driver>, record: Arc<Record>) {
    loop {
        let client = driver.current();
        if let Ok(mut events) = client.task_events().await {
            while let Some(Ok(event)) = events.next().await {
                let notes: Vec<String> =
                    event.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
                record.event(event.alloc_id.as_str(), &event.task_name, "Driver", &format!("{}{notes}", event.message));
            }
        }
        client.exited().await;
        driver.renewed(&client).await;
    }
}

/// Draws the driver's pulls, also those of the next process. Where there is no terminal, events tell of them.
async fn draw_pulls(driver: Arc<Driver>) {
    loop {
        let client = driver.current();
        let mut bars = Bars::default();
        if let Ok(mut pulls) = ImageClient::new(client.channel()).watch().await {
            while let Some(Ok(pulls)) = pulls.next().await {
                bars.show_only(&pulls);
            }
        }
        drop(bars);
        client.exited().await;
        driver.renewed(&client).await;
    }
}
