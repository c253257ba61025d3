//! The CNI plugins that connect a network namespace to this machine, called as their specification says: the
//! configuration on standard input, the rest in the environment.
//!
//! <https://www.cni.dev/docs/spec/>

use std::{
    io::ErrorKind,
    path::PathBuf,
    process::{Output, Stdio},
    sync::LazyLock,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore, time::timeout};

use crate::{
    record::Record,
    state::{AllocState, NetworkState, PortState},
};

/// Where plugins are besides the directories that `CNI_PATH` names: as Nomad has it and as Debian has it.
const DIRECTORIES: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
const NEEDED: [&str; 5] = ["loopback", "bridge", "host-local", "firewall", "portmap"];
/// How long a plugin may take. Those of the reference need less than a second, but more than half a minute where fifty
/// groups start at once on a machine that is fifteen times slower.
const DEADLINE: Duration = Duration::from_secs(120);
/// One for each processor: they wait for the firewall's lock anyway, and the time of one that runs is not used up by the
/// others of fifty groups.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
const VERSION: &str = "0.4.0";
const BRIDGE: &str = "longshore0";
const SUBNET: &str = "172.26.80.0/20";

/// What has to be installed first; `None` where all is there.
pub(super) fn missing() -> Option<String> {
    let advice = without(|plugin| program(plugin).is_some());
    let root = rustix::process::geteuid().is_root();
    advice.or_else(|| (!root).then(|| "network mode \"bridge\" needs root\nhint: run longshore as root".to_owned()))
}

/// What to do about plugins that are not there; `None` where all are.
fn without(is_there: impl Fn(&str) -> bool) -> Option<String> {
    let missing: Vec<&str> = NEEDED.into_iter().filter(|plugin| !is_there(plugin)).collect();
    (!missing.is_empty()).then(|| {
        let missing = missing.join(", ");
        format!(
            "network mode \"bridge\" needs the CNI plugins {missing}\nhint: apt-get install \
             containernetworking-plugins, or put them into {}",
            DIRECTORIES[0]
        )
    })
}

/// Where plugins are looked for, in this order.
fn directories() -> Vec<PathBuf> {
    let named = std::env::var_os("CNI_PATH").unwrap_or_default();
    let named = std::env::split_paths(&named).filter(|directory| directory.is_absolute());
    named.chain(DIRECTORIES.map(PathBuf::from)).collect()
}

fn program(plugin: &str) -> Option<PathBuf> {
    directories().into_iter().map(|directory| directory.join(plugin)).find(|path| path.is_file())
}

/// Connects a network's namespace and publishes ports. After each plugin, what undoing needs is on
/// disk.
pub(super) async fn connect(alloc: &AllocState, network: &mut NetworkState, record: &Record) -> Result<(), String> {
    let AllocState { id, ports, .. } = alloc;
    call("ADD", id, &network.path, &loopback(), &Value::Null).await?;
    for plugin in plugins(ports) {
        network.connected = call("ADD", id, &network.path, &plugin, &network.connected).await?;
        record.persist_network(id, network).await;
    }
    let result = &network.connected;
    let address = result["ips"][0]["address"].as_str().and_then(|address| address.split('/').next());
    network.address = Some(address.ok_or_else(|| format!("the CNI plugins reported no address: {result}"))?.to_owned());
    Ok(())
}

/// Undoes [`connect`], also where it was left half way. The plugins remember nothing: without the ports and the answer
/// of that time their rules would be left.
pub(super) async fn disconnect(alloc: &AllocState, network: &NetworkState) -> Result<(), String> {
    // Without a namespace nothing was connected yet.
    if network.path.is_empty() || !network.is_to_be_connected() {
        return Ok(());
    }
    let mut first = Ok(());
    for plugin in plugins(&alloc.ports).iter().rev() {
        let undone = call("DEL", &alloc.id, &network.path, plugin, &network.connected).await;
        first = first.and(undone.map(drop));
    }
    first
}

fn loopback() -> Value {
    json!({ "cniVersion": VERSION, "name": "longshore", "type": "loopback" })
}

