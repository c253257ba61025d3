//! Credentials from a program: docker's credential helpers, `docker-credential-<name> get`.

use std::{process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::AuthError;
use crate::engine::Credentials;

/// How long a helper may take: it may ask a cloud's metadata service, but no person.
const TIME_LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "Username")]
    username: String,
    #[serde(default, rename = "Secret")]
    secret: String,
}

/// Asks a helper; an empty answer is `None`.
pub(super) async fn ask(name: &str, registry: &str) -> Result<Option<Credentials>, AuthError> {
    ask_program(&format!("docker-credential-{name}"), registry, TIME_LIMIT).await
}

async fn ask_program(program: &str, registry: &str, limit: Duration) -> Result<Option<Credentials>, AuthError> {
    let program = program.to_owned();
    let unusable =
        |reason: String| AuthError::HelperUnusable { program: program.clone(), input: registry.to_owned(), reason };
    // Own pipes: a child with the plugin's standard output or error would keep the host waiting for their end.
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| unusable(error.to_string()))?;
    let stdin = child.stdin.take();
    let exchange = async {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input has its own reasons; its exit code tells.
            let _broken_pipe = stdin.write_all(registry.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(limit, exchange)
        .await
        .map_err(|_| unusable(format!("no answer within {} s", limit.as_secs_f64())))?
        .map_err(|error| unusable(error.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(AuthError::Helper { program, input: registry.to_owned(), stderr });
    }
    let Answer { username, secret } =
        serde_json::from_slice(&output.stdout).map_err(|_| unusable("its answer is no JSON of strings".into()))?;
    Ok((!(username.is_empty() && secret.is_empty())).then_some(Credentials { username, password: secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docker-credential-example");

    async fn answer(registry: &str) -> Result<Option<(String, String)>, String> {
        let answer = ask_program(HELPER, registry, Duration::from_secs(20)).await;
        answer.map(|found| found.map(|found| (found.username, found.password))).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_helper_reads_the_registry_and_answers_in_json() {
        assert_eq!(answer("known.test:5000").await, Ok(Some(("user".into(), "pass:word".into()))));
        assert_eq!(answer("empty.test").await, Ok(None));
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_quoted() {
        let expected = format!("{HELPER} with input \"denied.test\" failed with stderr: credentials not found\n");
        assert_eq!(answer("denied.test").await, Err(expected));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_understood_is_not_quoted() {
        let expected = format!("{HELPER} with input \"else.test\" failed: its answer is no JSON of strings");
        assert_eq!(answer("else.test").await, Err(expected));
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_ended_when_its_time_is_over() {
        let error = ask_program(HELPER, "slow.test", Duration::from_millis(100)).await.unwrap_err();

        let expected = format!("{HELPER} with input \"slow.test\" failed: no answer within 0.1 s");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn a_helper_that_is_not_installed_is_named() {
        let error = ask("longshore-no-such-helper", "a.test").await.unwrap_err().to_string();

        assert!(
            error.starts_with("docker-credential-longshore-no-such-helper with input \"a.test\" failed: "),
            "{error}"
        );
    }
}
