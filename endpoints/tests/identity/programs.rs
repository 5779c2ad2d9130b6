//! The options of the real binaries, and what they say.

use std::fs;
use std::path::Path;
use std::process::Output;

use tensorwire_endpoints::identity::{Token, state};

use crate::support::{Running, cloud, edge_to, lab, run, start_cloud, text};

/// Runs an edge that streams a few tensors.
fn stream(address: &str, options: &[&str]) -> Output {
    let mut edge = edge_to(address, &["--stand-in", "2000", "--frames", "3", "--quiet"]);
    edge.args(options);
    run(edge)
}

#[track_caller]
fn streams(address: &str, options: &[&str]) -> String {
    let output = stream(address, options);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[track_caller]
fn fails(address: &str, options: &[&str], words: &str) {
    let output = stream(address, options);
    let said = text(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(words), "{said}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Starts a cloud that keeps its identity in this file, and says its fingerprint.
fn start(identity: &Path, options: &[&str]) -> (Running, String, String) {
    let own = ["--stand-in", "--identity", path(identity)];
    let (cloud, address) = start_cloud(&[&own, options].concat());
    let line = cloud.said("--pin ");
    let pin = line.rsplit(' ').next().expect("a fingerprint").to_owned();
    (cloud, address, pin)
}

#[test]
fn a_cloud_says_how_edges_connect_and_keeps_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.pem");
    let (first, address, pin) = start(&file, &[]);
    let command = format!("tw-edge --connect {address} --pin {pin}");
    assert!(first.said("tw-edge").contains(&command));
    first.said("anybody");
    let said = streams(&address, &["--pin", &pin]);
    assert!(said.contains("it has a pinned certificate"), "{said}");
    fails(
        &address,
        &["--pin", &"0".repeat(64)],
        "not the cloud that --pin names",
    );
    drop(first);

    let (_again, address, after) = start(&file, &[]);
    assert_eq!(pin, after);
    streams(&address, &["--pin", &"0".repeat(64), "--pin", &pin]);
    let mut print = cloud();
    print.args(["--print-pin", "--identity", path(&file)]);
    let printed = run(print);
    assert_eq!(text(&printed.stdout).trim_end(), pin);
}

#[test]
fn an_edge_knows_a_cloud_again() {
    let folder = tempfile::tempdir().unwrap();
    let known = folder.path().join("known-clouds");
    let options = ["--known-clouds", path(&known)];
    let (cloud, address, pin) = start(&folder.path().join("one"), &[]);
    let said = streams(&address, &options);
    assert!(
        said.contains("for the first time") && said.contains(&pin),
        "{said}"
    );
    let said = streams(&address, &options);
    assert!(
        said.contains("the same certificate as at the first"),
        "{said}"
    );
    drop(cloud);

    let (_changed, other, _) = start(&folder.path().join("other"), &[]);
    // As if it had the address of the first.
    let text = fs::read_to_string(&known).unwrap();
    fs::write(&known, text.replace(&address, &other)).unwrap();
    fails(&other, &options, "has another certificate than before");
    let said = streams(&other, &["--insecure"]);
    assert!(said.contains("NOT checked"), "{said}");
}

#[test]
fn a_token_made_by_the_laboratory_lets_in() {
    let folder = tempfile::tempdir().unwrap();
    let (file, list) = (folder.path().join("cam-1"), folder.path().join("tokens"));
    let make = |file: &Path| {
        let mut make = lab();
        make.args(["token", path(file)]);
        run(make)
    };
    let made = make(&file);
    let line = text(&made.stdout);
    let token = Token::from_file(&file).unwrap();
    assert_eq!(line, format!("cam-1 {}\n", token.digest()));
    let again = make(&file);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("not replaced"));
    fs::write(&list, line).unwrap();

    let (cloud, address, pin) = start(&folder.path().join("id"), &["--tokens", path(&list)]);
    cloud.said("whoever knows the token");
    let said = streams(&address, &["--pin", &pin, "--token-file", path(&file)]);
    fails(&address, &["--pin", &pin], "give --token-file");
    let other = folder.path().join("cam-2");
    make(&other);
    fails(
        &address,
        &["--pin", &pin, "--token-file", path(&other)],
        "is not one that this cloud knows",
    );
    cloud.interrupt();
    let (_, _, log) = cloud.end();
    assert!(log.contains("opened by cam-1 (127.0.0.1:"), "{log}");
    assert!(log.contains("refused 127.0.0.1:"), "{log}");
    for secret in [token, Token::from_file(&other).unwrap()] {
        let secret = text(secret.reveal());
        assert!(!log.contains(&secret) && !said.contains(&secret));
    }
}

#[test]
fn whoever_runs_an_open_cloud_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, list) = (folder.path().join("id"), folder.path().join("tokens"));
    fs::write(&list, format!("cam-1 {}\n", "0".repeat(64))).unwrap();
    for (options, warns) in [(&[][..], true), (&["--tokens", path(&list)], false)] {
        let mut command = cloud();
        command.args([
            "--listen",
            "0.0.0.0:0",
            "--stand-in",
            "--identity",
            path(&file),
        ]);
        command.args(options);
        let mut cloud = Running::start(command);
        cloud.wait_for("Ctrl-C ends");
        cloud.interrupt();
        let (_, _, said) = cloud.end();
        assert_eq!(
            said.contains("anybody who reaches this address"),
            warns,
            "{said}"
        );
        assert!(said.contains("tw-edge --connect HOST:"), "{said}");
    }
}

