//! Archives that jobs name: none gives out or takes away what others have, and none fills the engine's disk.

use std::{fs, path::Path, process::Command};

use conformance::{
    Fixture, Task,
    docker::{docker, is_local},
    image, object,
    registry::build_with_layer,
    text, until,
};
use futures_util::future::join_all;
use nomad_plugin::{
    driver::{Force, Recoverability},
    msgpack::Value,
};

/// Images under names of a test's own; they are removed with it.
struct Names(Vec<String>);

impl Names {
    fn of<const COUNT: usize>(names: [&str; COUNT]) -> (Self, [String; COUNT]) {
        let names = names.map(|name| format!("longshore-test/{name}-{}:1", std::process::id()));
        (Self(names.to_vec()), names)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _absent = Command::new("docker").args(["rmi", "--force"]).args(&self.0).output();
    }
}

fn id(image: &str) -> String {
    docker(&["image", "inspect", "--format", "{{.Id}}", image]).trim().to_owned()
}

/// A task that is to load its image.
fn task(fixture: &Fixture, image: &str) -> (Task, String) {
    let task = fixture.task("web", "cat /layer | wc -c").option("image", text(image)).option("load", text("image.tar"));
    let archive = task.alloc_dir().join("web/local/image.tar").display().to_string();
    (task, archive)
}

/// Moves an image from the engine to an archive.
fn archive(image: &str, archive: &str) {
    docker(&["save", "--output", archive, image]);
    docker(&["rmi", image]);
}

