//! `images`: the images that tasks use, that drivers pulled, or that are pinned; who uses them, and when they are removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use image_service::{Fate, Image, ImageClient, ImageError, Kept, TaskOf};
use nomad_plugin::client::DriverClient;
use serde_json::{Value, json};

use crate::{
    Failure,
    cli::Options,
    data_dir::DataDir,
    driver::{Launch, Launcher, no_engine, state_dir},
    report,
    state::JobState,
};

/// An image, as all drivers together know it.
struct Known {
    image: Image,
    /// The jobs that pulled it, whose drivers do not run.
    unattended: BTreeSet<String>,
}

pub(super) async fn images(options: &Options, data: &DataDir) -> Result<(), Failure> {
    let known = gather(options, data).await?;
    if options.json {
        report::json(&known.values().map(value).collect::<Vec<_>>());
    } else {
        show(known.into_values().collect());
    }
    Ok(())
}

/// The drivers that run, by job; those of killed agents as well.
pub(super) async fn running(jobs: &[JobState]) -> BTreeMap<String, DriverClient> {
    let mut drivers = BTreeMap::new();
    for job in jobs {
        if let Some(reattach) = job.driver.clone()
            && let Ok(driver) = DriverClient::reattach(reattach).await
        {
            drivers.insert(job.id.clone(), driver);
        }
    }
    drivers
}

async fn gather(options: &Options, data: &DataDir) -> Result<BTreeMap<String, Known>, Failure> {
    let jobs = data.all().map_err(|error| data.failed(&error))?;
    let mut known = BTreeMap::new();
    let drivers = running(&jobs).await;
    for (job, driver) in &drivers {
        match ImageClient::new(driver.channel()).list(&[]).await {
            Ok(listed) => listed.into_iter().for_each(|listed| add(&mut known, listed.image, None)),
            Err(error) => report::note(&format!("cannot list the images of job {job:?}: {error}")),
        }
    }
    let alone: BTreeMap<PathBuf, &JobState> =
        jobs.iter().filter(|job| !drivers.contains_key(&job.id)).map(|job| (state_dir(data, &job.id), job)).collect();
    for job in alone.values().filter(|job| !job.phase().is_over()) {
        report::note(&format!("job {:?} has no running agent: images used by its tasks are unknown", job.id));
    }
    let driver = Launcher::new(options)?.standalone(data).launch().await?;
    let state_dirs: Vec<PathBuf> = alone.keys().cloned().collect();
    let listed = ImageClient::new(driver.channel()).list(&state_dirs).await;
    driver.kill().await;
    let listed = listed.map_err(|error| match error {
        ImageError::Unserved | ImageError::Refused(_) => Failure::Engine(error.to_string()),
        ImageError::Failed(description) => no_engine(&description),
    })?;
    for listed in listed {
        let job = listed.state_dir.and_then(|directory| alone.get(&directory)).map(|job| job.id.clone());
        add(&mut known, listed.image, job);
    }
    Ok(known)
}

/// Adds what one driver knows of an image to what others do.
fn add(known: &mut BTreeMap<String, Known>, image: Image, unattended: Option<String>) {
    let Some(first) = known.get_mut(&image.id) else {
        known.insert(image.id.clone(), Known { image, unattended: unattended.into_iter().collect() });
        return;
    };
    first.unattended.extend(unattended);
    first.image.used |= image.used;
    first.image.tasks.extend(image.tasks);
    if weight(image.fate) < weight(first.image.fate) {
        first.image.fate = image.fate;
    }
}

/// What outweighs what, where drivers do not agree: the lighter one holds.
fn weight(fate: Fate) -> (u8, Duration) {
    match fate {
        Fate::Kept(Kept::Prefetched) => (0, Duration::ZERO),
        Fate::RemovedAfter(time) | Fate::RemovedIn(time) => (1, time),
        Fate::Kept(Kept::Unattended) => (2, Duration::ZERO),
        Fate::Kept(Kept::CleanupOff) => (3, Duration::ZERO),
        Fate::Kept(Kept::Found) => (4, Duration::ZERO),
    }
}

