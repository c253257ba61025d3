//! Staged mounts: the host files of a container are opened first, and then mounted where no task sees them. The engine is given
//! that place, so that no name that tasks can change decides what a container gets.
//!
//! ```text
//! begun -> filled -> kept with the container -> removed
//! ```
//!
//! A stage is `<state dir>/mounts/<engine's name>/<key>`: a small tmpfs with a placeholder for each source, on which the source
//! is mounted. Detaching the tmpfs detaches everything; nothing of a task's is ever deleted. A stage that is being filled is
//! locked. An unlocked stage belongs to the container that has its `/alloc` from there, and is left over if there is none.

mod bind;
mod left;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, fchown, symlink},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use beneath::Beneath;
use bind::{bind, close, is_same, make_read_only, make_slave};
pub use left::{left, sweep};
use nomad_plugin::driver::TaskConfig;
use rustix::{
    fs::{FlockOperation, Mode, flock},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};
use tokio::net::UnixStream;

use crate::{alloc_paths::ALLOC_TARGET, settings::Settings};
use engine::{Engine, EngineName, ListedContainer, MountPoint};

/// How long the engine's socket may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The name of the link to the allocation's directory in a stage.
const ALLOCATION: &str = "allocation";

/// The maximum number of sources per container. Each is a mount on the host, and every starting container begins with a copy of
/// all of them.
const SOURCES: usize = 256;

/// The stages of one engine's containers.
#[derive(Clone, Debug)]
pub struct Stages {
    /// The directory of all engines' stages.
    all: PathBuf,
    own: PathBuf,
    /// The root user of containers, if the engine remaps users.
    remapped: Option<Owner>,
}

/// A user and a group.
type Owner = (u32, u32);

/// A stage of a container that is being created. Dropping it removes it.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
    engine: EngineProcess,
    remapped: Option<Owner>,
    count: usize,
    is_committed: bool,
}

/// A stage that belongs to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged(PathBuf);

/// The process that listens on the engine's socket.
#[derive(Clone, Copy, Debug)]
struct EngineProcess {
    pid: i32,
}

/// How a source is mounted.
#[derive(Debug)]
pub enum Shape<'a> {
    /// Unchanged.
    Plain,
    /// Read-only through this mount.
    ReadOnly,
    /// A directory that contains the logs, which cannot be written, moved or replaced through this mount.
    Enclosing(&'a Logs),
    /// The same, and the whole directory is read-only.
    ReadOnlyEnclosing(&'a Logs),
}

/// The logs directory.
#[derive(Debug)]
pub struct Logs {
    /// The path from the source to the logs.
    pub path: PathBuf,
    /// The opened logs directory.
    pub found: File,
    /// What is mounted in its place: its [view](logs::view). `None` is the directory itself.
    pub shown: Option<File>,
}

impl Stages {
    /// The stages of the engine; `None` if it does not identify itself, or is on another host.
    pub async fn of(engine: &Engine, settings: &Settings) -> Option<Self> {
        if !engine.is_local() {
            return None;
        }
        let facts = engine.facts().await.ok()?;
        Some(Self { remapped: remapped(&facts.root_dir), ..Self::new(settings.state_dir(), &facts.name) })
    }

    fn new(state_dir: &Path, engine: &EngineName) -> Self {
        // The engine reports this path without links, so it is compared in that form.
        let state_dir = fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let all = state_dir.join("mounts");
        Self { own: all.join(&engine.now), all, remapped: None }
    }

    /// Begins a stage. `None` if this process may not mount, or the engine does not see its mounts.
    async fn begin(&self, engine: &str, alloc_dir: &Path) -> io::Result<Option<Stage>> {
        if !rustix::process::geteuid().is_root() || self.own.as_os_str().as_bytes().contains(&b':') {
            return Ok(None);
        }
        match EngineProcess::listening(engine).await? {
            Some(engine) => self.begin_for(engine, alloc_dir),
            None => Ok(None),
        }
    }

    fn begin_for(&self, engine: EngineProcess, alloc_dir: &Path) -> io::Result<Option<Stage>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.own)?;
        // Prevents others from taking the stage for left over before it is locked.
        let _beginning = lock(&self.own, FlockOperation::LockExclusive)?;
        let root = self.own.join(new_key());
        DirBuilder::new().mode(0o700).create(&root)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let made = mount("longshore", &root, "tmpfs", flags, c"mode=0700,size=64k").map_err(io::Error::from);
        let made = made.and_then(|()| lock(&root, FlockOperation::NonBlockingLockExclusive));
        let lock = made.inspect_err(|_| remove(&root));
        let stage = match lock {
            Ok(lock) => Stage { root, _lock: lock, engine, remapped: self.remapped, count: 0, is_committed: false },
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        };
        symlink(alloc_dir, stage.root.join(ALLOCATION))?;
        Ok(engine.sees(&stage.root)?.then_some(stage))
    }

    /// The stage from which a container has its mounts.
    pub fn of_mounts(&self, mounts: &[MountPoint]) -> Option<Staged> {
        let alloc = mounts.iter().find(|mount| mount.destination == ALLOC_TARGET)?;
        // The engine's name differs if it is reached by another address.
        let mut below = alloc.source.as_deref()?.strip_prefix(&self.all).ok()?.iter();
        let (engine, key) = (below.next()?, below.next().filter(|key| is_key(key))?);
        Some(Staged(self.all.join(engine).join(key)))
    }

    /// The stages that are not being filled, each locked.
    fn unlocked(&self) -> io::Result<Vec<(Staged, File)>> {
        let entries = match fs::read_dir(&self.own) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let _beginning = lock(&self.own, FlockOperation::LockExclusive)?;
        let mut unlocked = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let root = self.own.join(&name);
            if is_key(&name)
                && let Ok(lock) = lock(&root, FlockOperation::NonBlockingLockExclusive)
            {
                unlocked.push((Staged(root), lock));
            }
        }
        Ok(unlocked)
    }

    /// The stages, of these, from which none of the containers has its mounts.
    fn left(&self, found: &[ListedContainer], unlocked: Vec<(Staged, File)>) -> Vec<(Staged, File)> {
        let used: Vec<Staged> = found.iter().filter_map(|found| self.of_mounts(&found.mounts)).collect();
        unlocked.into_iter().filter(|(stage, _)| !used.contains(stage)).collect()
    }
}

