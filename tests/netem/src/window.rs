//! A part of a run in figures: the bottleneck's queue, and what each flow got of it.

use serde::Serialize;

use crate::cell::Cell;
use crate::quantity::{Seconds, rounded};
use crate::record::{Record, Release, Sample};

/// A part of a run. Times in milliseconds, rates in megabits a second.
#[derive(Serialize, Debug)]
pub(crate) struct WindowRow {
    pub(crate) name: String,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) queue_p50_ms: Option<f64>,
    pub(crate) queue_p95_ms: Option<f64>,
    pub(crate) queue_max_ms: Option<f64>,
    /// Of what the bottleneck could have sent.
    pub(crate) utilisation: f64,
    /// Tensors of the stream captured in this part that were released.
    pub(crate) released: u64,
    /// Of those, how many had every slice.
    pub(crate) whole: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// What each flow got that was to send in this part: the stream first, then the others in the order
    /// of the file.
    pub(crate) goodput_mbps: Vec<f64>,
    /// Jain's index of those: 1 where all got the same, 1/n where one got everything.
    pub(crate) jain: f64,
}

/// Measurements in rising order, of which percentiles are read by nearest rank.
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest measurement that at least `percent` of 100 do not exceed.
    pub(crate) fn at(&self, percent: f64) -> Option<f64> {
        let rank = rounded((percent * self.0.len() as f64 / 100.0).ceil());
        let index = usize::try_from(rank.saturating_sub(1)).ok()?;
        self.0.get(index).copied()
    }
}

/// What waited at the bottleneck between two moments, milliseconds at its rate.
pub(crate) fn queue_delays(cell: &Cell, record: &Record, from: u64, to: u64) -> Sorted {
    let delay = |sample: &Sample| {
        let moment = sample.at_us.saturating_sub(record.started_us) as f64 / 1e6;
        sample.backlog as f64 * 8.0 / (cell.rate_at(moment).0 * 1e3)
    };
    let within = record
        .queue
        .iter()
        .filter(|sample| (from..to).contains(&sample.at_us));
    Sorted::of(within.map(delay).collect())
}

/// Bytes that arrived, by moments.
type Arrivals = Vec<(u64, u64)>;

/// What arrived of each flow, which flow of the file it is; none for the stream.
pub(crate) struct Flows(Vec<(Option<usize>, Arrivals)>);

impl Flows {
    /// The stream first, then the flows of the file in their order.
    pub(crate) fn new(cell: &Cell, record: &Record) -> Self {
        let mut flows = vec![(None, arrivals(&record.releases(cell.fps())))];
        for (flow, edge) in record.edges.iter().filter(|(flow, _)| flow.is_some()) {
            let session = record.session_of(edge);
            let arrivals = session.map(|session| arrivals(&session.releases));
            flows.push((*flow, arrivals.unwrap_or_default()));
        }
        for (flow, counts) in &record.sinks {
            flows.push((Some(*flow), counts.clone()));
        }
        flows.sort_by_key(|(flow, _)| *flow);
        Self(flows)
    }

    /// What each flow got between two moments, megabits a second; without those that were to be silent.
    fn rates(&self, cell: &Cell, started: u64, from: u64, to: u64) -> Vec<f64> {
        let seconds = |at: u64| at.saturating_sub(started) as f64 / 1e6;
        let takes_part = |number: &Option<usize>| {
            let Some(flow) = number.and_then(|number| cell.flows.get(number)) else {
                return true;
            };
            let ended = |stop: Seconds| stop.0 <= seconds(from);
            flow.start_s.0 < seconds(to) && !flow.stop_s.is_some_and(ended)
        };
        let micros = to.saturating_sub(from).max(1) as f64;
        let flows = self.0.iter().filter(|(number, _)| takes_part(number));
        flows
            .map(|(_, arrivals)| {
                let within = arrivals.iter().filter(|(at, _)| (from..to).contains(at));
                8.0 * within.map(|(_, bytes)| *bytes).sum::<u64>() as f64 / micros
            })
            .collect()
    }
}

/// When the slices of tensors became usable.
fn arrivals(releases: &[Release]) -> Arrivals {
    releases
        .iter()
        .map(|(captured, latency, bytes, _, _)| (captured.saturating_add(*latency), *bytes))
        .collect()
}

/// Jain's index of fairness: (Σx)² / (n·Σx²) (Jain, Chiu and Hawe, DEC-TR-301, 1984); 1 for nothing.
pub(crate) fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    if squares == 0.0 {
        1.0
    } else {
        sum * sum / (rates.len() as f64 * squares)
    }
}

/// The parts of a run that its scenario names; of one that was cut short, those that it came to.
pub(crate) fn windows(cell: &Cell, record: &Record, flows: &Flows) -> Vec<WindowRow> {
    let (start, end) = (record.started_us, record.ended_us.max(record.started_us));
    let seconds = |moment: f64| start + rounded(moment * 1e6);
    let parts = cell.windows.iter().filter_map(|part| {
        let (from, to) = (seconds(part.from_s.0), seconds(part.to_s.0).min(end));
        (from < to).then(|| window(cell, record, flows, &part.name, from, to))
    });
    parts.collect()
}

/// The part of a run between two moments.
pub(crate) fn window(
    cell: &Cell,
    record: &Record,
    flows: &Flows,
    name: &str,
    from: u64,
    to: u64,
) -> WindowRow {
    let seconds = |at: u64| at.saturating_sub(record.started_us) as f64 / 1e6;
    let queue = queue_delays(cell, record, from, to);
    let releases = record.releases(cell.fps());
    let within: Vec<_> = releases
        .iter()
        .filter(|(captured, ..)| (from..to).contains(captured))
        .collect();
    let latencies = within.iter().map(|(_, latency, ..)| *latency as f64 / 1e3);
    let latencies = Sorted::of(latencies.collect());
    let rates = flows.rates(cell, record.started_us, from, to);
    WindowRow {
        name: name.to_owned(),
        from_s: seconds(from),
        to_s: seconds(to),
        queue_p50_ms: queue.at(50.0),
        queue_p95_ms: queue.at(95.0),
        queue_max_ms: queue.at(100.0),
        utilisation: utilisation(cell, record, from, to),
        released: within.len() as u64,
        whole: within
            .iter()
            .filter(|(_, _, _, whole, _)| *whole == 1)
            .count() as u64,
        p50_ms: latencies.at(50.0),
        p99_ms: latencies.at(99.0),
        max_ms: latencies.at(100.0),
        jain: jain(&rates),
        goodput_mbps: rates,
    }
}

/// What the bottleneck sent between the first and the last sample of a part, of what it could have.
fn utilisation(cell: &Cell, record: &Record, from: u64, to: u64) -> f64 {
    let within = record
        .queue
        .iter()
        .filter(|sample| (from..to).contains(&sample.at_us));
    let (mut bits, mut possible, mut before): (f64, f64, Option<&Sample>) = (0.0, 0.0, None);
    for sample in within {
        if let Some(before) = before {
            let moment = sample.at_us.saturating_sub(record.started_us) as f64 / 1e6;
            let micros = sample.at_us.saturating_sub(before.at_us) as f64;
            bits += 8.0 * sample.sent.saturating_sub(before.sent) as f64;
            possible += cell.rate_at(moment).0 * micros;
        }
        before = Some(sample);
    }
    if possible == 0.0 {
        0.0
    } else {
        bits / possible
    }
}

#[cfg(test)]
mod tests;
