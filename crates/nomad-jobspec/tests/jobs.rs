//! Job files, read by value.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use nomad_jobspec::{
    Diagnostics, Files, Inputs, Parsed, Source,
    decode::decode,
    job::{JobKind, RestartMode},
    parse,
};
use nomad_plugin::{
    hclspec::{Spec, Type},
    msgpack::Value,
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

#[test]
fn a_job_with_everything_is_read_whole() {
    let text = r#"
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
    let Parsed { job, ignored } = read(text, &[("copies", "2")], None).unwrap_or_else(|error| panic!("{error}"));
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
    assert_eq!((task.constraints[1].operator.as_str(), task.constraints[1].value.as_str()), ("version", ">= 20"));
}

#[test]
fn functions_give_what_their_names_promise() {
    let env = env(&task(
        r#"env {
          A = trimspace(file("motd.txt"))
          B = uuidv4()
          C = join(",", sort(fileset(".", "*.txt")))
          D = format("%s-%03d-%.1f%%", "x", 7, 2.5)
          E = jsonencode({ a = [1, true, null] })
          F = base64encode("hi")
          G = replace(upper("a.b"), ".", "_")
          H = join(" ", [for name in ["x", "y"] : "${name}!"])
          I = length(concat([1], [2, 3])) > 2 ? "many" : "few"
          J = lookup({ a = "1" }, "b", "none")
          K = join(",", keys(merge({ a = 1 }, { b = 2 })))
          L = element(split("/", "a/b/c"), 4)
          M = substr("hello", 1, 3)
          N = tostring(max(1, 5, 3))
          O = coalesce("", "first")
          P = jsondecode("{\"k\": \"v\"}").k
        }"#,
    ));

    let expected = [
        "hello",
        "00000000-1111",
        "motd.txt,other.txt",
        "x-007-2.5%",
        "{\"a\":[1,true,null]}",
        "aGk=",
        "A_B",
        "x! y!",
        "many",
        "none",
        "a,b",
        "b",
        "ell",
        "5",
        "first",
        "v",
    ];
    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn further_functions_give_what_their_names_promise() {
    let env = env(&task(
        r#"env {
          A = jsonencode([slice(["a", "b", "c"], 1, 3), index(["a", "b"], "b"), pow(2, 10), parseint("ff", 16)])
          B = jsonencode([setunion(["b", "a"], ["b"]), setintersection(["a", "b"], ["b"]), setsubtract(["a", "b"], ["b"])])
          C = jsonencode([range(3), range(3, 1), range(0, 10, 4), range(9223372036854775806, 9223372036854775807, 5)])
          D = format("%05d|%-4s|%4s|%d|%q", -42, "x", "y", 9007199254740993, "z")
          E = tostring(tonumber("9007199254740993"))
          F = jsonencode([sum([1, 2]), alltrue([true, false]), anytrue([true, false]), signum(-3)])
          G = title("one two")
          H = indent(2, "a\nb")
          I = join(",", split("", "abc"))
        }"#,
    ));

    let expected = [
        r#"[["b","c"],1,1024,255]"#,
        r#"[["a","b"],["b"],["a"]]"#,
        "[[0,1,2],[3,2],[0,4,8],[9223372036854775806]]",
        r#"-0042|x   |   y|9007199254740993|"z""#,
        "9007199254740993",
        "[3,false,true,-1]",
        "One Two",
        "a\n  b",
        "a,b,c",
    ];
    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_function_that_cannot_answer_says_why_at_its_call() {
    for (call, expected) in [
        ("indent(9223372036854775807, \"x\")", "the indent must be from 0 to 1024"),
        ("format(\"%99999999999d\", 1)", "no width above 1024"),
        ("range(0, 5, 0)", "the step leads away from the end"),
        ("range(5000)", "more than 1024 numbers"),
        ("lookup({}, \"b\")", "there is no \"b\", and no default is given"),
        ("file(\"absent\")", "no file exists at absent"),
        ("nothing()", "undefined function `nothing`"),
        ("parseint(\"12\", 1)", "a base is from 2 to 36"),
    ] {
        let told = errors(&task(&format!("env {{\n A = [\"x\", {call}][1]\n }}")));
        assert!(told.contains(expected), "{told}");
        assert!(told.contains("test.nomad.hcl:6:12"), "{told}");
    }
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
fn the_command_line_wins_over_files_and_files_over_defaults() {
    let text = format!(
        "variable \"a\" {{ default = \"1\" }}\nvariable \"b\" {{ default = \"1\" }}\nvariable \"c\" {{ type = list(string) }}\n{}",
        task("env {\n A = var.a\n B = var.b\n C = join(\"-\", var.c)\n }")
    );
    let parsed = read(&text, &[("b", "3"), ("c", "[\"x\", \"y\"]")], Some("a = \"2\"\nb = \"2\"\n"));
    let env = parsed.unwrap_or_else(|error| panic!("{error}")).job.groups[0].tasks[0].env.clone();

    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), ["2", "3", "x-y"]);
}