/// Unpacks an archive, runs a shell script among its files, and packs it again.
fn doctored(archive: &str, script: &str) {
    let steps = format!(
        r#"set -e; mkdir "$0.d"; tar -xf "$0" -C "$0.d"; cd "$0.d"; rm -f index.json oci-layout; {script}
           cd /; tar -cf "$0" -C "$0.d" .; rm -r "$0.d""#
    );
    let made = Command::new("sh").args(["-c", &steps, archive]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn an_archive_with_the_names_of_others_adds_nothing_and_takes_no_name() {
    let (_names, [wanted, victim]) = Names::of(["names-wanted", "names-victim"]);
    build_with_layer(&wanted, 1);
    let fixture = Fixture::start().await;
    let (task, path) = task(&fixture, &wanted);
    archive(&wanted, &path);
    build_with_layer(&victim, 2);
    let before = id(&victim);
    let honest = fs::read(&path).unwrap();

    for (script, words) in [
        (
            format!(r#"sed -i 's|"{wanted}"|"{wanted}","{victim}"|' manifest.json;"#),
            format!("it has other images: {victim}"),
        ),
        (
            format!(
                r#"sed -i 's|\]$|,{{"Config":"missing.json","RepoTags":["{victim}"],"Layers":[]}}]|' manifest.json;"#
            ),
            format!("it has other images: {victim}"),
        ),
        (
            format!(r#"sed -i 's|"{wanted}"|"{victim}"|' manifest.json;"#),
            format!("has no image {wanted:?}; it has {victim}"),
        ),
        // What engines read where there is nothing else.
        ("rm manifest.json;".to_owned(), "it has neither manifest.json nor index.json".to_owned()),
        ("mv manifest.json m; ln -s m manifest.json;".to_owned(), "\"manifest.json\" is not in it".to_owned()),
    ] {
        fs::write(&path, &honest).unwrap();
        doctored(&path, &script);

        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.contains(&words), "{words:?} is not in {:?}", rejection.message);
        assert_ne!(rejection.recoverability, Recoverability::Recoverable, "{rejection}");
        assert!(!is_local(&wanted), "{script}");
        assert_eq!(id(&victim), before, "{script}");
    }
    fs::write(&path, &honest).unwrap();
    assert_eq!(fixture.output(&task).await.trim(), "1");
    fixture.end().await;
}

/// Its own name an archive may take: that of `latest` is loaded at each start.
#[tokio::test]
async fn a_name_that_an_archive_took_is_given_back_when_its_image_is_removed() {
    let (_names, [wanted]) = Names::of(["given-back"]);
    let wanted = wanted.replace(":1", ":latest");
    let _names = Names(vec![wanted.clone()]);
    let gc = object(&[("image_delay", text("1s"))]);
    let mut fixture = Fixture::with(object(&[("gc", gc)]), &[]).await;
    build_with_layer(&wanted, 7);
    let (task, path) = task(&fixture, &wanted);
    archive(&wanted, &path);
    build_with_layer(&wanted, 8);
    let before = id(&wanted);

    for driver_dies in [false, true] {
        assert_eq!(fixture.output(&task).await.trim(), "7");
        assert_ne!(id(&wanted), before);
        let _closed_again = fixture.driver.fingerprint().await.unwrap();
        if driver_dies {
            let noted = || {
                let files = fs::read_dir(fixture.directory().join("state/images")).into_iter().flatten().flatten();
                let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
                texts.filter(|text| text.contains(&before)).count() == 1
            };
            until("it is noted", noted).await;
            fixture.kill_and_start_again().await;
            docker(&["rm", "--force", &task.container()]);
            let _closed_again = fixture.driver.fingerprint().await.unwrap();
        } else {
            fixture.driver.destroy_task(task.config.id.clone(), Force::Yes).await.unwrap();
        }
        let now = || docker(&["images", "--quiet", "--no-trunc", &wanted]);
        until("it has its name again", || now().trim() == before).await;
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_honest_archive_is_loaded_in_every_compression() {
    let (_names, [wanted]) = Names::of(["compressed"]);
    build_with_layer(&wanted, 3);
    let fixture = Fixture::start().await;
    let (of_first, path) = task(&fixture, &wanted);
    archive(&wanted, &path);
    drop(of_first);

    for tool in ["gzip", "bzip2", "xz", "zstd"] {
        let (task, own) = task(&fixture, &wanted);
        let squeezed = Command::new(tool).args(["--stdout", &path]).output().unwrap().stdout;
        fs::write(own, squeezed).unwrap();
        assert_eq!(fixture.output(&task).await.trim(), "3", "{tool}");
        fixture.driver.destroy_task(task.config.id, Force::Yes).await.unwrap();
        docker(&["rmi", &wanted]);
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_archive_without_its_layers_does_not_give_out_another_ones_image() {
    let (_names, [stolen, private]) = Names::of(["layers-stolen", "layers-private"]);
    build_with_layer(&private, 5);
    let fixture = Fixture::start().await;
    let (task, path) = task(&fixture, &stolen);
    docker(&["tag", &private, &stolen]);
    docker(&["save", "--output", &path, &stolen]);
    docker(&["rmi", &stolen]);
    let honest = fs::read(&path).unwrap();

    for script in [
        "find . -name layer.tar -type f -exec rm {} +; find blobs -size +4k -exec rm {} + 2>/dev/null || true;",
        "for each in $(find . -name layer.tar -type f); do : >$each; done;",
        "for each in $(find . -name layer.tar -type f); do head -c 10240 /dev/zero >$each; done;",
    ] {
        fs::write(&path, &honest).unwrap();
        doctored(&path, script);

        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.contains("is not in it as its image names it"), "{script}: {rejection}");
        assert!(!is_local(&stolen), "{script}");
    }
    fs::write(&path, &honest).unwrap();
    assert_eq!(fixture.output(&task).await.trim(), "5");
    fixture.end().await;
}

/// Each is some KiB on the task's disk, and would be far more on the engine's.
#[tokio::test]
async fn an_archive_that_takes_more_than_it_may_is_not_given_to_the_engine() {
    let fixture = Fixture::with(object(&[("load_max_mb", Value::Int(64))]), &[]).await;
    let (task, path) = task(&fixture, &image().replace(":1", ":large"));
    let directory = Path::new(&path).parent().unwrap();
    let make = |script: &str| {
        let made = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };

    for (script, words) in [
        ("truncate -s 1T huge; tar -Scf image.tar huge", "a file with holes"),
        ("truncate -s 1T huge; tar --format=posix -Scf image.tar huge", "a file with holes"),
        ("truncate -s 1T huge; tar -Scf layer.tar huge; tar -cf image.tar layer.tar", "larger than the 64 MiB"),
        (
            "truncate -s 1T huge; tar --format=posix -Scf layer.tar huge; tar -cf image.tar layer.tar",
            "larger than the 64 MiB",
        ),
        ("truncate -s 1G huge; tar -cf - huge | gzip >image.tar", "larger than the 64 MiB"),
        ("truncate -s 1G huge; tar -cf - huge | xz -0 >layer; tar -cf image.tar layer", "larger than the 64 MiB"),
        // The file itself has holes.
        (
            "truncate -s 1G huge; tar -cf - huge | head -c 1024 >image.tar; truncate -s 1G image.tar",
            "larger than the 64 MiB",
        ),
    ] {
        make(script);

        let rejection = fixture.refused(&task).await;

        assert!(rejection.message.starts_with("unable to load image archive "), "{script}: {rejection}");
        assert!(rejection.message.contains(words), "{script}: {rejection}");
        make("rm -f huge layer layer.tar image.tar");
    }
    fixture.end().await;
}

#[tokio::test]
async fn many_archives_that_are_loaded_at_once_take_no_more_of_the_drivers_memory_than_a_few() {
    const TASKS: usize = 7;
    let fixture = Fixture::start().await;
    let (_names, [wanted]) = Names::of(["greedy"]);
    let (first, path) = task(&fixture, &wanted);
    // What has to be kept to read it: what was read, up to 96 MiB.
    let squeeze =
        "head -c 140M /dev/zero >zeros && tar -cf - zeros | xz -1 --lzma2=dict=96MiB -T1 >image.tar && rm zeros";
    let local = Path::new(&path).parent().unwrap();
    let made = Command::new("sh").args(["-c", squeeze]).current_dir(local).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tasks: Vec<Task> = (0..TASKS)
        .map(|_| task(&fixture, &wanted))
        .map(|(task, archive)| {
            fs::hard_link(&path, archive).unwrap();
            task
        })
        .collect();

    let rejections = join_all(tasks.iter().chain([&first]).map(|task| fixture.refused(task))).await;

    for rejection in rejections {
        assert!(rejection.message.contains("it has neither manifest.json nor index.json"), "{rejection}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", fixture.driver.reattach_config().pid)).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most < 600 << 10, "the driver took {} MiB", most >> 10);
    fixture.end().await;
}
