//! Stages of an allocation on a shared mount. The tests mount, and so do nothing unless they run as root.

use beneath::Links;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::*;

/// An allocation on a shared mount, as on a host with systemd, and stages next to it.
struct TestHost(tempfile::TempDir);

impl TestHost {
    /// `None` if the tests may not mount.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let host = Self(tempfile::tempdir().unwrap());
        for place in ["alloc/logs", "alloc/data"] {
            fs::create_dir_all(host.at(place)).unwrap();
            fs::write(host.at(place).join("kept"), "kept").unwrap();
        }
        mount_bind(host.at(""), host.at("")).unwrap();
        mount_change(host.at(""), MountPropagationFlags::SHARED).unwrap();
        Some(host)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("a1").join(path)
    }

    fn stages(&self) -> Stages {
        let name = EngineName { now: "engine-1".to_owned(), former: "engine".to_owned() };
        Stages::new(&self.0.path().join("state"), &name)
    }

    fn begin(&self) -> Stage {
        let engine = EngineProcess { pid: std::process::id().try_into().unwrap() };
        self.stages().begin_for(engine, &self.at("")).unwrap().unwrap()
    }

    fn opened(&self, path: &str) -> File {
        beneath::find_anywhere(&self.at(path), Links::Refused).unwrap()
    }

    fn mounts(&self) -> usize {
        let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
        all.lines().filter(|line| line.contains(self.0.path().to_str().unwrap())).count()
    }

    fn assert_remains(&self) {
        for place in ["alloc/logs/kept", "alloc/data/kept"] {
            assert_eq!(fs::read_to_string(self.at(place)).unwrap(), "kept");
        }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        unmount(self.at(""), UnmountFlags::DETACH).unwrap();
    }
}

fn using(stage: &Path) -> ListedContainer {
    let mount = |destination: &str, source: PathBuf| MountPoint {
        destination: destination.to_owned(),
        source: Some(source),
        ..MountPoint::default()
    };
    let mounts = vec![mount("/x", "/srv".into()), mount("/alloc", stage.join("0"))];
    ListedContainer { mounts, ..ListedContainer::default() }
}

#[test]
fn what_has_the_logs_in_it_has_them_read_only_and_fixed_and_the_source_has_not() {
    let Some(host) = TestHost::new() else { return };
    let mut stage = host.begin();
    let logs = |path: &str| Logs { path: path.into(), found: host.opened("alloc/logs"), shown: None };
    let alloc = stage.add(&host.opened("alloc"), &Shape::Enclosing(&logs("logs"))).unwrap();
    let all = stage.add(&host.opened(""), &Shape::Enclosing(&logs("alloc/logs"))).unwrap();
    let only = stage.add(&host.opened("alloc/logs"), &Shape::ReadOnly).unwrap();

    for closed in [alloc.join("logs"), all.join("alloc/logs"), only] {
        let refused = fs::write(closed.join("new"), "").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem, "{}", closed.display());
    }
    for fixed in [alloc.join("logs"), all.join("alloc"), all.join("alloc/logs")] {
        let refused = fs::rename(&fixed, fixed.with_extension("moved")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy, "{}", fixed.display());
    }
    fs::write(alloc.join("data/of-task"), "").unwrap();
    fs::write(host.at("alloc/logs/of-host"), "").unwrap();
    assert!(host.at("alloc/data/of-task").exists() && alloc.join("logs/of-host").exists());
    assert!(stage.add(&host.opened("alloc"), &Shape::Enclosing(&logs("data"))).is_err(), "these are not the logs");
    drop(stage);
    assert_eq!(host.mounts(), 1);
    host.assert_remains();
}

