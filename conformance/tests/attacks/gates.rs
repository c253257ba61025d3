//! What the operator does not allow: jobs that try to get past it, and what Docker received for those that may.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use conformance::{
    Fixture, Task,
    docker::{containers_of, inspect},
    object,
    relay::Relay,
    text, texts,
    user::User,
};
use nomad_plugin::{driver::Recoverability, msgpack::Value};
use serde_json::json;

fn bind(source: &str, target: &str) -> Value {
    object(&[("type", text("bind")), ("source", text(source)), ("target", text(target))])
}

fn lists(entries: &[(&str, &[&str])]) -> Value {
    object(&entries.iter().map(|(name, values)| (*name, texts(values))).collect::<Vec<_>>())
}

#[tokio::test]
async fn no_spelling_gets_past_a_gate_and_nothing_is_made() {
    let fixture = Fixture::start().await;
    let neighbour = fixture.task("neighbour", "exec sleep 1000");
    fixture.run(&neighbour).await;
    let id = inspect(&neighbour.container())["Id"].as_str().unwrap().to_owned();
    let of_neighbour =
        [format!("container:{id}"), format!("container:{}", &id[..12]), format!("container:{}", neighbour.container())];
    let caps = |names: &str| format!("driver does not allow the following capabilities: {names}");
    let task = || fixture.task("web", "exit 0");

    let mut attempts = vec![
        (
            task().option("privileged", Value::Bool(true)),
            "Docker privileged mode is disabled on this Nomad agent".into(),
        ),
        (task().option("privileged", Value::Int(1)), "Docker privileged mode is disabled on this Nomad agent".into()),
        (
            task().option("runtime", text("io.containerd.runc.v2")),
            "requested runtime \"io.containerd.runc.v2\" is not allowed".into(),
        ),
        (task().option("runtime", text("RUNC")), "requested runtime \"RUNC\" is not allowed".into()),
        (
            task().option("volume_driver", text("local")).option("volumes", texts(&["/etc:/in"])),
            "volumes are not enabled; cannot use volume driver \"local\"".into(),
        ),
    ];
    for spelling in ["sys_admin", "SYS_ADMIN", "CAP_SYS_ADMIN", "cap_sys_admin", " Cap_Sys_Admin\t"] {
        attempts.push((task().option("cap_add", texts(&["chown", spelling])), caps("sys_admin")));
    }
    for spelling in ["all", "ALL", "CAP_ALL", " cap_all "] {
        attempts.push((task().option("cap_add", texts(&[spelling])), caps("audit_control, audit_read, ")));
    }
    for option in ["pid_mode", "ipc_mode", "uts_mode", "userns_mode"] {
        let modes = ["host", "private", " host", "HOST"].map(str::to_owned);
        for mode in modes.iter().chain(of_neighbour.iter().filter(|_| option == "pid_mode" || option == "ipc_mode")) {
            attempts.push((task().option(option, text(mode)), format!("cannot apply \"{option}\" configuration")));
        }
    }
    for (task, words) in attempts {
        let rejection = fixture.refused(&task).await;
        assert!(rejection.message.contains(&words), "{words:?} is not in {:?}", rejection.message);
        assert_eq!(rejection.recoverability, Recoverability::Unsaid, "{words}");
    }

    assert_eq!(containers_of(fixture.directory()), [neighbour.container()]);
    fixture.end().await;
}

#[tokio::test]
async fn what_the_operator_allows_reaches_docker_in_its_own_spelling_and_no_more() {
    let modes = lists(&[("pid", &["container:*"]), ("ipc", &["host"]), ("network", &["container:*", "none"])]);
    let plugin = object(&[("allow_caps", texts(&["CAP_net_ADMIN", " chown"])), ("allowed_modes", modes)]);
    let fixture = Fixture::with(plugin, &[]).await;
    let first = fixture.task("first", "exec sleep 1000").option("cap_add", texts(&[" cap_Net_Admin"]));
    fixture.run(&first).await;
    let of_first = format!("container:{}", first.container());
    let second = fixture.task("second", "exec sleep 1000");
    let second = ["pid_mode", "network_mode"].iter().fold(second, |task, option| task.option(option, text(&of_first)));
    fixture.run(&second.option("ipc_mode", text("host"))).await;

    let host = inspect(&first.container())["HostConfig"].clone();
    assert_eq!(host["CapAdd"], json!(["CAP_NET_ADMIN"]));
    let pid = inspect(&first.container())["State"]["Pid"].clone();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    // CAP_CHOWN is the bit 0 and CAP_NET_ADMIN the bit 12.
    assert!(status.contains("CapBnd:\t0000000000001001\n"), "{status}");
    let names = containers_of(fixture.directory());
    let second = names.iter().find(|name| name.starts_with("second-")).unwrap();
    let host = inspect(second)["HostConfig"].clone();
    let id = inspect(&first.container())["Id"].as_str().unwrap().to_owned();
    assert_eq!(host["IpcMode"], "host");
    for mode in ["PidMode", "NetworkMode"] {
        assert_eq!(host[mode], format!("container:{id}"), "{mode}");
    }
    let outside = fixture.task("web", "exit 0").option("network_mode", text("host"));
    let rejection = fixture.refused(&outside).await;
    let words = "network_mode \"host\" is not allowed by the plugin option allowed_modes.network";
    assert!(rejection.message.ends_with(words), "{rejection}");
    fixture.end().await;
}

