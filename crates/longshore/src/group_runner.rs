//! One instance of a group: its network, and its tasks in the order of their lifecycles.
//!
//! ```text
//! network -> prestart -> main -> poststart ... -> poststop -> network removed
//! ```

use std::{collections::BTreeMap, path::Path, sync::Arc};

use nomad_jobspec::job::{Group, Hook, Job, Lifecycle, Task};
use nomad_plugin::{
    driver::{PortMapping, TaskHandle},
    hclspec::Spec,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    alloc::dir::AllocDir,
    driver::Driver,
    network,
    node::{Node, mhz},
    record::Record,
    report,
    state::{AllocState, DataDir, NetworkState, Phase},
    stop::{Stop, asked},
    task_runner::TaskRunner,
};

/// An instance and what it needs.
pub(crate) struct GroupRunner {
    pub(crate) job: Arc<Job>,
    pub(crate) job_dir: Arc<Path>,
    pub(crate) group: Group,
    pub(crate) alloc: AllocState,
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) node: Arc<Node>,
    pub(crate) schema: Arc<Spec>,
    pub(crate) data: DataDir,
    pub(crate) driver: Arc<Driver>,
    pub(crate) record: Arc<Record>,
    pub(crate) stop: watch::Receiver<Stop>,
}

impl GroupRunner {
    /// Runs the instance to its end. `left` are runs that an earlier host left, by task.
    pub(crate) async fn run(mut self, left: BTreeMap<String, TaskHandle>) -> Phase {
        let mut stop = self.stop.clone();
        let connected = tokio::select! {
            // A network that is there already needs no time.
            biased;
            connected = self.connect() => connected.map_err(|error| {
                (Phase::Failed, "Setup Failure", format!("failed to make the group's network: {error}"))
            }),
            () = asked(&mut stop, Stop::Gently) => {
                Err((Phase::Complete, "Killed", "stopped before the group's network was made".to_owned()))
            }
        };
        let phase = match connected {
            Ok(()) => self.run_tasks(left).await,
            Err((phase, kind, message)) => {
                for task in &self.group.tasks {
                    self.record.event(&self.alloc.id, &task.name, kind, &message);
                    self.record.task(&self.alloc.id, &task.name, |state| state.phase = phase);
                }
                phase
            }
        };
        self.clean_up().await;
        phase
    }

