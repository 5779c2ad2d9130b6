//! Clouds that die and come back, and edges that do: the real programs.

use std::process::Command;
use std::time::Instant;

use tensorwire_endpoints::carrier::Carrier;

use super::programs::{Running, cloud, edge_to, free_port};

/// Ends a program as a crash would.
fn kill(program: &Running) {
    let pid = program.id().to_string();
    let killed = Command::new("kill").args(["-KILL", &pid]).status();
    assert!(killed.expect("kill runs").success());
}

fn start(address: &str, identity: &str) -> Running {
    start_with(address, identity, &[])
}

fn start_with(address: &str, identity: &str, options: &[&str]) -> Running {
    let mut command = cloud();
    command.args(["--listen", address, "--stand-in", "--identity", identity]);
    command.args(options);
    let mut cloud = Running::start(command);
    cloud.wait_for("Ctrl-C ends");
    cloud
}

#[test]
fn an_edge_goes_on_by_itself_when_its_cloud_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("cloud.pem");
    let identity = identity.to_str().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut first = start(&address, identity);
    let mut edge = Running::start(edge_to(
        &address,
        &[
            "--stand-in",
            "2000",
            "--fps",
            "100",
            "--quiet",
            "--insecure",
        ],
    ));
    first.wait_for("opened");
    kill(&first);
    let lost = edge.wait_for("the cloud went away");
    assert!(lost.contains("timed out"), "{lost}");
    let mut second = start(&address, identity);
    second.wait_for("opened");
    edge.wait_for("a session again with");
    edge.interrupt();
    let (code, _, told) = edge.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 reconnection"), "{told}");
    assert!(told.contains("disconnected"), "{told}");
    second.wait_for("closed: the edge is done");

    // An edge that crashes leaves nothing behind.
    let edge = Running::start(edge_to(
        &address,
        &[
            "--stand-in",
            "2000",
            "--fps",
            "100",
            "--quiet",
            "--insecure",
        ],
    ));
    second.wait_for("opened");
    kill(&edge);
    let closed = second.wait_for("closed:");
    assert!(closed.contains("timed out"), "{closed}");
    second.interrupt();
    let (code, _, told) = second.end();
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn an_edge_without_patience_ends_whatever_carries_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("cloud.pem");
    for carrier in Carrier::ALL {
        let address = format!("127.0.0.1:{}", free_port());
        let mut cloud = start_with(&address, identity.to_str().unwrap(), &["--plain"]);
        let options = [
            "--stand-in",
            "--fps",
            "100",
            "--quiet",
            "--insecure",
            "--carrier",
            carrier.name(),
            "--reconnect",
            "never",
        ];
        let edge = Running::start(edge_to(&address, &options));
        cloud.wait_for("opened");
        kill(&cloud);
        let killed = Instant::now();
        let (code, _, told) = edge.end();
        println!("{}: {:?}", carrier.name(), killed.elapsed());
        assert_eq!(code, Some(1), "{carrier:?}: {told}");
        assert!(told.contains("the cloud went away"), "{carrier:?}: {told}");
    }
}
