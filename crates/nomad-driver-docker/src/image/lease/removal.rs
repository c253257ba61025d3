//! Removes an image from the engine, and nothing of anybody else's with it.

use std::collections::BTreeSet;

use crate::image::names::Names;
use engine::Engine;

/// Removes an image's names, and the image with the last one; returns the reason if it is kept for now. It is no error if it
/// does not exist.
pub(super) async fn remove(engine: &Engine, id: &str, ours: &BTreeSet<String>) -> Result<(), String> {
    // An archive's unnamed image was recorded by its id.
    for name in ours.iter().filter(|name| *name != id) {
        // The name may belong to another image by now.
        let Some(found) = names(engine, name, id).await? else { continue };
        if found.would_take_another(name, ours) {
            return Err(format!("another name would be removed with {name}"));
        }
        engine.remove_image(name).await.map_err(|error| error.to_string())?;
    }
    match names(engine, id, id).await? {
        Some(left) if left.are_none_but(ours) => engine.remove_image(id).await.map_err(|error| error.to_string()),
        // Somebody else has added a name.
        _ => Ok(()),
    }
}

/// The names of the image that a name refers to, if it has this id.
async fn names(engine: &Engine, name: &str, id: &str) -> Result<Option<Names>, String> {
    match engine.inspect_image(name).await {
        Ok(found) if found.id == id => Ok(Some(Names::of(&found.tags, &found.digests))),
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
