//! An image with links where a container's mounts go: the runtime follows them, and what a target's text says is nothing.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use conformance::{Fixture, LABEL, Task, docker::docker, image, object, text, texts, user::User};
use nomad_plugin::msgpack::Value;

/// An image with links, removed with this.
struct Linked(String);

impl Linked {
    fn make(number: usize, links: &str) -> Self {
        let name = format!("longshore-test/linked-{number}:{}", std::process::id());
        let label = format!("{LABEL}=linked");
        let made = docker(&["run", "--detach", "--label", &label, &image(), "/bin/sh", "-ec", links]);
        let made = made.trim();
        assert_eq!(docker(&["wait", made]), "0\n", "{links}");
        docker(&["commit", made, &name]);
        docker(&["rm", "--volumes", made]);
        Self(name)
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // A test that fails leaves a container of it for a moment.
        let _absent = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

/// Writes to every directory of the container that may be the logs, and to every mount.
const ATTACK: &str = r#"
    attack() {
        touch "$1/planted"; ln -s /etc/shadow "$1/web.stdout.0"; ln -s /etc/shadow "$1/web.stdout.1"
        mknod "$1/device" c 1 3; rm -f "$1"/.web.*.fifo; mv "$1" "$1.moved"
        mount --bind /tmp "$1"; mount -o remount,rw "$1"
    }
    for place in $(awk '{ print $5 }' /proc/self/mountinfo | grep -v '^/\(proc\|sys\|dev\)'); do
        attack "$place/logs"; attack "$place/alloc/logs"; attack "$place"
    done
    for place in $(find / \( -path /proc -o -path /sys -o -path /dev \) -prune -o -name logs -print); do
        attack "$place"
    done
    mv /q/alloc /q/moved; mkdir -p /q/alloc/logs; touch /q/alloc/logs/planted
    echo done"#;

/// What the host has for its logs beside what it writes there itself, and what it is.
fn logs(task: &Task) -> (Vec<String>, [u64; 2]) {
    let (alloc, logs) = (task.alloc_dir().join("alloc"), task.alloc_dir().join("alloc/logs"));
    let entries = fs::read_dir(&logs).unwrap().map(Result::unwrap);
    let others = entries.filter(|entry| {
        let is_written = [".0", ".position"].iter().any(|end| entry.path().display().to_string().ends_with(end));
        !(is_written && entry.file_type().unwrap().is_file())
    });
    let mut names: Vec<_> = others.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    (names, [alloc, logs].map(|directory| fs::metadata(directory).unwrap().ino()))
}

fn bind(source: &str, target: &str, readonly: bool) -> Value {
    let fields = [
        ("type", text("bind")),
        ("source", text(source)),
        ("target", text(target)),
        ("readonly", Value::Bool(readonly)),
    ];
    object(&fields)
}

/// Runs the attack in an image with links. The runtime may find that a link leads nowhere: then nothing starts.
async fn attack(fixture: &Fixture, number: usize, links: &str, volumes: &[&str], mounts: Vec<Value>) -> bool {
    let image = Linked::make(number, links);
    let task = fixture
        .task("web", ATTACK)
        .option("image", text(&image.0))
        .option("volumes", texts(volumes))
        .option("mount", Value::List(mounts));
    let before = logs(&task);
    let started = fixture.attempt(&task).await.ok();
    if let Some(started) = &started {
        fixture.driver.wait_task(started.id.clone()).await.unwrap();
        task.pipes.stdout.wait_for_text("done\n");
        assert_eq!(task.pipes.stdout.text(), "done\n", "{links}");
    }
    assert_eq!(logs(&task), before, "{links}");
    started.is_some()
}

/// Links where the task's own directories are.
const LINKS: [&str; 6] = [
    "mkdir /d; ln -s /p /d/s; ln -s /d/s /alloc; ln -s /d /local",
    "mkdir /alloc; ln -s /p /alloc/logs",
    "mkdir /alloc; ln -s /local /alloc/logs; ln -s /secrets /local",
    "ln -s / /alloc",
    "ln -s /etc /alloc; ln -s /etc /local; ln -s /etc /secrets",
    "ln -s /local/a /alloc; ln -s /secrets/b /local",
];

#[tokio::test]
async fn no_links_of_an_image_make_the_logs_writable() {
    let fixture = Fixture::start().await;
    let mut images = LINKS.map(str::to_owned).to_vec();
    for alloc in ["/p", "/d/s", "/local/a", "/q/alloc"] {
        for local in ["/d", "/q", "/p/logs", "/alloc/data"] {
            images.push(format!("mkdir /d; ln -s /p /d/s; ln -s {alloc} /alloc; ln -s {local} /local"));
        }
    }
    let mut started = 0;
    for (number, links) in images.iter().enumerate() {
        let mounts = vec![bind("..", "/q", false), bind("../alloc/logs", "/l", false)];
        started += usize::from(attack(&fixture, number, links, &["../alloc:/p", "local:/d"], mounts).await);
    }

    assert!(started > 10, "only {started} started");
    fixture.end().await;
}

#[tokio::test]
async fn no_links_of_an_image_make_the_logs_writable_where_nothing_can_be_mounted() {
    let fixture = Fixture::as_user(User::of_group_docker(), &[]).await;
    let mut started = 0;
    for (number, links) in LINKS.iter().enumerate() {
        let mounts = vec![bind("../alloc", "/q/alloc", true), bind("../alloc/logs", "/l", false)];
        let volumes = ["../alloc:/p:ro", "local:/d", "../alloc/data:/w"];
        started += usize::from(attack(&fixture, 100 + number, links, &volumes, mounts).await);
    }

    assert!(started > 2, "only {started} started");
    fixture.end().await;
}

#[tokio::test]
async fn what_has_the_logs_in_it_is_not_writable_where_nothing_can_be_mounted() {
    let fixture = Fixture::as_user(User::of_group_docker(), &[]).await;
    for source in ["..", "../alloc"] {
        let task = fixture.task("web", "exit 0").option("mount", Value::List(vec![bind(source, "/q", false)]));
        let rejection = fixture.refused(&task).await;
        let words = format!("cannot mount host path: {source:?}: it has the logs in it, and is not read-only");
        assert!(rejection.message.ends_with(&words), "{rejection}");
    }
    let script =
        "for at in /alloc/data /alloc/tmp /local /secrets; do touch $at/made; done; touch /alloc/logs/x /alloc/x";
    let task = fixture.task("web", &format!("({script}) 2>&1"));

    let said = fixture.output(&task).await;

    let closed = ["/alloc/logs/x", "/alloc/x"].map(|path| format!("touch: {path}: Read-only file system\n"));
    assert_eq!(said, closed.concat());
    for made in ["alloc/data", "alloc/tmp", "web/local", "web/secrets"] {
        assert!(task.alloc_dir().join(made).join("made").exists(), "{made}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn the_engine_makes_nothing_among_the_logs_for_a_mount_or_a_device() {
    let fixture = Fixture::start().await;
    let device = |path: &str| object(&[("host_path", text("/dev/null")), ("container_path", text(path))]);
    for place in ["/alloc/logs", "/p/logs", "/q/alloc/logs"] {
        let at = format!("{place}/web.stdout.1");
        let task = || fixture.task("web", "exit 0").option("mount", Value::List(vec![bind("..", "/q", false)]));
        let volume = |source: &str| task().option("volumes", texts(&["../alloc:/p", &format!("{source}:{at}")]));
        let tasks = [
            volume("local"),
            volume("../alloc/data/not-yet"),
            task().option("volumes", texts(&["../alloc:/p"])).option("devices", Value::List(vec![device(&at)])),
        ];
        for task in tasks {
            let before = logs(&task);

            let rejection = fixture.refused(&task).await;

            assert!(rejection.message.to_lowercase().contains("read-only file system"), "{rejection}");
            assert_eq!(logs(&task), before, "{at}");
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn the_engine_makes_nothing_among_the_logs_where_nothing_can_be_mounted() {
    let fixture = Fixture::as_user(User::of_group_docker(), &[]).await;
    let device = object(&[("host_path", text("/dev/null")), ("container_path", text("/alloc/logs/web.stdout.1"))]);
    let task = || fixture.task("web", "exit 0");
    let tasks = [
        task().option("volumes", texts(&["local:/alloc/logs/web.stdout.1"])),
        task().option("volumes", texts(&["../alloc:/p:ro", "local:/p/logs/web.stdout.1"])),
        task().option("devices", Value::List(vec![device])),
    ];
    for task in tasks {
        let before = logs(&task);

        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.to_lowercase().contains("read-only file system"), "{rejection}");
        assert_eq!(logs(&task), before);
    }
    fixture.end().await;
}
