//! Each verb of the command line, as a person or a program uses it.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use serde_json::Value;

use crate::{Machine, job, text, wait_until};

#[test]
fn a_job_is_validated_and_the_machine_is_fingerprinted() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("job", "exit 0", "service { name = \"x\" }"));

    let validated = machine.run(&["validate", file.to_str().unwrap()]);
    let fingerprint: Value = serde_json::from_str(&machine.ok(&["fingerprint", "-json"])).unwrap();

    assert_eq!((validated.status.code(), text(&validated.stdout)), (Some(0), "Job validation successful\n".into()));
    assert_eq!(text(&validated.stderr), "==> `service` is ignored on one machine\n");
    assert_eq!(
        (&fingerprint["driver.docker"], &fingerprint["driver.docker.os_type"]),
        (&"true".into(), &"linux".into())
    );
}

#[test]
fn a_command_ends_while_its_input_stays_open() {
    let machine = Machine::new();
    let file = machine.file("job.hcl", &job("shell", "exec sleep 1000", "kill_timeout = \"1ms\""));
    machine.ok(&["run", "-detach", file.to_str().unwrap()]);
    let mut exec = machine.command(&["exec", "-i", "shell", "/bin/sh"]);
    let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = exec.stdin.take().unwrap();

    input.write_all(b"echo out; exit 7\n").unwrap();
    wait_until("the end of exec", || exec.try_wait().unwrap().is_some());
    let mut output = String::new();
    exec.stdout.take().unwrap().read_to_string(&mut output).unwrap();

    assert_eq!((exec.wait().unwrap().code(), output.as_str()), (Some(7), "out\n"));
    drop(input);
}
