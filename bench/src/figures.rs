//! What there is of a driver, and in its engine.

use std::fs;

use conformance::{Fixture, dockerd::Dockerd};

use crate::{children, pss_kib};

/// How much more memory than at first counts as none: what an allocator holds back.
const SLACK_MIB: usize = 8;
/// How many more threads and descriptors than at first count as none: those of pools that shrink slowly.
const SLACK: usize = 4;

/// The names of the figures, each with how much more than at first counts as none.
const NAMES: [(&str, usize); 9] = [
    ("containers", 0),
    ("volumes", 0),
    ("networks", 0),
    ("images", 0),
    ("network namespaces", 0),
    ("processes", 0),
    ("threads", SLACK),
    ("descriptors", SLACK),
    ("memory (PSS, MiB)", SLACK_MIB),
];

/// The figures of a moment.
#[derive(Clone, Debug, Default)]
pub struct Figures([usize; NAMES.len()]);

impl Figures {
    /// Reads them. The engine must answer.
    pub fn read(fixture: &Fixture, engine: &Dockerd) -> Self {
        let listed = |args: &[&str]| engine.run(args).lines().count();
        let pid = fixture.driver.reattach_config().pid;
        let entries = |of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
        let children = children(pid);
        let memory = pss_kib(&pid.to_string()) + children.iter().map(|child| pss_kib(child)).sum::<u32>();
        Self([
            listed(&["ps", "--all", "--quiet"]),
            listed(&["volume", "ls", "--quiet"]),
            listed(&["network", "ls", "--quiet"]),
            listed(&["images", "--all", "--quiet"]),
            namespaces(),
            1 + children.len(),
            entries("task"),
            entries("fd"),
            usize::try_from(memory / 1024).unwrap_or_default(),
        ])
    }

    /// Whether nothing is there beyond what was there before.
    pub fn is_back_at(&self, before: &Self) -> bool {
        let each = self.0.iter().zip(before.0).zip(NAMES);
        each.into_iter().all(|((now, before), (_, slack))| *now <= before + slack)
    }

    /// A line for each figure, with its values at several moments.
    pub fn lines(moments: &[&Self]) -> impl Iterator<Item = (&'static str, String)> {
        NAMES.iter().enumerate().map(|(index, (name, _))| {
            let values = moments.iter().map(|moment| moment.0[index].to_string());
            (*name, values.collect::<Vec<_>>().join(", "))
        })
    }
}

/// How many network namespaces of groups are persistent.
fn namespaces() -> usize {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("longshore-")).count()
}
