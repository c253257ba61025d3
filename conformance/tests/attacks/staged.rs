//! Staged mounts: what a task sees through them, and what is left of them however driver, engine and task end.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use conformance::{
    DEADLINE, Fixture, Task,
    docker::{containers_of, docker, inspect},
    dockerd::Dockerd,
    mounts::{self, Shared},
    object,
    relay::Relay,
    text, texts,
};
use nomad_plugin::{driver::Force, msgpack::Value};

/// Files of a task that nothing may touch.
fn plant(task: &Task) {
    for place in ["alloc/data/canary", "alloc/canary", "web/local/canary", "web/secrets/canary"] {
        fs::write(task.alloc_dir().join(place), "alive").unwrap();
    }
}

fn assert_untouched(task: &Task) {
    for place in ["alloc/data/canary", "alloc/canary", "web/local/canary", "web/secrets/canary"] {
        assert_eq!(fs::read_to_string(task.alloc_dir().join(place)).unwrap(), "alive", "{place}");
    }
}

/// The directories of stages that are there.
fn stages(fixture: &Fixture) -> Vec<PathBuf> {
    let engines = fs::read_dir(fixture.directory().join("state/mounts"));
    let engines = engines.into_iter().flatten().map(|engine| engine.unwrap().path());
    engines.flat_map(|engine| fs::read_dir(engine).unwrap().map(|stage| stage.unwrap().path())).collect()
}

/// A fixture that kills itself when the engine is asked for a path.
async fn dying_at(directory: &Path, request: &'static str) -> (Fixture, Arc<Mutex<Option<i32>>>) {
    let victim: Arc<Mutex<Option<i32>>> = Arc::default();
    let armed = victim.clone();
    let relay = Relay::start(directory, move |line| {
        if line.contains(request)
            && let Some(pid) = armed.lock().unwrap().take()
        {
            conformance::kill([pid]);
        }
    });
    (Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await, victim)
}

#[tokio::test]
async fn a_task_host_and_exec_see_the_same_files() {
    let fixture = Fixture::start().await;
    let script = "echo from-task > /alloc/data/a; echo from-task > /local/b; echo from-task > /f; cat /file; \
                  touch /alloc/top && echo top; while [ ! -e /local/go ]; do sleep 0.05; done; cat /local/go /alloc/data/late; \
                  touch /alloc/logs/x 2>/dev/null || echo closed; ls /alloc/logs | wc -l";
    let task = fixture.task("web", script);
    let own = task.alloc_dir().join("web/local");
    fs::write(own.join("file"), "a file\n").unwrap();
    fs::write(own.join("other"), "").unwrap();
    let as_with_systemd = Shared::make(&task.alloc_dir());
    let task = task.option("volumes", texts(&["local/file:/file:ro", "local/other:/f", "local/made/here:/made"]));
    plant(&task);
    let mounts_before = mounts::below(&task.alloc_dir());

    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("top\n");
    let command = ["/bin/sh", "-c", "cat /local/b && echo seen > /alloc/data/exec"].map(str::to_owned).to_vec();
    let inside = fixture.driver.exec_task(started.id.clone(), command, *DEADLINE).await.unwrap();
    fs::write(task.alloc_dir().join("alloc/data/late"), "late\n").unwrap();
    fs::write(task.alloc_dir().join("alloc/logs/of-host"), "").unwrap();
    // Whole at once, for the task waits for its name.
    fs::write(own.join("go.new"), "go\n").unwrap();
    fs::rename(own.join("go.new"), own.join("go")).unwrap();
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    let mounts_meanwhile = mounts::below(&task.alloc_dir());
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

    assert_eq!(inside.stdout, b"from-task\n");
    let read = |path: &str| fs::read_to_string(task.alloc_dir().join(path)).unwrap();
    assert_eq!((read("alloc/data/exec"), read("web/local/other")), ("seen\n".into(), "from-task\n".into()));
    assert!(task.alloc_dir().join("alloc/top").exists() && own.join("made/here").is_dir());
    let said = task.pipes.stdout.text();
    assert!(said.starts_with("a file\ntop\ngo\nlate\nclosed\n"), "{said}");
    assert_eq!((&mounts_meanwhile, stages(&fixture)), (&mounts_before, Vec::new()));
    assert_untouched(&task);
    drop(as_with_systemd);
    fixture.end().await;
}

#[tokio::test]
async fn what_a_job_mounts_read_only_is_so_as_a_whole() {
    let fixture = Fixture::start().await;
    let all = object(&[
        ("type", text("bind")),
        ("source", text("..")),
        ("target", text("/all")),
        ("readonly", Value::Bool(true)),
    ]);
    let script = "for at in /all /all/alloc /all/alloc/data /all/alloc/logs /v /v/data; do touch $at/x 2>/dev/null && echo $at; done; \
                  cat /all/alloc/canary; mv /all/alloc /all/moved 2>/dev/null; echo";
    let task = fixture.task("web", script).option("mount", Value::List(vec![all]));
    let task = task.option("volumes", texts(&["../alloc:/v:ro"]));
    plant(&task);

    assert_eq!(fixture.output(&task).await, "alive\n");

    fixture.end().await;
}

