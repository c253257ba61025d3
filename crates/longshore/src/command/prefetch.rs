//! `prefetch`: fetches images before a task needs them, and keeps them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::StreamExt;
use image_service::{ImageClient, ImageError, LayerState, Outcome, Prefetched, Pull, Step};
use nomad_jobspec::{
    body::{Attribute, Body},
    decode::decode,
};
use nomad_plugin::{client::DriverClient, msgpack};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::images;
use crate::{
    Failure,
    alloc::environment::Subject,
    bars::{self, Bars, word},
    cli::{JobFile, Options},
    data_dir::DataDir,
    driver::{Launch, Launcher, no_engine},
    job_file::{self, Loaded},
    node::Node,
    prefetched, report, validation,
};

/// How often a pull is reported where no bars are drawn.
const PERIOD: Duration = Duration::from_secs(10);

/// Fetches an image, or those of a job file, and keeps them from now on.
pub(super) async fn prefetch(target: &JobFile, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = loaded(target)?;
    let driver = Launcher::new(options)?.standalone(data).launch().await?;
    let fetched = fetch(&driver, target, job.as_ref(), options, data).await;
    driver.kill().await;
    let failed = fetched?;
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = failed.into_iter().collect();
    Err(Failure::Image(format!("not fetched: {}", names.join(", "))))
}

/// Keeps images no longer.
pub(super) async fn forget(target: &JobFile, options: &Options, data: &DataDir) -> Result<(), Failure> {
    let job = loaded(target)?;
    let driver = Launcher::new(options)?.standalone(data).launch().await?;
    let wanted = wanted(&driver, target, job.as_ref()).await;
    driver.kill().await;
    let names: BTreeSet<String> = wanted?.into_keys().collect();
    let pinned = prefetched::read(data).map_err(|error| data.failed(&error))?;
    if let Some(other) = names.iter().find(|name| !pinned.contains(*name)) {
        let pinned: Vec<String> = pinned.into_iter().collect();
        let pinned = if pinned.is_empty() { "none".to_owned() } else { pinned.join(", ") };
        return Err(Failure::Usage(format!("{other} is not pinned\nhint: pinned images: {pinned}")));
    }
    change_pinned(data, |pinned| pinned.retain(|name| !names.contains(name))).await?;
    for name in names {
        report::line(&format!("{name}: unpinned"));
    }
    Ok(())
}

/// The job file, where the target is one.
fn loaded(target: &JobFile) -> Result<Option<Loaded>, Failure> {
    let end = target.path.extension();
    let named_so = end.is_some_and(|end| end == "hcl" || end == "nomad" || end == "json");
    // No image's name begins so.
    let is_path = target.path.display().to_string().starts_with(['/', '.']);
    if target.is_stdin() || named_so || is_path {
        return job_file::load(target).map(Some);
    }
    if target.variables.is_empty() && target.variable_files.is_empty() && target.environment.is_empty() {
        return Ok(None);
    }
    let message = format!("{} is an image: -var, -var-file and -env are for job files", target.path.display());
    Err(Failure::Usage(message))
}

/// The configurations of tasks, by the image that they name.
type WantedImages = BTreeMap<String, Vec<Vec<u8>>>;

async fn wanted(driver: &DriverClient, target: &JobFile, job: Option<&Loaded>) -> Result<WantedImages, Failure> {
    let schema = driver.task_config_schema().await.map_err(|error| Failure::Engine(error.to_string()))?;
    let mut wanted = WantedImages::new();
    let mut add = |body: &Body, resolve: &dyn Fn(&str) -> Option<String>| {
        let config = decode(body, &schema, &resolve).map_err(|problems| {
            let problems: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            Failure::Usage(problems.join("; "))
        })?;
        let configs = wanted.entry(image(&config)).or_default();
        let config = msgpack::encode(&config);
        if !configs.contains(&config) {
            configs.push(config);
        }
        Ok(())
    };
    let Some(Loaded { source, directory, parsed, passed }) = job else {
        add(&naming(&target.path.display().to_string()), &|_| None)?;
        return Ok(wanted);
    };
    let job = &parsed.job;
    let node = Node::without_driver().with(passed);
    validation::validate(job, source, directory, &schema, &node)?;
    for group in &job.groups {
        for (task, index) in group.tasks.iter().flat_map(|task| (0..group.count).map(move |index| (task, index))) {
            let subject =
                Subject { job, group, task, alloc_id: "", index, ports: &[], address: None, cores: &[], node: &node };
            let env = subject.environment();
            add(&task.config, &|name| subject.resolve(&env, name))?;
        }
    }
    Ok(wanted)
}

