//! Parses an archive's manifests: Docker's `manifest.json` and the Open Container Initiative's `index.json`. Engines read
//! either, or both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Checked, Flaw,
    contents::{Contents, File},
};
use crate::{config::go_arch, reference::ImageReference};

const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";

/// The maximum number of images, and of manifests.
const IMAGES: u64 = 1000;

/// An index refers to indexes, which refer to manifests.
const DEPTH: usize = 3;

/// The annotations that name an image in an index: containerd's, and the general one, which may be just a tag next to it.
const IMAGE_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image in `manifest.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// An index, or the manifest of an image.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestNode {
    #[serde(default)]
    schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing)]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

/// Checks that an archive contains the wanted image, complete, and no other name.
pub(super) fn check(contents: &Contents, wanted: &ImageReference) -> Result<Checked, Flaw> {
    let mut checked = Checked { files: BTreeMap::new(), written: Vec::new(), layers: Vec::new() };
    let images: Option<Vec<DockerImage>> = json(contents, MANIFEST)?;
    let layout = contents.text(LAYOUT)?;
    let index: Option<ManifestNode> = if layout.is_some() { json(contents, INDEX)? } else { None };
    if let Some(images) = &images {
        let written = of_docker(contents, images, wanted, &mut checked)?;
        checked.written.push((MANIFEST, written));
    }
    if let (Some(layout), Some(index)) = (layout, &index) {
        of_index(contents, index, wanted, &mut checked)?;
        checked.written.push((LAYOUT, layout.to_vec()));
        checked.written.push((INDEX, written(INDEX, index)?));
    }
    if checked.written.is_empty() { Err(Flaw::NoManifest) } else { Ok(checked) }
}

/// The images of `manifest.json` that have the wanted name, as spelled there.
fn of_docker(
    contents: &Contents,
    images: &[DockerImage],
    wanted: &ImageReference,
    checked: &mut Checked,
) -> Result<Vec<u8>, Flaw> {
    if images.len() as u64 > IMAGES {
        return Err(Flaw::Many(IMAGES, "images"));
    }
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    for image in images {
        match image.repo_tags.as_deref() {
            Some(tags @ [_, ..]) => names.extend(tags.iter().cloned()),
            // An unnamed image is identified by its configuration.
            _ => ids.push(format!("sha256:{}", config(contents, image)?.1.digest)),
        }
    }
    let is_wanted = |name: &String| ImageReference::parse(name).is_some_and(|it| it.canonical() == wanted.canonical());
    only_wanted(names, ids, is_wanted)?;
    let mut whole = Vec::new();
    for image in images.iter().filter(|image| image.repo_tags.as_ref().is_some_and(|tags| !tags.is_empty())) {
        let (path, file) = config(contents, image)?;
        let diff_ids = diff_ids(path, file)?;
        let layers = image.layers.as_deref().unwrap_or_default();
        if layers.len() != diff_ids.len() {
            return Err(Flaw::Missing(path.to_owned(), "it has another number of layers"));
        }
        take(checked, path, file);
        let mut paths = Vec::new();
        for (layer, diff_id) in layers.iter().zip(&diff_ids) {
            let (path, file) = contents.file(layer).ok_or_else(|| absent(layer))?;
            is_layer(path, file, diff_id)?;
            take(checked, path, file);
            paths.push(path.to_owned());
        }
        checked.layers.push(diff_ids);
        let repo_tags = image.repo_tags.clone();
        whole.push(DockerImage { config: path.to_owned(), repo_tags, layers: Some(paths) });
    }
    written(MANIFEST, &whole)
}

/// Rejects names other than the wanted one, and its absence. The ids of unnamed images are not names, although a name may look
/// like one.
fn only_wanted(names: Vec<String>, ids: Vec<String>, is_wanted: impl Fn(&String) -> bool) -> Result<(), Flaw> {
    if !names.iter().any(&is_wanted) {
        return Err(Flaw::Lacks([names, ids].concat()));
    }
    let others: Vec<_> = names.into_iter().filter(|name| !is_wanted(name)).collect();
    if others.is_empty() { Ok(()) } else { Err(Flaw::Others(others)) }
}

fn of_index(
    contents: &Contents,
    index: &ManifestNode,
    wanted: &ImageReference,
    checked: &mut Checked,
) -> Result<(), Flaw> {
    let manifests = index.manifests.as_deref().unwrap_or_default();
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    for manifest in manifests {
        let said =
            |name: &str| manifest.annotations.as_ref().and_then(|all| all.get(name)).filter(|name| !name.is_empty());
        match (said(IMAGE_NAME), said(REF_NAME)) {
            (Some(name), Some(tag)) if tag != wanted.tag() => names.extend([name.clone(), tag.clone()]),
            (Some(name), _) | (None, Some(name)) => names.push(name.clone()),
            (None, None) => ids.push(manifest.digest.clone()),
        }
    }
    let is_wanted = |name: &String| ImageReference::parse(name).is_some_and(|it| it.canonical() == wanted.canonical());
    only_wanted(names, ids, is_wanted)?;
    let mut left = IMAGES;
    for manifest in manifests {
        if !tree(contents, manifest, DEPTH, &mut left, checked)? {
            return Err(absent(&blob(manifest)));
        }
    }
    Ok(())
}

/// Checks an image and everything it refers to; returns whether it is there. Images for other platforms may be missing.
fn tree(
    contents: &Contents,
    descriptor: &Descriptor,
    depth: usize,
    left: &mut u64,
    checked: &mut Checked,
) -> Result<bool, Flaw> {
    *left = left.checked_sub(1).ok_or(Flaw::Many(IMAGES, "manifests"))?;
    let name = blob(descriptor);
    let Some((path, file)) = contents.file(&name) else {
        return if is_for_others(descriptor) { Ok(false) } else { Err(absent(&name)) };
    };
    is_blob(path, file, descriptor)?;
    let node: ManifestNode = read_json(path, file.text.as_deref())?;
    take(checked, path, file);
    if let Some(manifests) = &node.manifests {
        let depth = depth.checked_sub(1).ok_or(Flaw::Many(DEPTH as u64, "indexes in one another"))?;
        let mut any = false;
        for manifest in manifests {
            any |= tree(contents, manifest, depth, left, checked)?;
        }
        return Ok(any);
    }
    let config = node.config.ok_or(Flaw::Missing(name, "it names no configuration"))?;
    let (path, file) = contents.file(&blob(&config)).ok_or_else(|| absent(&blob(&config)))?;
    is_blob(path, file, &config)?;
    take(checked, path, file);
    let layers = node.layers.unwrap_or_default();
    let mut found = Vec::new();
    for layer in &layers {
        let (path, file) = contents.file(&blob(layer)).ok_or_else(|| absent(&blob(layer)))?;
        is_blob(path, file, layer)?;
        take(checked, path, file);
        found.push((path, file));
    }
    let diff_ids = diff_ids(path, file)?;
    if !diff_ids.is_empty() {
        if diff_ids.len() != found.len() {
            return Err(Flaw::Missing(path.to_owned(), "it has another number of layers"));
        }
        for ((path, file), diff_id) in found.iter().zip(&diff_ids) {
            // An attachment to an image, such as a provenance statement, is JSON.
            if file.text.is_none() || file.is_tar {
                is_layer(path, file, diff_id)?;
            }
        }
        checked.layers.push(diff_ids);
    }
    Ok(true)
}

fn is_for_others(descriptor: &Descriptor) -> bool {
    descriptor.platform.as_ref().is_some_and(|of| of.os != "linux" || of.architecture != go_arch())
}

fn blob(descriptor: &Descriptor) -> String {
    format!("blobs/{}", descriptor.digest.replacen(':', "/", 1))
}

fn is_blob(path: &str, file: &File, descriptor: &Descriptor) -> Result<(), Flaw> {
    let is_it = descriptor.digest.strip_prefix("sha256:") == Some(&file.digest);
    if is_it { Ok(()) } else { Err(Flaw::Missing(path.to_owned(), "it has another content")) }
}

fn is_layer(path: &str, file: &File, diff_id: &str) -> Result<(), Flaw> {
    if diff_id.strip_prefix("sha256:") != Some(&file.content) {
        return Err(Flaw::Missing(path.to_owned(), "it has another content"));
    }
    if file.is_tar { Ok(()) } else { Err(Flaw::Missing(path.to_owned(), "it is no tar archive")) }
}

fn config<'a>(contents: &'a Contents, image: &DockerImage) -> Result<(&'a str, &'a File), Flaw> {
    contents.file(&image.config).ok_or_else(|| absent(&image.config))
}

fn diff_ids(path: &str, config: &File) -> Result<Vec<String>, Flaw> {
    let config: Config = read_json(path, config.text.as_deref())?;
    Ok(config.rootfs.diff_ids.unwrap_or_default())
}

fn absent(path: &str) -> Flaw {
    Flaw::Missing(path.to_owned(), "it is not there")
}

fn take(checked: &mut Checked, path: &str, file: &File) {
    checked.files.insert(path.to_owned(), (file.size, file.digest.clone()));
}

fn json<T: DeserializeOwned>(contents: &Contents, path: &str) -> Result<Option<T>, Flaw> {
    contents.text(path)?.map(|text| read_json(path, Some(text))).transpose()
}

fn written(path: &str, value: &impl Serialize) -> Result<Vec<u8>, Flaw> {
    serde_json::to_vec(value).map_err(|error| Flaw::Json(path.to_owned(), error))
}

fn read_json<T: DeserializeOwned>(path: &str, text: Option<&[u8]>) -> Result<T, Flaw> {
    let text = text.ok_or_else(|| Flaw::Missing(path.to_owned(), "it is no JSON, or too large"))?;
    serde_json::from_slice(text).map_err(|error| Flaw::Json(path.to_owned(), error))
}