#[tokio::test]
async fn a_driver_that_dies_between_stage_and_start_leaves_no_mount() {
    for request in ["/containers/create", "/start"] {
        let directory = tempfile::tempdir().unwrap();
        let (mut fixture, victim) = dying_at(directory.path(), request).await;
        let task = fixture.task("web", "exec sleep 1000");
        plant(&task);
        *victim.lock().unwrap() = Some(fixture.driver.reattach_config().pid);

        let died = fixture.driver.start_task(task.config.clone()).await;
        // The engine still does what it was asked for.
        conformance::until("the container is made", || !containers_of(fixture.directory()).is_empty()).await;
        let left = mounts::below(&fixture.directory().join("state"));
        fixture.start_again().await;
        let unknown = fixture.driver.destroy_task(task.config.id.clone(), Force::Yes).await;

        assert!(died.is_err() && unknown.is_err());
        assert!(!left.is_empty(), "{request}: it died before the stage");
        assert_eq!((mounts::below(fixture.directory()), stages(&fixture)), (Vec::new(), Vec::new()), "{request}");
        assert_untouched(&task);
        fixture.end().await;
    }
}

#[tokio::test]
async fn the_mounts_of_a_running_task_outlive_the_driver_and_go_with_the_task() {
    let mut fixture = Fixture::start().await;
    let task = fixture.task("web", "echo begun; exec sleep 1000");
    plant(&task);
    let started = fixture.run(&task).await;
    let staged = mounts::below(fixture.directory());

    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    docker(&["restart", "--time", "0", &task.container()]);
    let after = mounts::below(fixture.directory());
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

    // A tmpfs, the allocation's directory with the logs, local and secrets.
    assert_eq!((staged.len(), &after), (5, &staged));
    assert_eq!((mounts::below(fixture.directory()), stages(&fixture)), (Vec::new(), Vec::new()));
    assert_untouched(&task);
    fixture.end().await;
}

#[tokio::test]
async fn what_is_left_of_a_container_that_was_removed_is_removed_when_the_driver_is_back() {
    let mut fixture = Fixture::start().await;
    let (removed, running) = (fixture.task("web", "exec sleep 1000"), fixture.task("other", "exec sleep 1000"));
    plant(&removed);
    fixture.run(&removed).await;
    fixture.run(&running).await;
    let both = mounts::below(fixture.directory());

    fixture.kill();
    docker(&["rm", "--force", &removed.container()]);
    fixture.start_again().await;
    // Only a process that serves looks for what is left.
    let _stream = fixture.driver.fingerprint().await.unwrap();
    conformance::until("the mounts of the one are removed", || {
        mounts::below(fixture.directory()).len() * 2 == both.len()
    })
    .await;

    let source = inspect(&running.container())["HostConfig"]["Mounts"][0]["Source"].as_str().unwrap().to_owned();
    assert!(mounts::below(fixture.directory()).contains(&PathBuf::from(source)));
    assert_eq!(stages(&fixture).len(), 1);
    assert_untouched(&removed);
    fixture.end().await;
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_mount() {
    let fixture = Fixture::start().await;
    let bind = object(&[("type", text("bind")), ("source", text("local/none")), ("target", text("/m"))]);
    for (task, words) in [
        (fixture.task("web", "exit 0").option("command", text("/no/such/program")), "/no/such/program"),
        (fixture.task("web", "exit 0").option("privileged", Value::Bool(true)), "privileged"),
        (fixture.task("web", "exit 0").option("mount", Value::List(vec![bind])), "bind source path does not exist: "),
    ] {
        plant(&task);
        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.contains(words), "{rejection}");
        assert_eq!((mounts::below(fixture.directory()), stages(&fixture)), (Vec::new(), Vec::new()));
        assert_untouched(&task);
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_engine_that_restarts_finds_the_mounts_of_its_containers() {
    let mut engine = Dockerd::start();
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &engine.address())]).await;
    let task = fixture.task("web", "echo begun; exec sleep 1000");
    plant(&task);
    let started = fixture.run(&task).await;
    let staged = mounts::below(fixture.directory());

    engine.stop();
    engine.begin();
    let running = engine.run(&["inspect", "--format", "{{.State.Running}}", &task.container()]);
    engine.run(&["restart", "--time", "0", &task.container()]);
    let after = mounts::below(fixture.directory());
    fixture.driver.destroy_task(started.id, Force::Yes).await.unwrap();

    assert_eq!((running.trim(), &after), ("true", &staged));
    assert_eq!(mounts::below(fixture.directory()), Vec::<PathBuf>::new());
    assert_untouched(&task);
    fixture.end().await;
}

#[tokio::test]
async fn volumes_of_the_host_that_nomad_mounts_are_handed_over_as_they_are() {
    let fixture = Fixture::start().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "of a volume\n").unwrap();
    let mut task = fixture.task("web", "cat /v/file; touch /v/made");
    task.config.mounts = vec![nomad_plugin::driver::Mount {
        task_path: "/v".into(),
        host_path: outside.path().display().to_string(),
        ..Default::default()
    }];

    assert_eq!(fixture.output(&task).await, "of a volume\n");

    let mounts = inspect(&task.container())["Mounts"].clone();
    let source = outside.path().display().to_string();
    assert!(mounts.as_array().unwrap().iter().any(|mount| mount["Source"] == source && mount["Destination"] == "/v"));
    assert!(outside.path().join("made").exists());
    fixture.end().await;
}
