//! Runs the instances of one job side by side, and passes on to each that it is to end.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use nomad_jobspec::job::Job;
use nomad_plugin::hclspec::Spec;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    alloc::environment::alloc_name,
    bars,
    data_dir::DataDir,
    driver::Driver,
    driver_events::{draw_pulls, record_events},
    group_runner::GroupRunner,
    node::Node,
    placement::mappings,
    plan::Runs,
    ports::Ports,
    record::Record,
    report,
    state::Phase,
    stop::{Stop, raise},
};

/// How an agent is asked to end a job.
pub(crate) struct Asks {
    /// The whole job.
    pub(crate) job: watch::Receiver<Stop>,
    /// Allocations: the data directory has which.
    pub(crate) allocs: mpsc::Receiver<()>,
}

/// A job that is placed on this machine.
pub(crate) struct JobRunner {
    pub(crate) job: Arc<Job>,
    /// The job file's directory.
    pub(crate) directory: Arc<Path>,
    pub(crate) node: Arc<Node>,
    pub(crate) schema: Arc<Spec>,
    pub(crate) ports: Ports,
    pub(crate) data: DataDir,
    pub(crate) driver: Driver,
    pub(crate) record: Arc<Record>,
}

impl JobRunner {
    /// Runs all instances; failed where one failed.
    pub(crate) async fn run(self, mut left: BTreeMap<String, Runs>, asks: Asks) -> Phase {
        let Asks { job: mut stop, allocs: mut wakes } = asks;
        let mut phase = Phase::Complete;
        let mut stops = BTreeMap::new();
        let mut allocs = JoinSet::new();
        for alloc in self.record.snapshot().allocs {
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
                driver: self.driver.clone(),
                record: self.record.clone(),
                stop: asked,
            };
            #[expect(clippy::disallowed_methods, reason = "all are joined below")]
            allocs.spawn(async move { (id, runner.run(running).await) });
        }
        let mut events = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "they end with the job")]
        events.spawn(record_events(self.driver.clone(), self.record.clone()));
        if bars::are_shown() {
            #[expect(clippy::disallowed_methods, reason = "they end with the job")]
            events.spawn(draw_pulls(self.driver.clone()));
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
        self.ports.release(
            &self.record.snapshot().allocs.iter().flat_map(|alloc| mappings(&alloc.ports)).collect::<Vec<_>>(),
        );
        phase
    }

    fn asked_to_stop(&self) -> Vec<String> {
        self.data.asked_to_stop(&self.job.id).unwrap_or_else(|error| {
            report::note(&format!("failed to read which allocations to stop: {error}"));
            Vec::new()
        })
    }

    fn has_stopped(&self, alloc: &str) {
        if let Err(error) = self.data.has_stopped(&self.job.id, alloc) {
            report::note(&format!("failed to delete an allocation's stop request: {error}"));
        }
    }
}