fn show(known: Vec<Known>) {
    if known.is_empty() {
        return report::line("No images");
    }
    let mut rows = vec![["ID", "Size", "Names", "Used by", "Removed"].map(str::to_owned)];
    for Known { image, unattended } in known {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let by: Vec<String> = image.tasks.iter().map(user).collect();
        let by = match (by.is_empty(), image.used) {
            (true, true) => "a starting task or a network".to_owned(),
            (true, false) => "-".to_owned(),
            (false, _) => by.join(", "),
        };
        rows.push([id, report::mib(image.size), image.names.join(", "), by, removal(&image, &unattended)]);
    }
    report::table(&rows, Some(1));
}

fn user(TaskOf { job, alloc, name }: &TaskOf) -> String {
    format!("{job}/{name} {}", report::short(alloc))
}

/// When an image is removed.
fn removal(image: &Image, unattended: &BTreeSet<String>) -> String {
    match image.fate {
        Fate::RemovedAfter(_) | Fate::RemovedIn(_) if image.used => "in use".to_owned(),
        Fate::RemovedAfter(time) | Fate::RemovedIn(time) => format!("in {}", duration(time)),
        Fate::Kept(Kept::Prefetched) => "kept: prefetched".to_owned(),
        Fate::Kept(Kept::Found) => "kept: already present".to_owned(),
        Fate::Kept(Kept::CleanupOff) => "kept: gc.image is off".to_owned(),
        Fate::Kept(Kept::Unattended) if unattended.is_empty() => "kept: its driver is not running".to_owned(),
        Fate::Kept(Kept::Unattended) => {
            let jobs: Vec<&str> = unattended.iter().map(String::as_str).collect();
            format!("kept: {} is not running", jobs.join(", "))
        }
    }
}

/// `2m30s`.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// An image as programs see it.
fn value(Known { image, unattended }: &Known) -> Value {
    let seconds = |time: Duration| time.as_secs_f64();
    let (after, within, reason) = match image.fate {
        Fate::RemovedAfter(time) => (Some(seconds(time)), None, None),
        Fate::RemovedIn(time) => (None, Some(seconds(time)).filter(|_| !image.used), None),
        Fate::Kept(Kept::Prefetched) => (None, None, Some("prefetched")),
        Fate::Kept(Kept::Found) => (None, None, Some("found")),
        Fate::Kept(Kept::CleanupOff) => (None, None, Some("cleanup off")),
        Fate::Kept(Kept::Unattended) => (None, None, Some("unattended")),
    };
    let user = |TaskOf { job, alloc, name }: &TaskOf| json!({ "job": job, "alloc": alloc, "task": name });
    json!({
        "id": image.id,
        "names": image.names,
        "size": image.size,
        "used": image.used,
        "used_by": image.tasks.iter().map(user).collect::<Vec<_>>(),
        "kept": reason,
        "goes_after_seconds": after,
        "goes_in_seconds": within,
        "jobs_that_do_not_run": unattended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(used: bool, fate: Fate) -> Image {
        let tasks =
            if used { vec![TaskOf { job: "web".into(), alloc: "a1".into(), name: "t".into() }] } else { Vec::new() };
        Image { id: "sha256:1".into(), names: vec!["app:1".into()], size: 1, used, tasks, fate }
    }

    fn together(images: &[(Image, Option<&str>)]) -> String {
        let mut known = BTreeMap::new();
        for (image, job) in images {
            add(&mut known, image.clone(), job.map(str::to_owned));
        }
        let Known { image, unattended } = &known["sha256:1"];
        removal(image, unattended)
    }

    #[test]
    fn what_drivers_know_of_one_image_is_one_answer() {
        let pulled = image(false, Fate::RemovedIn(Duration::from_secs(150)));
        let found = image(true, Fate::Kept(Kept::Found));
        let prefetched = image(false, Fate::Kept(Kept::Prefetched));
        let left = image(false, Fate::Kept(Kept::Unattended));

        assert_eq!(together(&[(pulled.clone(), None)]), "in 2m30s");
        assert_eq!(together(&[(found.clone(), None), (pulled.clone(), None)]), "in use");
        assert_eq!(together(&[(pulled, None), (prefetched, None)]), "kept: prefetched");
        assert_eq!(together(&[(left.clone(), Some("a")), (left.clone(), Some("b"))]), "kept: a, b is not running");
        assert_eq!(together(&[(found, None), (left, Some("a"))]), "kept: a is not running");
    }
}
