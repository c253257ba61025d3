//! One instance of a group: its network, and its tasks in the order of their lifecycles.
//!
//! ```text
//! network -> prestart -> main -> poststart ... -> leader, main, sidecars end -> poststop -> network removed
//! ```

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use nomad_jobspec::job::{Group, Hook, Job, Lifecycle, Task};
use nomad_plugin::{
    driver::{PortMapping, TaskHandle},
    hclspec::Spec,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    alloc::dir::AllocDir,
    data_dir::DataDir,
    driver::Driver,
    network,
    node::{Node, mhz},
    record::Record,
    report,
    state::{AllocState, NetworkState, Phase},
    stop::{Stop, asked, raise},
    task_runner::TaskRunner,
    turn::Turn,
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
    pub(crate) driver: Driver,
    pub(crate) record: Arc<Record>,
    pub(crate) stop: watch::Receiver<Stop>,
}

impl GroupRunner {
    /// Runs the instance to its end. `left` are runs that an earlier agent left, by task.
    pub(crate) async fn run(mut self, left: BTreeMap<String, TaskHandle>) -> Phase {
        let mut stop = self.stop.clone();
        let connected = tokio::select! {
            // A network that is there already needs no time.
            biased;
            connected = self.connect() => connected.map_err(|error| {
                (Phase::Failed, "Setup Failure", format!("failed to create the group's network: {error}"))
            }),
            () = asked(&mut stop, Stop::Gently) => {
                Err((Phase::Complete, "Killed", "stopped before the group's network was created".to_owned()))
            }
        };
        let phase = match connected {
            Ok(()) => self.run_tasks(left).await,
            Err((phase, kind, message)) => {
                // Those that an earlier agent left in a network that is no more.
                let (tasks, _) = self.before_and_after();
                let tasks = tasks.into_iter().filter(|task| left.contains_key(&task.name)).collect();
                self.run_until_main_ends(tasks, left, Stop::Gently).await;
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

    /// What cannot be removed is kept on record: the job's end reports it and `stop` tries again.
    async fn clean_up(&self) {
        if let Err(error) = self.disconnect().await {
            report::note(&error);
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        if self.alloc.network.as_ref().is_some_and(NetworkState::is_made) {
            return Ok(());
        }
        // An agent that was killed has not come to the end, or a machine that was started again has lost it.
        self.disconnect().await?;
        self.alloc.network = network::make(&self.driver, &self.group, &self.alloc, &self.record).await?;
        Ok(())
    }

    async fn disconnect(&self) -> Result<(), String> {
        let Some(network) = self.record.network(&self.alloc.id) else { return Ok(()) };
        network::remove(&self.driver, &self.alloc, &network).await?;
        self.record.alloc(&self.alloc.id, |alloc| alloc.network = None);
        Ok(())
    }

    /// The tasks that run before the end, and those that run after it.
    fn before_and_after(&self) -> (Vec<Task>, Vec<Task>) {
        self.group.tasks.clone().into_iter().partition(|task| Turn::of(task) != Turn::Poststop)
    }

    async fn run_tasks(&mut self, mut left: BTreeMap<String, TaskHandle>) -> Phase {
        let (others, last) = self.before_and_after();
        let left_last = last.iter().filter_map(|task| left.remove_entry(&task.name)).collect::<BTreeMap<_, _>>();
        let phase = self.run_until_main_ends(others, left, Stop::No).await;
        let mut left = left_last;
        // The job is ending, and these are part of its end: only haste ends them.
        let (own, watched) = watch::channel(Stop::No);
        let mut running = JoinSet::new();
        for task in last {
            let handle = left.remove(&task.name);
            #[expect(clippy::disallowed_methods, reason = "all are joined below")]
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

    /// When a task fails, its leader ends, or none but sidecars are left, the others are stopped, in their turns.
    async fn run_until_main_ends(
        &self,
        tasks: Vec<Task>,
        mut left: BTreeMap<String, TaskHandle>,
        mut ending: Stop,
    ) -> Phase {
        let mut outer = self.stop.clone();
        ending = ending.max(*outer.borrow_and_update());
        let turns: Vec<Turn> = tasks.iter().map(Turn::of).collect();
        let asks: Vec<_> = turns.iter().map(|_| watch::channel(Stop::No).0).collect();
        let mut runs = vec![true; tasks.len()];
        let mut running = JoinSet::new();
        for (index, task) in tasks.into_iter().enumerate() {
            let handle = left.remove(&task.name);
            let (leads, gate) = (task.leader, self.gate(&task));
            let (record, alloc, mut stop) = (self.record.clone(), self.alloc.id.clone(), asks[index].subscribe());
            let runner = self.runner(task, asks[index].subscribe());
            #[expect(clippy::disallowed_methods, reason = "all are joined below")]
            running.spawn(async move {
                if handle.is_none() {
                    tokio::select! {
                        () = record.reached(&alloc, gate) => {}
                        () = asked(&mut stop, Stop::Gently) => {}
                    }
                }
                (index, leads, runner.run(handle).await)
            });
        }
        let mut phase = Phase::Complete;
        loop {
            let left = || runs.iter().zip(&turns).filter(|(runs, _)| **runs).map(|(_, turn)| *turn);
            for (ask, turn) in asks.iter().zip(&turns) {
                raise(ask, turn.asked(ending, left()));
            }
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => return phase,
                    Some(Ok((index, leads, ended))) => {
                        runs[index] = false;
                        let is_over = !runs.iter().zip(&turns).any(|(runs, turn)| *runs && *turn != Turn::Sidecar);
                        if ended == Phase::Failed {
                            phase = Phase::Failed;
                        }
                        if leads || ended == Phase::Failed || is_over {
                            ending = ending.max(Stop::Gently);
                        }
                    }
                    // A panic: which task's is not known, so that none can wait for it.
                    Some(Err(_)) => (phase, ending) = (Phase::Failed, Stop::Now),
                },
                Ok(()) = outer.changed() => ending = ending.max(*outer.borrow_and_update()),
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
