//! Gives each instance of a job its ports, its processors and its directories on this machine.

use std::io;

use nomad_jobspec::job::{Group, Job};
use nomad_plugin::driver::PortMapping;

use crate::{
    Failure,
    alloc::dir::AllocDir,
    cores::Cores,
    data_dir::DataDir,
    ports::{Owner, Ports},
    record::Record,
    report,
    state::{AllocState, PortState, TaskState},
    turn::Turn,
};

/// Places the instances that have no allocation yet. The ports are the whole job's.
pub(crate) fn place(job: &Job, record: &Record, data: &DataDir) -> Result<Ports, Failure> {
    let failed = |error: io::Error| data.failed(&error);
    let known = record.snapshot();
    let ports = Ports::default();
    for alloc in &known.allocs {
        ports.reserve(&mappings(&alloc.ports), &Owner::ThisJob);
    }
    let _turn = data.lock_ports().map_err(failed)?;
    for other in data.all().map_err(failed)?.iter().filter(|other| other.id != job.id) {
        for alloc in other.allocs.iter().filter(|alloc| alloc.is_live()) {
            ports.reserve(&mappings(&alloc.ports), &Owner::Job(other.id.clone()));
        }
    }
    let mut cores =
        Cores::without(known.allocs.iter().flat_map(|alloc| alloc.tasks.values().flat_map(|task| &task.cores)));
    let is_placed =
        |group: &Group, index| known.allocs.iter().any(|alloc| alloc.group == group.name && alloc.index == index);
    for group in &job.groups {
        for index in (0..group.count).filter(|index| !is_placed(group, *index)) {
            let taken = ports.take(&group.network.ports).map_err(Failure::Usage)?;
            let alloc = new_alloc(group, index, &taken, &mut cores).map_err(Failure::Usage)?;
            let dir = AllocDir::new(data.path(), &alloc.id);
            let tasks: Vec<String> = group.tasks.iter().map(|task| task.name.clone()).collect();
            dir.make(&tasks).map_err(|error| Failure::Usage(format!("{}: {error}", dir.path().display())))?;
            record.change(|state| state.allocs.push(alloc));
        }
    }
    Ok(ports)
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
    Ok(AllocState {
        id: uuid::Uuid::new_v4().to_string(),
        group: group.name.clone(),
        index,
        ports: ports.iter().map(PortState::from).collect(),
        network: None,
        tasks: group.tasks.iter().map(task).collect::<Result<_, String>>()?,
    })
}

/// Ports as the driver knows them.
pub(crate) fn mappings(ports: &[PortState]) -> Vec<PortMapping> {
    ports.iter().map(PortMapping::from).collect()
}

/// Removes the directories of allocations.
pub(crate) fn remove_dirs<'a>(data: &DataDir, allocs: impl IntoIterator<Item = &'a AllocState>) {
    for alloc in allocs {
        if let Err(error) = AllocDir::new(data.path(), &alloc.id).remove() {
            report::note(&format!("failed to remove the directory of allocation {}: {error}", alloc.id));
        }
    }
}
