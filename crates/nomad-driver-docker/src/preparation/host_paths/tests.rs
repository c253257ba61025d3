//! Paths that lead where they may not, and paths that are swapped.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::config::{BindOptions, MountKind, MountOptions, Volume};
use crate::container::sources::Source;

struct Allocation {
    _directory: tempfile::TempDir,
    task: TaskConfig,
    writable: Vec<PathBuf>,
}

impl Allocation {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let alloc_dir = directory.path().join("a1");
        for part in ["alloc/logs", "alloc/data", "web/local", "web/secrets"] {
            fs::create_dir_all(alloc_dir.join(part)).unwrap();
        }
        let task =
            TaskConfig { name: "web".into(), alloc_dir: alloc_dir.display().to_string(), ..TaskConfig::default() };
        Self { _directory: directory, task, writable: Vec::new() }
    }

    fn at(&self, path: &str) -> PathBuf {
        Path::new(&self.task.alloc_dir).join(path)
    }

    fn look(&self, options: &TaskOptions) -> Result<HostPaths, ContainerError> {
        self.look_as(options, &PluginConfig::default())
    }

    fn look_as(&self, options: &TaskOptions, plugin: &PluginConfig) -> Result<HostPaths, ContainerError> {
        let mut rejections = Rejections::default();
        let paths =
            HostPaths::look(&self.task, options, plugin, &mut HandoverMode::ByName(&self.writable), &mut rejections);
        rejections.or(paths)
    }
}

fn volume(text: &str) -> TaskOptions {
    let mut parts = text.split(':').map(str::to_owned);
    let (source, target, mode) = (parts.next().unwrap(), parts.next().unwrap(), parts.next());
    TaskOptions { volumes: vec![Volume { text: text.into(), source, target, mode }], ..TaskOptions::default() }
}

fn bind(source: &str) -> TaskOptions {
    let kind = MountKind::Bind(BindOptions::default());
    let mount = MountOptions { kind, target: "/in".into(), source: source.into(), readonly: false };
    TaskOptions { mounts: vec![mount], ..TaskOptions::default() }
}

#[test]
fn what_leads_out_is_refused_in_known_words_and_what_remains_is_resolved() {
    let allocation = Allocation::new();
    symlink("/etc", allocation.at("web/local/etc")).unwrap();
    symlink("../../../..", allocation.at("web/local/out")).unwrap();
    symlink("../../alloc/data", allocation.at("web/local/data")).unwrap();

    for source in ["local/etc", "local/etc/passwd", "local/out", "../..", "/etc", "/etc/../etc", "local/out/a1"] {
        let in_text = format!("{source}:/in:ro");
        let words = |quoted: &str| format!("volumes are not enabled; cannot mount host path: {quoted:?}");
        assert_eq!(allocation.look(&volume(&in_text)), Err(ContainerError(words(&in_text))));
        assert_eq!(allocation.look(&bind(source)), Err(ContainerError(words(source))));
    }
    let (paths, path) = (allocation.look(&volume("local/data/x:/in")).unwrap(), allocation.at("web/local/data/x"));
    let source = paths.source(&path).path;
    assert_eq!(source, allocation.at("alloc/data/x"));
}

#[test]
fn a_colon_where_a_link_leads_cannot_cut_a_volumes_path_short() {
    let allocation = Allocation::new();
    fs::create_dir_all(allocation.at("web/local/p:/t")).unwrap();
    symlink("/", allocation.at("web/local/p")).unwrap();
    symlink("p:/t", allocation.at("web/local/link")).unwrap();

    let refused = allocation.look(&volume("local/link:ro"));

    let words = "volumes are not enabled; cannot mount host path: \"local/link:ro\"";
    assert_eq!(refused, Err(ContainerError(words.into())));
    assert!(allocation.look(&bind("local/link")).is_ok(), "a mount's source is no text with parts");
}

