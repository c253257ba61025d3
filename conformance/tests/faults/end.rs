//! A task's end and what is left of it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use conformance::{Task, mounts};
use nomad_plugin::{
    client::ClientError,
    driver::{Force, WaitResult},
    id::TaskId,
};
use regex::Regex;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    finding::Question,
    run::{LONGEST, Run, comes, passes, runs, seconds},
};

/// How many seconds after its end a task may be reported as ended.
const REPORT: u32 = 10;
/// The same where a call that waits had to be given up before the engine could be asked again.
const GIVEN_UP: u32 = 20;
/// The same where the engine's events are mute: the driver looks once a minute.
const MUTE: u32 = 75;
/// How long what is removed at once may take, and then what the reaper removes: its grace and some periods.
const AT_ONCE: u32 = 20;
/// How often is looked.
const LOOK: Duration = Duration::from_millis(500);
const REAPER: u32 = 120;

/// How a task ended, and when this was reported.
pub(crate) type Ended = Option<(Result<WaitResult, ClientError>, SystemTime)>;

impl Run {
    /// How late an end may be reported.
    pub(crate) fn patience(&self) -> Duration {
        match &self.plan {
            Some(plan) if plan.fault.keeps_waiting() && plan.call.as_str() == "GET /events" => seconds(MUTE),
            Some(plan) if plan.fault.keeps_waiting() => seconds(GIVEN_UP),
            _ => seconds(REPORT),
        }
    }

    /// Waits for a task's end, at most [`Run::patience`] and a little once it must have ended.
    pub(crate) async fn wait(&self, id: &TaskId, must_have_ended: impl Future<Output = ()>) -> Ended {
        let given_up = async {
            must_have_ended.await;
            passes(self.patience() + seconds(REPORT)).await;
        };
        tokio::select! {
            result = self.fixture.driver.wait_task(id.clone()) => Some((result, SystemTime::now())),
            () = given_up => None,
        }
    }

    /// Stops a task as an agent does, up to five times.
    pub(crate) async fn stop(&self, id: &TaskId) {
        self.proxy.enter("stop");
        let grace = Duration::from_secs(5);
        for _ in 0..5 {
            let stop = self.fixture.driver.stop_task(id.clone(), grace, "SIGTERM".to_owned());
            match self.within("StopTask", grace, stop).await {
                Some(Ok(())) => return,
                Some(Err(error)) => self.remark(format!("StopTask: {error}")),
                None => {}
            }
        }
        self.wrong(Question::Stop, "five attempts failed");
    }

    /// Judges a task's end, while its container is there: whether it was reported, in time, with its code, all its lines.
    pub(crate) async fn judge(&self, task: &Task, ended: &Ended, expected: i64) {
        let state = self.last_container().await["State"].clone();
        let Some((result, reported)) = ended else {
            self.wrong(Question::End, format!("it is not reported; the engine says {}", state["Status"]));
            return;
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.wrong(Question::End, format!("it is reported as an error: {error}")),
        };
        if state["Running"] != Value::Bool(false) {
            self.wrong(Question::End, format!("it is reported, and the engine says {state}"));
        }
        let late = self.lateness(*reported, &state["FinishedAt"]);
        if late > self.patience() {
            self.wrong(Question::End, format!("it is reported after {late:.1?}"));
        }
        let code = i64::from(result.result.exit_code);
        let killed = code == 137 && self.plan.as_ref().is_some_and(|plan| plan.phase == "stop");
        if Some(code) != state["ExitCode"].as_i64() || (code != expected && !killed) {
            let engines = &state["ExitCode"];
            self.wrong(
                Question::Code,
                format!("{code} is reported, the engine's is {engines}, the program's {expected}"),
            );
        }
        self.judge_log(task).await;
        let runs = runs(task);
        if runs != 1 {
            self.wrong(Question::Runs, format!("the program ran {runs} times"));
        }
    }

    /// Whether what came through the pipe is what the engine has.
    async fn judge_log(&self, task: &Task) {
        let Some(made) = self.proxy.made().pop() else { return };
        let Ok(all) = self.proxy.bytes(&format!("/containers/{}/logs?stdout=1", made.id)).await else { return };
        let all = output(&all);
        if !comes(seconds(REPORT), || task.pipes.stdout.bytes() == all).await {
            let came = task.pipes.stdout.text();
            self.wrong(Question::Log, format!("{came:?} came of {:?}", String::from_utf8_lossy(&all)));
        }
    }

    /// Destroys a task, once.
    pub(crate) async fn destroy(&self, id: &TaskId, ended: &Ended) {
        self.proxy.enter("destroy");
        let force = if matches!(ended, Some((Ok(_), _))) { Force::No } else { Force::Yes };
        let destroy = self.fixture.driver.destroy_task(id.clone(), force);
        if let Some(Err(error)) = self.within("DestroyTask", LONGEST, destroy).await {
            self.remark(format!("DestroyTask: {error}"));
        }
    }

    /// Looks whether all is gone, at once or when the reaper has looked.
    pub(crate) async fn judge_left(&self, of_a_life_without: &BTreeSet<String>) {
        let begin = Instant::now();
        let mut left = self.left(of_a_life_without).await;
        let mut later = Vec::new();
        while !left.is_empty() && begin.elapsed() < seconds(REAPER) {
            if begin.elapsed() > seconds(AT_ONCE) {
                later.clone_from(&left);
            }
            passes(LOOK).await;
            left = self.left(of_a_life_without).await;
        }
        if !left.is_empty() {
            self.wrong(Question::Left, left.join(", "));
        } else if !later.is_empty() {
            self.remark(format!("after {:.0?} it was removed: {}", begin.elapsed(), later.join(", ")));
        }
    }

    async fn left(&self, of_a_life_without: &BTreeSet<String>) -> Vec<String> {
        let mut left = Vec::new();
        for made in self.proxy.made() {
            if self.has(&format!("/containers/{}/json", made.id)).await {
                left.push(format!("container {:.12}", made.id));
            }
            for volume in made.volumes {
                if self.has(&format!("/volumes/{volume}")).await {
                    left.push(format!("volume {volume:.12}"));
                }
            }
        }
        left.extend(mounts::below(self.fixture.directory()).iter().map(|mount| format!("mount {}", mount.display())));
        left.extend(self.files().difference(of_a_life_without).map(|file| format!("file {file}")));
        left
    }

    /// The names of the driver's files, without what differs from run to run.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        let root = self.fixture.directory().join("state");
        collect(&root, &root, &mut files);
        files
    }
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeSet<String>) {
    let ids = Regex::new("[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12,}|[A-Z0-9]{4}(:[A-Z0-9]{4})+").expect("it is valid");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it is below").display().to_string();
            files.insert(ids.replace_all(&name, "ID").into_owned());
        }
    }
}

/// Standard output of what an engine answers: frames with a head of eight bytes, the last four of which are the length.
fn output(mut frames: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (frame, behind) = rest.split_at(length.min(rest.len()));
        output.extend_from_slice(frame);
        frames = behind;
    }
    output
}
