//! Job files, read by value.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocks;
mod decode;
mod functions;
mod json;
mod names;
mod variables;

use std::{collections::BTreeMap, path::Path, time::Duration};

use nomad_jobspec::{
    Diagnostics, Files, Inputs, Parsed, Source,
    job::{JobKind, Operator, RestartMode},
    parse,
};
use proptest::prelude::*;

struct Shelf(BTreeMap<&'static str, &'static str>);

impl Files for Shelf {
    fn read(&self, path: &Path) -> Result<String, String> {
        let path = path.to_str().unwrap();
        self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| format!("no file exists at {path}"))
    }

    fn list(&self, _: &Path, pattern: &str) -> Result<Vec<String>, String> {
        let ending = pattern.trim_start_matches('*');
        Ok(self.0.keys().filter(|path| path.ends_with(ending)).map(|path| (*path).to_owned()).collect())
    }
}

fn read(text: &str, variables: &[(&str, &str)], variable_file: Option<&str>) -> Result<Parsed, Diagnostics> {
    let source = Source { name: "test.nomad.hcl".into(), text: text.to_owned() };
    let files = Shelf([("motd.txt", "  hello\n"), ("other.txt", "x")].into());
    let inputs = Inputs {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        variable_files: variable_file
            .map(|text| Source { name: "test.vars".into(), text: text.to_owned() })
            .into_iter()
            .collect(),
        files: &files,
        uuid: &|| "00000000-1111".to_owned(),
    };
    parse(&source, &inputs)
}

/// A job with one task whose `config` and other blocks are given.
fn task(inner: &str) -> String {
    format!("job \"j\" {{\n group \"g\" {{\n  task \"t\" {{\n   driver = \"docker\"\n{inner}\n  }}\n }}\n}}\n")
}

fn env(text: &str) -> BTreeMap<String, String> {
    let parsed = read(text, &[], None).unwrap_or_else(|error| panic!("{error}"));
    parsed.job.groups[0].tasks[0].env.clone()
}

fn errors(text: &str) -> String {
    read(text, &[], None).unwrap_err().to_string()
}

#[test]
fn what_a_job_does_not_say_is_nomads_default() {
    let job = read(&task(""), &[], None).unwrap().job;
    let (group, task) = (&job.groups[0], &job.groups[0].tasks[0]);

    assert_eq!((job.id.as_str(), job.name.as_str(), job.kind), ("j", "j", JobKind::Service));
    assert_eq!((job.namespace.as_str(), job.region.as_str()), ("default", "global"));
    assert_eq!((group.count, task.resources.cpu, task.resources.memory), (1, 100, 300));
    assert_eq!((task.restart.attempts, task.restart.delay), (2, Duration::from_secs(15)));
    assert_eq!((task.restart.interval, task.restart.mode), (Duration::from_secs(1800), RestartMode::Fail));
    assert_eq!((task.kill_timeout, task.logs.max_files, task.logs.max_file_size), (Duration::from_secs(5), 10, 10));
}

/// A job with every block that is known.
const EVERYTHING: &str = r#"
        variable "image" {
          type    = string
          default = "busybox:1"
        }
        variable "copies" { type = number }
        locals {
          nested   = upper(local.greeting)
          greeting = "hello ${var.image}"
        }
        job "web" {
          type        = "batch"
          datacenters = ["here"]
          meta { owner = "me" }
          update { max_parallel = 1 }
          group "front" {
            count = var.copies
            restart {
              attempts = 5
              delay    = "1s"
              mode     = "delay"
            }
            network {
              mode = "bridge"
              port "http" { to = 80 }
              port "admin" { static = 9000 }
            }
            service { name = "web" }
            task "server" {
              driver = "docker"
              user   = "nobody"
              config { image = var.image }
              env {
                GREETING = local.nested
                ADDR     = "${NOMAD_ADDR_http}"
                COUNT    = 3
              }
              resources {
                cpu    = 200
                memory = 64
              }
              template {
                data        = <<-EOF
                  port {{ env "NOMAD_PORT_http" }}
                    indented
                EOF
                destination = "local/page"
                perms       = "600"
              }
              kill_timeout = "20s"
              kill_signal  = "SIGINT"
              logs { max_files = 2 }
              constraint {
                attribute = "${attr.kernel.name}"
                value     = "linux"
              }
              constraint {
                attribute = "${attr.driver.docker.version}"
                version   = ">= 20"
              }
              service { name = "again" }
            }
          }
        }
    "#;

