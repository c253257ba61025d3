//! Paths in an allocation's directory, on the host and in its containers.

use std::path::{Component, Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

/// The task's own directory.
pub(crate) fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

/// Normalizes a path lexically: without `.`, `..` and doubled slashes.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match cleaned.components().next_back() {
                Some(Component::Normal(_)) => {
                    cleaned.pop();
                }
                Some(Component::RootDir) => {}
                _ => cleaned.push(".."),
            },
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

/// The path of a source on the host; relative ones are in the task's directory.
pub(crate) fn on_host(task: &TaskConfig, source: &str) -> PathBuf {
    clean(&task_dir(task).join(source))
}

/// The logs directory, relative to the allocation's directory.
pub(crate) const LOGS: &str = "alloc/logs";

/// The fixed target of the allocation's directory, whatever the job sets in its variables.
pub(crate) const ALLOC_TARGET: &str = "/alloc";
/// The fixed target of the task's `local` directory.
pub(crate) const LOCAL_TARGET: &str = "/local";
/// The fixed target of the task's `secrets` directory.
pub(crate) const SECRETS_TARGET: &str = "/secrets";

/// The directories that every task of an allocation gets.
pub(crate) fn own_directories(task: &TaskConfig) -> [PathBuf; 4] {
    let (alloc_dir, own) = (Path::new(&task.alloc_dir), task_dir(task));
    [alloc_dir.join("alloc"), own.join("local"), own.join("secrets"), alloc_dir.join(LOGS)]
}

/// The path of the group's hosts file, in the allocation's directory.
pub(crate) fn hosts_path(alloc_dir: &Path) -> PathBuf {
    alloc_dir.join("hosts")
}

/// The path of a task's resolver configuration, in the task's directory.
pub(crate) fn resolv_conf_path(task_dir: &Path) -> PathBuf {
    task_dir.join("resolv.conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in
            [("/a/../b", "/b"), ("/..", "/"), ("a/./b//c", "a/b/c"), ("../a", "../a"), ("a/..", "."), ("vol", "vol")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned), "{path}");
        }
    }
}