    /// What cannot be removed stays on record, so that the job's end tells it and `stop` tries again.
    async fn clean_up(&self) {
        if let Err(error) = self.disconnect().await {
            report::note(&error);
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        if self.alloc.network.as_ref().is_some_and(NetworkState::is_made) {
            return Ok(());
        }
        // A host that was killed has not come to the end, or a machine that was started anew has lost it.
        self.disconnect().await?;
        let keep =
            |network: &NetworkState| self.record.alloc(&self.alloc.id, |alloc| alloc.network = Some(network.clone()));
        self.alloc.network = network::make(&self.driver, &self.group, &self.alloc, keep).await?;
        Ok(())
    }

    async fn disconnect(&self) -> Result<(), String> {
        let Some(network) = self.record.network(&self.alloc.id) else { return Ok(()) };
        network::remove(&self.driver, &self.alloc, &network).await?;
        self.record.alloc(&self.alloc.id, |alloc| alloc.network = None);
        Ok(())
    }

    async fn run_tasks(&mut self, mut left: BTreeMap<String, TaskHandle>) -> Phase {
        let (last, others): (Vec<Task>, Vec<Task>) =
            self.group.tasks.clone().into_iter().partition(|task| hook(task) == Some(Hook::Poststop));
        let phase = self.run_until_main_ends(others, &mut left).await;
        // The job is ending, and these are part of its end: only haste ends them.
        let (own, watched) = watch::channel(Stop::No);
        let mut running = JoinSet::new();
        for task in last {
            let handle = left.remove(&task.name);
            running.spawn(self.runner(task, watched.clone()).run(handle));
        }
        let mut stop = self.stop.clone();
        let hasten = async {
            asked(&mut stop, Stop::Now).await;
            own.send_replace(Stop::Now);
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = running.join_all() => ended,
            () = hasten => Vec::new(),
        };
        if ended.contains(&Phase::Failed) { Phase::Failed } else { phase }
    }

    /// When a task fails, its leader ends, or all main tasks have ended, the others are stopped.
    async fn run_until_main_ends(&self, tasks: Vec<Task>, left: &mut BTreeMap<String, TaskHandle>) -> Phase {
        let mut outer = self.stop.clone();
        let (own, watched) = watch::channel(*outer.borrow_and_update());
        let mut running = JoinSet::new();
        let mut main = tasks.iter().filter(|task| task.lifecycle.is_none()).count();
        for task in tasks {
            let handle = left.remove(&task.name);
            let (is_main, leads, gate) = (task.lifecycle.is_none(), task.leader, self.gate(&task));
            let (record, alloc, mut stop) = (self.record.clone(), self.alloc.id.clone(), watched.clone());
            let runner = self.runner(task, watched.clone());
            running.spawn(async move {
                if handle.is_none() {
                    tokio::select! {
                        () = record.reached(&alloc, gate) => {}
                        () = asked(&mut stop, Stop::Gently) => {}
                    }
                }
                (is_main, leads, runner.run(handle).await)
            });
        }
        let mut phase = Phase::Complete;
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => return phase,
                    Some(ended) => {
                        let (is_main, leads, ended) = ended.unwrap_or((false, false, Phase::Failed));
                        main -= usize::from(is_main);
                        if ended == Phase::Failed {
                            phase = Phase::Failed;
                        }
                        if leads || ended == Phase::Failed || main == 0 {
                            own.send_modify(|stop| *stop = (*stop).max(Stop::Gently));
                        }
                    }
                },
                changed = outer.changed() => match changed {
                    Ok(()) => {
                        let asked = *outer.borrow_and_update();
                        own.send_modify(|stop| *stop = (*stop).max(asked));
                    }
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// What has to be reached before a task starts.
    fn gate(&self, task: &Task) -> impl Fn(&AllocState) -> bool + Send + use<> {
        let named = |wanted: &dyn Fn(&Task) -> bool| -> Vec<String> {
            self.group.tasks.iter().filter(|task| wanted(task)).map(|task| task.name.clone()).collect()
        };
        let prestart = |sidecar| Some(Lifecycle { hook: Hook::Prestart, sidecar });
        let (complete, begun) = match hook(task) {
            None => (named(&|task| task.lifecycle == prestart(false)), named(&|task| task.lifecycle == prestart(true))),
            Some(Hook::Poststart) => (Vec::new(), named(&|task| task.lifecycle.is_none())),
            Some(Hook::Prestart | Hook::Poststop) => (Vec::new(), Vec::new()),
        };
        move |alloc| {
            let phase = |name: &String| alloc.tasks.get(name).map(|task| task.phase);
            complete.iter().all(|name| phase(name) == Some(Phase::Complete))
                && begun.iter().all(|name| phase(name).is_none_or(|phase| phase != Phase::Pending))
        }
    }

    fn runner(&self, mut task: Task, stop: watch::Receiver<Stop>) -> TaskRunner {
        let cores = self.alloc.tasks.get(&task.name).map(|task| task.cores.clone()).unwrap_or_default();
        if !cores.is_empty() {
            task.resources.cpu = mhz(cores.len());
        }
        TaskRunner {
            cores,
            job: self.job.clone(),
            group: self.group.clone(),
            task,
            alloc_id: self.alloc.id.clone(),
            index: self.alloc.index,
            ports: self.ports.clone(),
            network: self.alloc.network.as_ref().map(network::isolation),
            node: self.node.clone(),
            schema: self.schema.clone(),
            dir: AllocDir::new(self.data.path(), &self.alloc.id),
            job_dir: self.job_dir.clone(),
            driver: self.driver.clone(),
            record: self.record.clone(),
            stop,
        }
    }
}

fn hook(task: &Task) -> Option<Hook> {
    task.lifecycle.map(|lifecycle| lifecycle.hook)
}
