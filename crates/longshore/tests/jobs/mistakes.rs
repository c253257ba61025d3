//! What a person gets wrong, and how it is reported.

use std::net::TcpListener;

use conformance::image;

use crate::{Machine, job, text};

#[test]
fn every_mistake_is_one_clear_error_with_its_exit_code_and_leaves_nothing() {
    let machine = Machine::new();
    let good = job("job", "exit 0", "restart {\n attempts = 0\n }");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let port = format!("group \"g\" {{\n network {{\n port \"http\" {{ static = {taken} }}\n }}");
    let constraint = "group \"g\" {\n constraint {\n attribute = \"${attr.kernel.name}\"\n value = \"plan9\"\n }";
    for (what, content, code, expected) in [
        ("option", good.replace("command =", "comand ="), 2, "An argument named \"comand\" is not expected here."),
        ("type", good.replace("command = \"/bin/sh\"", "command = [1]"), 2, "a string is needed"),
        ("missing image", good.replace("image =", "labels = {}\n hostname ="), 2, "The argument \"image\" is required"),
        ("absent image", good.replace(&image(), "127.0.0.1:9/none:1"), 1, "Failed to pull `127.0.0.1:9/none:1`"),
        ("port", good.replace("group \"g\" {", &port), 2, "is taken"),
        ("constraint", good.replace("group \"g\" {", constraint), 2, "is not met: it is \"linux\" here"),
        ("driver", good.replace("\"docker\"", "\"java\""), 2, "needs the driver \"java\""),
        ("syntax", good.replace("group \"g\" {", "group \"g\" "), 2, "syntax error"),
    ] {
        assert_ne!(content, good, "{what}");
        let file = machine.file("job.hcl", &content);
        let before = (machine.ok(&["status"]), machine.allocs());
        let output = machine.run(&["run", file.to_str().unwrap()]);
        let said = text(&output.stderr);
        if code == 2 {
            assert_eq!((machine.ok(&["status"]), machine.allocs()), before, "{what} left a trace");
        }
        assert_eq!(output.status.code(), Some(code), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert_eq!(machine.containers(), Vec::<String>::new(), "{what}");
    }
    let unreadable = machine.run(&["run", "/no/such/file"]);
    assert_eq!(unreadable.status.code(), Some(2));
    assert!(text(&unreadable.stderr).starts_with("Error: failed to read /no/such/file: No such file"));
    let file = machine.file("job.hcl", &good);
    let away =
        machine.command(&["run", file.to_str().unwrap()]).env("DOCKER_HOST", "unix:///no/such.sock").output().unwrap();
    assert_eq!(away.status.code(), Some(3));
    assert!(text(&away.stderr).contains("hint: start dockerd, or set DOCKER_HOST"), "{}", text(&away.stderr));
    assert_eq!(machine.run(&["stop", "nothing"]).status.code(), Some(2));
}

/// Every kind of reference that an agent knows; each must reach the task with a value.
const KNOWN: &str = "${NOMAD_ALLOC_ID} ${NOMAD_PORT_http} ${NOMAD_META_owner} ${NOMAD_TASK_NAME} ${attr.kernel.name} \
                     ${attr.driver.docker.version} ${node.datacenter} ${meta.owner} ${env[\"OWN\"]} ${OWN} ${FROM_TEMPLATE}";

#[test]
fn what_a_job_refers_to_reaches_its_task_with_a_value_or_is_refused() {
    let machine = Machine::new();
    let more = "env { OWN = \"own\" }\n meta { owner = \"me\" }\n template {\n data = \"FROM_TEMPLATE=made\"\n destination = \
                \"local/env\"\n env = true\n }";
    let good = job("refers", &format!("echo {KNOWN}; X=shell; echo $${{X}} $${{NOMAD_NOT_GIVEN:-kept}}"), more)
        .replace(
            "group \"g\" {",
            "type = \"batch\"\n group \"g\" {\n network {\n port \"http\" {}\n }\n restart {\n attempts = 0\n }",
        );
    let file = machine.file("job.hcl", &good);
    let path = file.to_str().unwrap();

    machine.ok(&["validate", path]);
    machine.ok(&["run", path]);
    let said = machine.logs("refers");
    assert!(said.ends_with("me own own made\nshell kept\n") && !said.contains('$'), "{said}");

    for (known, unknown, hint, in_validate) in [
        ("${NOMAD_ALLOC_ID}", "${NOMAD_ALOC_ID}", "did you mean `${NOMAD_ALLOC_ID}`?", false),
        ("${attr.kernel.name}", "${attr.kernel.nam}", "did you mean `${attr.kernel.name}`?", true),
        ("${attr.kernel.name}", "${attr.driver.docker.versio}", "did you mean `${attr.driver.docker.version}`?", false),
        ("${meta.owner}", "${meta.ownr}", "did you mean `${meta.owner}`?", true),
        ("${node.datacenter}", "${node.rack}", "for the text `${node.rack}` itself write `$${node.rack}`", true),
        ("${env[\"OWN\"]}", "${env[\"OWNED_BY_NOBODY\"]}", "", false),
    ] {
        let file = machine.file("job.hcl", &good.replacen(known, unknown, 1));
        let path = file.to_str().unwrap();
        let (validated, ran) = (machine.run(&["validate", path]), machine.run(&["run", path]));
        // A template of this job may give a value to all but what is the machine's.
        let at_run = unknown.contains("NOMAD") || unknown.contains("env");
        assert_eq!(validated.status.code(), Some(if in_validate { 2 } else { 0 }), "{unknown}");
        assert_eq!(ran.status.code(), Some(if at_run { 1 } else { 2 }), "{unknown}: {}", text(&ran.stderr));
        let said = text(&ran.stderr);
        assert!(said.contains("a value when the task runs"), "{said}");
        assert!(said.contains(hint), "{said}");
    }
    // Without such a template all of them are known before.
    let good = good.replace("env = true", "").replace(" ${FROM_TEMPLATE}", "");
    for (known, unknown, hint) in [
        ("${NOMAD_ALLOC_ID}", "${NOMAD_ALOC_ID}", "did you mean `${NOMAD_ALLOC_ID}`?"),
        ("${NOMAD_PORT_http}", "${NOMAD_PORT_https}", "did you mean `${NOMAD_PORT_http}`?"),
        ("${NOMAD_META_owner}", "${NOMAD_META_color}", "for the text `${NOMAD_META_color}` itself write"),
        ("${env[\"OWN\"]}", "${env[\"OWNED_BY_NOBODY\"]}", "for the text `${env.OWNED_BY_NOBODY}` itself write"),
    ] {
        let file = machine.file("job.hcl", &good.replacen(known, unknown, 1));
        for verb in ["validate", "run"] {
            let refused = machine.run(&[verb, file.to_str().unwrap()]);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{verb} {unknown}: {said}");
            assert!(said.contains("a value when the task runs") && said.contains(hint), "{said}");
            assert!(said.contains("job.hcl:"), "with its place: {said}");
        }
    }
}
