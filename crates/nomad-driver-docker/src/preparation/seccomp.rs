//! The job's security options in the engine's form: checked, with seccomp profiles replaced by their content.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use beneath::{Beneath, Links, find_anywhere, read_regular};

use super::alloc_dir::AllocDir;
use crate::{
    alloc_paths::clean,
    config::PluginConfig,
    container::{
        ContainerError,
        security_opt::{parts, profile_path},
    },
};

/// Far more than any profile; Docker's own has 12 KiB.
const MAX_PROFILE: u64 = 1 << 20;

/// Why a profile may not be read from a path.
const NOT_ALLOWED: &str =
    "it is neither in the task's allocation nor in a directory of the plugin option allow_seccomp_profiles";

/// Converts an option for the engine; a profile's path is replaced by the file's content.
pub(super) fn for_engine(option: &str, alloc: &AllocDir, plugin: &PluginConfig) -> Result<String, ContainerError> {
    let failed = |problem: String| ContainerError(format!("failed to parse security_opt configuration: {problem}"));
    if option != "no-new-privileges" && parts(option).is_none() {
        return Err(failed(format!("invalid security_opt: {option:?}")));
    }
    let Some(path) = profile_path(option) else { return Ok(option.to_owned()) };
    let profile = open(&clean(path.as_ref()), alloc, plugin)
        .and_then(read)
        .map_err(|error| failed(format!("opening seccomp profile ({path}) failed: {error}")))?;
    let profile: serde_json::Value = serde_json::from_slice(&profile)
        .map_err(|error| failed(format!("compacting json for seccomp profile ({path}) failed: {error}")))?;
    Ok(format!("seccomp={profile}"))
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut profile = Vec::new();
    file.take(MAX_PROFILE + 1).read_to_end(&mut profile)?;
    if profile.len() as u64 > MAX_PROFILE {
        return Err(io::Error::other(format!("it has more than {MAX_PROFILE} bytes")));
    }
    Ok(profile)
}

