//! Ports of the host that lead to a task.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::AsFd,
    thread,
};

use conformance::{DEADLINE, Fixture, docker::inspect};
use nomad_plugin::driver::{Force, NetworkPort, NetworkResource};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

/// A free port of the loopback address.
fn free_port() -> i32 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().into()
}

fn answer(port: i32) -> String {
    answer_at(&format!("127.0.0.1:{port}"))
}

fn answer_at(address: &str) -> String {
    conformance::http::answer(address, "/index.html")
}

pub(crate) const SERVER: &str = "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";

/// A socket in the network of a process; busybox has no program that takes datagrams.
fn socket_in_network_of(process: i64, address: &'static str) -> UdpSocket {
    let bound = thread::spawn(move || {
        let namespace = File::open(format!("/proc/{process}/ns/net")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        UdpSocket::bind(address).unwrap()
    });
    let socket = bound.join().unwrap();
    socket.set_read_timeout(Some(*DEADLINE)).unwrap();
    socket
}

#[tokio::test]
async fn a_mapped_port_answers() {
    let fixture = Fixture::start().await;
    let port = free_port();
    let task = fixture.job("web", SERVER, "network_mode = \"\"\nports = [\"http\"]").await.port("http", port, 8080);

    let started = fixture.run(&task).await;

    assert!(started.address.parse::<Ipv4Addr>().is_ok(), "{:?}", started.address);
    let answer = answer(port);
    assert!(answer.starts_with("HTTP/1.") && answer.ends_with("hello\n"), "{answer}");
    fixture.end().await;
}

#[tokio::test]
async fn a_port_of_a_legacy_network_is_mapped_by_its_label() {
    let fixture = Fixture::start().await;
    let port = free_port();
    let config = "network_mode = \"bridge\"\nport_map {\n  my-http = 8080\n}";
    let mut task = fixture.job("web", &format!("echo $NOMAD_PORT_my_http; {SERVER}"), config).await;
    task.config.resources.as_mut().unwrap().allocated.as_mut().unwrap().networks = vec![NetworkResource {
        ip: "127.0.0.1".into(),
        dynamic_ports: vec![NetworkPort { label: "my-http".into(), value: port }],
        ..NetworkResource::default()
    }];

    let started = fixture.driver.start_task(task.config.clone()).await.unwrap();

    assert!(answer(port).ends_with("hello\n"));
    assert_eq!(started.network.port_map, [("my-http".to_owned(), 8080)].into());
    task.pipes.stdout.wait_for_text("8080\n");
    fixture.driver.destroy_task(task.config.id.clone(), Force::Yes).await.unwrap();
    fixture.end().await;
}

#[tokio::test]
async fn ports_of_both_families_lead_to_one_port_of_the_task_by_either_protocol() {
    let fixture = Fixture::start().await;
    let (one, two) = (free_port(), free_port());
    let config = "network_mode = \"\"\nports = [\"one\", \"two\"]";
    let mut task = fixture.job("web", SERVER, config).await.port("one", one, 8080).port("two", two, 8080);
    task.config.resources.as_mut().unwrap().ports[1].host_ip = "::1".into();

    fixture.run(&task).await;

    assert!(answer(one).ends_with("hello\n"));
    assert!(answer_at(&format!("[::1]:{two}")).ends_with("hello\n"));
    let published = inspect(&task.container())["NetworkSettings"]["Ports"].clone();
    for protocol in ["tcp", "udp"] {
        let at = published[&format!("8080/{protocol}")].as_array().unwrap();
        for (ip, port) in [("127.0.0.1", one), ("::1", two)] {
            assert!(at.contains(&json!({ "HostIp": ip, "HostPort": port.to_string() })), "{published}");
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_datagram_comes_through_a_published_port() {
    let fixture = Fixture::start().await;
    let port = free_port();
    let config = "network_mode = \"\"\nports = [\"dgram\"]";
    let task = fixture.job("web", "exec sleep 1000", config).await.port("dgram", port, 9090);

    fixture.run(&task).await;
    let process = inspect(&task.container())["State"]["Pid"].as_i64().unwrap();
    let server = socket_in_network_of(process, "0.0.0.0:9090");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    client.set_read_timeout(Some(*DEADLINE)).unwrap();
    client.send(b"ask").unwrap();
    let mut buffer = [0; 16];
    let (asked, from) = server.recv_from(&mut buffer).unwrap();
    let received = buffer[..asked].to_vec();
    server.send_to(b"answer", from).unwrap();
    let answered = client.recv(&mut buffer).unwrap();

    assert_eq!((received.as_slice(), &buffer[..answered]), (&b"ask"[..], &b"answer"[..]));
    fixture.end().await;
}

#[tokio::test]
async fn who_holds_a_port_is_named_when_it_is_taken() {
    let fixture = Fixture::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (held, free) = (listener.local_addr().unwrap().port().into(), free_port());
    let config = "network_mode = \"\"\nports = [\"http\"]";
    let first = fixture.job("first", SERVER, config).await.port("http", free, 8080);
    let second = fixture.job("second", SERVER, config).await.port("http", free, 8080);
    let third = fixture.job("third", SERVER, config).await.port("http", held, 8080);
    // The same port of another address is no obstacle.
    let mut elsewhere = fixture.job("elsewhere", SERVER, config).await.port("http", held, 8080);
    elsewhere.config.resources.as_mut().unwrap().ports[0].host_ip = "127.0.0.2".into();

    fixture.run(&first).await;
    fixture.run(&elsewhere).await;
    let by_container = fixture.refused(&second).await.message;
    let by_process = fixture.refused(&third).await.message;

    let (first, port) = (first.container(), format!("{free}/"));
    assert!(by_container.contains(&format!("\nhint: port {port}")), "{by_container}");
    assert!(by_container.ends_with(&format!(" is published by container {first}")), "{by_container}");
    let holder = format!("\nhint: 127.0.0.1:{held}/tcp is held by ");
    assert!(by_process.contains(&holder), "{by_process}");
    assert!(by_process.ends_with(&format!(" (pid {})", std::process::id())), "{by_process}");
    fixture.end().await;
}

#[tokio::test]
async fn a_port_that_the_group_does_not_have_is_refused_in_any_network() {
    let fixture = Fixture::start().await;
    for mode in ["", "bridge", "host", "container:other"] {
        let task = fixture.job("web", "", &format!("network_mode = \"{mode}\"\nports = [\"typo\"]")).await;
        let rejection = fixture.refused(&task.port("http", free_port(), 80)).await.message;
        assert!(rejection.ends_with("Port \"typo\" not found, check network block"), "{mode}: {rejection}");
    }
    fixture.end().await;
}
