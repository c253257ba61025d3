//! Keeps the host's logs directory read-only under every name by which a task mounts it.
//!
//! The host opens log files and pipes there by name, as its own user. A task that could write there would replace them with
//! links. `$NOMAD_ALLOC_DIR/logs` is read-only, but a mount of `../alloc`, or of the whole allocation, is another name for it.
//! The mount points in the container prove nothing: its image may have links there.

use std::path::{Path, PathBuf};

/// The location of a source relative to the logs directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It contains nothing of the logs.
    Apart,
    /// It is the logs directory, or inside it.
    Within,
    /// It contains the logs directory, at this path.
    Enclosing(PathBuf),
}

/// Locates a source; both paths are without links.
pub(crate) fn place(logs: &Path, source: &Path) -> Place {
    if source.starts_with(logs) {
        return Place::Within;
    }
    logs.strip_prefix(source).map_or(Place::Apart, |rest| Place::Enclosing(rest.to_owned()))
}

/// A volume's mode, made read-only.
pub(crate) fn read_only(mode: Option<&str>) -> String {
    let kept = mode.unwrap_or_default().split(',').filter(|flag| !matches!(*flag, "" | "rw" | "ro"));
    ["ro"].into_iter().chain(kept).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_logs_in_it_or_is_of_them_is_known() {
        let place = |source: &str| place(Path::new("/a1/alloc/logs"), Path::new(source));

        assert_eq!(place("/a1/alloc"), Place::Enclosing("logs".into()));
        assert_eq!(place("/a1"), Place::Enclosing("alloc/logs".into()));
        for within in ["/a1/alloc/logs", "/a1/alloc/logs/web.stdout.0"] {
            assert_eq!(place(within), Place::Within, "{within}");
        }
        for apart in ["/a1/alloc/data", "/a1/web/local", "/a1/alloc/logs-of-mine", "/a2"] {
            assert_eq!(place(apart), Place::Apart, "{apart}");
        }
    }

    #[test]
    fn a_mode_is_made_read_only_and_has_its_other_flags() {
        assert_eq!(read_only(None), "ro");
        assert_eq!(read_only(Some("rw,z")), "ro,z");
        assert_eq!(read_only(Some("ro,rslave")), "ro,rslave");
    }
}
