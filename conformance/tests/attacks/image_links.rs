//! An image with links where a container's mounts go: the runtime follows them, and what a target's text says is nothing.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use conformance::{Fixture, LABEL, Task, docker::docker, image, object, text, texts};
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
        let _gone = Command::new("docker").args(["rmi", "--force", &self.0]).output();
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

#[tokio::test]
async fn no_links_of_an_image_make_the_logs_writable() {
    let fixture = Fixture::start().await;
    let mut images = vec![
        "mkdir /d; ln -s /p /d/s; ln -s /d/s /alloc; ln -s /d /local".to_owned(),
        "mkdir /alloc; ln -s /p /alloc/logs".to_owned(),
        "mkdir /alloc; ln -s /local /alloc/logs; ln -s /secrets /local".to_owned(),
        "ln -s / /alloc".to_owned(),
        "ln -s /etc /alloc; ln -s /etc /local; ln -s /etc /secrets".to_owned(),
        "ln -s /local/a /alloc; ln -s /secrets/b /local".to_owned(),
    ];
    for alloc in ["/p", "/d/s", "/local/a", "/q/alloc"] {
        for local in ["/d", "/q", "/p/logs", "/alloc/data"] {
            images.push(format!("mkdir /d; ln -s /p /d/s; ln -s {alloc} /alloc; ln -s {local} /local"));
        }
    }
    let bind = |source: &str, target: &str| {
        object(&[("type", text("bind")), ("source", text(source)), ("target", text(target))])
    };

    for (number, links) in images.iter().enumerate() {
        let image = Linked::make(number, links);
        let task = fixture
            .task("web", ATTACK)
            .option("image", text(&image.0))
            .option("volumes", texts(&["../alloc:/p", "local:/d"]))
            .option("mount", Value::List(vec![bind("..", "/q"), bind("../alloc/logs", "/l")]));
        let before = logs(&task);
        // The runtime may find that a link leads nowhere: then nothing starts.
        if let Ok(started) = fixture.attempt(&task).await {
            fixture.driver.wait_task(started.id.clone()).await.unwrap();
            task.pipes.stdout.wait_for_text("done\n");
            assert_eq!(task.pipes.stdout.text(), "done\n", "{links}");
        }

        assert_eq!(logs(&task), before, "{links}");
    }
    fixture.end().await;
}
