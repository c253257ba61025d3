//! What a task puts in the way of the agent, which is root: links in the place of files and directories.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use conformance::image;

use crate::{Machine, text};

/// A file of the host's that no task may read or change, in a directory of its own.
struct Secret(PathBuf);

impl Secret {
    fn of(machine: &Machine) -> Self {
        let directory = machine.path().join("theirs");
        fs::create_dir(&directory).unwrap();
        let secret = Self(directory.join("secret"));
        fs::write(&secret.0, "theirs").unwrap();
        fs::set_permissions(&secret.0, fs::Permissions::from_mode(0o640)).unwrap();
        secret
    }

    fn directory(&self) -> &Path {
        self.0.parent().unwrap()
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(&self.0).unwrap(), "theirs");
        assert_eq!(fs::symlink_metadata(&self.0).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(self.directory()).unwrap().count(), 1, "nothing was made beside it");
    }
}

/// A task that runs a script; `more` are its other blocks.
fn task(name: &str, script: &str, more: &str) -> String {
    format!(
        "task \"{name}\" {{\n driver = \"docker\"\n {more}\n config {{\n image = \"{}\"\n network_mode = \"none\"\n \
         command = \"/bin/sh\"\n args = [\"-c\", <<-EOF\n{script}\nEOF\n]\n }}\n }}\n",
        image()
    )
}

/// A batch job of one group that is started again once, at once.
fn job(id: &str, tasks: &[String]) -> String {
    let restart = "restart {\n attempts = 1\n delay = \"1ms\"\n mode = \"fail\"\n }";
    format!("job \"{id}\" {{\n type = \"batch\"\n group \"g\" {{\n {restart}\n {}\n }}\n}}\n", tasks.concat())
}

fn template(destination: &str) -> String {
    format!("template {{\n data = \"ours\"\n destination = \"{destination}\"\n perms = \"777\"\n }}\n")
}

const PRESTART: &str = "lifecycle { hook = \"prestart\" }\n";

/// Fails the first time, after it has done this.
fn once(planting: &str, then: &str) -> String {
    format!("set -e; if [ ! -e /alloc/data/again ]; then touch /alloc/data/again; {planting}; exit 1; fi; {then}")
}

#[test]
fn a_link_that_a_task_puts_in_the_place_of_a_templates_file_is_replaced() {
    let machine = Machine::new();
    let secret = Secret::of(&machine);
    let path = secret.0.display();
    let planter = task("planter", &format!("ln -s {path} /alloc/data/shared"), PRESTART);
    let planting = format!(
        "for f in /local/f /secrets/f /alloc/data/again-f; do ln -sf {path} $f; done; rm /local/pipe; mkfifo /local/pipe"
    );
    let destinations =
        ["local/f", "/secrets/f", "local/pipe", "/alloc/data/shared", "/alloc/data/again-f"].map(template).concat();
    let reading = "cat /local/f /secrets/f /local/pipe /alloc/data/shared /alloc/data/again-f";
    let file =
        machine.file("job.hcl", &job("replaced", &[planter, task("t", &once(&planting, reading), &destinations)]));

    machine.ok(&["run", file.to_str().unwrap()]);

    assert_eq!(machine.ok(&["logs", "replaced", "t"]), "ours".repeat(5));
    secret.assert_untouched();
}

#[test]
fn a_template_is_not_made_through_a_directory_that_a_task_links_elsewhere() {
    let machine = Machine::new();
    let secret = Secret::of(&machine);
    let directory = secret.directory().display();
    for (name, destination, planting) in [
        ("own", "local/d/secret", format!("rm -r /local/d; ln -s {directory} /local/d")),
        ("deep", "local/d/new/x", format!("rm -r /local/d; ln -s {directory} /local/d")),
        ("shared", "/alloc/data/d/secret", format!("rm -r /alloc/data/d; ln -s {directory} /alloc/data/d")),
    ] {
        let file = machine.file("job.hcl", &job(name, &[task("t", &once(&planting, "true"), &template(destination))]));

        let ended = machine.run(&["run", file.to_str().unwrap()]);

        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("/d is no directory"), "{name}: {said}");
        secret.assert_untouched();
    }
}

#[test]
fn no_template_puts_a_file_of_the_host_into_a_container() {
    let machine = Machine::new();
    let secret = Secret::of(&machine);
    let path = secret.0.display().to_string();
    let sourced = |source: &str| format!("template {{\n source = \"{source}\"\n destination = \"local/f\"\n }}\n");
    let reading = |id: &str, source: &str, more: &str| {
        let planter = task("planter", &format!("ln -s {path} /alloc/data/src"), PRESTART);
        job(id, &[planter, task("t", "cat /local/f", &format!("{more}\n{}", sourced(source)))])
    };

    for outside in [path.as_str(), "../theirs/secret", "theirs/../../secret"] {
        let jobs = machine.path().join("jobs");
        fs::create_dir_all(jobs.join("theirs")).unwrap();
        let file = machine.file("jobs/job.hcl", &reading("outside", outside, ""));
        for verb in ["validate", "run"] {
            let refused = machine.run(&[verb, file.to_str().unwrap()]);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{verb} {outside}: {said}");
            // With its place.
            assert!(said.contains(" is outside of the job file's directory"), "{said}");
            assert!(said.contains("/jobs/job.hcl:") && said.contains(&format!("source = \"{outside}\"")), "{said}");
        }
    }
    for (id, source, more, expected) in [
        ("linked", "/alloc/data/src", String::new(), "it leads out of "),
        ("late", "${WHERE}", format!("env {{ WHERE = \"{path}\" }}"), " is outside of the job file's directory"),
    ] {
        let file = machine.file("jobs/job.hcl", &reading(id, source, &more));
        let failed = machine.run(&["run", file.to_str().unwrap()]);
        let said = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{id}: {said}");
        assert!(said.contains("failed to read source ") && said.contains(expected), "{id}: {said}");
    }
    machine.file("jobs/page.tpl", "beside {{ env \"NOMAD_TASK_NAME\" }}");
    let file = machine.file("jobs/job.hcl", &reading("beside", "page.tpl", ""));
    machine.ok(&["run", file.to_str().unwrap()]);
    assert_eq!(machine.ok(&["logs", "beside", "t"]), "beside t");
}

#[test]
fn a_log_is_rotated_past_what_a_task_planted_and_none_of_it_is_shown() {
    let machine = Machine::new();
    let secret = Secret::of(&machine);
    let path = secret.0.display();
    let agent = machine.file("agent.hcl", "plugin \"docker\" {\n config {\n volumes {\n enabled = true\n }\n }\n}\n");
    let script = format!(
        "set -e; cd /shared/logs; for n in 1 2; do ln -s {path} t.stdout.$n; done; ln -s {path} t.stderr.9; \
         rm .t.stderr.fifo; ln -s {path} .t.stderr.fifo; n=0; while [ $n -lt 30000 ]; do n=$((n+1)); \
         echo \"$n ....................................................\"; done"
    );
    let task = task("t", &script, "logs { max_file_size = 1 }")
        .replace("config {", "config {\n volumes = [\"../alloc:/shared\"]");
    let file = machine.file("job.hcl", &job("rotated", &[task]));

    machine.ok(&["-config", agent.to_str().unwrap(), "run", file.to_str().unwrap()]);

    let shown = machine.ok(&["logs", "rotated"]);
    assert!(shown.ends_with(&format!("30000 {}\n", ".".repeat(52))) && shown.lines().count() == 30_000);
    assert_eq!(machine.ok(&["logs", "-stderr", "rotated"]), "");
    secret.assert_untouched();
}
