//! Planted links, swapped entries and arbitrary paths, and where each leads.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, RenameFlags, renameat_with};

use super::*;

/// A directory `in` next to a secret.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.at("web/local")).unwrap();
        fs::write(tree.at("web/local/file"), "mine").unwrap();
        fs::write(tree.0.path().join("secret"), "theirs").unwrap();
        tree
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("in")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn link(&self, target: impl AsRef<Path>, link: &str) {
        symlink(target.as_ref(), self.at(link)).unwrap();
    }

    fn resolve(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        Beneath::open(&self.root())?.resolve(path.as_ref(), Links::Followed)
    }
}

#[test]
fn links_that_remain_beneath_are_followed_to_the_path_without_links() {
    let tree = Tree::new();
    tree.link("local/../local", "web/chain");
    tree.link("../web/chain/file", "web/twice");
    tree.link("local/made-later", "web/dangling");

    assert_eq!(tree.resolve("web/twice").unwrap(), tree.at("web/local/file"));
    assert_eq!(tree.resolve(tree.at("web/chain")).unwrap(), tree.at("web/local"));
    assert_eq!(tree.resolve("web/local/not/yet/there").unwrap(), tree.at("web/local/not/yet/there"));
    assert_eq!(tree.resolve("web/dangling/x").unwrap(), tree.at("web/local/made-later/x"));
    assert_eq!(tree.resolve("").unwrap(), tree.root());
}

#[test]
fn nothing_leads_out() {
    let tree = Tree::new();
    tree.link("../../..", "web/local/out");
    tree.link("/etc", "web/local/absolute");
    tree.link(tree.root(), "web/local/absolute-but-inside");
    tree.link("out", "web/local/chain");
    tree.link("chain/..", "web/local/longer-chain");
    tree.link("loop", "web/local/loop");
    tree.link("missing/../../../../secret", "web/local/through-nothing");

    for path in [
        "../secret",
        "web/../../secret",
        "web/local/out/secret",
        "web/local/absolute",
        "web/local/absolute/not/there",
        "web/local/absolute-but-inside",
        "web/local/chain",
        "web/local/longer-chain",
        "web/local/loop",
        "web/local/through-nothing",
        "web/local/file/below-a-file",
        "/etc",
    ] {
        let resolved = tree.resolve(path);
        assert!(resolved.is_err(), "{path} leads to {resolved:?}");
    }
    let sibling = tree.0.path().join("in-but-not-it");
    assert!(tree.resolve(sibling).is_err());
    assert!(Beneath::open(&tree.at("missing")).is_err());
}

