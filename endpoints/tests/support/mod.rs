//! Running the real binaries.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take before a test fails; not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn edge() -> Command {
    command(env!("CARGO_BIN_EXE_tw-edge"))
}

/// An edge that connects to this cloud.
pub(crate) fn edge_to(address: &str, options: &[&str]) -> Command {
    let mut command = edge();
    command.args(["--connect", address]).args(options);
    command
}

pub(crate) fn cloud() -> Command {
    command(env!("CARGO_BIN_EXE_tw-cloud"))
}

pub(crate) fn lab() -> Command {
    command(env!("CARGO_BIN_EXE_tw-lab"))
}

fn command(path: &str) -> Command {
    let mut command = Command::new(path);
    command
        // What the programs of one run remember is not the user's.
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A program that runs until it is told to end; killed if a test forgets.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a program and listens to its standard error.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: vec![],
        }
    }

    /// The first line from here on that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with `{text}`; it said:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The first line so far that contains `text`.
    pub(crate) fn said(&self, text: &str) -> &str {
        let line = self.seen.iter().find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("no line with `{text}`:\n{}", self.seen.join("\n")))
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end: exit code, standard output, and everything on standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("UTF-8");
        }
        let status = self.child.wait().expect("it can be waited for");
        self.seen.extend(self.lines.iter());
        (status.code(), stdout, self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a cloud on a free port and says where its control address is.
pub(crate) fn start_cloud(arguments: &[&str]) -> (Running, String) {
    let mut command = cloud();
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut cloud = Running::start(command);
    let line = cloud.wait_for("listening ");
    let address = line
        .split_whitespace()
        .nth(1)
        .expect("an address")
        .to_owned();
    cloud.wait_for("Ctrl-C ends");
    (cloud, address)
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command) -> Output {
    command.output().expect("the binary starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A UDP port of this machine that nobody has.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port()
}

/// The values of a program's lines of JSON.
pub(crate) fn json_lines(stdout: &str) -> Vec<serde_json::Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}