#[tokio::test]
async fn with_volumes_off_no_path_leads_out_of_the_allocation() {
    let fixture = Fixture::start().await;
    let task = || {
        let task = fixture.task("web", "touch /in/made; echo done");
        let local = task.alloc_dir().join("web/local");
        symlink("/etc", local.join("absolute")).unwrap();
        symlink("../../../..", local.join("up")).unwrap();
        symlink("up/etc", local.join("chain")).unwrap();
        symlink("../../alloc/data", local.join("inside")).unwrap();
        // Cut at the colon, its source is the root directory.
        symlink("/", local.join("cut")).unwrap();
        fs::create_dir_all(local.join("cut:/x")).unwrap();
        symlink("cut:/x", local.join("colon")).unwrap();
        task
    };
    let sources = [
        "/etc",
        "../..",
        "../../../etc",
        "local/../../../etc",
        "local/absolute",
        "local/absolute/ssl",
        "local/up",
        "local/chain",
    ];
    for source in sources.into_iter().chain(["/proc/self/root", "/var/run/docker.sock"]) {
        let in_text = format!("{source}:/in");
        for (task, quoted) in [
            (task().option("volumes", texts(&[&in_text])), in_text.as_str()),
            (task().option("mount", Value::List(vec![bind(source, "/in")])), source),
            (task().option("mounts", Value::List(vec![bind(source, "/in")])), source),
        ] {
            let rejection = fixture.refused(&task).await;
            let words = format!(": volumes are not enabled; cannot mount host path: {quoted:?}");
            assert!(rejection.message.ends_with(&words), "{words:?} is not in {:?}", rejection.message);
        }
    }
    let cut = fixture.refused(&task().option("volumes", texts(&["local/colon:/in"]))).await;
    assert!(cut.message.ends_with("cannot mount host path: \"local/colon:/in\""), "{cut}");
    assert_eq!(containers_of(fixture.directory()), Vec::<String>::new());

    let inside = task().option("volumes", texts(&["local/inside/new:/in"]));
    fixture.run(&inside).await;
    inside.pipes.stdout.wait_for_text("done\n");
    assert!(inside.alloc_dir().join("alloc/data/new/made").exists());
    fixture.end().await;
}

/// An engine's socket that runs `swap` with the path that is set, once, when a container is being made.
fn swapping(directory: &Path, swap: fn(&Path)) -> (Relay, Arc<Mutex<Option<PathBuf>>>) {
    let path: Arc<Mutex<Option<PathBuf>>> = Arc::default();
    let armed = path.clone();
    let relay = Relay::start(directory, move |request| {
        if request.contains("/containers/create")
            && let Some(path) = armed.lock().unwrap().take()
        {
            swap(&path);
        }
    });
    (relay, path)
}

fn to_etc(path: &Path) {
    fs::rename(path, path.with_extension("moved")).unwrap();
    symlink("/etc", path).unwrap();
}