#[test]
fn only_regular_files_are_read_and_none_through_a_swapped_link() {
    let tree = Tree::new();
    tree.link("local/file", "web/link");
    tree.link("../../../secret", "web/local/out");
    rustix::fs::mknodat(CWD, tree.at("web/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let root = Beneath::open(&tree.root()).unwrap();
    let read = |path: &str, links| {
        let mut text = String::new();
        root.read(Path::new(path), links)?.read_to_string(&mut text)?;
        io::Result::Ok(text)
    };

    assert_eq!(read("web/link", Links::Followed).unwrap(), "mine");
    assert!(read("web/link", Links::Refused).is_err());
    assert!(read("web/local/out", Links::Followed).is_err());
    assert_eq!(read("web/pipe", Links::Followed).unwrap_err().to_string(), "it is no regular file");
    assert_eq!(read("web", Links::Followed).unwrap_err().to_string(), "it is no regular file");
    assert_eq!(read("web/missing", Links::Followed).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn files_of_ours_are_never_written_through_a_link() {
    let tree = Tree::new();
    tree.link("../../../secret", "web/local/out");
    tree.link("../..", "web/up");
    let root = Beneath::open(&tree.root()).unwrap();
    let (out, through) = (Path::new("web/local/out"), Path::new("web/up/secret"));

    assert!(root.open_own(out, Mode::RUSR).is_err());
    assert!(root.create_new(out, Mode::RUSR).is_err());
    for attempt in [Beneath::open_own, Beneath::create_new, Beneath::replace] {
        assert!(attempt(&root, through, Mode::RUSR).is_err());
    }
    root.replace(out, Mode::RUSR | Mode::WUSR).unwrap().write_all(b"ours").unwrap();

    assert_eq!(fs::read_to_string(tree.at("web/local/out")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(tree.0.path().join("secret")).unwrap(), "theirs");
}

#[test]
fn a_whole_file_takes_the_place_of_whatever_was_planted() {
    let tree = Tree::new();
    let (secret, mode) = (tree.0.path().join("secret"), Mode::from_raw_mode(0o640));
    tree.link(&secret, "web/local/absolute");
    tree.link("../../../secret", "web/local/out");
    tree.link("missing", "web/local/dangling");
    fs::hard_link(&secret, tree.at("web/local/same")).unwrap();
    rustix::fs::mknodat(CWD, tree.at("web/local/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    tree.link(tree.0.path(), "web/through");
    let root = Beneath::open(&tree.root()).unwrap();

    for name in ["absolute", "out", "dangling", "same", "pipe", "file", "none"] {
        let path = Path::new("web/local").join(name);
        root.write(&path, b"ours", mode).unwrap();
        let metadata = fs::symlink_metadata(tree.root().join(&path)).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o7777 == 0o640, "{name}");
        assert_eq!(fs::read_to_string(tree.root().join(&path)).unwrap(), "ours", "{name}");
    }
    for refused in ["web/through/secret", "web/local", "../secret", "web/local/file/x", "missing/x", ""] {
        assert!(root.write(Path::new(refused), b"ours", mode).is_err(), "{refused}");
    }

    assert_eq!(fs::read_to_string(secret).unwrap(), "theirs");
    assert!(!tree.at("web/local/missing").exists());
    let mut left = root.below(Path::new("web/local")).unwrap().names().unwrap();
    left.sort();
    assert_eq!(left, ["absolute", "dangling", "file", "none", "out", "pipe", "same"], "nothing half written");
}

#[test]
fn directories_are_made_where_no_link_is_on_the_way() {
    let tree = Tree::new();
    tree.link(tree.0.path(), "web/out");
    tree.link("local", "web/inside");
    let root = Beneath::open(&tree.root()).unwrap();
    let mode = Mode::from_raw_mode(0o777);

    let deepest = root.make_dirs(Path::new("web/local/a/b"), mode).unwrap();
    deepest.write(Path::new("f"), b"", mode).unwrap();
    for refused in ["web/out", "web/out/a", "web/inside/a", "web/local/file", "web/../../a", "/a"] {
        assert!(root.make_dirs(Path::new(refused), mode).is_err(), "{refused}");
    }

    let permissions = |path: &str| fs::metadata(tree.at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((permissions("web/local/a"), permissions("web/local/a/b/f")), (0o777, 0o777));
    assert!(!tree.0.path().join("a").exists() && !tree.at("web/local/a/a").exists());
}

#[test]
fn a_pipe_is_made_in_the_place_of_what_is_none_and_found_again() {
    let tree = Tree::new();
    tree.link("../../../secret", "web/local/link");
    let root = Beneath::open(&tree.root()).unwrap();
    let (mode, flags) = (Mode::RUSR | Mode::WUSR, OFlags::RDWR | OFlags::NONBLOCK);

    for name in ["link", "file", "none"] {
        let path = Path::new("web/local").join(name);
        let mut writer = root.pipe(&path, mode, flags).unwrap();
        let mut reader = root.pipe(&path, mode, flags).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 1, "{name}");
    }

    assert!(root.pipe(Path::new("web/local"), mode, flags).is_err(), "a directory is kept");
    assert_eq!(fs::read_to_string(tree.0.path().join("secret")).unwrap(), "theirs");
    root.remove(Path::new("web/local/link")).unwrap();
    assert!(root.remove(Path::new("web/local/link")).is_err() && root.remove(Path::new("web/local")).is_err());
}

#[test]
fn a_directory_below_is_a_bound_of_its_own() {
    let tree = Tree::new();
    tree.link("local", "web/link");
    fs::write(tree.at("web/beside"), "").unwrap();
    tree.link("../beside", "web/local/out");
    let root = Beneath::open(&tree.root()).unwrap();
    let local = root.below(&tree.at("web/local")).unwrap();

    assert!(local.read(Path::new("file"), Links::Followed).is_ok());
    assert!(local.read(&tree.at("web/local/file"), Links::Followed).is_ok());
    assert!(local.read(Path::new("out"), Links::Followed).is_err());
    assert!(local.read(Path::new("../beside"), Links::Followed).is_err());
    assert!(root.below(Path::new("web/link")).is_err());
    assert!(root.below(Path::new("web/beside")).is_err());
}

#[test]
fn what_was_found_is_opened_though_its_name_was_swapped() {
    let tree = Tree::new();
    let found = Beneath::open(&tree.root()).unwrap().find(Path::new("web/local/file"), Links::Refused).unwrap();
    fs::remove_file(tree.at("web/local/file")).unwrap();
    tree.link(tree.0.path().join("secret"), "web/local/file");

    let mut text = String::new();
    reopen(&found, OFlags::RDONLY).unwrap().read_to_string(&mut text).unwrap();

    assert_eq!(text, "mine");
    assert!(find_anywhere(&tree.at("web/local/file"), Links::Refused).is_err());
}

#[test]
fn whatever_is_swapped_meanwhile_nothing_is_written_or_read_outside() {
    let tree = Tree::new();
    let outside = tree.0.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "theirs").unwrap();
    symlink(&outside, tree.at("web/link")).unwrap();
    symlink(outside.join("file"), tree.at("web/local/link")).unwrap();
    let root = Beneath::open(&tree.root()).unwrap();
    let (path, mode) = (Path::new("web/local/file"), Mode::RUSR | Mode::WUSR);
    let over = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (one, other) in [("web/local", "web/link"), ("web/local/file", "web/local/link")] {
                    let (one, other) = (tree.at(one), tree.at(other));
                    let _one_is_a_link_to_nothing_now = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
                }
            }
        });
        for _ in 0..2000 {
            let _refused_or_inside = root.write(path, b"ours", mode);
            let _refused_or_inside = root.make_dirs(Path::new("web/local/new"), mode);
            let _refused_or_inside = root.create_new(path, mode).map(|mut file| file.write_all(b"ours"));
            let _refused_or_inside = root.open_own(path, mode).map(|mut file| file.write_all(b"ours"));
            let _refused_or_inside = root.remove(Path::new("web/local/none"));
            for links in [Links::Followed, Links::Refused] {
                if let Ok(file) = root.read(path, links) {
                    assert_ne!(io::read_to_string(file).unwrap(), "theirs");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });

    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

proptest! {
    /// Two links with arbitrary targets, and an arbitrary path. If it resolves, the kernel agrees that the result is beneath.
    #[test]
    fn whatever_is_linked_to_whatever_the_answer_is_beneath(
        targets in prop::collection::vec("(/|(\\.\\./){0,4})((a|b|c|web|local|\\.\\.)/?){0,5}", 2),
        path in "((a|b|c|web|local|\\.\\.)/){0,6}(a|b|file)?",
    ) {
        let tree = Tree::new();
        for (target, link) in targets.iter().zip(["web/a", "web/local/b"]).filter(|(target, _)| !target.is_empty()) {
            tree.link(target, link);
        }
        if let Ok(resolved) = tree.resolve(&path) {
            prop_assert!(resolved.starts_with(tree.root()));
            if let Ok(real) = resolved.canonicalize() {
                prop_assert_eq!(real, tree.root().canonicalize().unwrap().join(resolved.strip_prefix(tree.root()).unwrap()));
            }
        }
    }
}
