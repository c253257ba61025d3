//! Signals by the names that jobs use.

use std::{fmt, str::FromStr};

const NAMES: [&str; 28] = [
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL",
    "SIGNULL", "SIGPIPE", "SIGPROF", "SIGQUIT", "SIGSEGV", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP",
    "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
];

/// How many real-time signals there are behind the first one, and before the last one, by the names that engines know.
const AFTER_FIRST: u8 = 15;
const BEFORE_LAST: u8 = 14;

/// A signal that a job may name: one of the list, or a real-time one, as `SIGRTMIN+3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal(String);

/// A name that is none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse signal: invalid signal {0:?} - valid signals are [{list}]", list = quoted())]
pub struct UnknownSignal(String);

/// Each name in quotes, a blank between them, as the built-in driver writes them.
fn quoted() -> String {
    NAMES.map(|name| format!("{name:?}")).join(" ")
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(name: &str) -> Result<Self, UnknownSignal> {
        let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)) || is_real_time(name);
        known.then(|| Self(name.to_owned())).ok_or_else(|| UnknownSignal(name.to_owned()))
    }
}

fn is_real_time(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let within = |number: &str, most: u8| {
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        is_plain && number.parse().is_ok_and(|number: u8| number <= most)
    };
    match (name.strip_prefix("SIGRTMIN"), name.strip_prefix("SIGRTMAX")) {
        (Some(""), _) | (_, Some("")) => true,
        (Some(rest), _) => rest.strip_prefix('+').is_some_and(|number| within(number, AFTER_FIRST)),
        (_, Some(rest)) => rest.strip_prefix('-').is_some_and(|number| within(number, BEFORE_LAST)),
        (None, None) => false,
    }
}

impl Signal {
    /// Whether it is the one that does nothing.
    pub fn is_null(&self) -> bool {
        self.0.eq_ignore_ascii_case("SIGNULL")
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_in_any_case_and_given_as_written() {
        assert_eq!("sigusr1".parse::<Signal>().unwrap().to_string(), "sigusr1");
        assert_eq!("SIGXFSZ".parse::<Signal>().unwrap().to_string(), "SIGXFSZ");
    }

    #[test]
    fn real_time_signals_are_named_from_both_ends() {
        for name in ["SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+15", "SIGRTMAX-14", "sigrtmax-1", "SIGRTMAX"] {
            assert_eq!(name.parse::<Signal>().map(|signal| signal.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn numbers_and_signals_that_jobs_may_not_send_are_refused_with_the_list() {
        for name in [
            "9",
            "HUP",
            "SIGCHLD",
            "SIGURG",
            "SIGRTMIN+16",
            "SIGRTMIN+",
            "SIGRTMIN+03",
            "SIGRTMIN-1",
            "SIGRTMAX-15",
            "",
        ] {
            let error = name.parse::<Signal>().unwrap_err().to_string();
            let begin = format!("failed to parse signal: invalid signal {name:?} - valid signals are ");
            let list = r#"["SIGABRT" "SIGALRM" "SIGBUS" "SIGCONT" "SIGFPE" "SIGHUP" "SIGILL" "SIGINT" "SIGIO" "SIGIOT" "SIGKILL" "SIGNULL" "SIGPIPE" "SIGPROF" "SIGQUIT" "SIGSEGV" "SIGSTOP" "SIGSYS" "SIGTERM" "SIGTRAP" "SIGTSTP" "SIGTTIN" "SIGTTOU" "SIGUSR1" "SIGUSR2" "SIGWINCH" "SIGXCPU" "SIGXFSZ"]"#;
            assert_eq!(error, format!("{begin}{list}"));
        }
    }
}
