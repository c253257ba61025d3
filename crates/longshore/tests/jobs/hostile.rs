//! Job files of strangers: what they read of the machine, what they cost, what they write to a terminal.

use std::{fmt::Write, process::Command};

use crate::{Machine, job, text};

/// A job file that gives its task's variable `A` this value, after these blocks.
fn with(before: &str, value: &str) -> String {
    format!("{before}\n{}", job("bomb", "exit 0", &format!("env {{\n A = {value}\n }}")))
}

/// Locals `a0` to `a40`, each made of two of the one before.
fn doubled(first: &str, twice: &str) -> String {
    let mut locals = format!("locals {{\n a0 = {first}\n");
    for number in 1..=40 {
        writeln!(locals, "a{number} = {}", twice.replace('?', &format!("local.a{}", number - 1))).unwrap();
    }
    locals + "}"
}

#[test]
fn a_job_file_that_grows_without_end_is_refused_before_it_takes_the_machine() {
    let machine = Machine::new();
    let nested = |depth: usize| format!("{}1{}", "[for a in range(1024) : ".repeat(depth), "]".repeat(depth));
    let dynamic = "dynamic \"env\" {\n for_each = range(1024)\n content {\n".repeat(4) + &"}\n}\n".repeat(4);
    for (what, file, why) in [
        ("texts doubled", with(&doubled("\"xxxxxxxx\"", "\"${?}${?}\""), "local.a40"), "to evaluate"),
        ("lists doubled", with(&doubled("[1, 2]", "concat(?, ?)"), "length(local.a40)"), "to evaluate"),
        ("nested ranges", with("", &format!("length({})", nested(4))), "to evaluate"),
        ("replacements", with(&doubled("\"x\"", "replace(?, \"\", ?)"), "local.a40"), "to evaluate"),
        ("nested blocks", job("bomb", "exit 0", &dynamic), "to evaluate"),
        ("wide formats", with("", "format(\"%99999999s\", \"\")"), "no width above"),
        ("a long range", with("", "length(range(1000000000))"), "more than 1024 numbers"),
        ("brackets", with("", &("[".repeat(100_000) + &"]".repeat(100_000))), "nested too deeply"),
        ("negations", with("", &("!".repeat(100_000) + "true")), "nesting depth"),
        ("conditions", with("", &("true ? 1 : ".repeat(50_000) + "1")), "nesting depth"),
        ("sums", with("", &("1 + ".repeat(100_000) + "1")), "binary operators"),
        ("directives", with("", &format!("\"{}\"", "%{ if true }".repeat(20_000))), "nesting depth"),
        ("steps", with("locals { a = 1 }", &format!("local.a{}", ".b".repeat(100_000))), "expected an object"),
        ("a device", with("", "file(\"/dev/zero\")"), "no regular file"),
        ("one long line", "x".repeat(5_000_000), "syntax error"),
        ("a file too long", " ".repeat(17_000_000), "more than 16 MiB"),
        ("many mistakes", format!("job \"j\" {{\n{}}}", "group \"g\" {\n odd = 1\n}\n".repeat(500)), "... and "),
    ] {
        let file = machine.file("job.hcl", &file);
        let validate = machine.command(&["validate", file.to_str().unwrap()]);
        // What it may map in all: a file without a bound finds this one.
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -v 4000000; exec \"$@\"", "sh"])
            .arg(validate.get_program())
            .args(validate.get_args());
        limited.envs(validate.get_envs().filter_map(|(name, value)| Some((name, value?))));

        let output = limited.output().unwrap();

        let said = text(&output.stderr);
        let shown: String = said.chars().take(1000).collect();
        assert_eq!(output.status.code(), Some(2), "{what}: {shown}");
        assert!(said.contains(why), "{what}: {shown}");
        assert!(said.len() < 100_000, "{what}: {} bytes are said", said.len());
    }
}

#[test]
fn a_file_that_takes_too_long_is_refused() {
    let machine = Machine::new();
    let counted = "length([for a in range(1024) : ".repeat(5) + "1" + &"])".repeat(5);
    let file = machine.file("job.hcl", &with("", &counted));

    let output = machine.run(&["validate", file.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("it takes more than 10 s to evaluate"), "{}", text(&output.stderr));
}

#[test]
fn a_job_knows_of_the_persons_environment_only_what_is_passed_on() {
    let machine = Machine::new();
    let script = "echo first ${env.LONGSHORE_SECRET} ${env[\"LONGSHORE_OTHER\"]}";
    let refers = job("refers", script, "").replace("group \"g\" {", "type = \"batch\"\n group \"g\" {");
    let file = machine.file("job.hcl", &refers);
    let path = file.to_str().unwrap();
    let run = |args: &[&str]| {
        let mut command = machine.command(args);
        command.env("LONGSHORE_SECRET", "hidden").env("LONGSHORE_OTHER", "known").output().unwrap()
    };

    for verb in ["validate", "run", "prefetch"] {
        for passed in [&[][..], &["-env", "LONGSHORE_OTHER"]] {
            let refused = run(&[&[verb][..], passed, &[path]].concat());
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{verb}: {said}");
            assert!(said.contains("nothing gives \"env.LONGSHORE_SECRET\" a value"), "{verb}: {said}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }
    let unset = run(&["run", "-env", "LONGSHORE_NOT_SET", path]);
    assert_eq!(unset.status.code(), Some(2));
    assert!(text(&unset.stderr).contains("hint: give it a value"), "{}", text(&unset.stderr));
    for detach in [&[][..], &["-detach"]] {
        let passed = ["-env", "LONGSHORE_SECRET=given", "-env", "LONGSHORE_OTHER"];
        let done = run(&[&["run"][..], detach, &passed, &[path]].concat());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        crate::wait_until("the task's words", || machine.logs("refers").ends_with("first given known\n"));
        crate::wait_until("the end", || machine.state("refers")["status"] == "complete");
        machine.ok(&["stop", "-purge", "-yes", "refers"]);
    }
}

#[test]
fn nothing_that_strangers_write_commands_a_terminal() {
    let machine = Machine::new();
    let escapes = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    let broken = machine.file("broken.hcl", &format!("job \"j\" {{\n# {escapes}\n odd = \"{escapes}\"\n}}\n"));
    let image = format!("image = \"127.0.0.1:1/none:{escapes}\"");
    let odd = job("odd", "exit 0", "").replace(&format!("image = \"{}\"", conformance::image()), &image);
    let odd = machine.file(
        "odd.hcl",
        &odd.replace("group \"g\" {", "type = \"batch\"\n group \"g\" {\n restart {\n attempts = 0\n }"),
    );

    let mut said = Vec::new();
    for args in [
        &["validate", broken.to_str().unwrap()][..],
        &["run", odd.to_str().unwrap()],
        &["events", "odd"],
        &["-json", "events", "odd"],
        &["status", "odd"],
        &["-json", "status", "odd"],
        &["status", escapes],
        &["prefetch", &format!("127.0.0.1:1/none:{escapes}")],
    ] {
        let output = machine.run(args);
        said.push((args[0].to_owned(), text(&output.stdout) + &text(&output.stderr)));
    }

    assert!(said.iter().any(|(_, said)| said.contains("]0;owned")), "they are shown: {said:?}");
    for (verb, said) in said {
        let commands = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!said.contains(commands), "{verb}: {said:?}");
    }
}
