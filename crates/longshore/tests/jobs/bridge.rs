//! A group's bridge: what can be reached over it, and what it leaves on the machine once the group is stopped: nothing.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::Command,
};

use conformance::{dockerd::Dockerd, image};

use crate::{
    Machine,
    groups::Pause,
    life::answer,
    orphans::{on_a_bridge, with_engine},
    text, wait_until,
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/group.nomad.hcl");
const LEASES: &str = "/var/lib/cni/networks/longshore";

/// The addresses that host-local has lent to an allocation.
pub(crate) fn leases(alloc: &str) -> Vec<String> {
    let files = fs::read_dir(LEASES).into_iter().flatten().flatten();
    let of_alloc = files.filter(|file| fs::read_to_string(file.path()).is_ok_and(|content| content.contains(alloc)));
    of_alloc.map(|file| file.file_name().into_string().unwrap()).collect()
}

/// The rules of iptables that speak of any of these.
pub(crate) fn rules(of: &[&str]) -> Vec<String> {
    let saved = Command::new("/usr/sbin/iptables-save").output().unwrap();
    assert!(saved.status.success(), "{}", text(&saved.stderr));
    let saved = text(&saved.stdout);
    saved.lines().filter(|line| of.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
}

/// The name of this machine's interface with an index.
fn interface(index: &str) -> Option<String> {
    let interfaces = fs::read_dir("/sys/class/net").unwrap().flatten();
    let mut of_index =
        interfaces.filter(|of| fs::read_to_string(of.path().join("ifindex")).is_ok_and(|own| own.trim() == index));
    of_index.next().map(|of| of.file_name().into_string().unwrap())
}

#[test]
fn nothing_is_left_of_the_example_of_a_group_when_it_is_stopped() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "traces");
    let variable = format!("image={}", image());

    machine.ok(&["-config", &config, "run", "-detach", "-var", &variable, EXAMPLE]);
    wait_until("the sidecar's answer", || machine.ok(&["logs", "-task", "poll", "group"]).contains("front\n"));
    let port = machine.state("group")["allocs"][0]["ports"][0]["value"].as_i64().unwrap();
    let said = (answer(port, "/"), machine.ok(&["logs", "-task", "poll", "group"]));
    let alloc = machine.allocs()[0].clone();
    let peer = machine.ok(&["exec", "-task", "web", "group", "cat", "/sys/class/net/eth0/iflink"]);
    let veth = interface(peer.trim());
    let lent = leases(&alloc);
    let of: Vec<String> = [alloc.clone()].into_iter().chain(lent.iter().map(|ip| format!("{ip}/32"))).collect();
    let of: Vec<&str> = of.iter().map(String::as_str).collect();
    let before = rules(&of);
    machine.ok(&["-config", &config, "stop", "group"]);

    assert!(said.0.ends_with("Hello from the group front\n"), "{}", said.0);
    assert!(said.1.starts_with("localhost answers: Hello from the group front\n172.26."), "{}", said.1);
    assert!(lent.len() == 1 && !before.is_empty(), "{lent:?} {before:?}");
    assert_eq!((leases(&alloc), rules(&of)), (Vec::new(), Vec::new()));
    assert!(!Path::new("/sys/class/net").join(veth.unwrap()).exists(), "the interface is left");
    assert_eq!((pause.containers(), machine.containers()), (String::new(), Vec::new()));
}

const SERVER: &str = r#"
job "server" {
  group "front" {
    network {
      mode = "bridge"
      port "http" {
        to = 8080
      }
    }
    restart {
      attempts = 5
      delay    = "1s"
      interval = "10m"
    }
    task "web" {
      driver = "docker"
      config {
        image   = "IMAGE"
        command = "/bin/sh"
        args    = ["-c", "cd /local; (hostname; hostname -i; cat /etc/hosts /etc/resolv.conf) >page; exec httpd -f -p 8080"]
      }
    }
  }
}
"#;

#[test]
fn a_bridge_answers_on_its_old_address_and_port_after_the_engine_was_killed() {
    let mut engine = Dockerd::without_live_restore();
    let machine = Machine::new();
    let config = with_engine(&machine, &engine);
    let file = machine.file("job.hcl", &SERVER.replace("IMAGE", &image())).display().to_string();

    machine.ok(&["-config", &config, "run", "-detach", &file]);
    let port = machine.state("server")["allocs"][0]["ports"][0]["value"].as_i64().unwrap();
    let before = answer(port, "/page");
    let alloc = machine.allocs()[0].clone();
    let lent = leases(&alloc);
    engine.kill();
    engine.begin();
    let restarted = || Machine::task(&machine.state("server"), "web")["restarts"] != 0;
    wait_until("the task's restart", restarted);
    let after = answer(port, "/page");
    let lent_after = leases(&alloc);
    machine.ok(&["-config", &config, "stop", "server"]);

    assert!(before.contains("172.26."), "{before}");
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!((body(&after), &lent_after), (body(&before), &lent));
    assert_eq!((leases(&alloc), rules(&[&alloc])), (Vec::new(), Vec::new()));
    assert!(!Path::new(&format!("/run/netns/longshore-{alloc}")).exists());
    assert_eq!(engine.run(&["ps", "--all", "--quiet"]), "");
}

