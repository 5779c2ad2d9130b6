//! The laboratory.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tensorwire_endpoints::lab::{
    calibrate, conceal, demo, experiment, flood, inspect, link, load, plan_split, quality,
    recovery, replay, report, schedule, split, token, trace,
};
use tensorwire_endpoints::shutdown;

/// Measures models, codecs and concealment, with and without a network.
#[derive(Parser, Debug)]
#[command(name = "tw-lab", version, after_help = EXAMPLES)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Options),
    Flood(flood::Options),
    Inspect(inspect::Options),
    Link(link::Options),
    Load(load::Options),
    Calibrate(calibrate::Options),
    Conceal(conceal::Options),
    Quality(quality::Options),
    Recovery(recovery::Options),
    PlanSplit(plan_split::Options),
    Plot(report::PlotOptions),
    Replay(replay::Options),
    Report(report::ReportOptions),
    Run(experiment::Options),
    Schedule(schedule::Options),
    Split(split::Options),
    Token(token::Options),
    Trace(trace::Options),
}

const EXAMPLES: &str = "\
Examples:
  tw-lab demo
      streams the built-in images through an emulated link that loses 0, 5, 10 and 20 %
  tw-lab split
      where the built-in model can be split
  tw-lab conceal
      what the methods of concealment are worth, on the built-in images
  tw-lab quality --coder jpeg --plot curve.svg
      what bytes buy
  tw-lab token cam-3 >> tokens
      a token by which an edge is let in, and the line for its cloud
  tw-lab run docs/experiments/quantisation.toml --out quantisation.jsonl
      one experiment; tw-lab report makes a page of it
  tw-lab plan-split --rate 20mbit --rtt 40
      where to split for this path
  tw-lab trace fit losses.csv
      which model lost these packets
  tw-lab replay cloud.pcapng
      what a cloud received, once more

Exit status: 0 when done, 1 on failure, 2 on wrong usage.";

fn main() -> ExitCode {
    shutdown::report(run(&Options::parse().command))
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Demo(options) => demo::run(options),
        Command::Flood(options) => flood::run(options),
        Command::Inspect(options) => inspect::run(options),
        Command::Link(options) => link::run(options),
        Command::Load(options) => load::run(options),
        Command::Calibrate(options) => calibrate::run(options),
        Command::Conceal(options) => conceal::run(options),
        Command::Quality(options) => quality::run(options),
        Command::Recovery(options) => recovery::run(options),
        Command::Replay(options) => replay::run(options),
        Command::PlanSplit(options) => plan_split::run(options),
        Command::Plot(options) => report::plot(options),
        Command::Report(options) => report::report(options),
        Command::Run(options) => experiment::run(options),
        Command::Schedule(options) => schedule::run(options),
        Command::Split(options) => split::run(options),
        Command::Token(options) => token::run(options),
        Command::Trace(options) => trace::run(options),
    }
}
