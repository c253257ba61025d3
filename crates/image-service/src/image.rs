//! An image that a driver has to do with, and what becomes of it.

use std::{path::PathBuf, time::Duration};

use crate::proto as wire;

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id, `sha256:...`.
    pub id: String,
    /// The names by which the engine knows it.
    pub names: Vec<String>,
    /// How many bytes it takes on disk.
    pub size: u64,
    /// Whether something uses it: a task, a network's container, or a start that is under way.
    pub used: bool,
    /// The tasks that use it.
    pub tasks: Vec<TaskOf>,
    /// What becomes of it.
    pub fate: Fate,
}

/// An image, and who knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The image.
    pub image: Image,
    /// Which of the asked directories knows it; `None` where the driver itself does.
    pub state_dir: Option<PathBuf>,
}

/// A task that uses an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskOf {
    /// The job's id.
    pub job: String,
    /// The allocation's id.
    pub alloc: String,
    /// The task's name.
    pub name: String,
}

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is removed so long after its last use.
    RemovedAfter(Duration),
    /// It is removed in so long, unless it is used again.
    RemovedIn(Duration),
    /// It is not removed.
    Kept(Kept),
}

/// Why an image is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A person asked for it.
    Prefetched,
    /// The driver did not bring it.
    Found,
    /// The operator wants no image removed.
    CleanupOff,
    /// The driver that pulled it does not run.
    Unattended,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<Listed> for wire::Image {
    fn from(Listed { image, state_dir }: Listed) -> Self {
        let Image { id, names, size, used, tasks, fate } = image;
        let fate = match fate {
            Fate::RemovedAfter(time) => wire::image::Fate::RemovedAfterMs(millis(time)),
            Fate::RemovedIn(time) => wire::image::Fate::RemovedInMs(millis(time)),
            Fate::Kept(kept) => wire::image::Fate::Kept(wire::Kept::from(kept).into()),
        };
        let tasks =
            tasks.into_iter().map(|TaskOf { job, alloc, name }| wire::Task { job_id: job, alloc_id: alloc, name });
        let state_dir = state_dir.map(|directory| directory.display().to_string());
        Self { id, names, size, used, tasks: tasks.collect(), fate: Some(fate), state_dir }
    }
}

impl From<wire::Image> for Listed {
    fn from(image: wire::Image) -> Self {
        let wire::Image { id, names, size, used, tasks, fate, state_dir } = image;
        let fate = match fate {
            Some(wire::image::Fate::RemovedAfterMs(time)) => Fate::RemovedAfter(Duration::from_millis(time)),
            Some(wire::image::Fate::RemovedInMs(time)) => Fate::RemovedIn(Duration::from_millis(time)),
            Some(wire::image::Fate::Kept(kept)) => Fate::Kept(wire::Kept::try_from(kept).unwrap_or_default().into()),
            None => Fate::Kept(Kept::Found),
        };
        let tasks = tasks.into_iter().map(|wire::Task { job_id, alloc_id, name }| TaskOf {
            job: job_id,
            alloc: alloc_id,
            name,
        });
        let image = Image { id, names, size, used, tasks: tasks.collect(), fate };
        Self { image, state_dir: state_dir.map(PathBuf::from) }
    }
}

impl From<Kept> for wire::Kept {
    fn from(reason: Kept) -> Self {
        match reason {
            Kept::Prefetched => Self::Prefetched,
            Kept::Found => Self::Found,
            Kept::CleanupOff => Self::CleanupOff,
            Kept::Unattended => Self::Unattended,
        }
    }
}

impl From<wire::Kept> for Kept {
    fn from(reason: wire::Kept) -> Self {
        match reason {
            wire::Kept::Prefetched => Self::Prefetched,
            wire::Kept::Unspecified | wire::Kept::Found => Self::Found,
            wire::Kept::CleanupOff => Self::CleanupOff,
            wire::Kept::Unattended => Self::Unattended,
        }
    }
}
