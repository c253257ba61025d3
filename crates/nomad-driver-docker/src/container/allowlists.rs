//! Checks a job's options against the operator's allowlists, if any.

use super::{ContainerError, rejections::Rejections, security_opt};
use crate::{
    alloc_paths,
    config::{PluginConfig, TaskOptions},
    glob,
    reference::ImageReference,
};

/// Checks a job's options against the operator's lists.
pub(crate) fn check(options: &TaskOptions, plugin: &PluginConfig, rejections: &mut Rejections) {
    let lists = &plugin.allowlists;
    let mut gate = |option: &str, value: &str, list: &Option<Vec<String>>, plugin_option: &str| {
        if list.as_ref().is_some_and(|globs| !globs.iter().any(|pattern| glob::matches(pattern, value))) {
            rejections.add(format!("{option} {value:?} is not allowed by the plugin option {plugin_option}"));
        }
    };
    if let Some(mode) = &options.network_mode {
        gate("network_mode", mode, &lists.network_modes, "allowed_modes.network");
    }
    for network in &options.networks {
        gate("networks.name", &network.name, &lists.network_modes, "allowed_modes.network");
    }
    for device in &options.devices {
        let path = alloc_paths::clean(device.host_path.as_ref()).display().to_string();
        gate("devices.host_path", &path, &lists.devices, "allow_devices");
    }
    for option in &options.security_opt {
        gate("security_opt", &security_opt::normal(option), &lists.security_opt, "allow_security_opt");
    }
    for name in options.sysctl.keys() {
        gate("sysctl", name, &lists.sysctls, "allow_sysctls");
    }
    if let Some(logging) = &options.logging {
        gate("logging", &logging.driver, &lists.logging, "allow_logging");
    }
}

/// Checks an image's name against the operator's list, before the image is looked up, loaded or pulled.
pub(crate) fn check_image(image: &ImageReference, plugin: &PluginConfig) -> Result<(), ContainerError> {
    let Some(globs) = &plugin.allowlists.images else { return Ok(()) };
    let name = image.canonical();
    if globs.iter().any(|pattern| glob::matches(pattern, &name)) {
        return Ok(());
    }
    Err(ContainerError(format!("image {name:?} is not allowed by the plugin option allow_images")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Allowlists, Device, TaskLogging, TaskNetwork},
        container::ContainerError,
    };

    fn plugin(globs: &[&str]) -> PluginConfig {
        let list = Some(globs.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        PluginConfig {
            // Does not bypass the individual settings.
            allow_privileged: true,
            allowlists: Allowlists {
                network_modes: list.clone(),
                devices: list.clone(),
                security_opt: list.clone(),
                sysctls: list.clone(),
                images: list.clone(),
                logging: list,
                seccomp_profiles: None,
            },
            ..PluginConfig::default()
        }
    }

    fn check(options: &TaskOptions, plugin: &PluginConfig) -> Result<(), ContainerError> {
        let mut rejections = Rejections::default();
        super::check(options, plugin, &mut rejections);
        rejections.or(())
    }

    fn device(path: &str) -> TaskOptions {
        let device = Device { host_path: path.into(), container_path: path.into(), cgroup_permissions: "r".into() };
        TaskOptions { devices: vec![device], ..TaskOptions::default() }
    }

    fn security(option: &str) -> TaskOptions {
        TaskOptions { security_opt: vec![option.into()], ..TaskOptions::default() }
    }

    fn everything() -> TaskOptions {
        TaskOptions {
            network_mode: Some("host".into()),
            sysctl: [("net.core.somaxconn".to_owned(), "1".to_owned())].into(),
            security_opt: vec!["seccomp=unconfined".into()],
            logging: Some(TaskLogging { driver: "syslog".into(), options: None }),
            ..device("/dev/fuse")
        }
    }

    #[test]
    fn without_lists_everything_passes_and_with_empty_ones_nothing() {
        assert_eq!(check(&everything(), &PluginConfig::default()), Ok(()));
        assert_eq!(check(&TaskOptions::default(), &plugin(&[])), Ok(()));
        assert_eq!(
            check(&everything(), &plugin(&[])).unwrap_err().0,
            "network_mode \"host\" is not allowed by the plugin option allowed_modes.network; \
             devices.host_path \"/dev/fuse\" is not allowed by the plugin option allow_devices; \
             security_opt \"seccomp=unconfined\" is not allowed by the plugin option allow_security_opt; \
             sysctl \"net.core.somaxconn\" is not allowed by the plugin option allow_sysctls; \
             logging \"syslog\" is not allowed by the plugin option allow_logging"
        );
        assert_eq!(
            check(&everything(), &plugin(&["host", "/dev/fuse", "seccomp=unconfined", "net.*", "syslog"])),
            Ok(())
        );
    }

    #[test]
    fn an_images_name_is_compared_in_full_whatever_the_job_leaves_out() {
        let parse = |image: &str| ImageReference::parse(image).unwrap();
        let image = |globs: &[&str], image: &str| check_image(&parse(image), &plugin(globs)).map_err(|error| error.0);

        for allowed in ["busybox", "docker.io/busybox:1", "index.docker.io/library/busybox@sha256:".to_owned().as_str()]
        {
            let allowed =
                if allowed.ends_with(':') { format!("{allowed}{}", "0".repeat(64)) } else { allowed.to_owned() };
            assert_eq!(image(&["docker.io/library/busybox:*"], &allowed), Ok(()), "{allowed}");
        }
        for other in ["other/busybox", "docker.io.evil.org/library/busybox", "localhost/library/busybox", "busybox2"] {
            let refused = image(&["docker.io/library/busybox:*"], other).unwrap_err();
            assert!(refused.ends_with("is not allowed by the plugin option allow_images"), "{refused}");
        }
        assert_eq!(check_image(&parse("whatever"), &PluginConfig::default()), Ok(()));
    }

    #[test]
    fn no_other_spelling_passes_a_glob() {
        let allowed = plugin(&["/dev/net/*", "seccomp=/etc/profiles/*", "no-new-privileges*", "web", "net.ipv4.*"]);
        for refused in vec![
            device("/dev/net/../sda"),
            device("/dev/net"),
            device("dev/net/tun"),
            device("/dev//net/./../mem"),
            security("seccomp=/etc/profiles/../shadow"),
            security("seccomp:/etc/profiles/../shadow"),
            security("seccomp:unconfined"),
            security("SECCOMP=unconfined"),
            security("apparmor:unconfined"),
            TaskOptions { network_mode: Some("container:web".into()), ..TaskOptions::default() },
            TaskOptions { network_mode: Some("task:web".into()), ..TaskOptions::default() },
            TaskOptions { network_mode: Some(" web".into()), ..TaskOptions::default() },
            TaskOptions {
                network_mode: Some("web".into()),
                networks: vec![TaskNetwork { name: "db".into(), ..TaskNetwork::default() }],
                ..TaskOptions::default()
            },
            TaskOptions { sysctl: [("kernel.shmmax".to_owned(), "1".to_owned())].into(), ..TaskOptions::default() },
            TaskOptions { sysctl: [("net/ipv4/x".to_owned(), "1".to_owned())].into(), ..TaskOptions::default() },
        ] {
            assert!(check(&refused, &allowed).is_err(), "{refused:?}");
        }
        for passes in [
            device("/dev/net//tun"),
            security("seccomp:/etc/profiles/web.json"),
            security("no-new-privileges:true"),
            security("no-new-privileges"),
        ] {
            assert_eq!(check(&passes, &allowed), Ok(()));
        }
    }
}
