//! Job files and variable files that are JSON.

use nomad_jobspec::decode::decode;

use crate::{decode::schema, errors, read, task};

/// A job in both forms.
const JSON: &str = r#"
    {
      "variable": { "image": { "type": "string", "default": "busybox:1" } },
      "locals": { "who": "${upper(\"me\")}!" },
      "job": { "web": {
        "type": "batch",
        "meta": { "owner": "${local.who}" },
        "update": { "max_parallel": 1 },
        "group": { "front": {
          "count": 2,
          "network": [{ "mode": "bridge", "port": { "http": { "to": 80 }, "admin": { "static": 9000 } } }],
          "task": [{ "server": {
            "driver": "docker",
            "config": { "image": "${var.image}", "labels": { "a": 1 }, "mount": [{ "type": "bind" }, {}] },
            "env": { "ADDR": "${NOMAD_ADDR_http}", "HOME": "${env[\"HOME\"]} $${a[\"b\"]}" },
            "resources": { "cpu": 200 },
            "template": [
              { "data": "x\u0041\n", "destination": "local/a" },
              { "data": "y", "destination": "local/b" }
            ]
          } }]
        } }
      } }
    }
    "#;
const NATIVE: &str = r#"
      variable "image" {
        type    = string
        default = "busybox:1"
      }
      locals { who = "${upper("me")}!" }
      job "web" {
        type = "batch"
        meta { owner = local.who }
        update { max_parallel = 1 }
        group "front" {
          count = 2
          network {
            mode = "bridge"
            port "http" { to = 80 }
            port "admin" { static = 9000 }
          }
          task "server" {
            driver = "docker"
            config {
              image = var.image
              labels { a = 1 }
              mount { type = "bind" }
              mount {}
            }
            env {
              ADDR = "${NOMAD_ADDR_http}"
              HOME = "${env["HOME"]} $${a[\"b\"]}"
            }
            resources { cpu = 200 }
            template {
              data        = "xA\n"
              destination = "local/a"
            }
            template {
              data        = "y"
              destination = "local/b"
            }
          }
        }
      }"#;

#[test]
fn a_json_file_is_read_as_the_native_form_is() {
    let [mut from_json, mut from_native] =
        [JSON, NATIVE].map(|text| read(text, &[], None).unwrap_or_else(|error| panic!("{error}")));
    let [config_json, config_native] = [&mut from_json, &mut from_native].map(|parsed| {
        for template in &mut parsed.job.groups[0].tasks[0].templates {
            (template.source_span, template.destination_span) = (0..0, 0..0);
        }
        let config = std::mem::take(&mut parsed.job.groups[0].tasks[0].config);
        decode(&config, &schema(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"))
    });

    assert_eq!(from_json.job, from_native.job);
    assert_eq!(from_json.ignored, ["update"]);
    assert_eq!(config_json, config_native);
}

#[test]
fn what_is_wrong_in_a_json_file_is_reported_with_its_line() {
    let invalid = errors("{\n \"job\": {,}\n}");
    assert!(invalid.contains("invalid JSON"), "{invalid}");
    assert!(invalid.contains("test.nomad.hcl:2:10"), "{invalid}");

    let wrong = errors("{\"job\": {\"j\": {\n\"type\": \"none\", \"tpye\": 1,\n\"group\": 3}}}");
    assert!(wrong.contains("group needs an object"), "{wrong}");
    assert!(wrong.contains("test.nomad.hcl:3:10"), "{wrong}");

    let unknown =
        errors("\n{\"job\": {\"j\": {\n\"tpye\": 1,\n\"group\": {\"g\": {\"task\": {\"t\": {\"driver\": \"d\"}}}}}}}");
    assert!(unknown.contains("unsupported argument \"tpye\""), "{unknown}");
    assert!(unknown.contains("test.nomad.hcl:3:9"), "{unknown}");

    assert!(errors("{\"Job\": {\"ID\": \"x\"}}").contains("this is the form of Nomad's HTTP API"));
}

#[test]
fn a_variable_file_may_be_json() {
    let text = format!("variable \"a\" {{ type = list(string) }}\n{}", task("env { A = join(\"-\", var.a) }"));
    let parsed = read(&text, &[], Some("{\"a\": [\"x\", \"y\"]}")).unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(parsed.job.groups[0].tasks[0].env["A"], "x-y");
}
