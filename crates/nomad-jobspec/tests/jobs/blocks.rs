//! Blocks of a job, each with what it may hold.

use nomad_jobspec::job::{Hook, Lifecycle, Operator};

use crate::{errors, read, task};

#[test]
fn every_operator_of_a_constraint_is_read_and_others_are_refused() {
    for (written, expected) in [
        ("operator = \"==\"\n value = \"v\"", Operator::Equal),
        ("value = \"v\"", Operator::Equal),
        ("operator = \"not\"\n value = \"v\"", Operator::NotEqual),
        ("operator = \"<=\"\n value = \"v\"", Operator::LessOrEqual),
        ("regexp = \"v\"", Operator::Regexp),
        ("semver = \"v\"", Operator::Semver),
        ("set_contains_all = \"v\"", Operator::ContainsAll),
        ("operator = \"set_contains_any\"\n value = \"v\"", Operator::ContainsAny),
        ("operator = \"is_set\"\n value = \"v\"", Operator::IsSet),
    ] {
        let text = task(&format!("constraint {{\n attribute = \"${{attr.x}}\"\n {written}\n }}"));
        let job = read(&text, &[], None).unwrap().job;
        let constraint = &job.groups[0].tasks[0].constraints[0];
        assert_eq!((constraint.operator, constraint.value.as_str()), (expected, "v"), "{written}");
    }

    let unknown = errors(&task("constraint {\n attribute = \"a\"\n operator = \"like\"\n value = \"v\"\n }"));
    let bare = errors(&task("constraint { value = \"v\" }"));

    assert!(unknown.contains("unknown operator \"like\" in a constraint"), "{unknown}");
    assert!(bare.contains("a constraint needs an attribute"), "{bare}");
}

#[test]
fn what_spreads_instances_over_machines_is_ignored_once() {
    let text = task(
        "constraint { distinct_hosts = true }\n constraint {\n operator = \"distinct_hosts\"\n value = \"true\"\n }\n \
         constraint {\n distinct_property = \"${meta.rack}\"\n value = \"2\"\n }",
    );

    let parsed = read(&text, &[], None).unwrap();

    assert!(parsed.job.groups[0].tasks[0].constraints.is_empty());
    assert_eq!(parsed.ignored, ["distinct_hosts", "distinct_property"]);
}

#[test]
fn a_name_that_nothing_gives_a_value_is_an_error_where_it_stands() {
    let text = |config: &str, more: &str| task(&format!("config {{\n {config}\n }}\n {more}"));
    let known =
        "args = [\"${NOMAD_TASK_DIR}\", \"${attr.kernel.name}\", \"${env[\"HOME\"]}\", \"${OWN}\", \"$${SHELL_OWN}\"]";
    let unknown = "labels { a = \"x ${unknown.thing}\" }";
    let template = "template {\n data = \"unknown=1\"\n destination = \"local/e\"\n env = true\n }";

    read(&text(known, "env { OWN = 1 }"), &[], None).unwrap();
    read(&text(unknown, template), &[], None).unwrap();
    let message = errors(&text(unknown, ""));

    assert!(message.contains("nothing gives \"unknown\" a value when the task runs"), "{message}");
    assert!(message.contains("for the text `${unknown}` itself write `$${unknown}`"), "{message}");
    assert!(message.contains("labels { a = \"x ${unknown.thing}\" }"), "{message}");
}

#[test]
fn what_a_task_refers_to_is_found_whatever_way_it_came() {
    let text = format!(
        "variable \"late\" {{ default = \"v ${{NOMAD_VARIABLE}}\" }}\nvariable \"given\" {{\n type = string\n default = \"\"\n }}\n\
         variable \"listed\" {{\n type = list(string)\n default = []\n }}\nvariable \"filed\" {{ default = \"\" }}\n\
         locals {{\n  first  = local.second\n  second = \"${{attr.local}}\"\n  unused = \"${{NOMAD_UNUSED}} ${{unused}}\"\n}}\n{}",
        task(
            "env { A = \"${NOMAD_ENV}\" }\n config {\n  own = \"${ NOMAD_OWN } $${NOMAD_TEXT} $${HOME} ${env[\"X\"]}\"\n  \
             args = [var.late, local.first, var.given, join(\",\", var.listed), var.filed]\n  labels { x = \"${meta.nested}\" }\n  \
             dynamic \"mount\" {\n   for_each = [\"${node.each}\"]\n   content { source = mount.value }\n  }\n }"
        )
    );
    let given = [("given", "${NOMAD_GIVEN} ${HOME}"), ("listed", "[\"${NOMAD_LISTED}\"]")];
    let job = read(&text, &given, Some("filed = \"${NOMAD_FILED}\"\n")).unwrap_or_else(|error| panic!("{error}")).job;
    let task = &job.groups[0].tasks[0];

    let mut message: Vec<String> = task.unresolved(&|_| None, &[]).into_iter().map(|problem| problem.message).collect();
    message.sort();

    let names = [
        "NOMAD_FILED",
        "NOMAD_GIVEN",
        "NOMAD_LISTED",
        "NOMAD_OWN",
        "NOMAD_VARIABLE",
        "attr.local",
        "env.X",
        "meta.nested",
        "node.each",
    ];
    assert_eq!(message, names.map(|name| format!("nothing gives {name:?} a value when the task runs")));
    let known = |name: &str| name.starts_with("NOMAD_").then(String::new);
    let rest = task.unresolved(&known, &["attr.locale", "meta.other"]);
    let hint = |path: &str| rest.iter().find(|problem| problem.message.contains(path)).unwrap().hint.clone().unwrap();
    assert_eq!((rest.len(), hint("attr.local").as_str()), (4, "did you mean `${attr.locale}`?"));
    assert_eq!(hint("node.each"), "for the text `${node.each}` itself write `$${node.each}`");
    let place = rest.iter().find(|problem| problem.message.contains("attr.local")).unwrap().span.clone().unwrap();
    assert_eq!(&text[place], "attr.local", "where it is written");
}

