//! What a job, a group, a task and a port may be called.

use crate::{errors, read};

fn job(id: &str, group: &str, task: &str, more: &str) -> String {
    format!(
        "job \"{id}\" {{\n  group \"{group}\" {{\n    {more}\n    task \"{task}\" {{\n      driver = \"docker\"\n    }}\n  }}\n}}\n"
    )
}

#[test]
fn names_that_agents_and_engines_take_are_taken() {
    for (id, group, task) in [
        ("web", "front", "server"),
        ("a/b", "g/1", "0-9_.x"),
        ("nightly/dispatch-1700000000-abcdef12", "a group", "T"),
        ("..a", "\u{fc}ber", "allocated"),
        ("\u{fc}ber", "..", "hosts"),
        (&"j".repeat(1000), &"g".repeat(1000), &"t".repeat(200)),
    ] {
        let read = read(&job(id, group, task, ""), &[], None).unwrap_or_else(|error| panic!("{error}")).job;
        assert_eq!((read.id.as_str(), read.groups[0].name.as_str()), (id, group));
        assert_eq!(read.groups[0].tasks[0].name, task);
    }
}

#[test]
fn a_task_whose_name_would_be_another_path_or_no_containers_is_reported_where_it_stands() {
    for (name, why) in [
        ("../../evil", "has a slash"),
        ("a/b", "has a slash"),
        ("/", "has a slash"),
        ("a\\\\b", "has a slash"),
        ("..", "begins with a letter or a digit"),
        (".", "begins with a letter or a digit"),
        ("-rm", "begins with a letter or a digit"),
        ("_x", "begins with a letter or a digit"),
        ("alloc", "is taken"),
        ("a b", "has letters, digits, `_`, `.` and `-`"),
        ("a:b", "has letters, digits, `_`, `.` and `-`"),
        ("\u{fc}", "has letters, digits, `_`, `.` and `-`"),
        ("a\\nb", "has letters, digits, `_`, `.` and `-`"),
        ("a\\u0000", "has letters, digits, `_`, `.` and `-`"),
        (&"t".repeat(201), "is too long"),
        ("", "the name of this task is empty"),
    ] {
        let message = errors(&job("j", "g", name, ""));
        assert!(message.contains(why) && message.contains("test.nomad.hcl:4:5"), "{name}: {message}");
        assert_eq!(message.matches("test.nomad.hcl:").count(), 1, "{name}: {message}");
    }
    let bridge = "network {\n mode = \"bridge\"\n }";
    assert!(errors(&job("j", "g", "hosts", bridge)).contains("task name \"hosts\" is taken"));
    let of_json = errors("{\"job\": {\"j\": {\"group\": {\"g\": {\"task\": {\"../x\": {\"driver\": \"docker\"}}}}}}}");
    assert!(of_json.contains("task name \"../x\" has a slash"), "{of_json}");
}

#[test]
fn other_names_have_nomads_rules() {
    for (text, why) in [
        (job("a b", "g", "t", ""), "job id \"a b\" has a space"),
        (job("..", "g", "t", ""), "job id \"..\" is a step in a path"),
        (job(".", "g", "t", ""), "job id \".\" is a step in a path"),
        (job("a\\nb", "g", "t", ""), "job id \"a\\nb\" has a control character"),
        (job("a\\u0000", "g", "t", ""), "job id \"a\\0\" has a control character"),
        (job("", "g", "t", ""), "the name of this job is empty"),
        (job("j", "", "t", ""), "the name of this group is empty"),
        (job("j", "a\\u0000", "t", ""), "group name \"a\\0\" has a control character"),
        (job("j", "g\\nh", "t", ""), "group name \"g\\nh\" has a control character"),
        (job("j", "g", "t", "network {\n port \"\" {}\n }"), "the name of this port is empty"),
        (job("j", "g", "t", "network {\n port \"a\\u001b\" {}\n }"), "port name \"a\\u{1b}\" has a control character"),
    ] {
        let message = errors(&text);
        assert!(message.contains(why) && message.contains("test.nomad.hcl:"), "{why}: {message}");
        assert_eq!(message.matches("test.nomad.hcl:").count(), 1, "{message}");
    }
    for (line, why) in [
        ("id = \"..\"", "job id \"..\" is a step in a path"),
        ("id = \"x y\"", "job id \"x y\" has a space"),
        ("name = \"a\\u0007\"", "job name \"a\\u{7}\" has a control character"),
        ("region = \"a\\u0000\"", "region \"a\\0\" has a control character"),
        ("datacenters = [\"dc1\", \"a\\u0000\"]", "datacenter \"a\\0\" has a control character"),
        ("namespace = \"a/b\"", "namespace \"a/b\" is not 1 to 128 letters"),
    ] {
        let message = errors(&job("j", "g", "t", "").replace("{\n  group", &format!("{{\n  {line}\n  group")));
        // With a pointer to the value.
        assert!(message.contains(why) && message.contains("test.nomad.hcl:2:"), "{line}: {message}");
    }
}