/// Begins a stage for a task's container. `None` means that its sources are passed by name.
pub async fn begin(engine: &Engine, settings: &Settings, task: &TaskConfig) -> io::Result<Option<Stage>> {
    // The engine labels everything in a source, but cannot label logs that are read-only in it.
    if !settings.plugin.volumes.selinux_label.is_empty() && Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(None);
    }
    let Some(stages) = Stages::of(engine, settings).await else { return Ok(None) };
    let stage = stages.begin(engine.address(), Path::new(&task.alloc_dir)).await?;
    if stage.is_none() {
        tracing::debug!("Docker does not see this process's mounts: sources are passed by path");
    }
    Ok(stage)
}

impl Stage {
    /// Mounts an opened source, and returns its path for the engine.
    pub fn add(&mut self, source: &File, shape: &Shape<'_>) -> io::Result<PathBuf> {
        let (stage, name) = self.place()?;
        let path = stage.path().join(&name);
        if source.metadata()?.is_dir() {
            DirBuilder::new().mode(0o700).create(&path)?;
        } else {
            File::create_new(&path)?;
        }
        fill(source, &stage, &name, shape)?;
        self.seen(path)
    }

    /// Mounts a directory that contains exactly these directories, and in which nothing can be created.
    pub fn add_together(&mut self, parts: &[(&Path, File, Shape<'_>)]) -> io::Result<PathBuf> {
        let (stage, name) = self.place()?;
        let mode = Mode::from_raw_mode(0o755);
        let together = bind(&stage.make_dirs(&name, mode)?.into(), &stage, &name)?;
        let directory = stage.below(&name)?;
        for (part, source, shape) in parts {
            directory.make_dirs(part, mode)?;
            fill(source, &directory, part, shape)?;
        }
        make_slave(&together)?;
        make_read_only(&together)?;
        self.seen(stage.path().join(&name))
    }

    /// The stage, and the name of its next mount.
    fn place(&mut self) -> io::Result<(Beneath, PathBuf)> {
        if self.count == SOURCES {
            return Err(io::Error::other(format!("more than {SOURCES} different sources")));
        }
        let name = self.count.to_string().into();
        self.count += 1;
        Ok((Beneath::open(&self.root)?, name))
    }

    fn seen(&self, path: PathBuf) -> io::Result<PathBuf> {
        if self.engine.sees(&path)? { Ok(path) } else { Err(io::Error::other("the engine does not see it")) }
    }

    /// Gives a directory that was created for the container to the container's root.
    pub fn own(&self, made: &File) -> io::Result<()> {
        self.remapped.map_or(Ok(()), |(user, group)| fchown(made, Some(user), Some(group)))
    }

    /// Hands the stage over to the container, so that it is not removed on drop.
    pub fn commit(mut self) {
        self.is_committed = true;
    }
}

/// Mounts an opened source on a name.
fn fill(source: &File, directory: &Beneath, name: &Path, shape: &Shape<'_>) -> io::Result<()> {
    let mounted = bind(source, directory, name)?;
    make_slave(&mounted)?;
    match shape {
        Shape::Plain => Ok(()),
        Shape::ReadOnly => make_read_only(&mounted),
        Shape::Enclosing(logs) => {
            close(&directory.below(name)?, logs)?;
            make_slave(&mounted)
        }
        Shape::ReadOnlyEnclosing(logs) => {
            let on_the_way = close(&directory.below(name)?, logs)?;
            make_slave(&mounted)?;
            on_the_way.iter().chain([&mounted]).try_for_each(make_read_only)
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_committed {
            remove(&self.root);
        }
    }
}

impl Staged {
    /// Whether a path is in the stage.
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.0)
    }

    /// Removes the stage. It is no error if it does not exist.
    pub fn remove(&self) {
        remove(&self.0);
    }
}

impl EngineProcess {
    /// The process at an address; `None` if it is not root's, or on another host or in another container.
    async fn listening(address: &str) -> io::Result<Option<Self>> {
        let Some(path) = address.strip_prefix("unix://") else { return Ok(None) };
        let peer = tokio::time::timeout(CONNECT, UnixStream::connect(path)).await??.peer_cred()?;
        // Zero is a process outside this pid namespace.
        let pid = peer.pid().filter(|pid| *pid > 0 && peer.uid() == 0);
        Ok(pid.map(|pid| Self { pid }))
    }

