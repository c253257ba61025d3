//! Where things are in an allocation's directory, on the host and in its containers.

use std::path::{Component, Path, PathBuf};

use nomad_plugin::driver::TaskConfig;

/// The task's own directory.
pub(crate) fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

/// A path without `.`, `..` and doubled slashes, as far as its text alone tells.
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

/// Where a source on the host is: relative ones are in the task's directory.
pub(crate) fn on_host(task: &TaskConfig, source: &str) -> PathBuf {
    clean(&task_dir(task).join(source))
}

/// The directory of logs in the allocation's.
pub(crate) const LOGS: &str = "alloc/logs";

/// Where every task has its directories, whatever its job says of their variables.
pub(crate) const ALLOC_TARGET: &str = "/alloc";
/// The same, for its own files.
pub(crate) const LOCAL_TARGET: &str = "/local";
/// The same, for its secrets.
pub(crate) const SECRETS_TARGET: &str = "/secrets";

/// The directories that every task of an allocation is given.
pub(crate) fn own_directories(task: &TaskConfig) -> [PathBuf; 4] {
    let (alloc_dir, own) = (Path::new(&task.alloc_dir), task_dir(task));
    [alloc_dir.join("alloc"), own.join("local"), own.join("secrets"), alloc_dir.join(LOGS)]
}

/// Where the group's hosts file is.
pub(crate) fn hosts_path(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join("hosts")
}

/// Where the task's resolver configuration is.
pub(crate) fn resolv_conf_path(task: &TaskConfig) -> PathBuf {
    task_dir(task).join("resolv.conf")
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
