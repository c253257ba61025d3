//! What a person gets wrong, and what they are told.

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