#[test]
fn a_lifecycle_says_when_a_task_runs() {
    let text = |lifecycle: &str| {
        let main = "task \"m\" { driver = \"docker\" }\n task \"t\"";
        task(&format!("lifecycle {{\n {lifecycle}\n }}"))
            .replace("task \"t\"", &main.replace("{ driver", "{\n driver").replace(" }\n task", "\n }\n task"))
    };
    let read_task = |lifecycle: &str| read(&text(lifecycle), &[], None).unwrap().job.groups[0].tasks[1].lifecycle;

    assert_eq!(read_task("hook = \"prestart\""), Some(Lifecycle { hook: Hook::Prestart, sidecar: false }));
    assert_eq!(
        read_task("hook = \"poststart\"\n sidecar = true"),
        Some(Lifecycle { hook: Hook::Poststart, sidecar: true })
    );
    assert!(errors(&text("hook = \"before\"")).contains("unknown hook \"before\""));
    assert!(errors(&task("lifecycle { hook = \"poststop\" }")).contains("a group needs a main task"));
}

#[test]
fn a_kill_signal_is_one_that_there_is() {
    let with = |signal: &str| task(&format!("kill_signal = \"{signal}\""));

    for signal in ["SIGINT", "sigusr1", "SIGRTMIN+3", "SIGRTMAX-1"] {
        assert_eq!(read(&with(signal), &[], None).unwrap().job.groups[0].tasks[0].kill_signal, signal);
    }
    for signal in ["SIGFOO", "INT", "2", "SIGRTMIN+16"] {
        assert!(
            errors(&with(signal)).contains(&format!("kill_signal: failed to parse signal: invalid signal {signal:?}"))
        );
    }
    assert!(errors(&with("SIGNULL")).contains("kill_signal \"SIGNULL\" does not end a task"));
}

#[test]
fn a_task_asks_for_cores_or_for_their_speed() {
    let resources = |text: &str| read(&task(&format!("resources {{\n {text}\n }}")), &[], None);
    let cores = resources("cores = 2").unwrap().job.groups[0].tasks[0].resources;

    assert_eq!(cores.cores, 2);
    let message = resources("cores = 2\n cpu = 100").unwrap_err().to_string();
    assert!(message.contains("cpu and cores exclude each other"), "{message}");
}

#[test]
fn what_a_task_would_miss_is_an_error_and_not_ignored() {
    let mount = "volume_mount {\n volume = \"data\"\n destination = \"/data\"\n }\n";
    let artifact = "artifact { source = \"https://example.com/x\" }\n";
    let dynamic = "dynamic \"artifact\" {\n for_each = [1]\n content { source = \"x\" }\n }";
    let volume = task("").replace("task \"t\"", "volume \"data\" {\n type = \"host\"\n }\n task \"t\"");
    let json = "{\"job\": {\"j\": {\"group\": {\"g\": {\"volume\": {\"data\": {\"type\": \"host\"}}, \"task\": {\"t\": \
                {\"driver\": \"docker\", \"artifact\": [{\"source\": \"x\"}]}}}}}}}";
    for (text, name, instead) in [
        (volume, "volume", "a `mount` of type \"volume\""),
        (task(mount), "volume_mount", "volumes { enabled = true }"),
        (task(artifact), "artifact", "in a prestart task"),
        (task(dynamic), "artifact", "in a prestart task"),
    ] {
        let message = errors(&text);
        assert!(message.contains(&format!("`{name}` is not honoured on one machine")), "{message}");
        assert!(message.contains(instead) && message.contains("test.nomad.hcl:"), "{message}");
    }
    let of_json = errors(json);
    assert!(of_json.contains("`volume` is not") && of_json.contains("`artifact` is not"), "{of_json}");
    assert_eq!(errors(&task(&artifact.repeat(2))).matches("is not honoured").count(), 2);
}