/// In the order in which they are called.
fn plugins(ports: &[PortState]) -> [Value; 3] {
    let mapping = |port: &PortState, protocol: &str| {
        let inside = if port.to == 0 { port.value } else { port.to };
        json!({ "hostPort": port.value, "containerPort": inside, "protocol": protocol, "hostIP": port.host_ip })
    };
    let mappings: Vec<Value> =
        ports.iter().flat_map(|port| ["tcp", "udp"].map(|protocol| mapping(port, protocol))).collect();
    [
        json!({
            "cniVersion": VERSION, "name": "longshore", "type": "bridge", "bridge": BRIDGE,
            "isGateway": true, "ipMasq": true, "hairpinMode": true, "forceAddress": true,
            "ipam": {
                "type": "host-local", "ranges": [[{ "subnet": SUBNET }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }),
        json!({ "cniVersion": VERSION, "name": "longshore", "type": "firewall", "backend": "iptables" }),
        json!({
            "cniVersion": VERSION, "name": "longshore", "type": "portmap", "snat": true,
            "capabilities": { "portMappings": true }, "runtimeConfig": { "portMappings": mappings },
        }),
    ]
}

async fn call(command: &str, id: &str, namespace: &str, config: &Value, previous: &Value) -> Result<Value, String> {
    let plugin = config["type"].as_str().unwrap_or_default();
    let failed = |error: String| format!("CNI plugin {plugin}: {error}");
    let mut config = config.clone();
    if !previous.is_null() {
        config["prevResult"] = previous.clone();
    }
    let mut program = Command::new(program(plugin).ok_or_else(|| failed("not installed".to_owned()))?);
    program
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", namespace)
        .env("CNI_IFNAME", if plugin == "loopback" { "lo" } else { super::INTERFACE })
        .env("CNI_PATH", std::env::join_paths(directories()).unwrap_or_default())
        // Debian has iptables where a user's path does not lead.
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    run(command, program, config.to_string()).await.map_err(failed)
}

/// Runs a plugin when its turn comes, and reads its answer.
async fn run(command: &str, program: Command, config: String) -> Result<Value, String> {
    let answered = {
        let _turn = TURNS.acquire().await;
        timeout(DEADLINE, answer(program, config)).await
    };
    let answered = answered.map_err(|_| format!("no answer to {command} within {} s", DEADLINE.as_secs()))?;
    let Output { status, stdout, stderr } = answered.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    if status.success() {
        return Ok(answer);
    }
    let said = || String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(answer["msg"].as_str().map_or_else(said, str::to_owned))
}

/// Runs a program to its end, or until nobody waits for it any more.
async fn answer(mut program: Command, input: String) -> std::io::Result<Output> {
    let piped = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).await {
            // One that fails at once does not read it, and says why.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_that_are_missing_are_named_with_their_package() {
        let advice = without(|plugin| !matches!(plugin, "bridge" | "portmap")).unwrap();

        assert_eq!(
            advice,
            "network mode \"bridge\" needs the CNI plugins bridge, portmap\nhint: apt-get install \
             containernetworking-plugins, or put them into /opt/cni/bin"
        );
        assert_eq!(without(|_| true), None);
    }

    #[tokio::test]
    async fn a_plugin_that_does_not_answer_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let mut hanging = Command::new("sh");
        hanging.args(["-c", "exec sleep 1000 >\"$0\""]).arg(&fifo);
        let begun = async {
            let runs = tokio::task::spawn_blocking(|| std::fs::File::open(fifo).unwrap()).await.unwrap();
            tokio::time::pause();
            runs
        };

        let (answered, mut runs) = tokio::join!(run("ADD", hanging, String::new()), begun);

        assert_eq!(answered.unwrap_err(), "no answer to ADD within 120 s");
        // Which ends with the last process that writes to it.
        assert_eq!(std::io::copy(&mut runs, &mut std::io::sink()).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_plugin_that_fails_before_it_reads_its_configuration_is_quoted() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo why >&2; exit 1"]);
        let larger_than_a_pipe = " ".repeat(1 << 20);

        assert_eq!(run("ADD", failing, larger_than_a_pipe).await.unwrap_err(), "why");
    }
}