#[test]
fn a_variables_value_is_converted_to_its_type_or_refused() {
    let text = |ty: &str, value: &str| {
        format!("variable \"v\" {{\n type = {ty}\n default = {value}\n}}\n{}", task("env { A = jsonencode(var.v) }"))
    };
    for (ty, value, expected) in [
        ("list(string)", "[1, true]", "[\"1\",\"true\"]"),
        ("set(number)", "[\"1\", 1, 2]", "[1,2]"),
        ("map(bool)", "{ a = \"true\" }", "{\"a\":true}"),
        ("tuple([string, number])", "[1, \"2\"]", "[\"1\",2]"),
        ("object({ a = string, b = optional(number) })", "{ a = 1, c = 2 }", "{\"a\":\"1\",\"b\":null}"),
        ("list(object({ a = number }))", "[{ a = \"1\" }]", "[{\"a\":1}]"),
    ] {
        assert_eq!(env(&text(ty, value))["A"], expected, "{ty}");
    }

    for (ty, value, expected) in [
        ("number", "\"many\"", "variable \"v\": a number is needed, this is \"many\""),
        ("object({ a = string })", "{}", "variable \"v\": attribute \"a\" is required"),
        ("tuple([string])", "[]", "variable \"v\": a list of 1 elements is needed"),
        ("list(thing)", "[]", "unknown type of variable \"v\""),
    ] {
        let told = errors(&text(ty, value));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_variables_validation_is_held() {
    let text = format!(
        r#"variable "count" {{
          type    = number
          default = 1
          colour  = "red"
          validation {{
            condition     = var.count > 0 && var.count < 5
            error_message = "From 1 to 4."
          }}
        }}
        {}"#,
        task("env { A = var.count }")
    );
    let right = text.replace("colour  = \"red\"", "");

    let unknown = errors(&text);
    let refused = read(&right, &[("count", "7")], None).unwrap_err().to_string();

    assert!(unknown.contains("unsupported argument \"colour\" of a variable"), "{unknown}");
    assert!(refused.contains("variable \"count\" is 7, which its validation refuses"), "{refused}");
    assert!(refused.contains("From 1 to 4."), "{refused}");
    assert_eq!(env(&right)["A"], "1");
}

#[test]
fn every_error_is_told_at_once_with_its_line_and_a_pointer() {
    let text = format!(
        "variable \"unset\" {{}}\n{}",
        task(
            "   kill_timout = \"5s\"\n   resources { cpu = \"many\" }\n   env { A = [1, nothing] }\n   user = var.usr\n"
        )
    );
    let told = errors(&text);

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
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
}