    /// Whether the process sees the same file at a path.
    fn sees(self, path: &Path) -> io::Result<bool> {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        let seen = fs::metadata(root.join(path.strip_prefix("/").unwrap_or(path)));
        let ours = fs::metadata(path)?;
        Ok(seen.is_ok_and(|seen| is_same(&seen, &ours)))
    }
}

/// The root user of containers in an engine that remaps users: it names its data directory after that user.
fn remapped(root_dir: &Path) -> Option<Owner> {
    let (user, group) = root_dir.file_name()?.to_str()?.split_once('.')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

fn new_key() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

fn is_key(name: &OsStr) -> bool {
    name.len() == 32 && name.as_bytes().iter().all(u8::is_ascii_hexdigit)
}

fn lock(directory: &Path, how: FlockOperation) -> io::Result<File> {
    let file = File::open(directory)?;
    flock(&file, how)?;
    Ok(file)
}

/// Detaches the mounts, and removes the mount point. Its content is never touched.
fn remove(root: &Path) {
    let alloc_dir = fs::read_link(root.join(ALLOCATION));
    let detached = loop {
        match unmount(root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // It is no longer a mount point.
            Err(Errno::INVAL | Errno::NOENT) => break Ok(()),
            Err(error) => break Err(io::Error::from(error)),
        }
    };
    match detached.and_then(|()| fs::remove_dir(root)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(stage = %root.display(), %error, "failed to remove the mounts of a container");
        }
        _ => {}
    }
    if let Ok(alloc_dir) = alloc_dir {
        let _there_or_not_empty = remove_what_could_not_be(&alloc_dir);
    }
}

/// Removes what a host left of an allocation's directory because the logs were mounted on: three empty directories.
fn remove_what_could_not_be(alloc_dir: &Path) -> io::Result<()> {
    let only = |directory: &Beneath, name: &str| Ok::<_, io::Error>(directory.names()? == [name]);
    let directory = Beneath::open(alloc_dir)?;
    if only(&directory, "alloc")? && only(&directory.below(Path::new("alloc"))?, "logs")? {
        directory.remove_dir(Path::new("alloc/logs"))?;
        directory.remove_dir(Path::new("alloc"))?;
        fs::remove_dir(alloc_dir)?;
    }
    Ok(())
}
