use std::io::{Cursor, Write};

use serde_json::json;
use tar::{Archive, Builder, EntryType, Header};

use super::{
    contents::{Contents, Hashed},
    *,
};
use crate::reference::ImageReference;

const MOST: u64 = 16 << 20;

fn digest(bytes: &[u8]) -> String {
    let mut hashed = Hashed::new(bytes);
    io::copy(&mut hashed, &mut io::sink()).unwrap();
    hashed.digest()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A layer, and the configuration of an image with that layer.
fn image() -> (Vec<u8>, Vec<u8>) {
    let layer = tar(&[("etc/motd", b"hello")]);
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] } });
    (layer, config.to_string().into_bytes())
}

fn docker(tags: &[&str], layer: &str) -> Vec<u8> {
    json!([{ "Config": "config.json", "RepoTags": tags, "Layers": [layer] }]).to_string().into_bytes()
}

fn read(archive: &[u8]) -> Result<Checked, Flaw> {
    let wanted = ImageReference::parse("app:1").unwrap();
    Checked::read(Cursor::new(archive), &wanted, &Bounds::new(MOST, Arc::default()))
}

fn sent(checked: &Checked, archive: &[u8]) -> Result<Vec<u8>, Flaw> {
    let mut to = Vec::new();
    checked.send(Cursor::new(archive), &mut to, &Bounds::new(MOST, Arc::default())).map(|()| to)
}

#[test]
fn an_image_in_every_compression_is_sent_whole_and_nothing_beside_it() {
    let (layer, config) = image();
    let squeezed = gzipped(&layer);
    for (layer, name) in [(&layer, "layer.tar"), (&squeezed, "layer.tar.gz")] {
        let archive = tar(&[
            ("./config.json", &config),
            ("unused", b"no file of the image"),
            (name, layer),
            ("repositories", b"{}"),
            ("manifest.json", &docker(&["docker.io/library/app:1", "app:1"], name)),
        ]);

        for archive in [archive.clone(), gzipped(&archive)] {
            let sent = sent(&read(&archive).unwrap(), &archive).unwrap();
            let files: Vec<_> = Archive::new(&sent[..]).entries().unwrap().map(|entry| path(&entry.unwrap())).collect();
            assert_eq!(files, ["config.json", name, "manifest.json"]);
        }
    }
}

fn path(entry: &tar::Entry<'_, &[u8]>) -> String {
    entry.path().unwrap().display().to_string()
}

#[test]
fn a_layer_that_is_a_link_to_another_file_of_the_archive_is_that_file() {
    let (layer, config) = image();
    let manifest = docker(&["app:1"], "a/layer.tar");
    let mut builder = Builder::new(Vec::new());
    for (path, content) in [("config.json", &config), ("b/layer.tar", &layer), ("manifest.json", &manifest)] {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    let mut link = Header::new_gnu();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "a/layer.tar", "../b/layer.tar").unwrap();
    let archive = builder.into_inner().unwrap();

    let sent = sent(&read(&archive).unwrap(), &archive).unwrap();

    let contents = Contents::read(&sent[..], &Bounds::new(MOST, Arc::default())).unwrap();
    let manifest = String::from_utf8(contents.text("manifest.json").unwrap().unwrap().to_vec()).unwrap();
    assert!(manifest.contains("\"b/layer.tar\""), "{manifest}");
}

#[test]
fn what_is_not_the_image_that_is_asked_for_is_refused() {
    let (layer, config) = image();
    let with = |manifest: Vec<u8>, layer: &[u8]| {
        read(&tar(&[("config.json", &config), ("layer.tar", layer), ("manifest.json", &manifest)]))
    };
    let rejection = |outcome: Result<Checked, Flaw>| outcome.unwrap_err().to_string();

    assert_eq!(rejection(with(docker(&["other:1"], "layer.tar"), &layer)), "it has other:1");
    assert_eq!(rejection(with(docker(&["app:1", "other:1"], "layer.tar"), &layer)), "it has other images: other:1");
    let like_an_id = format!("sha256:{}", "0".repeat(64));
    let others = format!("it has other images: {like_an_id}");
    assert_eq!(rejection(with(docker(&["app:1", &like_an_id], "layer.tar"), &layer)), others);
    let absent = "\"layer\" is not in it as its image names it: it is not there";
    assert_eq!(rejection(with(docker(&["app:1"], "layer"), &layer)), absent);
    let content = "\"layer.tar\" is not in it as its image names it: it has another content";
    assert_eq!(rejection(with(docker(&["app:1"], "layer.tar"), &tar(&[("etc/motd", b"other")]))), content);
    let none = json!([{ "Config": "config.json", "RepoTags": ["app:1"] }]).to_string().into_bytes();
    let number = "\"config.json\" is not in it as its image names it: it has another number of layers";
    assert_eq!(rejection(with(none, &layer)), number);
    assert_eq!(rejection(read(&tar(&[("a", b"b")]))), "it has neither manifest.json nor index.json");
    let twice = tar(&[("manifest.json", b"[]"), ("./manifest.json", b"[{}]")]);
    assert_eq!(rejection(read(&twice)), "\"manifest.json\" is there more than once");
}

