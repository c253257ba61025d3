//! Checks whether a task may use a local image: the image's original registry is asked, with the task's own credentials.

use std::collections::BTreeSet;

use nomad_plugin::driver::DriverError;

use crate::reference::ImageReference;
use engine::EngineError;

/// The names to query; it is enough if a registry confirms one of them.
///
/// `origins` are the names and digests under which the engine got the image. An image that came from no registry has none, and
/// everyone may use it. The job's name counts if the image was pulled under it. A name added later, or the image's id, gives no
/// permission: then the original names are queried.
pub(super) fn names(asked: &ImageReference, origins: &[String]) -> Vec<ImageReference> {
    let origins: Vec<ImageReference> = origins.iter().filter_map(|origin| ImageReference::parse(origin)).collect();
    if origins.iter().any(|origin| origin.qualified() == asked.qualified()) {
        return vec![asked.clone()];
    }
    let mut seen = BTreeSet::new();
    origins.into_iter().filter(|origin| seen.insert(origin.to_string())).collect()
}

/// Why the image is not used.
pub(super) fn refused(image: &str, error: &EngineError) -> DriverError {
    // Some engines report missing credentials in the same way as an unreachable registry.
    let why =
        if error.is_rejection() { "refuses it to this task" } else { "does not confirm that this task may use it" };
    DriverError::recoverable(format!(
        "no access to image `{image}`, which is on this node: its registry {why}: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(image: &str, origins: &[&str]) -> Vec<String> {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        names(&ImageReference::parse(image).unwrap(), &origins).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_image_is_asked_for_by_the_jobs_name_where_it_came_by_that_and_else_by_what_it_came_by() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let (own, other) = (format!("r.test/app@{digest}"), format!("s.test/app@{digest}"));
        let of_the_hub = format!("busybox@{digest}");

        assert_eq!(asked("r.test/app:1", &[&other, &own]), ["r.test/app:1"]);
        assert_eq!(asked(&own, &[&own]), [own.as_str()]);
        assert_eq!(asked("docker.io/library/busybox:1", &[&of_the_hub]), ["docker.io/library/busybox:1"]);
        assert_eq!(asked("renamed:1", &[&own, &other]), [own.as_str(), other.as_str()]);
        assert_eq!(asked(&digest, &[&own, &own]), [own.as_str()]);
    }

    #[test]
    fn an_image_of_no_registry_is_asked_for_nowhere() {
        assert_eq!(asked("built:1", &[]), Vec::<String>::new());
    }
}
