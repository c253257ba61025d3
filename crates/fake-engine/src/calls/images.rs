//! Images, and the registry that they come from.

use std::io::Read;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use serde_json::{Value, json};

use crate::{
    answer::{self, Answer, ApiError, Body},
    call::Call,
    clock::YEAR_ONE,
    engine::FakeEngine,
    journal::Request,
    model::{Image, familiar, tagged},
    world::World,
};

pub(super) fn answer(engine: &FakeEngine, method: &str, rest: &str, call: &Call) -> Answer {
    let request = &call.request;
    let mut world = engine.world();
    match (method, rest) {
        ("GET", "json") => Ok(answer::whole(200, &world.images.iter().map(|image| listed(&world, image)).collect())),
        ("POST", "create") => pull(&mut world, request),
        ("POST", "load") => Ok(load(&mut world, &call.raw)),
        ("GET", _) => {
            let name = rest.strip_suffix("/json").ok_or_else(ApiError::no_page)?;
            Ok(answer::whole(200, &inspected(world.image(name).ok_or_else(|| no_image(name))?)))
        }
        ("POST", _) => {
            let name = rest.strip_suffix("/tag").ok_or_else(ApiError::no_page)?;
            tag(&mut world, name, request)
        }
        ("DELETE", name) => remove(&mut world, name),
        _ => Err(ApiError::no_page()),
    }
}

/// Whether the registry has an image.
pub(super) fn distribution(engine: &FakeEngine, rest: &str) -> Answer {
    let name = rest.strip_suffix("/json").ok_or_else(ApiError::no_page)?;
    let world = engine.world();
    let found = world.registry.iter().find(|image| image.tags.contains(&tagged(name)));
    let found = found.ok_or_else(|| ApiError::new(403, format!("errors: denied: access to {name} is denied")))?;
    let descriptor =
        json!({ "MediaType": "application/vnd.docker.distribution.manifest.v2+json", "Digest": found.id, "Size": 1 });
    Ok(answer::whole(200, &json!({ "Descriptor": descriptor, "Platforms": [] })))
}

fn no_image(name: &str) -> ApiError {
    ApiError::new(404, format!("No such image: {name}"))
}

fn inspected(image: &Image) -> Value {
    json!({
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": "",
        "Created": YEAR_ONE,
        "Container": "",
        "DockerVersion": "20.10.24",
        "Author": "",
        "Config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": image.labels },
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 1000,
        "VirtualSize": 1000,
        "GraphDriver": { "Name": "overlay2", "Data": {} },
        "RootFS": { "Type": "layers", "Layers": image.layers },
        "Metadata": { "LastTagTime": YEAR_ONE },
    })
}

fn listed(world: &World, image: &Image) -> Value {
    let used = world.containers.iter().filter(|container| container.image_id == image.id).count();
    json!({
        "Id": image.id, "ParentId": "", "RepoTags": image.tags, "RepoDigests": image.digests, "Created": 0, "Size": 1000,
        "SharedSize": -1, "VirtualSize": 1000, "Labels": image.labels, "Containers": used,
    })
}

/// Messages, one per line.
fn messages(messages: Vec<Value>) -> Response<Body> {
    let lines = messages.into_iter().map(|message| Ok(Bytes::from(format!("{message}\r\n"))));
    answer::piecewise("application/json", stream::iter(lines.collect::<Vec<_>>()))
}

fn pull(world: &mut World, request: &Request) -> Answer {
    let (repository, tag) = (familiar(request.query("fromImage")), request.query("tag"));
    let name = if tag.is_empty() { tagged(repository) } else { format!("{repository}:{tag}") };
    let found = world.registry.iter().find(|image| image.tags.contains(&name)).cloned();
    let denied = || {
        let why = "repository does not exist or may require 'docker login': denied: requested access to the resource is denied";
        ApiError::new(404, format!("pull access denied for {repository}, {why}"))
    };
    let image = found.ok_or_else(denied)?;
    let is_new = !world.images.iter().any(|known| known.id == image.id);
    let layer = image.id.trim_start_matches("sha256:")[..12].to_owned();
    world.name_image(&image, &name);
    let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    Ok(messages(vec![
        json!({ "status": format!("Pulling from {repository}"), "id": tag }),
        json!({ "status": "Pulling fs layer", "progressDetail": {}, "id": layer }),
        json!({ "status": "Pull complete", "progressDetail": {}, "id": layer }),
        json!({ "status": format!("Digest: {}", image.id) }),
        json!({ "status": format!("Status: {status} {name}") }),
    ]))
}