#[test]
fn an_index_is_held_to_the_same() {
    let (layer, config) = image();
    let blob = |content: &[u8]| format!("blobs/sha256/{}", digest(content));
    let descriptor = |content: &[u8]| json!({ "digest": format!("sha256:{}", digest(content)), "size": content.len() });
    let manifest = json!({ "config": descriptor(&config), "layers": [descriptor(&layer)] }).to_string().into_bytes();
    let index = |name: &str| {
        let mut image = descriptor(&manifest);
        image["annotations"] = json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1" });
        json!({ "schemaVersion": 2, "manifests": [image] }).to_string().into_bytes()
    };
    let archive = |name: &str, layer: &[u8]| {
        let paths = [blob(&manifest), blob(&config)];
        tar(&[
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            (&paths[0], &manifest),
            (&paths[1], &config),
            (&blob(layer), layer),
            ("index.json", &index(name)),
        ])
    };

    let whole = archive("docker.io/library/app:1", &layer);
    let checked = read(&whole).unwrap();
    assert!(checked.has_layers(&[format!("sha256:{}", digest(&layer))]) && !checked.has_layers(&[]));
    assert!(sent(&checked, &whole).is_ok());
    assert!(matches!(read(&archive("docker.io/library/other:1", &layer)), Err(Flaw::Lacks(_))));
    assert!(matches!(read(&archive("docker.io/library/app:1", b"other")), Err(Flaw::Missing(..))));
}

#[test]
fn an_archive_takes_no_more_than_it_may_compressed_or_with_holes() {
    let zeros = vec![0; usize::try_from(MOST).unwrap()];
    assert!(matches!(read(&gzipped(&tar(&[("zeros", &zeros)]))), Err(Flaw::Large(MOST))));
    assert!(matches!(read(&tar(&[("layer.tar", &gzipped(&zeros))])), Err(Flaw::Large(MOST))));

    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("holes").unwrap();
    header.set_size(0);
    let size = header.as_gnu_mut().unwrap();
    size.realsize.copy_from_slice(b"100000000000");
    header.set_cksum();
    let holes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    assert!(matches!(read(&holes), Err(Flaw::Tar(_))), "engines are given none");
    assert!(matches!(read(&tar(&[("layer.tar", &holes)])), Err(Flaw::Large(MOST))), "in a layer they count");

    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([("GNU.sparse.realsize", b"68719476736".as_slice())]).unwrap();
    let mut header = Header::new_ustar();
    header.set_path("holes").unwrap();
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    assert!(matches!(read(&tar(&[("layer.tar", &builder.into_inner().unwrap())])), Err(Flaw::Large(MOST))));
}

#[test]
fn an_archive_that_changes_while_it_is_read_is_not_sent() {
    let (layer, config) = image();
    let with = |layer: &[u8], tag: &str| {
        tar(&[("config.json", &config), ("layer.tar", layer), ("manifest.json", &docker(&[tag], "layer.tar"))])
    };
    let whole = with(&layer, "app:1");
    let checked = read(&whole).unwrap();
    let mut other = layer.clone();
    other[600] ^= 1;

    assert!(matches!(sent(&checked, &with(&other, "app:1")), Err(Flaw::Changed)));
    assert!(matches!(sent(&checked, &tar(&[("config.json", &config)])), Err(Flaw::Changed)));
    // The manifest is written from what was checked.
    assert_eq!(sent(&checked, &with(&layer, "evil:1")).unwrap(), sent(&checked, &whole).unwrap());
}

#[test]
fn nobody_waits_and_nothing_more_is_read() {
    let stop = Arc::new(AtomicBool::new(true));
    let wanted = ImageReference::parse("app:1").unwrap();

    assert!(Checked::read(Cursor::new(tar(&[("a", b"b")])), &wanted, &Bounds::new(MOST, stop)).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(archive in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
        let _either = read(&archive);
    }

    #[test]
    fn whatever_is_changed_in_an_archive_it_is_refused_or_sent_as_it_was_read(
        changes in proptest::collection::vec((0..8192_usize, proptest::num::u8::ANY), 1..4),
        is_squeezed: bool,
    ) {
        let (layer, config) = image();
        let manifest = docker(&["app:1"], "layer.tar");
        let whole = tar(&[("config.json", &config), ("layer.tar", &layer), ("manifest.json", &manifest)]);
        let mut archive = if is_squeezed { gzipped(&whole) } else { whole };
        for (at, byte) in changes {
            let at = at % archive.len();
            archive[at] = byte;
        }

        if let Ok(checked) = read(&archive) {
            let sent = sent(&checked, &archive).unwrap();
            assert_eq!(read(&sent).unwrap(), checked);
        }
    }
}