#[test]
fn what_was_opened_is_mounted_whatever_has_its_name_by_now() {
    let Some(host) = TestHost::new() else { return };
    let mut stage = host.begin();
    let (directory, file) = (host.opened("alloc/data"), host.opened("alloc/data/kept"));
    fs::rename(host.at("alloc/data"), host.at("moved")).unwrap();
    std::os::unix::fs::symlink("/etc", host.at("alloc/data")).unwrap();

    let staged = [&directory, &file].map(|source| stage.add(source, &Shape::Plain).unwrap());

    assert_eq!(fs::read_to_string(staged[0].join("kept")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(&staged[1]).unwrap(), "kept");
    drop(stage);
    assert_eq!(host.mounts(), 1);
}

#[test]
fn a_stage_is_left_over_where_nobody_fills_it_and_no_container_has_its_alloc_from_there() {
    let Some(host) = TestHost::new() else { return };
    let stages = host.stages();
    let filled = || {
        let mut stage = host.begin();
        stage.add(&host.opened("alloc"), &Shape::Plain).unwrap();
        stage
    };
    let (used, left, begun) = (filled(), filled(), filled());
    let roots = [&used, &left, &begun].map(|stage| stage.root.clone());
    used.commit();
    left.commit();
    // As after the host's restart, and a directory that is not ours.
    for other in [new_key(), "other".to_owned()] {
        fs::create_dir(stages.own.join(other)).unwrap();
    }

    for (left, _locked) in stages.left(&[using(&roots[0]), ListedContainer::default()], stages.unlocked().unwrap()) {
        left.remove();
    }

    let are_there = roots.each_ref().map(|root| root.exists());
    assert_eq!(are_there, [true, false, true]);
    assert_eq!(fs::read_dir(&stages.own).unwrap().count(), 3, "and what is no stage");
    drop(begun);
    let of_used = stages.of_mounts(&using(&roots[0]).mounts).unwrap();
    of_used.remove();
    of_used.remove();
    assert_eq!(host.mounts(), 1);
    host.assert_remains();
}

#[test]
fn a_container_has_a_stage_where_its_alloc_comes_from_one() {
    let stages = Stages { all: "/state/mounts".into(), own: "/state/mounts/engine".into(), remapped: None };
    let of = |source: &str| stages.of_mounts(&using(Path::new(source)).mounts);
    let key = new_key();

    for engine in ["engine", "by-another-name"] {
        let stage = format!("/state/mounts/{engine}/{key}");
        assert_eq!(of(&stage), Some(Staged(stage.into())));
    }
    for other in [
        "/data/alloc/a1/alloc".to_owned(),
        "/state/mounts/engine".to_owned(),
        "/state/mounts/engine/..".to_owned(),
        format!("/other/mounts/engine/{key}"),
    ] {
        assert_eq!(of(&other), None, "{other}");
    }
}

#[test]
fn a_process_with_other_mounts_does_not_see_a_stage() {
    let Some(host) = TestHost::new() else { return };
    let stage = host.begin();
    let apart = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", "umount -l \"$1\"; echo; read line", "sh"])
        .arg(&stage.root)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut apart = apart.unwrap();
    io::Read::read_exact(apart.stdout.as_mut().unwrap(), &mut [0]).unwrap();

    let seen = EngineProcess { pid: apart.id().try_into().unwrap() }.sees(&stage.root);

    drop(apart.stdin.take());
    apart.wait().unwrap();
    assert!(!seen.unwrap() && stage.engine.sees(&stage.root).unwrap());
}

#[test]
fn empty_directories_that_a_host_could_not_remove_go_with_the_stage_and_nothing_else_does() {
    for (kept, is_left) in [("", false), ("web", true), ("alloc/data", true), ("alloc/logs/web.stdout.0", true)] {
        let Some(host) = TestHost::new() else { return };
        let alloc_dir = host.at("a2");
        fs::create_dir_all(alloc_dir.join("alloc/logs")).unwrap();
        fs::create_dir_all(alloc_dir.join(kept)).unwrap();
        let engine = EngineProcess { pid: std::process::id().try_into().unwrap() };
        let mut stage = host.stages().begin_for(engine, &alloc_dir).unwrap().unwrap();
        let logs = Logs { path: "logs".into(), found: host.opened("a2/alloc/logs"), shown: None };
        stage.add(&host.opened("a2/alloc"), &Shape::Enclosing(&logs)).unwrap();
        let busy = fs::remove_dir(alloc_dir.join("alloc/logs"));

        drop(stage);

        assert!(busy.is_err());
        assert_eq!(alloc_dir.join(kept).exists(), is_left, "{kept:?}");
    }
}

#[test]
fn root_in_the_containers_of_an_engine_that_remaps_users_is_known_by_where_its_data_is() {
    assert_eq!(remapped(Path::new("/var/lib/docker/100000.100001")), Some((100_000, 100_001)));
    for other in ["/var/lib/docker", "/var/lib/docker.d", "/", "/data/1.2.3"] {
        assert_eq!(remapped(Path::new(other)), None, "{other}");
    }
}
