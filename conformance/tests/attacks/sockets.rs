//! Other users of the machine at the plugin's socket: what they make in its place beforehand, and whether they reach it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use conformance::{DEADLINE, driver_binary};
use nomad_plugin::client::{DriverClient, LaunchOptions};

async fn launched(socket_dir: &Path, umask: &str, env: &[(&str, &str)]) -> DriverClient {
    let script = format!("umask {umask}; exec \"$0\"");
    let options = LaunchOptions {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into(), driver_binary().into()],
        env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        socket_dir: Some(socket_dir.to_owned()),
        start_timeout: *DEADLINE,
        log: std::sync::Arc::new(|_| ()),
    };
    DriverClient::launch(options).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn socket(driver: &DriverClient) -> (PathBuf, PathBuf) {
    let socket = driver.reattach_config().address.clone();
    (socket.parent().unwrap().to_owned(), socket)
}

async fn end(driver: DriverClient) {
    driver.shutdown().await.unwrap();
    driver.kill().await;
}

#[tokio::test]
async fn what_others_make_in_the_temporary_directory_prevents_no_start_of_a_driver() {
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    // The driver's process is one of the next ones.
    let next = std::process::Command::new("true").spawn().map(|mut child| (child.id(), child.wait())).unwrap().0;
    for pid in next..next + 5_000 {
        fs::create_dir_all(shared.path().join(format!("plugin{pid}/full"))).unwrap();
    }

    let driver = launched(shared.path(), "022", &[]).await;

    let (directory, _) = socket(&driver);
    assert_eq!(directory.parent(), Some(shared.path()));
    end(driver).await;
    assert!(!directory.exists(), "nothing of it is left");
}

#[tokio::test]
async fn whatever_the_umask_is_nobody_else_reaches_the_socket() {
    let shared = tempfile::tempdir().unwrap();
    for umask in ["0", "0777"] {
        let driver = launched(shared.path(), umask, &[]).await;

        let (directory, socket) = socket(&driver);
        assert_eq!((mode(&directory), mode(&socket)), (0o700, 0o600), "{umask}");
        end(driver).await;
    }
}

#[tokio::test]
async fn the_hosts_group_reaches_the_socket_and_cannot_replace_it() {
    use std::os::unix::fs::MetadataExt;
    let shared = tempfile::tempdir().unwrap();
    let driver = launched(shared.path(), "0", &[("PLUGIN_UNIX_SOCKET_GROUP", "65534")]).await;

    let (directory, socket) = socket(&driver);

    assert_eq!((mode(&directory), mode(&socket)), (0o710, 0o660));
    for path in [&directory, &socket] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 65534), "{}", path.display());
    }
    end(driver).await;
}