const ASKER: &str = r#"
job "asker" {
  group "front" {
    network {
      mode = "bridge"
      dns {
        servers  = ["172.26.80.1"]
        searches = ["longshore.test"]
      }
    }
    task "ask" {
      driver = "docker"
      config {
        image   = "IMAGE"
        command = "/bin/sh"
        args    = ["-c", "until nslookup -type=a db.longshore.test; do sleep 0.1; done; cat /etc/resolv.conf; sleep 1000000"]
      }
    }
  }
}
"#;

/// Answers the questions that have come for any name's IPv4 address.
fn answer_names(socket: &UdpSocket, address: [u8; 4]) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let mut answer = question[..length].to_vec();
        // It is an answer, with one record: of the name in the question, class IN, type A, for a minute (RFC 1035, 4.1).
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn a_group_on_a_bridge_asks_the_name_servers_of_its_dns_block() {
    let machine = Machine::new();
    let (_pause, config) = Pause::make(&machine, "names");
    let file = machine.file("job.hcl", &ASKER.replace("IMAGE", &image())).display().to_string();

    machine.ok(&["-config", &config, "run", "-detach", &file]);
    // The bridge's own address, which is there with the first group.
    let socket = UdpSocket::bind("172.26.80.1:53").expect("a name server for the group");
    socket.set_nonblocking(true).unwrap();
    wait_until("the answer's arrival", || {
        answer_names(&socket, [10, 9, 8, 7]);
        machine.ok(&["logs", "-task", "ask", "asker"]).contains("search longshore.test\n")
    });
    let said = machine.ok(&["logs", "-task", "ask", "asker"]);
    machine.ok(&["-config", &config, "stop", "asker"]);

    assert!(said.contains("Address: 10.9.8.7\n"), "{said}");
    assert!(said.contains("nameserver 172.26.80.1\n"), "{said}");
}

#[test]
fn a_port_of_another_jobs_bridge_is_taken_until_that_is_stopped() {
    let machine = Machine::new();
    let (_pause, config) = Pause::make(&machine, "ports");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let files = ["one", "other"].map(|id| {
        let job = on_a_bridge(id, "", "exec sleep 1000").replace("to = 8080", &format!("static = {port}\n to = 8080"));
        machine.file(&format!("{id}.hcl"), &job).display().to_string()
    });
    let run = |file: &str| machine.run(&["-config", &config, "run", "-detach", file]);

    let first = run(&files[0]);
    let refused = run(&files[1]);
    machine.ok(&["-config", &config, "stop", "one"]);
    let second = run(&files[1]);
    machine.ok(&["-config", &config, "stop", "other"]);

    assert_eq!([&first, &refused, &second].map(|run| run.status.code()), [Some(0), Some(2), Some(0)]);
    let said = text(&refused.stderr);
    assert!(said.contains(&format!("port {port} (\"http\") is taken by job \"one\"\n")), "{said}");
}

const CROWD: &str = r#"
job "crowd" {
  group "each" {
    count = 50
    network {
      mode = "bridge"
      port "http" {
        to = 8080
      }
    }
    task "wait" {
      driver       = "docker"
      kill_timeout = "5s"
      config {
        image   = "IMAGE"
        command = "/bin/sh"
        args    = ["-c", "trap exit TERM; sleep 1000000 & wait"]
      }
      resources {
        cpu    = 1
        memory = 32
      }
    }
  }
}
"#;

#[test]
fn fifty_groups_come_and_go_at_once_and_leave_nothing() {
    let machine = Machine::new();
    let (pause, config) = Pause::make(&machine, "crowd");
    let file = machine.file("job.hcl", &CROWD.replace("IMAGE", &image())).display().to_string();
    let has_namespace = |alloc: &String| Path::new("/run/netns").join(format!("longshore-{alloc}")).exists();

    machine.ok(&["-config", &config, "run", "-detach", &file]);
    let running = || {
        let state = machine.state("crowd");
        let allocs = state["allocs"].as_array().unwrap();
        allocs.iter().filter(|alloc| alloc["tasks"]["wait"]["status"] == "running").count()
    };
    for many in [10, 20, 30, 40, 50] {
        wait_until("ten tasks more", || running() >= many);
    }
    let allocs = machine.allocs();
    let of: Vec<&str> = allocs.iter().map(String::as_str).collect();
    let lent: BTreeSet<String> = allocs.iter().flat_map(|alloc| leases(alloc)).collect();
    let before = (allocs.iter().filter(|alloc| has_namespace(alloc)).count(), lent.len());
    let mapped = rules(&of).len();
    let state = machine.noted("crowd");
    let answers = state["allocs"].as_array().unwrap().iter().map(|alloc| &alloc["network"]["connected"]["interfaces"]);
    let names = answers.flat_map(|interfaces| interfaces.as_array().unwrap()).map(|of| of["name"].as_str().unwrap());
    let veths: BTreeSet<&str> = names.filter(|name| name.starts_with("veth")).collect();
    let is_there = |veth: &&&str| Path::new("/sys/class/net").join(veth).exists();
    let before = (before, veths.iter().filter(is_there).count());
    machine.ok(&["-config", &config, "stop", "crowd"]);

    assert_eq!(before, ((50, 50), 50));
    assert_eq!(veths.iter().filter(is_there).count(), 0);
    assert!(mapped >= 50, "{mapped}");
    let traces: Vec<&String> =
        allocs.iter().filter(|alloc| has_namespace(alloc) || !leases(alloc).is_empty()).collect();
    assert_eq!((traces, rules(&of)), (Vec::new(), Vec::new()));
    assert_eq!((pause.containers(), machine.containers()), (String::new(), Vec::new()));
}