#[test]
fn what_is_swapped_between_the_two_looks_is_found_out() {
    let allocation = Allocation::new();
    fs::create_dir(allocation.at("web/local/there")).unwrap();
    symlink("there", allocation.at("web/local/link")).unwrap();
    let swaps = [
        ("local/there", "/etc"),
        ("local/not-yet", "/etc"),
        ("local/link", "/etc"),
        // Inside the allocation as well: the container was created for another directory.
        ("local/link", "../secrets"),
    ];

    for (source, target) in swaps {
        let paths = allocation.look(&bind(source)).unwrap();
        assert_eq!(paths.look_again(), Ok(()));
        let (path, kept) = (allocation.at(&format!("web/{source}")), allocation.at("web/kept"));
        let was_there = fs::rename(&path, &kept).is_ok();
        symlink(target, &path).unwrap();

        let error = paths.look_again().unwrap_err().0;

        assert!(error.starts_with(&format!("volumes are not enabled; cannot mount host path: {source:?}")), "{error}");
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&kept, &path).unwrap();
        }
    }
}

#[test]
fn the_allocations_own_directories_are_no_links_even_where_volumes_are_enabled() {
    let mut plugin = PluginConfig::default();
    plugin.volumes.enabled = true;
    for own in ["alloc/logs", "alloc", "web/local", "web/secrets", "web"] {
        let allocation = Allocation::new();
        let paths = allocation.look_as(&bind("/etc"), &plugin).unwrap();
        fs::rename(allocation.at(own), allocation.at("moved")).unwrap();
        symlink(allocation.at("moved"), allocation.at(own)).unwrap();

        assert!(paths.look_again().is_err(), "{own}");
        let refused = allocation.look_as(&TaskOptions::default(), &plugin).unwrap_err().0;
        assert!(refused.ends_with("it is not the allocation's own any more"), "{refused}");
    }
}

#[test]
fn by_its_name_nothing_that_has_the_logs_in_it_is_writable() {
    let allocation = Allocation::new();
    symlink("../..", allocation.at("web/local/up")).unwrap();
    for source in ["..", "../alloc", "local/up", "local/up/alloc"] {
        let words = format!("{source:?}: it has the logs in it, and is not read-only");
        assert!(allocation.look(&bind(source)).unwrap_err().0.ends_with(&words), "{source}");
        let writable = format!("{source}:/in:z");
        assert!(allocation.look(&volume(&writable)).unwrap_err().0.ends_with("not read-only"), "{source}");
        let read_only =
            allocation.look(&volume(&format!("{source}:/in:z,ro"))).map(drop).map_err(|rejection| rejection.0);
        let others = || format!("\"{source}:/in:z,ro\": it has the directories of other tasks in it");
        assert!(
            read_only.map_or_else(|rejection| rejection.ends_with(&others()), |()| source.ends_with("alloc")),
            "{source}"
        );
    }
    fs::write(allocation.at("alloc/file"), "").unwrap();
    symlink("/etc", allocation.at("alloc/link")).unwrap();

    let paths = allocation.look(&bind("../alloc/logs")).unwrap();

    assert_eq!(paths.beside_logs(), Some([allocation.at("alloc/data")].as_slice()));
    let logs = allocation.at("alloc/logs");
    assert_eq!(paths.source(&logs), Source { path: &logs, is_of_logs: true });
}

#[test]
fn by_its_name_nothing_is_mounted_that_a_running_task_can_put_a_link_in_the_place_of() {
    let mut allocation = Allocation::new();
    fs::create_dir_all(allocation.at("alloc/data/p/q")).unwrap();
    let words = "a running task of the allocation can change what is there";
    let refused = |allocation: &Allocation, source: &str| match allocation.look(&bind(source)) {
        Ok(_) => false,
        Err(ContainerError(rejection)) => {
            assert!(rejection.contains(words), "{rejection}");
            true
        }
    };

    allocation.writable = vec![allocation.at("alloc/data"), allocation.at("other/local")];
    let by_usual = ["../alloc/data/p", "../alloc/data/p/q", "../alloc/data", "local", "local/x"]
        .map(|source| refused(&allocation, source));
    allocation.writable = vec![allocation.at("web/local")];
    let by_one_in_the_tasks = ["local", "local/x", "../alloc/data/p"].map(|source| refused(&allocation, source));
    allocation.writable = vec![allocation.at("alloc")];
    let by_one_of_an_earlier_version = ["local", "../alloc/data"].map(|source| refused(&allocation, source));
    allocation.writable = vec![allocation.at("")];

    assert_eq!(by_usual, [true, true, false, false, false]);
    assert_eq!(by_one_in_the_tasks, [false, true, false]);
    assert_eq!(by_one_of_an_earlier_version, [false, true]);
    assert!(refused(&allocation, "local"), "its own directories as well");
}
