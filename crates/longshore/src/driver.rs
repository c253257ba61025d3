//! The driver's process: found or started, and replaced when it dies while its tasks run on.

mod launcher;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use background::Backoff;
use nomad_plugin::{
    client::{ClientError, DriverClient, Reattach},
    driver::{DriverError, Fingerprint, Recoverability, TaskHandle},
    id::TaskId,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

pub(crate) use self::launcher::{Launch, Launcher, state_dir};
use crate::{Failure, report};

/// How long a driver that runs already may take to say its name.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The driver in use. When its process dies another one is started, which takes the running tasks over. Clones share it.
#[derive(Clone)]
pub(crate) struct Driver {
    current: watch::Receiver<Arc<DriverClient>>,
    running: Arc<Mutex<BTreeMap<TaskId, TaskHandle>>>,
}

/// Owns the driver's process: replaces one that dies, and ends the last one.
pub(crate) struct Supervisor {
    driver: Driver,
    work: JoinHandle<()>,
}

/// Called with each new process, so that it can be found again.
pub(crate) type OnNew = Box<dyn Fn(&Reattach) + Send + Sync>;

impl Supervisor {
    /// Finds the process of an earlier agent, or starts one. `running` are tasks to take over.
    pub(crate) async fn start(
        launcher: impl Launch,
        earlier: Option<Reattach>,
        running: BTreeMap<TaskId, TaskHandle>,
        on_new: OnNew,
    ) -> Result<Self, Failure> {
        let found = match earlier {
            Some(reattach) => find(reattach).await?,
            None => None,
        };
        let (client, is_new) = match found {
            Some(client) => (client, false),
            None => (launcher.launch().await?, true),
        };
        on_new(client.reattach_config());
        // A process that ran before has these tasks already, and says so.
        if let Err(error) = recover_all(&client, &running).await {
            if is_new {
                client.kill().await;
            }
            return Err(no_engine(&error.message));
        }
        let (sender, current) = watch::channel(Arc::new(client));
        let running = Arc::new(Mutex::new(running));
        #[expect(clippy::disallowed_methods, reason = "the supervisor holds it")]
        let work = tokio::spawn(supervise(launcher, sender, running.clone(), on_new));
        Ok(Self { driver: Driver { current, running }, work })
    }

    /// The driver, to be called.
    pub(crate) fn driver(&self) -> Driver {
        self.driver.clone()
    }

    /// Leaves the process to others, who find it so.
    pub(crate) async fn leave(mut self) -> Reattach {
        self.stop_supervising().await.reattach_config().clone()
    }

    /// Ends the process. No task runs any more.
    pub(crate) async fn end(mut self) {
        let client = self.stop_supervising().await;
        // One that does not let go in time is ended all the same.
        let _let_go = client.shutdown().await;
        client.kill().await;
    }

    /// From here on no process is started, and the last one is known.
    async fn stop_supervising(&mut self) -> Arc<DriverClient> {
        self.work.abort();
        let _aborted = (&mut self.work).await;
        self.driver.current()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Driver {
    /// The process in use.
    pub(crate) fn current(&self) -> Arc<DriverClient> {
        self.current.borrow().clone()
    }

    /// Waits until another process has taken this one's place.
    pub(crate) async fn renewed(&self, old: &Arc<DriverClient>) {
        let mut current = self.current.clone();
        let _no_more_processes = current.wait_for(|client| !Arc::ptr_eq(client, old)).await;
    }

    /// Makes a call; one that a dying process does not answer is made to the next one again.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Arc<DriverClient>) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut current = self.current.clone();
        loop {
            let client = current.borrow_and_update().clone();
            match call(client).await {
                Err(ClientError::Transport(status)) => {
                    if current.changed().await.is_err() {
                        return Err(ClientError::Transport(status));
                    }
                }
                other => return other,
            }
        }
    }

    /// The task runs: a new process has to take it over.
    pub(crate) fn runs(&self, id: TaskId, handle: TaskHandle) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
    }

    /// The task runs no more.
    pub(crate) fn ran(&self, id: &TaskId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The first fingerprint; a driver whose engine does not answer is an error.
    pub(crate) async fn fingerprint(&self) -> Result<Fingerprint, Failure> {
        judged(self.call(|client| async move { first_fingerprint(&client).await }).await)
    }
}

/// A process that an earlier agent started; `None` where it has exited, or is about to.
async fn find(reattach: Reattach) -> Result<Option<DriverClient>, Failure> {
    let pid = reattach.pid;
    let Ok(client) = DriverClient::reattach(reattach).await else { return Ok(None) };
    match timeout(PATIENCE, client.info()).await {
        Ok(Ok(_)) => Ok(Some(client)),
        Ok(Err(_)) => Ok(None),
        Err(_) => {
            let message = format!("the job's driver, process {pid}, does not answer within {} s", PATIENCE.as_secs());
            Err(Failure::Engine(format!("{message}\nhint: kill -9 {pid}; its tasks keep running")))
        }
    }
}

/// A driver's first fingerprint, where its engine answers.
pub(crate) async fn healthy(driver: &DriverClient) -> Result<Fingerprint, Failure> {
    judged(first_fingerprint(driver).await)
}

async fn first_fingerprint(driver: &DriverClient) -> Result<Option<Fingerprint>, ClientError> {
    use futures_util::StreamExt;
    driver.fingerprint().await?.next().await.transpose()
}

fn judged(fingerprint: Result<Option<Fingerprint>, ClientError>) -> Result<Fingerprint, Failure> {
    let fingerprint = fingerprint.map_err(|error| Failure::Engine(error.to_string()))?;
    let fingerprint = fingerprint.ok_or_else(|| Failure::Engine("the driver sent no fingerprint".to_owned()))?;
    if fingerprint.health == nomad_plugin::driver::Health::Healthy {
        return Ok(fingerprint);
    }
    Err(no_engine(&fingerprint.description))
}

/// The engine does not answer.
pub(crate) fn no_engine(description: &str) -> Failure {
    let hint = if description.contains("ermission denied") {
        "run as root, or join the group docker"
    } else {
        "start dockerd, or set DOCKER_HOST to where it listens"
    };
    Failure::Engine(format!("{description}\nhint: {hint}"))
}

async fn supervise(
    launcher: impl Launch,
    current: watch::Sender<Arc<DriverClient>>,
    running: Arc<Mutex<BTreeMap<TaskId, TaskHandle>>>,
    on_new: OnNew,
) {
    loop {
        let client = current.borrow().clone();
        client.exited().await;
        drop(client);
        report::note("the driver exited; restarting it, tasks keep running");
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let client = loop {
            match launcher.launch().await {
                Ok(client) => break client,
                Err(failure) => report::error(&failure.to_string()),
            }
            backoff.wait().await;
        };
        on_new(client.reattach_config());
        let handles = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while let Err(error) = recover_all(&client, &handles).await {
            report::note(&format!("cannot recover tasks yet, retrying: {error}"));
            tokio::select! {
                () = client.exited() => break,
                () = backoff.wait() => {}
            }
        }
        // From its first fingerprint on a driver removes what others left: images, containers, ...
        let _the_next_start_reports_what_is_wrong = first_fingerprint(&client).await;
        current.send_replace(Arc::new(client));
    }
}

/// Hands tasks over to a process. The error is that it cannot take one for now: it is still to be asked again.
async fn recover_all(client: &DriverClient, running: &BTreeMap<TaskId, TaskHandle>) -> Result<(), DriverError> {
    let mut result = Ok(());
    for (id, handle) in running {
        match client.recover_task(handle.clone()).await {
            // A process that dies meanwhile is followed by another one, which is asked the same.
            Ok(()) | Err(ClientError::Transport(_)) => {}
            Err(ClientError::Driver(error)) if error.recoverability == Recoverability::Recoverable => {
                result = Err(error);
            }
            Err(error) => report::note(&format!("failed to recover {id}: {error}")),
        }
    }
    result
}
