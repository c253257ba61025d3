//! Differences from the recordings that are meant, each with its reason.

use crate::difference::Difference;

/// A difference that is meant. In the texts `*` stands for anything.
pub(crate) struct Meant {
    /// The recordings that show it. Each must: what none shows any more is to be taken out.
    pub(crate) shown_by: &'static [&'static str],
    /// The recordings that show it or not, as two things race in them.
    pub(crate) maybe_shown_by: &'static [&'static str],
    pub(crate) call: &'static str,
    pub(crate) field: &'static str,
    pub(crate) recorded: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) because: &'static str,
}

impl Meant {
    /// Whether a recording may show it.
    pub(crate) fn is_in(&self, recording: &str) -> bool {
        self.shown_by.iter().chain(self.maybe_shown_by).any(|name| *name == recording)
    }

    pub(crate) fn is(&self, difference: &Difference) -> bool {
        [
            (self.call, &difference.call),
            (self.field, &difference.field),
            (self.recorded, &difference.recorded),
            (self.ours, &difference.ours),
        ]
        .iter()
        .all(|(pattern, text)| matches(pattern, text))
    }
}

pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|begin| text.strip_prefix(begin)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Containers that a recording leaves, and why: its agent does not ask for what would remove them.
pub(crate) const LEFT: &[(&str, &str, &str)] = &[
    ("05c", "nomad_init_*", "the recorded driver made no network, so that its agent removes none"),
    ("06a", "nomad_init_*", "an agent never removes the network of a group under which the plugin died"),
];

const NOTHING: &str = "(nothing)";
const MESSAGE: &str = "(message)";

/// A difference that a call always shows.
const fn always(
    shown_by: &'static [&'static str],
    call: &'static str,
    field: &'static str,
    recorded: &'static str,
    ours: &'static str,
    because: &'static str,
) -> Meant {
    Meant { shown_by, maybe_shown_by: &[], call, field, recorded, ours, because }
}

const OPTIONS: &str = "an option of this driver's own";
const NAMES_A_DEFAULT: &str = "a default that is false is named";
const NO_BRIDGE: &str = "the engine of the tests' own has no bridge network";
const CHECKS_PORTS: &str = "a label without a port is refused, instead of a task that nobody can reach";
const CHECKS_DURATION: &str = "what is no duration is refused, also where nothing is to be pulled";
const BUILT_IN_PAUSE: &str = "where the pause image cannot be had, the driver's own takes its place";
const SAYS_WHAT: &str = "it says what failed";
const NETWORK_REMAINS: &str = "a group's network outlives its pause container, and this host's files were not lost";
const TRUE_CAPABILITIES: &str = "a driver that collects no logs says so, or the agent starts a collector for nothing";
const MORE_MEASURED: &str = "more is measured";
const ANNOUNCED: &str = "a killed process is an event";

const NO_EVENT: &str = "of the few events that an agent keeps, none is spent on an image that was there";
const NO_TICKS: &str = "an agent's own list of measured values has no ticks";

/// All of them.
#[rustfmt::skip]
pub(crate) const ALL: &[Meant] = &[
    always(&["01a"], "BasePlugin.ConfigSchema", "answer.spec.object.attributes.gc.*literal.value", "*}", "*dry_run=false*}", NAMES_A_DEFAULT),
    always(&["01a"], "BasePlugin.ConfigSchema", "answer.spec.object.attributes.*", NOTHING, "*", OPTIONS),
    always(&["02"], "Driver.TaskConfigSchema", "answer.spec.object.attributes.advertise_network*", NOTHING, "*", OPTIONS),
    always(&["02"], "Driver.TaskConfigSchema", "answer.spec.object.attributes.networks*", NOTHING, "*", OPTIONS),

    always(&["08b", "13j"], "Driver.Fingerprint", "*.attributes.driver.docker.bridge_ip", MESSAGE, NOTHING, NO_BRIDGE),
    always(&["08b", "13j"], "Driver.StartTask", "answer.network_override.addr", "<address>", NOTHING, NO_BRIDGE),

    always(&["09"], "Driver.StartTask", "answer", MESSAGE, NOTHING, CHECKS_PORTS),
    always(&["09"], "Driver.StartTask", "end", NOTHING, MESSAGE, CHECKS_PORTS),
    always(&["09"], "Driver.StartTask", "end.code", NOTHING, "Unknown", CHECKS_PORTS),
    always(&["09"], "Driver.StartTask", "end.text", NOTHING, "*: Port \"nosuch\" not found, check network block", CHECKS_PORTS),
    always(&["09"], "Driver.StartTask", "end.text", NOTHING, "Failed to parse image_pull_timeout: *", CHECKS_DURATION),
    always(&["09"], "Driver.WaitTask", "answer", MESSAGE, NOTHING, CHECKS_PORTS),
    always(&["09"], "Driver.WaitTask", "end*", NOTHING, "*", CHECKS_PORTS),
    always(&["09"], "Driver.DestroyTask", "answer", MESSAGE, NOTHING, CHECKS_PORTS),
    always(&["09"], "Driver.DestroyTask", "end*", NOTHING, "*", CHECKS_PORTS),

    always(&["05c"], "Driver.CreateNetwork", "answer*", NOTHING, "*", BUILT_IN_PAUSE),
    always(&["05c"], "Driver.CreateNetwork", "end", MESSAGE, NOTHING, BUILT_IN_PAUSE),
    always(&["05c"], "Driver.CreateNetwork", "end.text", "Error response from daemon: *", "Failed to start container <id>: Error response from daemon: *", SAYS_WHAT),
    always(&["08b"], "Driver.CreateNetwork", "answer.created", "true", NOTHING, NETWORK_REMAINS),

    always(&["16b"], "Driver.Capabilities", "answer.capabilities.disable_log_collection", NOTHING, "true", TRUE_CAPABILITIES),
    always(&["13j", "16c"], "Driver.TaskEvents", "Image already present", MESSAGE, NOTHING, NO_EVENT),
    always(&["13j"], "Driver.TaskStats", "cpu", "*\"TOTAL_TICKS\"*", r#"["PERCENT","SYSTEM_MODE","THROTTLED_PERIODS","THROTTLED_TIME","USER_MODE"]"#, NO_TICKS),
    Meant {
        shown_by: &["02", "13a", "13c", "13d", "13e", "13f", "13g", "13h"],
        maybe_shown_by: &["03", "06a", "07a", "07b", "08a", "10a", "11", "12", "14", "17"],
        call: "Driver.TaskStats",
        field: "cpu",
        recorded: r#"["PERCENT","THROTTLED_PERIODS","THROTTLED_TIME"]"#,
        ours: r#"["PERCENT","SYSTEM_MODE","THROTTLED_PERIODS","THROTTLED_TIME","USER_MODE"]"#,
        because: MORE_MEASURED,
    },
    Meant {
        shown_by: &[],
        maybe_shown_by: &["17"],
        call: "Driver.TaskStats",
        field: "memory",
        recorded: r#"["CACHE","RSS","SWAP","USAGE"]"#,
        ours: r#"["CACHE","MAX_USAGE","RSS","SWAP","USAGE"]"#,
        because: MORE_MEASURED,
    },
    Meant {
        shown_by: &[],
        maybe_shown_by: &["03", "17"],
        call: "Driver.TaskEvents",
        field: "The kernel killed a process of the task: out of memory*",
        recorded: NOTHING,
        ours: "*",
        because: ANNOUNCED,
    },
];
