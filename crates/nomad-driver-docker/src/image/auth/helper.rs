//! Credentials from docker's credential helpers: `docker-credential-<name> get`.

mod output;

use std::{process::Stdio, time::Duration};

use output::Output;
use serde::Deserialize;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::sleep,
};

use super::{AuthError, HUB_KEY, server_address};
use crate::reference::HUB;
use engine::Credentials;

/// The helper's time limit: it may query a cloud's metadata service, but not a person.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The maximum size of a response: the longest tokens have a few KiB.
const LONGEST_ANSWER: usize = 64 << 10;
/// How much of the end of a helper's standard error is reported.
const REPORTED_OF_STDERR: usize = 4 << 10;
/// In docker's protocol, the user name that marks an identity token.
const TOKEN: &str = "<token>";
/// What docker's own helpers print on standard output when they fail to find credentials.
const NOT_FOUND: &[u8] = b"credentials not found in native keychain";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(rename = "ServerURL")]
    server: String,
    username: String,
    secret: String,
}

/// A running helper. Dropping it kills its process group, with everything that the helper started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // A process that was waited for has no id any more; its number may have been reused.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ended_meanwhile = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The name of a helper's program.
pub(super) fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Asks a helper; an empty response is `None`. For the Hub, it is asked for both names, starting with the one that helpers for
/// Nomad know.
pub(super) async fn ask(program: &str, registry: &str) -> Result<Option<Credentials>, AuthError> {
    let first = ask_for(program, registry, registry, sleep(TIME_LIMIT)).await;
    if registry != HUB || !matches!(first, Ok(None) | Err(AuthError::Helper { .. })) {
        return first;
    }
    match ask_for(program, HUB_KEY, registry, sleep(TIME_LIMIT)).await {
        Ok(None) | Err(AuthError::Helper { .. }) => first,
        decided => decided,
    }
}

/// Asks once, for one name of the registry, within the time limit.
async fn ask_for(
    program: &str,
    name: &str,
    registry: &str,
    time_is_over: impl Future<Output = ()>,
) -> Result<Option<Credentials>, AuthError> {
    let (program, input) = (program.to_owned(), name.to_owned());
    let failed = |reason: String| AuthError::HelperUnusable { program: program.clone(), input: input.clone(), reason };
    // Uses pipes of our own: a child that inherits the plugin's output would keep the host waiting for its end.
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut helper = Running(child);
    let stdin = helper.0.stdin.take();
    let mut stdout = Output::new(helper.0.stdout.take(), LONGEST_ANSWER);
    let mut stderr = Output::new(helper.0.stderr.take(), REPORTED_OF_STDERR);
    let question = async {
        if let Some(mut stdin) = stdin {
            // A helper may ignore its input; its exit code is what counts.
            let _broken_pipe = stdin.write_all(name.as_bytes()).await;
        }
    };
    let exchange = async {
        tokio::join!(question, stdout.read(), stderr.read());
        std::future::pending::<()>().await;
    };
    // The exit is the end, even if the pipes live on in a process that it started.
    let status = tokio::select! {
        biased;
        status = helper.0.wait() => Some(status),
        () = time_is_over => None,
        () = exchange => None,
    };
    drop(helper);
    stdout.take_rest();
    stderr.take_rest();
    let stderr = stderr.text();
    let failed = |reason: String| match stderr.as_str() {
        "" => failed(reason),
        stderr => failed(format!("{reason}; its stderr: {stderr}")),
    };
    let status = status
        .ok_or_else(|| failed(format!("no answer within {} s", TIME_LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        if stdout.bytes().trim_ascii() == NOT_FOUND {
            return Ok(None);
        }
        let stderr = if stderr.is_empty() { format!("(empty; {status})") } else { stderr.clone() };
        return Err(AuthError::Helper { program: program.clone(), input: input.clone(), stderr });
    }
    if stdout.is_cut() {
        return Err(failed(format!("its answer is longer than {} KiB", LONGEST_ANSWER >> 10)));
    }
    let answer =
        serde_json::from_slice(&stdout.bytes()).map_err(|_| failed("its answer is no JSON of strings".into()))?;
    Ok(credentials(answer, registry))
}

fn credentials(answer: HelperAnswer, registry: &str) -> Option<Credentials> {
    let HelperAnswer { server, username, secret } = answer;
    let server_address = server_address(&server, registry);
    match (username.as_str(), secret.as_str()) {
        ("" | TOKEN, "") => None,
        (TOKEN, _) => Some(Credentials { identity_token: secret, server_address, ..Credentials::default() }),
        _ => Some(Credentials { username, password: secret, server_address, ..Credentials::default() }),
    }
}

#[cfg(test)]
mod tests;
