//! A state directory on a disk that is full: records are missing then, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use conformance::{Fixture, Started, Task, dockerd::Dockerd, object, text, until};
use nomad_plugin::{
    driver::{Force, NetworkIsolation},
    id::AllocId,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A small disk. It is unmounted with this.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn make() -> Self {
        let directory = tempfile::Builder::new().prefix("longshore-test-disk-").tempdir().unwrap();
        mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), Some(c"size=256k,mode=0700")).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves room for no byte.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let error = loop {
            if let Err(error) = filler.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    /// The files that the driver has on it, without those that are written at any moment.
    fn files(&self) -> Vec<PathBuf> {
        let mut left = vec![self.path().to_owned()];
        let mut files = Vec::new();
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() { left.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _absent = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// When the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Always,
    SinceTheStart,
    UntilTheStart,
}

async fn driver_on(disk: &Disk, engine: &Dockerd) -> Fixture {
    let gc = object(&[("image_delay", text("1h"))]);
    let state_dir = text(&disk.path().display().to_string());
    // The built-in pause image, which is recorded as well.
    let infra_image = text("localhost:1/longshore-test/pause:1");
    Fixture::with(
        object(&[("state_dir", state_dir), ("gc", gc), ("infra_image", infra_image)]),
        &[("DOCKER_HOST", &engine.address())],
    )
    .await
}

/// A task in a group's network, started while the disk may be full.
async fn group(fixture: &Fixture) -> (AllocId, NetworkIsolation, Task, Started) {
    let task = fixture.task("web", "echo up; until [ -e /local/go ]; do sleep 0.05; done; exit 7");
    let mut task = task.option("network_mode", text(""));
    let alloc = task.config.alloc_id.clone();
    let network = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap().isolation;
    task.config.network_isolation = Some(network.clone());
    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("up\n");
    (alloc, network, task, started)
}

async fn lives_and_leaves_nothing(full: Full) {
    let (disk, engine) = (Disk::make(), Dockerd::start());
    if full != Full::SinceTheStart {
        disk.fill();
    }
    let mut fixture = driver_on(&disk, &engine).await;
    let (alloc, network, task, started) = group(&fixture).await;
    match full {
        Full::Always => {}
        Full::SinceTheStart => disk.fill(),
        Full::UntilTheStart => disk.free(),
    }
    fixture.kill_and_start_again().await;
    // What an agent's disk has of it.
    let mut handle = started.handle.clone();
    handle.config.driver_config.clear();
    fixture.driver.recover_task(handle).await.unwrap();
    fs::write(task.alloc_dir().join("web/local/go"), "").unwrap();
    let ended = fixture.driver.wait_task(started.id.clone()).await.unwrap();
    fixture.driver.stop_task(started.id.clone(), Duration::from_secs(5), String::new()).await.unwrap();
    fixture.driver.destroy_task(started.id.clone(), Force::Yes).await.unwrap();
    fixture.driver.destroy_network(alloc.clone(), Some(network)).await.unwrap();

    assert_eq!(ended.result.exit_code, 7, "{full:?}");
    assert_eq!(task.pipes.stdout.text(), "up\n", "{full:?}");
    until("no container", || engine.run(&["ps", "--all", "--quiet"]).is_empty()).await;
    assert!(!Path::new(&format!("/run/netns/longshore-{alloc}")).exists(), "{full:?}");
    if full != Full::UntilTheStart {
        let log = fixture.log.lock().unwrap().join("\n");
        assert!(log.contains("No space left on device"), "{full:?}: {log}");
        disk.free();
    }
    let half: Vec<_> = disk.files().into_iter().filter(|file| file.extension().is_some_and(|it| it == "new")).collect();
    assert_eq!(half, Vec::<PathBuf>::new(), "{full:?}: half-written files");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_in_a_network_lives_and_leaves_nothing_while_the_state_directory_is_full() {
    lives_and_leaves_nothing(Full::Always).await;
}

#[tokio::test]
async fn a_state_directory_that_fills_up_under_a_task_ends_nothing() {
    lives_and_leaves_nothing(Full::SinceTheStart).await;
}

#[tokio::test]
async fn a_state_directory_with_room_again_is_used_again() {
    lives_and_leaves_nothing(Full::UntilTheStart).await;
}
