//! Signals by the names that jobs use.

use std::{fmt, str::FromStr};

const NAMES: [&str; 28] = [
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL",
    "SIGNULL", "SIGPIPE", "SIGPROF", "SIGQUIT", "SIGSEGV", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP",
    "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGXCPU", "SIGXFSZ",
];

/// A signal that a job may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal(String);

/// A name that is none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse signal: invalid signal {0:?} - valid signals are [{list}]", list = quoted(&NAMES))]
pub struct UnknownSignal(String);

/// Each name in quotes, a blank between them, as the built-in driver writes them.
fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" ")
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(name: &str) -> Result<Self, UnknownSignal> {
        let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        known.then(|| Self(name.to_owned())).ok_or_else(|| UnknownSignal(name.to_owned()))
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
    fn numbers_and_signals_that_jobs_may_not_send_are_refused_with_the_list() {
        for name in ["9", "HUP", "SIGCHLD", "SIGURG", "SIGRTMIN", ""] {
            let error = name.parse::<Signal>().unwrap_err().to_string();
            let begin = format!("failed to parse signal: invalid signal {name:?} - valid signals are ");
            let list = r#"["SIGABRT" "SIGALRM" "SIGBUS" "SIGCONT" "SIGFPE" "SIGHUP" "SIGILL" "SIGINT" "SIGIO" "SIGIOT" "SIGKILL" "SIGNULL" "SIGPIPE" "SIGPROF" "SIGQUIT" "SIGSEGV" "SIGSTOP" "SIGSYS" "SIGTERM" "SIGTRAP" "SIGTSTP" "SIGTTIN" "SIGTTOU" "SIGUSR1" "SIGUSR2" "SIGWINCH" "SIGXCPU" "SIGXFSZ"]"#;
            assert_eq!(error, format!("{begin}{list}"));
        }
    }
}
