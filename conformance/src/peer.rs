//! Which driver is under test, and where it is meant to differ from ours.
//!
//! `LONGSHORE_DRIVER` names any driver's program. With `LONGSHORE_PEER=builtin` it is the driver built into Nomad, built
//! as a plugin, of which the other column of [`DIFFERENCES`] is expected.

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// That of this workspace.
    Ours,
    /// The driver built into Nomad.
    BuiltIn,
}

impl Peer {
    /// The one under test.
    pub fn under_test() -> Self {
        match std::env::var("LONGSHORE_PEER").as_deref() {
            Err(_) | Ok("" | "ours") => Self::Ours,
            Ok("builtin") => Self::BuiltIn,
            Ok(other) => panic!("LONGSHORE_PEER is ours or builtin, not {other:?}"),
        }
    }
}

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It starts.
    Starts,
    /// It is refused, in words that hold all of these.
    Refused(&'static [&'static str]),
}

/// A task of which the drivers are meant to make something else.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its `config` block, without the image.
    pub config: &'static str,
    /// With ours.
    pub ours: Outcome,
    /// With the built-in driver, run as a plugin.
    pub built_in: Outcome,
    /// Why they differ.
    pub reason: &'static str,
}

impl Difference {
    /// What is expected of the driver under test.
    pub fn expected(&self) -> Outcome {
        match Peer::under_test() {
            Peer::Ours => self.ours,
            Peer::BuiltIn => self.built_in,
        }
    }
}

/// Every difference that a task's start shows.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        config: "pids_limit = -5",
        ours: Outcome::Refused(&["pids_limit: must be -1 or more, this is -5"]),
        built_in: Outcome::Starts,
        reason: "a limit that is no number of processes is a mistake, and without it there is no limit at all",
    },
    Difference {
        config: "memory_hard_limit = -5",
        ours: Outcome::Refused(&["memory_hard_limit: must not be negative, this is -5"]),
        built_in: Outcome::Starts,
        reason: "a limit that is no amount of memory is a mistake, and the request becomes the limit",
    },
    Difference {
        config: "image_pull_timeout = \"soon\"",
        ours: Outcome::Refused(&["Failed to parse image_pull_timeout: time: invalid duration \"soon\""]),
        built_in: Outcome::Starts,
        reason: "the mistake shows only on the first machine that does not have the image",
    },
    Difference {
        config: "ports = [\"typo\"]",
        ours: Outcome::Refused(&["Port \"typo\" not found, check network block"]),
        built_in: Outcome::Starts,
        reason: "without ports of the group the list that it is looked up in is lost on its way to a plugin",
    },
    Difference {
        config: "volumes = [\"local:/x\"]\nmount {\n  type = \"tmpfs\"\n  target = \"/x/\"\n}",
        ours: Outcome::Refused(&["volumes[0]: duplicate mount point \"/x\": mount[0].target has it already"]),
        built_in: Outcome::Refused(&["Duplicate mount point: /x"]),
        reason: "the engine does not say which of the options it means",
    },
    Difference {
        config: "volumes = [\"local:/x:z:ro\"]",
        ours: Outcome::Refused(&["volumes[0]: invalid docker volume \"local:/x:z:ro\": more than"]),
        built_in: Outcome::Starts,
        reason: "what comes behind the mode is lost, and the task can write where it was not to",
    },
    Difference {
        config: "mount {\n  type = \"bind\"\n  target = \"/x\"\n}",
        ours: Outcome::Refused(&["mount[0].source: must be set for a mount of type \"bind\""]),
        built_in: Outcome::Starts,
        reason: "nobody means the task's whole directory, with its secrets",
    },
    Difference {
        config: "mount {\n  type = \"bind\"\n  source = \"local\"\n  target = \"/x\"\n  tmpfs_options {\n    size = 9\n  }\n}",
        ours: Outcome::Refused(&[
            "mount[0].tmpfs_options: is for mounts of type \"tmpfs\", this one is of type \"bind\"",
        ]),
        built_in: Outcome::Starts,
        reason: "options that belong to another type of mount have no effect",
    },
    Difference {
        config: "oom_score_adj = 2000",
        ours: Outcome::Refused(&["oom_score_adj: must be between -1000 and 1000, this is 2000"]),
        built_in: Outcome::Refused(&["Invalid value 2000, range for oom score adj is [-1000, 1000]"]),
        reason: "it is reported before an image is pulled",
    },
    Difference {
        config: "command = \" ls\"\nisolation = \"process\"",
        ours: Outcome::Refused(&[
            "command contains extra white space: \" ls\"",
            "cannot use isolation mode \"process\"",
        ]),
        built_in: Outcome::Refused(&["cannot use isolation mode \"process\""]),
        reason: "all mistakes are reported at once",
    },
];
