//! A group's network outlives its pause container. The tests have engines of their own, of which some are killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use conformance::{
    DEADLINE, Fixture, Started, Task, dockerd::Dockerd, event_that, image, object, relay::Relay, text, texts, until,
    until_within, user::User,
};
use futures_util::Stream;
use nomad_plugin::{
    client::ClientError,
    driver::{DriverError, Force, NetworkIsolation, Recoverability, TaskEvent},
    id::AllocId,
};

/// What a CNI plugin would have set up; of addresses for documentation, and in the group's namespace only.
const ADDRESS: &str = "198.51.100.7";

/// A group whose network has an interface with an address.
struct Group {
    alloc: AllocId,
    network: NetworkIsolation,
    namespace: PathBuf,
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.namespace.exists() {
            let _absent = Command::new("umount").arg("--lazy").arg(&self.namespace).status();
            let _absent = std::fs::remove_file(&self.namespace);
        }
    }
}

impl Group {
    async fn make(fixture: &Fixture) -> Self {
        let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());
        let network = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap().isolation;
        let namespace = PathBuf::from(format!("/run/netns/longshore-{alloc}"));
        let group = Self { alloc, network, namespace };
        for command in [
            "ip link add eth0 type veth peer name peer0",
            &format!("ip address add {ADDRESS}/24 dev eth0"),
            "ip link set eth0 up",
            "ip link set peer0 up",
            "ip link set lo up",
        ] {
            assert!(group.inside(command).0, "{command}");
        }
        group
    }

    /// Runs a command in the kept namespace.
    fn inside(&self, command: &str) -> (bool, String) {
        let namespace = format!("--net={}", self.namespace.display());
        let output = Command::new("nsenter").arg(namespace).args(command.split(' ')).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    fn pause(&self) -> String {
        format!("nomad_init_{}", self.alloc)
    }

    /// The id of the pause container that runs.
    fn runs(&self, engine: &Dockerd) -> String {
        let name = format!("name={}", self.pause());
        engine.run(&["ps", "--quiet", "--no-trunc", "--filter", &name]).trim().to_owned()
    }

    fn answer(&self) -> String {
        self.inside(&format!("busybox wget -q -O - http://{ADDRESS}:8080/name")).1
    }

    /// A task of the group that serves its host's name and its resolv.conf.
    fn task(&self, fixture: &Fixture, name: &str) -> Task {
        let script = "cd /local; (hostname; cat /etc/resolv.conf) >name; exec httpd -f -p 8080";
        let mut task = fixture.task(name, script).option("network_mode", text(""));
        task.config.alloc_id = self.alloc.clone();
        task.config.id = format!("{}/{name}/{:08x}", self.alloc, std::process::id()).into();
        task.config.network_isolation = Some(self.network.clone());
        task
    }
}

/// Without an `infra_image`, as it cannot be pulled, the first pause container is of the built-in image as well.
async fn driver(engine: &Dockerd) -> Fixture {
    driver_at(&engine.address()).await
}

async fn driver_at(address: &str) -> Fixture {
    let dangling = object(&[("period", text("1s")), ("creation_grace", text("1m"))]);
    let gc = object(&[("dangling_containers", dangling)]);
    let config = object(&[("infra_image", text("localhost:1/longshore-test/pause:1")), ("gc", gc)]);
    Fixture::with(config, &[("DOCKER_HOST", address)]).await
}

/// Waits until the owner of a task is notified.
async fn reported(events: &mut (impl Stream<Item = Result<TaskEvent, ClientError>> + Unpin), name: &str, what: &str) {
    event_that(events, what, |event| event.task_name == name && event.message == what).await;
}

const HEALED: &str = "The network's pause container died; another one holds the same network";