fn tag(world: &mut World, name: &str, request: &Request) -> Answer {
    let image = world.image(name).cloned().ok_or_else(|| no_image(name))?;
    let tag = Some(request.query("tag")).filter(|tag| !tag.is_empty()).unwrap_or("latest");
    world.name_image(&image, &format!("{}:{tag}", familiar(request.query("repo"))));
    Ok(answer::nothing(201))
}

/// Removes a name, and the image with its last name.
fn remove(world: &mut World, name: &str) -> Answer {
    let image = world.image(name).cloned().ok_or_else(|| no_image(name))?;
    let is_used = world.images_in_use().contains(image.id.as_str());
    let is_last = image.id == name || image.tags.len() <= 1;
    if is_used && is_last {
        let message =
            format!("conflict: unable to remove repository reference {name:?} (must force) - a container is using it");
        return Err(ApiError::new(409, message));
    }
    if image.id == name && image.tags.len() > 1 {
        let message = format!(
            "conflict: unable to delete {name} (must be forced) - image is referenced in multiple repositories"
        );
        return Err(ApiError::new(409, message));
    }
    let mut done = vec![json!({ "Untagged": tagged(name) })];
    if is_last {
        world.images.retain(|known| known.id != image.id);
        done.push(json!({ "Deleted": image.id }));
    } else if let Some(known) = world.images.iter_mut().find(|known| known.id == image.id) {
        known.tags.retain(|tag| *tag != tagged(name));
    }
    world.log.changed();
    Ok(answer::whole(200, &Value::Array(done)))
}

/// Loads an archive: the images of its manifest.
fn load(world: &mut World, archive: &[u8]) -> Response<Body> {
    let Some(images) = loaded(archive) else {
        let message = json!({ "errorDetail": { "message": "invalid tar header" }, "error": "invalid tar header" });
        return answer::whole(200, &message);
    };
    let mut said = Vec::new();
    for image in images {
        for name in &image.tags {
            world.name_image(&image, name);
            said.push(json!({ "stream": format!("Loaded image: {name}\n") }));
        }
        if image.tags.is_empty() {
            said.push(json!({ "stream": format!("Loaded image ID: {}\n", image.id) }));
            if !world.images.contains(&image) {
                world.images.push(image);
            }
        }
    }
    messages(said)
}

fn loaded(archive: &[u8]) -> Option<Vec<Image>> {
    let manifest = file(archive, "manifest.json")?;
    let image = |of: &Value| {
        let path = of["Config"].as_str()?;
        let config = file(archive, path)?;
        let digest = path.rsplit('/').next()?.trim_end_matches(".json");
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let labels = config["config"]["Labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Some(Image {
            id: format!("sha256:{digest}"),
            tags: texts(&of["RepoTags"]),
            digests: Vec::new(),
            labels: labels.collect(),
            layers: texts(&config["rootfs"]["diff_ids"]),
        })
    };
    manifest.as_array()?.iter().map(image).collect()
}

/// A JSON file in an archive.
fn file(archive: &[u8], wanted: &str) -> Option<Value> {
    let mut archive = tar::Archive::new(archive);
    let found =
        archive.entries().ok()?.flatten().find(|entry| entry.path().is_ok_and(|path| path.as_os_str() == wanted));
    let mut content = Vec::new();
    found?.read_to_end(&mut content).ok()?;
    serde_json::from_slice(&content).ok()
}