#[tokio::test]
async fn a_link_swapped_in_while_the_container_is_made_is_not_what_is_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let (relay, swapped) = swapping(directory.path(), to_etc);
    let fixture = Fixture::with(object(&[]), &[("DOCKER_HOST", &relay.address())]).await;

    for own in ["web/local/in", "web/secrets", "web/local", "alloc"] {
        let task = fixture.task("web", "ls /in /secrets /alloc/data; echo done");
        for place in ["web/local/in/own", "web/secrets/own", "alloc/data/own"] {
            let path = task.alloc_dir().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        *swapped.lock().unwrap() = Some(task.alloc_dir().join(own));
        let (task, moved) = (task.option("mount", Value::List(vec![bind("local/in", "/in")])), own == "alloc");

        // A log that has lost its directory is collected no more.
        if moved {
            let rejection = fixture.refused(&task).await;
            assert!(rejection.message.starts_with("failed to collect the task's log: "), "{rejection}");
        } else {
            fixture.run(&task).await;
            task.pipes.stdout.wait_for_text("done\n");
            let expected = "/alloc/data:\nown\n\n/in:\nown\n\n/secrets:\nown\ndone\n";
            assert_eq!(task.pipes.stdout.text(), expected, "{own}");
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_link_swapped_in_while_the_container_is_made_fails_its_start_where_nothing_can_be_mounted() {
    let directory = tempfile::tempdir().unwrap();
    let (relay, swapped) = swapping(directory.path(), to_etc);
    let user = User::of_group_docker();
    user.own(directory.path());
    let fixture = Fixture::as_user(user, &[("DOCKER_HOST", &relay.address())]).await;
    let chosen = "volumes are not enabled; cannot mount host path: \"local/in\"";

    for (own, words) in [("web/local/in", chosen), ("alloc/logs", "any more"), ("web/secrets", "any more")] {
        let task = fixture.task("web", "exec sleep 1000");
        fs::create_dir_all(task.alloc_dir().join("web/local/in")).unwrap();
        *swapped.lock().unwrap() = Some(task.alloc_dir().join(own));

        let rejection = fixture.refused(&task.option("mount", Value::List(vec![bind("local/in", "/in")]))).await;

        // A log that has lost its directory is reported first.
        let log_is_absent = own == "alloc/logs" && rejection.message.starts_with("failed to collect the task's log: ");
        assert!(rejection.message.contains(words) || log_is_absent, "{words:?} is not in {:?}", rejection.message);
    }
    assert_eq!(containers_of(fixture.directory()), Vec::<String>::new());
    fixture.end().await;
}

#[tokio::test]
async fn the_logs_are_read_only_under_every_name_and_cannot_be_swapped() {
    let fixture = Fixture::start().await;
    let attack = "for logs in /alloc/logs /l /a/logs /v/logs /all/alloc/logs; do \
                  touch $logs/planted && echo wrote to $logs; \
                  rm -f $logs/.web.stdout.fifo; mv $logs $logs.moved && echo moved $logs; done; \
                  mv /all/alloc /all/moved && echo moved alloc; \
                  echo kept > /a/data/file; echo done";
    let mounts = vec![bind("../alloc/logs", "/l"), bind("../alloc", "/a"), bind("..", "/all")];
    let task = fixture
        .task("web", &format!("({attack}) 2>/dev/null"))
        .option("mount", Value::List(mounts))
        .option("volumes", texts(&["../alloc:/v:rw"]));
    let started = fixture.run(&task).await;
    fixture.driver.wait_task(started.id).await.unwrap();
    task.pipes.stdout.wait_for_text("done\n");

    assert_eq!(task.pipes.stdout.text(), "done\n");
    assert!(!task.alloc_dir().join("alloc/logs/planted").exists());
    assert_eq!(fs::read_to_string(task.alloc_dir().join("alloc/data/file")).unwrap(), "kept\n");
    for mount in inspect(&task.container())["Mounts"].as_array().unwrap() {
        let of_logs = ["/l", "/fifo"].iter().any(|target| mount["Destination"] == *target);
        assert!(!of_logs || mount["RW"] == json!(false), "{mount}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_pipe_that_was_swapped_for_a_link_is_not_written_to() {
    let mut fixture = Fixture::start().await;
    let task = fixture.task("web", "while :; do echo secret; sleep 0.05; done");
    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for_text("secret");
    let victim = fixture.directory().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let swap = |task: &Task| {
        fs::remove_file(&task.pipes.stdout_path).unwrap();
        symlink(&victim, &task.pipes.stdout_path).unwrap();
    };

    swap(&task);
    fixture.kill_and_start_again().await;
    fixture.driver.recover_task(started.handle.clone()).await.unwrap();
    let came = task.pipes.stdout.bytes().len();
    task.pipes.stdout.wait_for("more of the log through the held pipe", |bytes| bytes.len() > came + 100);
    let other = fixture.task("other", "echo secret");
    swap(&other);
    let rejection = fixture.refused(&other).await.message;

    assert!(rejection.starts_with("failed to collect the task's log: failed to open "), "{rejection}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    fixture.end().await;
}

#[tokio::test]
async fn an_archive_is_loaded_from_the_tasks_own_directory_only() {
    let fixture = Fixture::start().await;
    let outside = fixture.directory().join("image.tar");
    fs::write(&outside, "").unwrap();
    for load in
        ["../../../image.tar", "../secrets/image.tar", "link.tar", "up/image.tar", &outside.display().to_string()]
    {
        let task =
            fixture.task("web", "exit 0").option("image", text("longshore-test/none:1")).option("load", text(load));
        let local = task.alloc_dir().join("web/local");
        fs::write(task.alloc_dir().join("web/secrets/image.tar"), "").unwrap();
        symlink(&outside, local.join("link.tar")).unwrap();
        symlink("../../..", local.join("up")).unwrap();

        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.starts_with("unable to open image archive: open "), "{load}: {rejection}");
    }
    fixture.end().await;
}

const NO_MKDIR: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]
}"#;

#[tokio::test]
async fn a_seccomp_profile_is_read_only_where_the_operator_allows_it_and_has_its_effect() {
    let profiles = tempfile::tempdir().unwrap();
    let at = |name: &str| profiles.path().join(name).display().to_string();
    fs::create_dir(at("allowed")).unwrap();
    for name in ["allowed/no-mkdir.json", "beside.json"] {
        fs::write(at(name), NO_MKDIR).unwrap();
    }
    let fixture = Fixture::with(lists(&[("allow_seccomp_profiles", &[&at("allowed")])]), &[]).await;
    let script = "mkdir /tmp/x 2>/dev/null && echo made || echo denied";
    let task = |path: &str| {
        let task = fixture.task("web", script).option("security_opt", texts(&[&format!("seccomp={path}")]));
        fs::write(task.alloc_dir().join("web/local/own.json"), NO_MKDIR).unwrap();
        symlink(at("beside.json"), task.alloc_dir().join("web/local/link.json")).unwrap();
        task
    };

    for path in [at("allowed/no-mkdir.json"), "local/own.json".to_owned()] {
        let task = task(&path);
        let started = fixture.run(&task).await;
        fixture.driver.wait_task(started.id).await.unwrap();
        task.pipes.stdout.wait_for_text("\n");
        assert_eq!(task.pipes.stdout.text(), "denied\n", "{path}");
    }
    for path in
        [at("beside.json"), at("allowed/../beside.json"), "local/link.json".to_owned(), "/etc/shadow".to_owned()]
    {
        let rejection = fixture.refused(&task(&path)).await;
        let words = format!("failed to parse security_opt configuration: opening seccomp profile ({path}) failed: ");
        assert!(rejection.message.contains(&words), "{rejection}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn lists_in_the_agents_file_open_close_and_are_absent() {
    let mut fixture = Fixture::configured("").await;
    let sysctl = Value::List(vec![object(&[("net.core.somaxconn", text("100"))])]);
    let device = object(&[("host_path", text("/dev/net/../null")), ("container_path", text("/dev/nothing"))]);
    let task = |fixture: &Fixture, name: &str| {
        fixture
            .task(name, "exec sleep 1000")
            .option("sysctl", sysctl.clone())
            .option("devices", Value::List(vec![device.clone()]))
            .option("security_opt", texts(&["no-new-privileges"]))
            .option("logging", object(&[("type", text("local"))]))
    };

    fixture.run(&task(&fixture, "unset")).await;
    let empty = "allow_devices = []\nallow_logging = []\nallow_security_opt = []\nallow_sysctls = []\nallowed_modes {\n  network = []\n}";
    fixture.configure(empty).await.unwrap();
    let rejection = fixture.refused(&task(&fixture, "empty")).await;
    fixture.configure("allow_images = [\"registry.example/*\"]").await.unwrap();
    let other_image = fixture.refused(&task(&fixture, "other-image")).await;
    let lists = "allow_images = [\"*/longshore-test/*\"]\nallow_logging = [\"lo*\"]\nallow_devices = [\"/dev/nu*\"]\nallow_security_opt = [\"no-new-*\"]\nallow_sysctls = [\"net.*\"]";
    fixture.configure(lists).await.unwrap();
    let allowed = task(&fixture, "allowed");
    fixture.run(&allowed).await;

    for words in [
        "network_mode \"none\" is not allowed by the plugin option allowed_modes.network",
        "devices.host_path \"/dev/null\" is not allowed by the plugin option allow_devices",
        "security_opt \"no-new-privileges\" is not allowed by the plugin option allow_security_opt",
        "sysctl \"net.core.somaxconn\" is not allowed by the plugin option allow_sysctls",
        "logging \"local\" is not allowed by the plugin option allow_logging",
    ] {
        assert!(rejection.message.contains(words), "{rejection}");
    }
    assert!(other_image.message.contains("is not allowed by the plugin option allow_images"), "{other_image}");
    let host = inspect(&allowed.container())["HostConfig"].clone();
    assert_eq!(
        host["Devices"],
        json!([{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "rwm" }])
    );
    assert_eq!(
        (&host["SecurityOpt"], &host["Sysctls"]["net.core.somaxconn"]),
        (&json!(["no-new-privileges"]), &json!("100"))
    );
    fixture.end().await;
}
