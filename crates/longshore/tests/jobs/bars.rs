//! On a terminal pulls are drawn, a bar for each layer.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

use conformance::{
    docker::is_local,
    faulty_registry::{Fault, FaultyRegistry},
    registry::{Access, Registry},
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{Machine, wait_until};

/// A command whose standard input and error are a terminal.
pub(crate) struct OnTerminal {
    pub(crate) child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    keys: File,
}

impl OnTerminal {
    pub(crate) fn start(machine: &Machine, args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        tcsetwinsize(&ours, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = machine.command(args);
        command.env("TERM", "xterm").stdin(theirs.try_clone().unwrap()).stdout(Stdio::null()).stderr(theirs);
        let child = command.spawn().unwrap();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut terminal, writing) = (File::from(ours), seen.clone());
        let keys = terminal.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = terminal.read(&mut buffer) {
                writing.lock().unwrap().extend(&buffer[..count]);
            }
        });
        Self { child, seen, keys }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until a layer's bar is drawn: how much of it is here, of how much.
    fn bar(&self, image: &str) {
        let drawn = |line: &str| line.contains(" downloading [") && line.contains("iB/2.00 MiB");
        wait_until("a bar", || self.seen().split(['\n', '\r']).any(drawn));
        assert!(self.seen().contains(&format!("{image} pulling")), "{}", self.seen());
        assert!(!self.seen().contains("0/0"), "a bar of nothing is drawn: {}", self.seen());
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        if matches!(self.child.try_wait(), Ok(None)) {
            conformance::signal(i32::try_from(self.child.id()).unwrap(), "TERM");
            self.child.wait().unwrap();
        }
    }
}

/// An image whose layer comes byte by byte from its midst on: an engine that gives up notices it with the next one.
fn held() -> (Registry, FaultyRegistry, String) {
    let mut registry = Registry::start(Access::Anonymous);
    let pushed = registry.push_with_layer("large:1", 2 << 20);
    let front = FaultyRegistry::start(&registry, |asked| if asked.layer { Fault::Slow } else { Fault::None });
    let image = registry.also(front.name(&pushed));
    (registry, front, image)
}

#[test]
fn a_prefetch_on_a_terminal_draws_a_bar_for_each_layer() {
    let (machine, (_registry, front, image)) = (Machine::new(), held());
    let mut prefetch = OnTerminal::start(&machine, &["prefetch", &image]);

    prefetch.bar(&image);
    front.release();

    assert_eq!(prefetch.child.wait().unwrap().code(), Some(0), "{}", prefetch.seen());
    assert!(is_local(&image));
}

#[test]
fn a_job_in_the_foreground_of_a_terminal_draws_its_pulls_and_prints_its_events_beside() {
    let (machine, (_registry, front, image)) = (Machine::new(), held());
    let job = crate::job("drawn", "exit 0", "").replace(&conformance::image(), &image);
    let file = machine.file("job.hcl", &job.replace("group", "type = \"batch\"\n group"));
    let mut run = OnTerminal::start(&machine, &["run", file.to_str().unwrap()]);

    run.bar(&image);
    front.release();

    assert_eq!(run.child.wait().unwrap().code(), Some(0), "{}", run.seen());
    wait_until("the last word", || run.seen().contains("==> the job has ended"));
    assert!(run.seen().contains("Started: Task started by client"), "{}", run.seen());
}

#[test]
fn a_job_that_is_stopped_while_it_waits_for_its_image_gives_the_pull_up() {
    let (machine, (_registry, front, image)) = (Machine::new(), held());
    let file = machine.file("job.hcl", &crate::job("early", "exit 0", "").replace(&conformance::image(), &image));
    let mut run = OnTerminal::start(&machine, &["run", file.to_str().unwrap()]);
    run.bar(&image);

    machine.ok(&["stop", "early"]);

    wait_until("the engine gives up", || front.hung_up() > 0);
    run.child.wait().unwrap();
    wait_until("the last word", || run.seen().contains("==> the job has ended"));
    let said = run.seen();
    assert!(said.contains("Killed: the task was stopped while it waited for its image"), "{said}");
    assert!(!is_local(&image) && machine.containers().is_empty());
}

#[test]
fn a_prefetch_that_is_interrupted_ends_and_leaves_no_driver() {
    let (machine, (_registry, front, image)) = (Machine::new(), held());
    let mut prefetch = OnTerminal::start(&machine, &["prefetch", &image]);
    prefetch.bar(&image);

    conformance::signal(i32::try_from(prefetch.child.id()).unwrap(), "INT");

    assert_eq!(prefetch.child.wait().unwrap().code(), Some(1), "{}", prefetch.seen());
    wait_until("the engine gives up", || front.hung_up() > 0);
    assert!(!is_local(&image));
    assert_eq!(machine.run(&["prefetch", "-forget", &image]).status.code(), Some(2), "it is not kept");
}
