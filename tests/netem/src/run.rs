//! `tw-netem run`: every run of some scenarios, a table, and JSON.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::carrier::Carrier;
use crate::cell::Cell;
use crate::inside::Plan;
use crate::interrupt::Interrupt;
use crate::kernel::{Choice, Kernel};
use crate::programs::Programs;
use crate::quantity::{Seconds, rounded};
use crate::record::Record;
use crate::rows::{Measured, Rows};
use crate::scenario::Scenario;

/// What a run takes besides its stream, seconds: for the progress bar alone.
const OVERHEAD: f64 = 4.0;

/// Runs scenarios with the real tw-edge and tw-cloud over a network that loses, delays and queues
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Scenario files (TOML); docs/netem.md describes them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Carriers instead of the scenario's: udp, quic-datagram, quic-stream or tcp, with a congestion
    /// control after a slash where it is not the default: udp,tcp/bbr
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    carrier: Vec<Carrier>,
    /// Only runs under these losses, as the scenario writes them: may be given several times
    #[arg(long, value_name = "LOSS")]
    loss: Vec<String>,
    /// Only runs of these cases, by their names in the scenario: may be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Stream for so long instead of as long as the scenario says
    #[arg(long, value_name = "N", value_parser = parse_seconds)]
    seconds: Option<Seconds>,
    /// Write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the programs' reports of every run, and what they said, in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Keep captures of both ends as well (pcapng): `tw-lab inspect` and `tw-lab replay` read them
    #[arg(long, requires = "keep")]
    pcap: bool,
    /// Folder of tw-edge and tw-cloud [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    bin: Option<PathBuf>,
    /// Whose netem is used
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    kernel: Choice,
    /// Runs at a time, 1 to 64; more than one disturb each other unless each has cores of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

const EXAMPLES: &str = "\
Examples:
  tw-netem run tests/netem/scenarios/headline-35.toml --json headline.json
      every carrier of the scenario under every loss
  tw-netem run tests/netem/scenarios/headline-35.toml --carrier udp --loss iid:5% --seconds 20
      one run of it, shorter

Exit status: 0 when every run has a row, 1 on failure or after Ctrl-C, 2 on wrong usage.";

