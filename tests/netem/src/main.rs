//! The network laboratory: the real endpoints over the kernel's netem.
//!
//! `tw-netem run` reads scenarios ([`scenario`]), makes runs of them ([`cell`]) and gives each to a kernel
//! of its own ([`kernel`]). In there the same program ([`inside`]) sets up namespaces ([`network`]), starts
//! the endpoints ([`programs`]) and other flows ([`flow`]), and watches the bottleneck ([`queue`]). What it
//! leaves behind ([`record`]) becomes a row ([`row`], or [`accuracy`] of a model's [`frame`]s, [`window`],
//! [`report`]).

#![forbid(unsafe_code)]

mod accuracy;
mod carrier;
mod cell;
mod flow;
mod frame;
mod inside;
mod interrupt;
mod kernel;
mod network;
mod paired;
mod processor;
mod program;
mod programs;
mod quantity;
mod queue;
mod record;
mod report;
mod row;
mod rows;
mod run;
mod scenario;
mod share;
mod window;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs tw-edge and tw-cloud over a lossy network: the kernel's netem in network namespaces, in
/// user-mode Linux where this kernel has none.
#[derive(Parser, Debug)]
#[command(name = "tw-netem", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Options),
    /// Says whether scenarios can run here, and what is missing; starts the kernel and tries netem
    Check {
        /// Whose netem is to be used
        #[arg(long, value_enum, default_value_t = kernel::Choice::Auto)]
        kernel: kernel::Choice,
    },
    /// Makes one run, in the kernel where it is
    #[command(hide = true)]
    Inside {
        plan: PathBuf,
    },
    /// A TCP flow that sends until it is killed
    #[command(hide = true)]
    Source {
        to: SocketAddr,
        congestion: String,
    },
    /// Takes a TCP flow and counts it
    #[command(hide = true)]
    Sink {
        at: SocketAddr,
        json: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Run(options) => options.run(),
        Command::Check { kernel } => {
            kernel::Kernel::check(kernel).map(|kernel| println!("netem of {}", kernel.name()))
        }
        Command::Inside { plan } => inside::run(&plan),
        Command::Source { to, congestion } => flow::source(to, &congestion),
        Command::Sink { at, json } => flow::sink(at, &json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