/// A configuration that names an image and nothing else.
fn naming(image: &str) -> Body {
    let attribute = Attribute {
        name: "image".to_owned(),
        value: image.into(),
        span: 0..0,
        value_span: 0..0,
        references: Vec::new(),
        failed: false,
    };
    Body { attributes: vec![attribute], ..Body::default() }
}

fn image(config: &msgpack::Value) -> String {
    match config {
        msgpack::Value::Map(options) => match options.get("image") {
            Some(msgpack::Value::String(image)) => image.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Fetches the images; those that cannot be had.
async fn fetch(
    driver: &DriverClient,
    target: &JobFile,
    job: Option<&Loaded>,
    options: &Options,
    data: &DataDir,
) -> Result<BTreeSet<String>, Failure> {
    let wanted = wanted(driver, target, job).await?;
    let mut images = ImageClient::new(driver.channel());
    let failed = |error: ImageError| match error {
        ImageError::Refused(mistake) => Failure::Usage(mistake),
        other => Failure::Engine(other.to_string()),
    };
    images.list(&[]).await.map_err(|error| match error {
        ImageError::Failed(description) => no_engine(&description),
        other => failed(other),
    })?;
    let mut missing: BTreeSet<String> = wanted.keys().cloned().collect();
    let before = prefetched::read(data).map_err(|error| data.failed(&error))?;
    // First of all: a driver that pulled one of them must not remove it meanwhile.
    change_pinned(data, |pinned| pinned.extend(missing.iter().cloned())).await?;

    let steps = images.prefetch(wanted.into_values().flatten().collect()).await.map_err(failed);
    let ended = match steps {
        Ok(steps) => follow(steps, options, &mut missing).await,
        Err(failure) => Err(failure),
    };
    if !missing.is_empty() {
        change_pinned(data, |pinned| pinned.retain(|name| before.contains(name) || !missing.contains(name))).await?;
    }
    ended.map(|()| missing)
}

/// Prints each step, and removes what was fetched from `missing`. Ctrl-C cancels the rest.
async fn follow(
    mut steps: impl futures_util::Stream<Item = Result<Prefetched, ImageError>> + Unpin,
    options: &Options,
    missing: &mut BTreeSet<String>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("failed to install signal handlers: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut failed = BTreeSet::new();
    let mut shown = Shown::new();
    loop {
        let step = tokio::select! {
            step = steps.next() => step,
            _ = interrupts.recv() => break report::note("interrupted: the remaining images are not fetched"),
            _ = terminations.recv() => break report::note("ended: the remaining images are not fetched"),
        };
        match step {
            None => break,
            Some(Err(error)) => return Err(Failure::Engine(error.to_string())),
            Some(Ok(Prefetched { image, step: Step::Pulling(pull) })) => shown.pull(&image, &pull),
            Some(Ok(Prefetched { image, step: Step::Ended(outcome) })) => {
                shown.end(&image);
                if options.json {
                    report::json(&value(&image, &outcome));
                }
                match &outcome {
                    Outcome::Failed(error) => {
                        report::error(error);
                        failed.insert(image);
                        continue;
                    }
                    _ if options.json => {}
                    fetched => report::line(&format!("{image}: {}", described(fetched))),
                }
                missing.remove(&image);
            }
        }
    }
    // Two tasks may want one image with credentials of their own.
    missing.extend(failed);
    Ok(())
}

/// What came of fetching, for people.
fn described(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Present { asked: false } => "already present".to_owned(),
        Outcome::Present { asked: true } => "already present, the registry has no other".to_owned(),
        // An engine with images in containerd's store does not report the size of what comes at once.
        Outcome::Pulled { bytes: 0, took } => format!("pulled in {:.1} s", took.as_secs_f64()),
        Outcome::Pulled { bytes, took } => format!("pulled {} in {:.1} s", report::mib(*bytes), took.as_secs_f64()),
        Outcome::Archived => "loaded from an archive when the task starts".to_owned(),
        Outcome::Failed(error) => error.clone(),
    }
}

/// The same for programs.
fn value(image: &str, outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Present { asked } => json!({ "image": image, "result": "present", "registry_was_asked": asked }),
        Outcome::Pulled { bytes, took } => {
            json!({ "image": image, "result": "pulled", "bytes": bytes, "seconds": took.as_secs_f64() })
        }
        Outcome::Archived => json!({ "image": image, "result": "archived" }),
        Outcome::Failed(error) => json!({ "image": image, "result": "failed", "error": error }),
    }
}

/// Changes which images are pinned, and reports them to the drivers that run.
async fn change_pinned(data: &DataDir, change: impl FnOnce(&mut BTreeSet<String>)) -> Result<(), Failure> {
    let unread = |error: std::io::Error| data.failed(&error);
    let pinned: Vec<String> = prefetched::change(data, change).map_err(unread)?.into_iter().collect();
    for (job, driver) in images::running(&data.all().map_err(unread)?).await {
        match ImageClient::new(driver.channel()).pin(pinned.clone()).await {
            Ok(()) | Err(ImageError::Unserved) => {}
            Err(error) => {
                report::note(&format!("cannot update the pinned images of the driver of job {job:?}: {error}"));
            }
        }
    }
    Ok(())
}

/// How far pulls are: bars, or a line for each layer that ends and from time to time.
enum Shown {
    Bars(Bars),
    Lines { layers: BTreeMap<(String, String), LayerState>, last: BTreeMap<String, Instant> },
}

impl Shown {
    fn new() -> Self {
        if bars::are_shown() {
            Self::Bars(Bars::default())
        } else {
            Self::Lines { layers: BTreeMap::new(), last: BTreeMap::new() }
        }
    }

    fn pull(&mut self, image: &str, pull: &Pull) {
        let (layers, last) = match self {
            Self::Bars(bars) => return bars.show(pull),
            Self::Lines { layers, last } => (layers, last),
        };
        let now = Instant::now();
        let mut print = |text: &str| {
            report::note(&format!("{image}: {text}"));
            last.insert(image.to_owned(), now);
        };
        let mut printed = false;
        for layer in &pull.layers {
            let before = layers.insert((image.to_owned(), layer.id.clone()), layer.state);
            if before != Some(layer.state) && matches!(layer.state, LayerState::Done | LayerState::Present) {
                print(&format!("{} {}", layer.id, word(layer.state)));
                printed = true;
            }
        }
        if printed || last.get(image).is_some_and(|last| now.duration_since(*last) < PERIOD) {
            return;
        }
        let sum = |bytes: fn(&image_service::Layer) -> u64| pull.layers.iter().map(bytes).sum();
        let (bytes, total) = (sum(|layer| layer.bytes), sum(|layer| layer.total));
        let state = match pull.place {
            Some(place) => format!("queued at position {place}"),
            None if total == 0 => "pulling".to_owned(),
            None => format!("pulling, {} of {}", report::mib(bytes), report::mib(total)),
        };
        report::note(&format!("{image}: {state}"));
        last.insert(image.to_owned(), now);
    }

    fn end(&mut self, image: &str) {
        if let Self::Bars(bars) = self {
            bars.end(image);
        }
    }
}