fn parse_seconds(text: &str) -> Result<Seconds, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let seconds = Seconds::try_from(seconds)?;
    if seconds.0 > 0.0 {
        Ok(seconds)
    } else {
        Err("more than 0 seconds are needed".to_owned())
    }
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let scenarios = self.files.iter().map(|file| Scenario::read(file));
        let scenarios: Vec<Scenario> = scenarios.collect::<Result<_>>()?;
        let mut cells: Vec<Cell> = scenarios
            .iter()
            .flat_map(|scenario| scenario.cells(&self.carrier, self.seconds))
            .collect();
        if !self.loss.is_empty() {
            cells.retain(|cell| self.loss.iter().any(|loss| loss == cell.path.loss.text()));
        }
        if !self.case.is_empty() {
            let named = |cell: &Cell| {
                cell.case
                    .as_ref()
                    .is_some_and(|name| self.case.contains(name))
            };
            cells.retain(named);
        }
        if cells.is_empty() {
            bail!("no run is left: no scenario has such a loss or case");
        }
        if let Some(json) = self.json.as_ref().filter(|json| json.is_dir()) {
            bail!("{} is a folder; --json takes a file", json.display());
        }
        for file in [&self.json, &self.keep].into_iter().flatten() {
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                bail!("there is no folder {}", folder.display());
            }
        }
        let programs = Programs::find(self.bin.as_deref())?;
        let kernel = Kernel::find(self.kernel)?;
        for scenario in &scenarios {
            eprintln!("{}: {}", scenario.name, scenario.about);
        }
        eprintln!("{} runs with the netem of {}", cells.len(), kernel.name());
        let (rows, whole) = self.measure(&cells, &programs, kernel)?;
        // What is measured is not lost where a later run fails.
        if whole.is_err() && rows.is_empty() {
            return whole;
        }
        let rows = Rows::new(rows);
        println!("{}", rows.tables());
        if let Some(path) = &self.json {
            let text = serde_json::to_vec_pretty(&rows)?;
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        whole
    }

    /// Makes every run, so many at a time; the rows in the order of the cells, and why there are not more.
    fn measure(
        &self,
        cells: &[Cell],
        programs: &Programs,
        kernel: Kernel,
    ) -> Result<(Vec<Measured>, Result<()>)> {
        let interrupt = Interrupt::listen()?;
        let bar = Bar::new(cells, self.jobs.into());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let rows: Mutex<Vec<(usize, Result<Measured>)>> = Mutex::new(Vec::new());
        let lock = || {
            rows.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs)
                .map(|lane| {
                    let (bar, next, failed) = (&bar, &next, &failed);
                    let (interrupt, lock) = (&interrupt, &lock);
                    scope.spawn(move || {
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            let Some(cell) = cells.get(index) else { return };
                            if failed.load(Ordering::Relaxed) || interrupt.is_requested() {
                                return;
                            }
                            bar.begin(cell);
                            let row =
                                self.one(index, lane.into(), cell, programs, kernel, interrupt);
                            let row = row.with_context(|| cell.title());
                            failed.fetch_or(row.is_err(), Ordering::Relaxed);
                            bar.end(cell);
                            lock().push((index, row));
                        }
                    })
                })
                .collect();
            while !workers.iter().all(|worker| worker.is_finished()) {
                bar.tick();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        bar.clear();
        let mut measured = std::mem::take(&mut *lock());
        measured.sort_by_key(|(index, _)| *index);
        let (mut rows, mut whole) = (Vec::new(), Ok(()));
        for (_, row) in measured {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => whole = whole.and(Err(error)),
            }
        }
        if interrupt.is_requested() {
            whole = Err(anyhow!("interrupted"));
        }
        Ok((rows, whole))
    }

    fn one(
        &self,
        index: usize,
        lane: usize,
        cell: &Cell,
        programs: &Programs,
        kernel: Kernel,
        interrupt: &Interrupt,
    ) -> Result<Measured> {
        let folder = tempfile::Builder::new().prefix("tw-netem-").tempdir()?;
        let plan = Plan {
            cell: cell.clone(),
            programs: programs.clone(),
            pcap: self.pcap,
            folder: folder.path().to_owned(),
            start: std::env::current_dir()?,
        };
        let done = kernel.run(&plan, lane, cell.seconds(), interrupt);
        if let Some(keep) = &self.keep {
            let name = cell.title().replace([' ', '/', ':', '%', ','], "-");
            copy(folder.path(), &keep.join(format!("{index:03}-{name}")))?;
        }
        done?;
        let record = fs::read(plan.record())?;
        let record: Record = serde_json::from_slice(&record).context("the run's record")?;
        Measured::new(cell, &record)
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Progress over the time that all runs take.
struct Bar {
    bar: ProgressBar,
    /// Runs under way, and when they began.
    running: Mutex<Vec<(String, Instant, f64)>>,
    /// Tenths of seconds of runs that are done.
    done: AtomicUsize,
}

impl Bar {
    fn new(cells: &[Cell], jobs: usize) -> Self {
        let total: f64 = cells.iter().map(|cell| cell.seconds() + OVERHEAD).sum();
        let bar = ProgressBar::new(rounded(10.0 * total));
        let style = ProgressStyle::with_template("{wide_msg} {bar:30} {percent:>3} %  {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let about = Duration::from_secs_f64(total / jobs.max(1) as f64);
        eprintln!("this takes about {} s", about.as_secs());
        Self {
            bar,
            running: Mutex::default(),
            done: AtomicUsize::new(0),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<(String, Instant, f64)>> {
        let running = self.running.lock();
        running.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn begin(&self, cell: &Cell) {
        let length = cell.seconds() + OVERHEAD;
        self.running().push((cell.title(), Instant::now(), length));
    }

    fn end(&self, cell: &Cell) {
        let title = cell.title();
        let mut running = self.running();
        if let Some(index) = running.iter().position(|(name, _, _)| *name == title) {
            running.remove(index);
        }
        let tenths = usize::try_from(rounded(10.0 * (cell.seconds() + OVERHEAD)));
        self.done.fetch_add(tenths.unwrap_or(0), Ordering::Relaxed);
    }

    fn tick(&self) {
        let running = self.running();
        let under_way = running
            .iter()
            .map(|(_, start, length)| start.elapsed().as_secs_f64().min(*length));
        let done = self.done.load(Ordering::Relaxed) as u64;
        self.bar
            .set_position(done + rounded(10.0 * under_way.sum::<f64>()));
        let names: Vec<&str> = running.iter().map(|(name, _, _)| name.as_str()).collect();
        self.bar.set_message(names.join(", "));
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
