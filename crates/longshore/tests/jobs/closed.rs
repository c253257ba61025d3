//! What other users of the machine may see and touch of a job, and that its tasks' own users may.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Machine, job, wait_until};

/// A user who is nobody's: neither root nor a task's.
const SOMEONE: u32 = 64_118;

/// All that a user without rights of its own gets to, with its mode.
fn reachable(root: &Path) -> Vec<(PathBuf, u32)> {
    let mut reached = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        // Who gets to it is judged by its mode; who guesses a name needs no more than the right to pass.
        if metadata.is_dir() && mode & 0o001 != 0 {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        reached.push((path, mode));
    }
    reached
}

#[test]
fn a_tasks_user_reads_its_secrets_and_no_other_user_of_the_machine_gets_to_them() {
    let machine = Machine::new();
    // What hides all of it in other tests.
    fs::set_permissions(machine.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let control = machine.file("control", "open");
    let template = "template {\n data = \"a secret\"\n destination = \"secrets/key\"\n }";
    let script = "set -e; for d in /secrets /local /alloc/data; do id -u > $d/own; done; cat /secrets/key /secrets/own; exec sleep 1000";
    for (id, user, uid) in [("named", "nobody", "65534"), ("numbered", "1234", "1234")] {
        let more = format!("user = \"{user}\"\n kill_timeout = \"1ms\"\n {template}");
        let file = machine.file("job.hcl", &job(id, script, &more));
        machine.ok(&["run", "-detach", file.to_str().unwrap()]);
        wait_until("the task's words", || machine.logs(id) == format!("a secret{uid}\n"));
    }
    let data = machine.path().join("data");
    let alloc = data.join("alloc").join(machine.state("named")["allocs"][0]["id"].as_str().unwrap());

    let of_all: Vec<_> = reachable(&data).into_iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert_eq!(of_all.len(), 2, "{of_all:?}");
    assert!(of_all.contains(&(data.clone(), 0o711)) && of_all.contains(&(data.join("alloc"), 0o711)), "{of_all:?}");
    let of = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path();
    let sockets = fs::read_dir(data.join("run")).unwrap().map(of).flat_map(|own| fs::read_dir(own).unwrap().map(of));
    let sockets = sockets.filter(|path| fs::metadata(path).unwrap().file_type().is_socket());
    let modes = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let sockets: Vec<_> = sockets.map(|path| (modes(path.parent().unwrap()), modes(&path))).collect();
    assert_eq!(sockets, [(0o700, 0o600); 2]);

    // The tests of one who is not root cannot become another.
    if rustix::process::geteuid().is_root() {
        let as_someone = |script: &str, path: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(path).uid(SOMEONE).gid(SOMEONE);
            command.output().unwrap().status.success()
        };
        assert!(as_someone("cat \"$1\"", &control));
        for (script, path) in [
            ("cat \"$1\"", alloc.join("t/secrets/key")),
            ("cat \"$1\"", alloc.join("alloc/logs/t.stdout.0")),
            ("ln -s /etc/passwd \"$1\"", alloc.join("alloc/logs/t.stdout.1")),
            ("ln -s /etc/passwd \"$1\"", alloc.join("t/local/planted")),
            ("ls \"$1\"", data.join("alloc")),
            ("ls \"$1\"", alloc.clone()),
            ("cat \"$1\"", data.join("jobs/named/state.json")),
            (": < \"$1\"", data.join("jobs/named/lock")),
            (": < \"$1\"", data.join("ports.lock")),
            ("ls \"$1\"", data.join("run")),
        ] {
            assert!(!as_someone(script, &path), "{script} {}", path.display());
        }
    }
    for id in ["named", "numbered"] {
        machine.ok(&["stop", id]);
    }
}

#[test]
fn jobs_whose_ids_look_alike_are_two() {
    let machine = Machine::new();
    let batch = |id: &str| job(id, &format!("echo {id}"), "").replace("group \"g\"", "type = \"batch\"\n group \"g\"");
    for id in ["a/b", "a_b"] {
        let file = machine.file("job.hcl", &batch(id));
        machine.ok(&["run", file.to_str().unwrap()]);
    }

    assert_eq!((machine.logs("a/b"), machine.logs("a_b")), ("a/b\n".into(), "a_b\n".into()));
    machine.ok(&["stop", "-purge", "a/b"]);
    assert_eq!(machine.logs("a_b"), "a_b\n");
    assert_eq!(machine.run(&["logs", "a/b"]).status.code(), Some(2));
}

#[test]
fn a_name_that_is_a_path_is_refused_and_nothing_is_made() {
    let machine = Machine::new();
    let good = job("job", "exit 0", "");
    for (from, to) in [
        ("job \"job\"", "job \"..\""),
        ("task \"t\"", "task \"../../evil\""),
        ("task \"t\"", "task \"..\""),
        ("task \"t\"", "task \"a/b\""),
        ("task \"t\"", "task \"alloc\""),
        ("task \"t\"", "task \"two words\""),
    ] {
        let file = machine.file("job.hcl", &good.replace(from, to));
        for verb in ["validate", "run"] {
            let refused = machine.run(&[verb, file.to_str().unwrap()]);
            assert_eq!(refused.status.code(), Some(2), "{verb} {to}: {}", crate::text(&refused.stderr));
        }
    }

    assert_eq!(machine.allocs(), Vec::<String>::new());
    let mut made: Vec<_> = fs::read_dir(machine.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    made.sort();
    assert_eq!(made, ["data", "job.hcl"]);
}