#[test]
fn a_value_that_failed_is_not_told_to_be_missing_too() {
    let told = errors("job \"j\" {\n group \"g\" {\n  task \"t\" { driver = var.driver }\n }\n}\n");

    assert!(told.contains("no variable \"driver\" is declared in this file"), "{told}");
    assert!(!told.contains("a task needs a driver"), "{told}");
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
fn maps_are_gone_through_by_their_keys_order() {
    let text = format!(
        "locals {{ map = {{ b = 2, a = 1 }} }}\n{}",
        task(
            "env {\n A = join(\",\", keys(local.map))\n B = join(\",\", [for k, v in local.map : \"${k}${v}\"])\n C = jsonencode({ b = 2, a = 1 })\n }"
        )
    );

    assert_eq!(env(&text).values().map(String::as_str).collect::<Vec<_>>(), ["a,b", "a1,b2", "{\"a\":1,\"b\":2}"]);
}

#[test]
fn what_is_no_job_is_told_so() {
    assert!(errors("").contains("the file holds no job"));
    assert!(errors("job \"a\" {").contains("syntax error"));
    assert!(errors("job \"a\" {}").contains("a job needs a group with a task"));
    assert!(errors("variable \"x\" {}\n").contains("variable \"x\" has no value"));
    let unknown = read(&task(""), &[("y", "1")], None).unwrap_err().to_string();
    assert!(unknown.contains("no variable is called \"y\""), "{unknown}");
    assert!(errors(&"[".repeat(100_000)).contains("nested too deeply"));
}

fn schema() -> Spec {
    let maps = Type::List(Box::new(Type::Map(Box::new(Type::String))));
    let nested = Spec::object([("type", Spec::attr("type", Type::String).or("\"volume\""))]);
    Spec::object([
        ("image", Spec::required_attr("image", Type::String)),
        ("args", Spec::attr("args", Type::List(Box::new(Type::String)))),
        ("tty", Spec::attr("tty", Type::Bool)),
        ("size", Spec::attr("size", Type::Number)),
        ("labels", Spec::attr("labels", maps)),
        ("mount", Spec::block_list("mount", nested)),
        ("auth", Spec::block("auth", Spec::object([("user", Spec::attr("user", Type::String))]))),
    ])
}

fn decoded(config: &str) -> Result<Value, String> {
    let parsed = read(&task(&format!("config {{\n{config}\n}}")), &[], None).unwrap_or_else(|error| panic!("{error}"));
    let resolve = |name: &str| (name == "NOMAD_PORT_http").then(|| "8080".to_owned());
    decode(&parsed.job.groups[0].tasks[0].config, &schema(), &resolve)
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn object(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn a_config_is_decoded_as_an_agent_does() {
    let value = decoded(
        "image = \"busybox\"\nargs = [\"-p\", \"${NOMAD_PORT_http}\", 3]\ntty = \"true\"\nsize = \"12\"\nlabels { a = 1 }\nmount { }\n",
    );

    let expected = object(&[
        ("args", Value::List(vec![text("-p"), text("8080"), text("3")])),
        ("auth", Value::Null),
        ("image", text("busybox")),
        ("labels", Value::List(vec![object(&[("a", text("1"))])])),
        ("mount", Value::List(vec![object(&[("type", text("volume"))])])),
        ("size", Value::Int(12)),
        ("tty", Value::Bool(true)),
    ]);
    assert_eq!(value, Ok(expected));
}

#[test]
fn maps_and_blocks_may_be_written_in_each_of_their_forms() {
    let expected = Value::List(vec![object(&[("a", text("1"))])]);
    for labels in ["labels { a = 1 }", "labels = { a = 1 }", "labels = [{ a = 1 }]"] {
        let Value::Map(value) = decoded(&format!("image = \"x\"\n{labels}")).unwrap() else { panic!("no map") };
        assert_eq!(value["labels"], expected, "{labels}");
    }
    let Value::Map(value) = decoded("image = \"x\"\nmount = [{ type = \"bind\" }]").unwrap() else { panic!("no map") };
    assert_eq!(value["mount"], Value::List(vec![object(&[("type", text("bind"))])]));
}

#[test]
fn numbers_sets_and_keys_are_converted_as_cty_does() {
    let spec = Spec::object([
        ("whole", Spec::attr("whole", Type::Number)),
        ("half", Spec::attr("half", Type::Number)),
        ("huge", Spec::attr("huge", Type::Number)),
        ("text", Spec::attr("text", Type::String)),
        ("set", Spec::attr("set", Type::Set(Box::new(Type::String)))),
        ("map", Spec::attr("map", Type::Map(Box::new(Type::String)))),
    ]);
    let config = "whole = \"12.0\"\nhalf = 0.5\nhuge = 18446744073709551615\ntext = 2.0\nset = [\"a\", \"a\", 1]\nmap = { \"p${NOMAD_PORT_http}\" = 1 }";
    let parsed = read(&task(&format!("config {{\n{config}\n}}")), &[], None).unwrap_or_else(|error| panic!("{error}"));
    let resolve = |name: &str| (name == "NOMAD_PORT_http").then(|| "8080".to_owned());

    let value = decode(&parsed.job.groups[0].tasks[0].config, &spec, &resolve);

    let expected = object(&[
        ("whole", Value::Int(12)),
        ("half", Value::Float(0.5)),
        ("huge", text("18446744073709551615")),
        ("text", text("2")),
        ("set", Value::List(vec![text("a"), text("1")])),
        ("map", object(&[("p8080", text("1"))])),
    ]);
    assert_eq!(value, Ok(expected));
}

#[test]
fn blocks_that_are_too_many_or_labelled_are_refused() {
    for (config, expected) in [
        ("auth {}\nauth {}", "only one auth block is allowed"),
        ("mount \"a\" {}", "Extraneous label for mount; No labels are expected for mount blocks."),
        ("labels = {}\nlabels {}", "labels is written as an argument as well"),
        ("size = \"nan\"", "a number is needed, this is \"nan\""),
        ("args { a = 1 }", "args is an argument, not a block: write `args = ...`"),
    ] {
        let told = decoded(&format!("image = \"x\"\n{config}")).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let problems = decoded("imag = \"x\"\nauth { usr = 1 }\ntty = 3\n").unwrap_err();
    for expected in [
        "Unsupported argument; An argument named \"imag\" is not expected here.",
        "Unsupported argument; An argument named \"usr\" is not expected here.",
        "Missing required argument; The argument \"image\" is required, but no definition was found.",
        "Incorrect attribute value type; a bool is needed, this is 3",
    ] {
        assert!(problems.contains(expected), "{expected} is not in {problems}");
    }
}

#[test]
fn a_json_file_is_read_as_the_native_form_is() {
    let json = r#"{
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
    }"#;
    let native = r#"
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
    let [mut from_json, mut from_native] =
        [json, native].map(|text| read(text, &[], None).unwrap_or_else(|error| panic!("{error}")));
    let [config_json, config_native] = [&mut from_json, &mut from_native].map(|parsed| {
        let config = std::mem::take(&mut parsed.job.groups[0].tasks[0].config);
        decode(&config, &schema(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"))
    });

    assert_eq!(from_json.job, from_native.job);
    assert_eq!(from_json.ignored, ["update"]);
    assert_eq!(config_json, config_native);
}

#[test]
fn what_is_wrong_in_a_json_file_is_told_with_its_line() {
    let invalid = errors("{\n \"job\": {,}\n}");
    assert!(invalid.contains("invalid JSON"), "{invalid}");
    assert!(invalid.contains("test.nomad.hcl:2:10"), "{invalid}");

    let wrong = errors("{\"job\": {\"j\": {\n\"type\": \"none\", \"tpye\": 1,\n\"group\": 3}}}");
    assert!(wrong.contains("group needs an object"), "{wrong}");
    assert!(wrong.contains("test.nomad.hcl:3:10"), "{wrong}");

    let unknown =
        errors("{\"job\": {\"j\": {\n\"tpye\": 1,\n\"group\": {\"g\": {\"task\": {\"t\": {\"driver\": \"d\"}}}}}}}");
    assert!(unknown.contains("unsupported argument \"tpye\""), "{unknown}");
    assert!(unknown.contains("test.nomad.hcl:2:9"), "{unknown}");

    assert!(errors("{\"Job\": {\"ID\": \"x\"}}").contains("this is the form of Nomad's HTTP API"));
}

#[test]
fn a_variable_file_may_be_json() {
    let text = format!("variable \"a\" {{ type = list(string) }}\n{}", task("env { A = join(\"-\", var.a) }"));
    let parsed = read(&text, &[], Some("{\"a\": [\"x\", \"y\"]}")).unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(parsed.job.groups[0].tasks[0].env["A"], "x-y");
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