#[tokio::test]
async fn a_group_answers_on_its_old_address_after_the_engine_was_killed() {
    let mut engine = Dockerd::without_live_restore();
    let fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;
    let first = fixture.run(&group.task(&fixture, "first")).await;
    until("the first task answers", || !group.answer().is_empty()).await;
    let before = group.answer();

    engine.kill();
    engine.begin();
    let ended = fixture.driver.wait_task(first.id.clone()).await.unwrap();
    assert_ne!(ended.result.exit_code, 0);
    fixture.driver.destroy_task(first.id, Force::Yes).await.unwrap();
    let again = fixture.run(&group.task(&fixture, "again")).await;
    until("the task answers again", || !group.answer().is_empty()).await;
    let found = fixture.driver.create_network(group.alloc.clone(), "web-1".into()).await.unwrap();

    assert_eq!(group.answer(), before);
    assert!(before.starts_with("web-1\n"), "{before}");
    assert!(!found.created);
    fixture.driver.destroy_task(again.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();
    assert!(!group.namespace.exists());
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_pause_container_that_was_killed_or_removed_is_followed_by_another_at_once() {
    let engine = Dockerd::start();
    let mut fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;
    let server = fixture.run(&group.task(&fixture, "server")).await;
    until("the task answers", || !group.answer().is_empty()).await;

    for (name, how) in [("killed", "kill"), ("removed", "rm --force"), ("stopped", "stop --time 0")] {
        let mut events = fixture.driver.task_events().await.unwrap();
        let before = group.runs(&engine);
        engine.run(&how.split(' ').chain([group.pause().as_str()]).collect::<Vec<_>>());
        until("another one runs", || !["", &before].contains(&group.runs(&engine).as_str())).await;
        reported(&mut events, "server", HEALED).await;

        let ask = texts(&["-c", &format!("wget -q -O - http://{ADDRESS}:8080/name")]);
        let said = fixture.output(&group.task(&fixture, name).option("args", ask)).await;
        assert!(said.starts_with("web-1\n"), "{name}: {said}");
        reported(&mut events, name, HEALED).await;
    }
    let rights = "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}";
    let rights = engine.run(&["inspect", "--format", rights, &group.pause()]);
    // One that dies while no driver looks.
    fixture.driver.destroy_task(server.id, Force::Yes).await.unwrap();
    let server = fixture.run(&group.task(&fixture, "server")).await;
    fixture.kill_and_start_again().await;
    engine.run(&["kill", &group.pause()]);
    fixture.driver.recover_task(server.handle).await.unwrap();
    until("another one runs", || !group.runs(&engine).is_empty()).await;

    assert!(rights.contains("SYS_ADMIN") && rights.contains("ALL"), "{rights}");
    fixture.driver.destroy_task(server.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();
    assert!(!group.namespace.exists());
    assert_eq!(engine.run(&["ps", "--all", "--quiet", "--filter", "name=nomad_init"]), "");
    fixture.end().await;
}

#[tokio::test]
async fn with_live_restore_nothing_happens_to_what_lives_on() {
    let mut engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;
    let server = fixture.run(&group.task(&fixture, "server")).await;
    until("the task answers", || !group.answer().is_empty()).await;
    let (pause, answer) = (group.runs(&engine), group.answer());

    engine.kill();
    assert_eq!(group.answer(), answer);
    engine.begin();
    // It is in the group as well, so that the network has been looked at when it has run.
    let said = fixture.output(&group.task(&fixture, "other").option("args", texts(&["-c", "hostname"]))).await;

    assert_eq!((said.as_str(), group.runs(&engine), group.answer()), ("web-1\n", pause, answer));
    fixture.driver.destroy_task(server.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();
    fixture.end().await;
}

#[tokio::test]
async fn a_pause_container_that_is_paused_holds_the_network_and_is_removed() {
    let engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;

    engine.run(&["pause", &group.pause()]);
    let server = fixture.run(&group.task(&fixture, "server")).await;
    until("the task answers", || !group.answer().is_empty()).await;
    fixture.driver.destroy_task(server.id, Force::Yes).await.unwrap();
    fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();

    assert!(!group.namespace.exists());
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_network_whose_end_is_asked_for_while_the_engine_is_away_is_removed_when_it_is_back() {
    let mut engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;

    engine.kill();
    let destroy = fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone()));
    let back = async {
        let alloc = group.alloc.to_string();
        let waits =
            |line: &String| line.contains("failed to remove the group's network; retrying") && line.contains(&alloc);
        until("the driver waits for the engine", || fixture.log.lock().unwrap().iter().any(waits)).await;
        engine.begin();
    };
    let (destroyed, ()) = tokio::join!(destroy, back);

    assert!(destroyed.is_ok(), "{destroyed:?}");
    assert!(!group.namespace.exists());
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
    fixture.end().await;
}

#[tokio::test]
async fn a_task_whose_network_cannot_be_healed_for_now_is_started_later() {
    let engine = Dockerd::start();
    let taken: Arc<Mutex<Option<String>>> = Arc::default();
    let (name, address) = (taken.clone(), engine.address());
    // Somebody else takes the name of the pause container just before the next one is made, and the other one that it gets then.
    let relay = Relay::before(&engine.socket(), engine.directory(), move |request| {
        let name = name.lock().unwrap().clone();
        let asked = request.split_once("/containers/create?name=").map(|(_, rest)| rest);
        let asked = asked.and_then(|rest| rest.split([' ', '&']).next()).unwrap_or_default();
        if name.is_some_and(|name| asked.starts_with(&name)) {
            // It has the name already where the driver asks again.
            let _made = Command::new("docker").args(["--host", &address, "create", "--name", asked, &image()]).output();
        }
    });
    let fixture = driver_at(&relay.address()).await;
    let group = Group::make(&fixture).await;

    *taken.lock().unwrap() = Some(group.pause());
    engine.run(&["kill", &group.pause()]);
    let rejection = fixture.refused(&group.task(&fixture, "web")).await;
    *taken.lock().unwrap() = None;
    fixture.run(&group.task(&fixture, "web")).await;
    until("the task answers", || !group.answer().is_empty()).await;

    assert!(rejection.message.contains("is already in use by container"), "{rejection}");
    assert_eq!(rejection.recoverability, Recoverability::Recoverable);
    fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();
    fixture.end().await;
}

/// Once the plugin has died under a group, no agent asks for the end of its network.
#[tokio::test]
async fn a_network_whose_plugin_died_is_removed_once_its_allocation_is_over_and_nobody_is_in_it() {
    let engine = Dockerd::start();
    let mut fixture = driver(&engine).await;
    // The first fingerprint is where looking begins.
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    let mut groups = Vec::new();
    for name in ["over", "died", "joined", "waiting", "running"] {
        let group = Group::make(&fixture).await;
        let task = group.task(&fixture, name).option("args", texts(&["-c", "exec sleep 1000"]));
        let started = fixture.run(&task).await;
        groups.push((group, task, started));
    }
    let [over, died, joined, waiting, running] = &groups[..] else { panic!("five groups") };
    let into = format!("container:{}", joined.0.pause());
    engine.run(&["run", "--detach", "--name", "stranger", "--network", &into, &image(), "sleep", "1000"]);

    fixture.kill_and_start_again().await;
    // One dies while no driver looks, and nobody takes its task over.
    engine.run(&["rm", "--force", &died.0.pause()]);
    for (_, _, task) in [over, joined, waiting, running] {
        fixture.driver.recover_task(task.handle.clone()).await.unwrap();
    }
    let _closed_again = fixture.driver.fingerprint().await.unwrap();
    for (_, _, task) in [over, joined, waiting] {
        fixture.driver.stop_task(task.id.clone(), Duration::ZERO, String::new()).await.unwrap();
        fixture.driver.destroy_task(task.id.clone(), Force::Yes).await.unwrap();
    }
    // The agent collects allocations that are over; that of a task that waits for its restart is not.
    for (_, task, _) in [over, died, joined] {
        // As an agent does, all that it can: the logs of a container that runs are mounted on, and the driver removes the rest.
        Command::new("rm").arg("-rf").arg(task.alloc_dir()).stderr(Stdio::null()).status().unwrap();
    }
    assert!(!over.1.alloc_dir().exists() && !joined.1.alloc_dir().exists());
    let is_removed = |(group, ..): &(Group, Task, Started)| !group.namespace.exists() && group.runs(&engine).is_empty();
    until_within(Duration::from_secs(120) + *DEADLINE, "they are gone", || is_removed(over) && is_removed(died)).await;
    for (group, task, _) in [joined, waiting, running] {
        assert!(group.namespace.exists() && !group.runs(&engine).is_empty(), "{}", task.config.name);
    }
    engine.run(&["rm", "--force", "stranger"]);
    until("nobody is in it any more", || is_removed(joined)).await;

    let again = fixture.run(&waiting.0.task(&fixture, "again")).await;
    until("the task answers", || !waiting.0.answer().is_empty()).await;
    for (group, id) in [(&waiting.0, &again.id), (&running.0, &running.2.id)] {
        fixture.driver.destroy_task(id.clone(), Force::Yes).await.unwrap();
        fixture.driver.destroy_network(group.alloc.clone(), Some(group.network.clone())).await.unwrap();
        assert!(!group.namespace.exists());
    }
    fixture.end().await;
}

#[tokio::test]
async fn non_root_a_task_whose_network_is_lost_fails_at_once_and_the_reason_is_reported() {
    let engine = Dockerd::start();
    for (path, mode) in [(engine.directory().to_owned(), 0o711), (engine.directory().join("docker.sock"), 0o666)] {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let fixture = Fixture::as_user(User::of_group_docker(), &[("DOCKER_HOST", &engine.address())]).await;
    let mut of_before = fixture.driver.task_events().await.unwrap();
    let mut of_after = fixture.driver.task_events().await.unwrap();
    let alloc = AllocId::from(uuid::Uuid::new_v4().to_string());
    let made = fixture.driver.create_network(alloc.clone(), "web-1".into()).await.unwrap();
    let task = |name: &str| {
        let mut task = fixture.task(name, "sleep 1000").option("network_mode", text(""));
        task.config.alloc_id = alloc.clone();
        task.config.network_isolation = Some(made.isolation.clone());
        task
    };

    fixture.run(&task("before")).await;
    engine.run(&["restart", "--time", "1", &format!("nomad_init_{alloc}")]);
    let rejection = fixture.refused(&task("after")).await;

    let why = "the network of the group is lost with its pause container; not root: namespaces are not kept";
    assert_eq!(rejection, DriverError::fatal(why));
    // Its owner is notified when the pause container dies, that of the other one when it is rejected.
    reported(&mut of_before, "before", why).await;
    reported(&mut of_after, "after", why).await;
    fixture.driver.destroy_network(alloc, Some(made.isolation.clone())).await.unwrap();
    fixture.end().await;
}

#[tokio::test]
async fn a_network_whose_namespace_a_reboot_took_is_made_again() {
    let engine = Dockerd::start();
    let fixture = driver(&engine).await;
    let group = Group::make(&fixture).await;

    // What is mounted is gone after a reboot, and the engine of a container of the built-in driver has started it again.
    assert!(Command::new("umount").arg(&group.namespace).status().unwrap().success());
    engine.run(&["restart", "--time", "0", &group.pause()]);
    let again = fixture.driver.create_network(group.alloc.clone(), "web-1".into()).await.unwrap();
    let address = group.inside("ip address show").1;
    let made = group.runs(&engine);
    engine.run(&["kill", &group.pause()]);
    until("it is looked after as well", || !["", &made].contains(&group.runs(&engine).as_str())).await;
    fixture.driver.destroy_network(group.alloc.clone(), Some(again.isolation.clone())).await.unwrap();

    assert!(again.created, "who set its interfaces up does so again");
    assert_ne!(again.isolation.labels, group.network.labels);
    assert!(address.contains("lo:") && !address.contains(ADDRESS), "{address}");
    assert!(!group.namespace.exists());
    fixture.end().await;
}