/// A relative path is in the task's directory, or else in the working directory of this process.
fn open(path: &Path, alloc: &AllocDir, plugin: &PluginConfig) -> io::Result<File> {
    let in_task = clean(&alloc.task.join(path));
    if in_task.starts_with(&alloc.path) {
        match alloc.with(|directory| directory.read(&in_task, Links::Followed)) {
            Err(error) if path.is_relative() && error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    let path = std::path::absolute(path)?;
    let Some(directories) = &plugin.allowlists.seccomp_profiles else {
        return read_regular(&find_anywhere(&path, Links::Followed)?);
    };
    let directory = directories.iter().map(|directory| clean(directory)).find(|root| path.starts_with(root));
    let directory = directory.ok_or_else(|| io::Error::new(io::ErrorKind::PermissionDenied, NOT_ALLOWED))?;
    Beneath::open(&directory)?.read(&path, Links::Followed)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf};

    use nomad_plugin::driver::TaskConfig;

    use super::*;

    /// A directory of the operator's, another one, and a task.
    struct Host {
        directory: tempfile::TempDir,
        task: TaskConfig,
    }

    impl Host {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = |path: &str| directory.path().join(path);
            for (path, content) in [
                ("profiles/web.json", "{ \"of\": \"operator\" }\n"),
                ("elsewhere/secret.json", "{ \"of\": \"host\" }"),
                ("a1/web/local/own.json", "{ \"of\": \"task\" }"),
            ] {
                fs::create_dir_all(at(path).parent().unwrap()).unwrap();
                fs::write(at(path), content).unwrap();
            }
            symlink(at("elsewhere/secret.json"), at("a1/web/local/out.json")).unwrap();
            symlink(at("elsewhere/secret.json"), at("profiles/out.json")).unwrap();
            symlink("web.json", at("profiles/link.json")).unwrap();
            let task =
                TaskConfig { name: "web".into(), alloc_dir: at("a1").display().to_string(), ..TaskConfig::default() };
            Self { directory, task }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn strict(&self) -> PluginConfig {
            let mut plugin = PluginConfig::default();
            plugin.allowlists.seccomp_profiles = Some(vec![self.path("profiles")]);
            plugin
        }

        fn seccomp(&self, path: impl AsRef<Path>, plugin: &PluginConfig) -> Result<String, ContainerError> {
            for_engine(&format!("seccomp={}", path.as_ref().display()), &AllocDir::open(&self.task), plugin)
        }
    }

    #[test]
    fn unless_the_operator_says_otherwise_a_profile_may_be_anywhere() {
        let host = Host::new();
        let plugin = PluginConfig::default();

        assert_eq!(host.seccomp(host.path("elsewhere/secret.json"), &plugin), Ok("seccomp={\"of\":\"host\"}".into()));
        assert_eq!(host.seccomp(host.path("profiles/out.json"), &plugin), Ok("seccomp={\"of\":\"host\"}".into()));
        assert_eq!(host.seccomp("local/own.json", &plugin), Ok("seccomp={\"of\":\"task\"}".into()));
        let here = std::env::current_dir().unwrap();
        let relative = tempfile::NamedTempFile::new_in(&here).unwrap();
        fs::write(relative.path(), "[]").unwrap();
        assert_eq!(host.seccomp(relative.path().file_name().unwrap(), &plugin), Ok("seccomp=[]".into()));
    }

    #[test]
    fn where_the_operator_names_directories_a_profile_is_there_or_in_the_allocation() {
        let host = Host::new();
        let plugin = host.strict();

        for (path, of) in [
            (host.path("profiles/web.json"), "operator"),
            (host.path("profiles/link.json"), "operator"),
            (host.path("profiles/../profiles/web.json"), "operator"),
            (host.path("a1/web/local/own.json"), "task"),
            ("local/own.json".into(), "task"),
        ] {
            assert_eq!(host.seccomp(&path, &plugin), Ok(format!("seccomp={{\"of\":\"{of}\"}}")), "{}", path.display());
        }
        for path in [
            host.path("elsewhere/secret.json"),
            host.path("profiles/../elsewhere/secret.json"),
            host.path("profiles/out.json"),
            host.path("a1/web/local/out.json"),
            host.path("a1/../elsewhere/secret.json"),
            host.path("profiles-of-another/web.json"),
            "../../elsewhere/secret.json".into(),
            "local/out.json".into(),
        ] {
            let error = host.seccomp(&path, &plugin).unwrap_err().0;
            let opening = format!("opening seccomp profile ({}) failed: ", path.display());
            assert!(error.contains(&opening), "{error}");
        }
        let error = host.seccomp("/proc/self/environ", &plugin).unwrap_err().0;
        assert!(error.ends_with(NOT_ALLOWED), "{error}");
        let none = PluginConfig { allowlists: crate::config::Allowlists::default(), ..plugin };
        assert!(host.seccomp("/proc/self/environ", &none).unwrap_err().0.contains("compacting json"));
    }

    #[test]
    fn a_profile_is_a_regular_file_of_a_sensible_size() {
        let host = Host::new();
        let plugin = PluginConfig::default();
        fs::File::create(host.path("elsewhere/large")).unwrap().set_len(MAX_PROFILE + 1).unwrap();

        for (path, problem) in [
            (PathBuf::from("/dev/zero"), "it is no regular file"),
            (host.path("elsewhere"), "it is no regular file"),
            (host.path("elsewhere/large"), "it has more than 1048576 bytes"),
        ] {
            let error = host.seccomp(&path, &plugin).unwrap_err().0;
            assert!(
                error.ends_with(&format!("opening seccomp profile ({}) failed: {problem}", path.display())),
                "{error}"
            );
        }
    }

    #[test]
    fn options_that_are_no_profile_go_to_the_engine_as_they_are() {
        let host = Host::new();
        let (alloc, plugin) = (AllocDir::open(&host.task), host.strict());
        for option in ["seccomp=unconfined", "seccomp:unconfined", "label:disable", "no-new-privileges", "a=b"] {
            assert_eq!(for_engine(option, &alloc, &plugin), Ok(option.to_owned()));
        }

        let error = for_engine("nonsense", &alloc, &plugin).unwrap_err();

        assert_eq!(error.0, "failed to parse security_opt configuration: invalid security_opt: \"nonsense\"");
    }
}