#[test]
fn a_job_with_everything_is_read_whole() {
    let Parsed { job, ignored } = read(EVERYTHING, &[("copies", "2")], None).unwrap_or_else(|error| panic!("{error}"));
    let (group, task) = (&job.groups[0], &job.groups[0].tasks[0]);

    assert_eq!(ignored, ["service", "update"]);
    assert_eq!((job.kind, group.count, job.meta["owner"].as_str()), (JobKind::Batch, 2, "me"));
    assert_eq!((group.network.ports[0].to, group.network.ports[1].fixed), (Some(80), Some(9000)));
    assert_eq!((task.restart.attempts, task.restart.interval), (5, Duration::from_secs(24 * 3600)));
    assert_eq!(task.restart.mode, RestartMode::Delay);
    assert_eq!(task.env["GREETING"], "HELLO BUSYBOX:1");
    assert_eq!(task.env["ADDR"], "${NOMAD_ADDR_http}");
    assert_eq!(task.env["COUNT"], "3");
    assert_eq!(task.templates[0].data.as_deref(), Some("port {{ env \"NOMAD_PORT_http\" }}\n  indented\n"));
    assert_eq!(task.templates[0].perms, 0o600);
    assert_eq!((task.kill_timeout, task.kill_signal.as_str()), (Duration::from_secs(20), "SIGINT"));
    assert_eq!(task.constraints[0].attribute, "${attr.kernel.name}");
    assert_eq!((task.constraints[1].operator, task.constraints[1].value.as_str()), (Operator::Version, ">= 20"));
}

#[test]
fn dynamic_blocks_are_written_out() {
    let text = r#"
        variable "ports" { default = ["http", "admin"] }
        job "j" {
          group "g" {
            network {
              dynamic "port" {
                for_each = var.ports
                labels   = [port.value]
                content { to = 8000 + port.key }
              }
            }
            task "t" { driver = "docker" }
          }
        }"#;
    let ports = read(text, &[], None).unwrap_or_else(|error| panic!("{error}")).job.groups[0].network.ports.clone();

    assert_eq!(
        ports.iter().map(|p| (p.label.as_str(), p.to)).collect::<Vec<_>>(),
        [("http", Some(8000)), ("admin", Some(8001))]
    );
}

#[test]
fn a_dynamic_block_reads_a_file_for_each_of_a_set() {
    let parsed = read(
        &task(
            r#"dynamic "template" {
              for_each = fileset(".", "*.txt")
              iterator = found
              content {
                data        = file(found.value)
                destination = "local/${found.key}-${found.value}"
              }
            }"#,
        ),
        &[],
        None,
    );
    let job = parsed.unwrap_or_else(|error| panic!("{error}")).job;
    let templates = job.groups[0].tasks[0].templates.iter();

    assert_eq!(
        templates.map(|made| (made.destination.as_str(), made.data.as_deref())).collect::<Vec<_>>(),
        [("local/0-motd.txt", Some("  hello\n")), ("local/1-other.txt", Some("x"))]
    );
}

#[test]
fn every_error_is_reported_at_once_with_its_line_and_a_pointer() {
    let text = format!(
        "variable \"unset\" {{}}\n{}",
        task(
            "   kill_timout = \"5s\"\n   resources { cpu = \"many\" }\n   env { A = [1, nothing] }\n   user = var.usr\n"
        )
    );
    let message = errors(&text);

    for expected in [
        "variable \"unset\" has no value",
        "undefined variable `nothing`",
        "test.nomad.hcl:8:18",
        "no variable \"usr\" is declared in this file",
        "test.nomad.hcl:9:11",
        "unsupported argument \"kill_timout\"",
        "did you mean \"kill_timeout\"?",
        "cpu: a whole number from 1 to 10000000 is needed, this is \"many\"",
        "kill_timout = \"5s\"\n",
    ] {
        assert!(message.contains(expected), "{expected} is not in {message}");
    }
}

