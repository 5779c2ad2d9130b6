//! The child: this program again, which walls itself in and then tries a model.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::thread;

use super::process::{CHILD, PROBE, TRY};
use super::sandbox::{self, Sandbox};
use super::trial;
use super::verdict::Report;

/// The child's stack, bytes. What passes here has to pass where the model is loaded again, so that thread
/// has more ([`LOADER_STACK`]).
const STACK: usize = 1 << 20;
/// Stack of the thread that loads a model that passed, bytes.
pub(crate) const LOADER_STACK: usize = 4 << 20;
/// Where memory runs out, this process is to go first.
const OOM_SCORE: &str = "1000";

/// What a child is asked for.
struct Asked {
    /// None to try the walls.
    split: Option<String>,
    memory: u64,
    seconds: u64,
}

/// Does a child's work if this process was started as one, and gives the code to exit with. To be called
/// first in `main` of every program that vets models.
#[must_use]
pub fn child_process() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != CHILD {
        return None;
    }
    let code = match asked(arguments) {
        Some(asked) => run(asked),
        None => ExitCode::from(2),
    };
    Some(code)
}

fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<Asked> {
    let mut next = || arguments.next()?.into_string().ok();
    let mode = next()?;
    let (memory, seconds) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let split = match mode.as_str() {
        TRY => Some(next()?),
        PROBE => None,
        _ => return None,
    };
    Some(Asked {
        split,
        memory,
        seconds,
    })
}

fn run(asked: Asked) -> ExitCode {
    // A model's panics are told in the report.
    std::panic::set_hook(Box::new(|_| {}));
    sandbox::step_back(OOM_SCORE);
    let status = File::open("/proc/self/status").ok();
    // In this order: Landlock takes a file descriptor, of which there may be none afterwards.
    let landlock = sandbox::landlock();
    let limited = sandbox::limit(asked.memory, asked.seconds);
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || {
        let seccomp = sandbox::seccomp();
        let report = match (&asked.split, limited) {
            (_, Err(error)) => Report::Failed(format!("its limits cannot be set: {error}")),
            (Some(split), Ok(())) => trial::model(io::stdin(), split, asked.memory, status),
            (None, Ok(())) => Report::Probed(Sandbox {
                landlock,
                seccomp,
                open: open_doors(),
            }),
        };
        tell(&report)
    });
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn tell(report: &Report) -> io::Result<()> {
    let bytes = minicbor::to_vec(report).map_err(io::Error::other)?;
    let mut out = io::stdout().lock();
    out.write_all(&bytes)?;
    out.flush()
}

/// Tries what a model must not be able to do, and names what succeeded.
fn open_doors() -> Vec<String> {
    let file = std::env::temp_dir().join(format!("tensorwire-probe-{}", std::process::id()));
    let written = fs::write(&file, b"").is_ok();
    if written {
        let _ = fs::remove_file(&file);
    }
    let mut memory = [0];
    let doors = [
        ("read files", fs::read("/proc/self/cmdline").is_ok()),
        ("list folders", fs::read_dir("/").is_ok()),
        ("write files", written),
        (
            "use UDP",
            std::net::UdpSocket::bind(("127.0.0.1", 0)).is_ok(),
        ),
        (
            "use TCP",
            std::net::TcpListener::bind(("127.0.0.1", 0)).is_ok(),
        ),
        (
            "start programs",
            std::process::Command::new("/proc/self/exe")
                .arg("--version")
                .output()
                .is_ok(),
        ),
        ("start threads", thread::Builder::new().spawn(|| {}).is_ok()),
        (
            "read other processes",
            File::open(format!("/proc/{}/mem", std::process::id()))
                .and_then(|mut file| file.read(&mut memory))
                .is_ok(),
        ),
    ];
    let open = doors.into_iter().filter(|(_, succeeded)| *succeeded);
    open.map(|(name, _)| name.to_owned()).collect()
}
