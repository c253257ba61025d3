//! Images that are loaded from archives.

use conformance::{
    Fixture,
    docker::{docker, inspect, is_local},
    object, text, texts,
};
use nomad_plugin::driver::DriverError;

use crate::task;

/// An archive of the test image under a name that the engine has only from there.
struct Archive {
    image: String,
    bytes: Vec<u8>,
}

impl Archive {
    fn of(name: &str) -> Self {
        let image = format!("longshore-test/{name}:{}", std::process::id());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("image.tar").display().to_string();
        docker(&["tag", &conformance::image(), &image]);
        docker(&["save", "--output", &file, &image]);
        docker(&["rmi", &image]);
        Self { image, bytes: std::fs::read(file).expect("an archive") }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if is_local(&self.image) {
            docker(&["rmi", &self.image]);
        }
    }
}

#[tokio::test]
async fn an_image_is_loaded_from_an_archive_in_the_tasks_directory() {
    let archive = Archive::of("loaded");
    let fixture = Fixture::start().await;
    let task = task(&fixture, &archive.image).option("load", text("image.tar"));
    let path = task.alloc_dir().join("web/local/image.tar");

    let absent = fixture.refused(&task).await;
    std::fs::write(&path, &archive.bytes).expect("it is written");
    fixture.run(&task).await;

    let expected = format!("unable to open image archive: open {}: ", path.display());
    assert!(absent.message.starts_with(&expected), "{}", absent.message);
    assert_eq!(inspect(&task.container())["Config"]["Image"], archive.image.as_str());
    fixture.end().await;
}

#[tokio::test]
async fn an_image_is_loaded_from_a_directory_of_the_host_that_the_operator_allows() {
    let archive = Archive::of("of-the-host");
    let host = tempfile::tempdir().expect("a directory");
    let at = |path: &str| host.path().join(path);
    std::fs::create_dir(at("images")).expect("a directory");
    for path in ["images/app.tar", "beside.tar"] {
        std::fs::write(at(path), &archive.bytes).expect("it is written");
    }
    std::os::unix::fs::symlink("../beside.tar", at("images/link.tar")).expect("a link");
    let task = |fixture: &Fixture, path: &str| {
        task(fixture, &archive.image).option("load", text(&at(path).display().to_string()))
    };
    let closed = Fixture::start().await;
    let allowed = texts(&[&at("images").display().to_string()]);
    let open = Fixture::with(object(&[("load_dirs", allowed)]), &[]).await;

    let mut rejections = vec![closed.refused(&task(&closed, "images/app.tar")).await];
    for outside in ["beside.tar", "images/../beside.tar", "images/link.tar", "images"] {
        rejections.push(open.refused(&task(&open, outside)).await);
    }
    assert!(!is_local(&archive.image));
    let loaded = task(&open, "images/app.tar");
    open.run(&loaded).await;

    for rejection in rejections {
        assert!(rejection.message.starts_with("unable to open image archive: open "), "{}", rejection.message);
    }
    assert_eq!(inspect(&loaded.container())["Config"]["Image"], archive.image.as_str());
    closed.end().await;
    open.end().await;
}

#[tokio::test]
async fn an_archive_that_is_broken_is_refused_in_the_engines_words() {
    let archive = Archive::of("broken");
    let fixture = Fixture::start().await;
    let refused = async |bytes: &[u8]| {
        let task = task(&fixture, &archive.image).option("load", text("image.tar"));
        let path = task.alloc_dir().join("web/local/image.tar");
        std::fs::write(&path, bytes).expect("it is written");
        let said = fixture.refused(&task).await.message;
        let words = said.strip_prefix(&format!("unable to load image archive {}: ", path.display()));
        words.unwrap_or_else(|| panic!("{said}")).to_owned()
    };

    let truncated = refused(&archive.bytes[..archive.bytes.len() / 2]).await;
    let garbage = refused(&[b'x'; 4096]).await;

    assert!(truncated.contains("unexpected EOF"), "{truncated}");
    assert!(garbage.contains("tar"), "{garbage}");
    assert!(!is_local(&archive.image));
    fixture.end().await;
}

#[tokio::test]
async fn an_archive_without_the_image_is_refused_with_what_it_has() {
    let archive = Archive::of("another");
    let fixture = Fixture::start().await;
    let task = task(&fixture, "longshore-test/wanted:1").option("load", text("image.tar"));
    let path = task.alloc_dir().join("web/local/image.tar");
    std::fs::write(&path, &archive.bytes).expect("it is written");

    let rejection = fixture.refused(&task).await;

    let expected = format!(
        "the image archive {} has no image \"longshore-test/wanted:1\"; it has {}",
        path.display(),
        archive.image
    );
    assert_eq!(rejection, DriverError::fatal(expected));
    fixture.end().await;
}