#[test]
fn a_value_that_failed_is_not_reported_as_missing_too() {
    let message = errors("job \"j\" {\n group \"g\" {\n  task \"t\" { driver = var.driver }\n }\n}\n");

    assert!(message.contains("no variable \"driver\" is declared in this file"), "{message}");
    assert!(!message.contains("a task needs a driver"), "{message}");
}

#[test]
fn names_that_the_file_does_not_know_are_references_of_the_running_task() {
    let text = task(
        r#"env {
          A = "${HOME}/x"
          B = "${attr.unique.network.ip-address}:${NOMAD_PORT_http}"
          C = "${env["PATH"]}"
          D = join(",", [for name in ["a", "b"] : "${name}-${NOMAD_ALLOC_INDEX}"])
          E = "$${kept}"
        }"#,
    );

    let expected = [
        "${HOME}/x",
        "${attr.unique.network.ip-address}:${NOMAD_PORT_http}",
        "${env[\"PATH\"]}",
        "a-${NOMAD_ALLOC_INDEX},b-${NOMAD_ALLOC_INDEX}",
        "${kept}",
    ];
    assert_eq!(env(&text).values().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_task_without_a_group_is_a_group_of_its_name() {
    let job = read("job \"j\" {\n task \"lone\" { driver = \"docker\" }\n}\n", &[], None).unwrap().job;

    assert_eq!((job.groups[0].name.as_str(), job.groups[0].tasks[0].name.as_str()), ("lone", "lone"));
}

#[test]
fn a_port_to_minus_one_is_the_hosts_own() {
    let text =
        "job \"j\" {\n group \"g\" {\n network {\n port \"p\" { to = -1 }\n }\n task \"t\" { driver = \"d\" }\n }\n}\n";

    assert_eq!(read(text, &[], None).unwrap().job.groups[0].network.ports[0].to, None);
}

#[test]
fn maps_are_visited_by_their_keys_order() {
    let text = format!(
        "locals {{ map = {{ b = 2, a = 1 }} }}\n{}",
        task(
            "env {\n A = join(\",\", keys(local.map))\n B = join(\",\", [for k, v in local.map : \"${k}${v}\"])\n C = jsonencode({ b = 2, a = 1 })\n }"
        )
    );

    assert_eq!(env(&text).values().map(String::as_str).collect::<Vec<_>>(), ["a,b", "a1,b2", "{\"a\":1,\"b\":2}"]);
}

#[test]
fn what_is_no_job_is_reported_as_such() {
    assert!(errors("").contains("the file holds no job"));
    assert!(errors("job \"a\" {").contains("syntax error"));
    assert!(errors("job \"a\" {}").contains("a job needs a group with a task"));
    assert!(errors("variable \"x\" {}\n").contains("variable \"x\" has no value"));
    let unknown = read(&task(""), &[("y", "1")], None).unwrap_err().to_string();
    assert!(unknown.contains("no variable is called \"y\""), "{unknown}");
    assert!(errors(&"[".repeat(100_000)).contains("nested too deeply"));
}

#[test]
fn the_projects_example_is_read_whole() {
    let Parsed { job, .. } = read(include_str!("../../../../examples/web.nomad.hcl"), &[], None).unwrap();

    assert_eq!((job.id.as_str(), job.groups[0].tasks[0].driver.as_str()), ("web", "docker"));
}

#[test]
fn text_that_nests_without_end_is_refused() {
    for text in [
        "a = ".to_owned() + &"1 + ".repeat(50_000) + "1",
        "a = ".to_owned() + &"!".repeat(50_000) + "true",
        "a = ".to_owned() + &"-".repeat(50_000) + "1",
        "a = ".to_owned() + &"true ? 1 : ".repeat(50_000) + "1",
        "a = ".to_owned() + &"\"${".repeat(50_000),
        "{\"a\": ".repeat(50_000),
        "a {\n".repeat(50_000),
        "a = b".to_owned() + &".c".repeat(50_000),
        "a = <<EOF\n".to_owned() + &"%{ if true }".repeat(50_000) + "EOF\n",
    ] {
        assert!(!errors(&text).is_empty());
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z\"{}\\[\\]=$<> \\n()0-9.,:*?-]{0,200}") {
        if let Err(error) = read(&text, &[], None) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in "\\{\"job\": [a-z\"{}\\[\\]:$ \\n0-9.,]{0,100}\\}") {
        if let Err(error) = read(&text, &[], None) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