#[test]
fn wrong_options_and_files_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        assert!(state::create(&path, content.as_bytes()).unwrap());
        path.to_str().expect("UTF-8").to_owned()
    };
    let empty = file("empty", "");
    let pin = "0".repeat(64);
    let nobody = "127.0.0.1:1";
    for (options, words) in [
        (&["--pin", &pin, "--insecure"][..], "cannot be used with"),
        (&["--ca", &empty, "--insecure"], "cannot be used with"),
        (
            &["--token-file", &empty, "--insecure"],
            "cannot be used with",
        ),
        (&["--server-name", "x"], "--ca"),
        (&["--client-cert", &empty], "--client-key"),
        (&["--pin", "123"], "--print-pin"),
        (
            &["--pin", &pin, "--token-file", &empty],
            "it is empty (`tw-lab token` makes one)",
        ),
        (&["--ca", &empty], "there is no certificate in it"),
        (
            &["--ca", "/nowhere/ca.pem"],
            "cannot read the list of authorities /nowhere/ca.pem",
        ),
    ] {
        fails(nobody, options, words);
    }
    for (options, words) in [
        (&["--cert", &empty][..], "--key"),
        (
            &["--cert", &empty, "--key", &empty, "--identity", &empty],
            "cannot be used with",
        ),
        (
            &["--cert", &empty, "--key", &empty],
            "there is no certificate in it",
        ),
        (&["--tokens", &empty], "there is no token in it"),
        (&["--client-ca", &empty], "there is no certificate in it"),
        (
            &["--client-pin", "x"],
            "a fingerprint is 64 hexadecimal digits",
        ),
    ] {
        let mut command = cloud();
        command
            .args(["--stand-in", "--listen", "127.0.0.1:0"])
            .args(options);
        let output = run(command);
        let said = text(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{said}");
        assert!(said.contains(words), "{options:?}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn a_program_without_a_home_says_so() {
    let without_home = |mut command: std::process::Command| {
        command.env_remove("HOME").env_remove("XDG_STATE_HOME");
        command
    };
    let mut command = without_home(cloud());
    command.args(["--listen", "127.0.0.1:0", "--stand-in"]);
    let mut running = Running::start(command);
    let line = running.wait_for("certificate");
    assert!(
        line.contains("for this run only") && line.contains("--identity"),
        "{line}"
    );
    let mut command = without_home(cloud());
    command.arg("--print-pin");
    let printed = run(command);
    assert_eq!(printed.status.code(), Some(1));
    assert!(text(&printed.stderr).contains("--identity"));
    let output = run(without_home(edge_to("127.0.0.1:1", &["--stand-in"])));
    let said = text(&output.stderr);
    assert!(
        said.contains("--pin") && said.contains("--known-clouds"),
        "{said}"
    );
}
