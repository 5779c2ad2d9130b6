//! One run: a scenario with one carrier in one case.

use serde::{Deserialize, Serialize};

use crate::carrier::Carrier;
use crate::quantity::{Mbps, Millis, Seconds, rounded};
use crate::scenario::{Cloud, Flow, Network, Scenario, Step, Stream, Window};

/// One run: what happens in one pair of endpoints on one path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The case's name, where it has one.
    pub(crate) case: Option<String>,
    pub(crate) carrier: Carrier,
    pub(crate) path: Network,
    pub(crate) stream: Stream,
    pub(crate) cloud: Cloud,
    pub(crate) steps: Vec<Step>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) windows: Vec<Window>,
}

impl Scenario {
    /// The runs of a scenario: every carrier in every case. `carriers` replaces those of the file
    /// where it has any, `seconds` its length.
    pub(crate) fn cells(&self, carriers: &[Carrier], seconds: Option<Seconds>) -> Vec<Cell> {
        let mut stream = self.stream.clone();
        if let Some(seconds) = seconds {
            (stream.seconds, stream.tensors) = (Some(seconds), None);
        }
        let carriers = if carriers.is_empty() {
            self.stream.carriers.clone()
        } else {
            carriers.to_vec()
        };
        let base = Cell {
            scenario: self.name.clone(),
            case: None,
            carrier: Carrier::default(),
            path: self.path.clone(),
            stream,
            cloud: self.cloud.clone(),
            steps: self.step.clone(),
            flows: self.flow.clone(),
            windows: self.window.clone(),
        };
        let mut under = vec![base.clone()];
        if !self.case.is_empty() {
            under = self
                .case
                .iter()
                .map(|case| {
                    let mut cell = base.clone();
                    cell.case = case.name.clone();
                    cell.path.loss = case.loss.clone().unwrap_or(cell.path.loss);
                    cell.stream.parity = case.parity.clone().or(cell.stream.parity);
                    cell.stream.most_parity = case.most_parity.or(cell.stream.most_parity);
                    cell.stream.options.extend(case.options.iter().cloned());
                    cell
                })
                .collect();
        }
        let each = |carrier: &Carrier| {
            let carrier = carrier.clone();
            under.iter().map(move |cell| {
                let mut cell = cell.clone();
                if let Some(deadline) = cell.stream.reliable_deadline_ms
                    && carrier.is_reliable()
                {
                    cell.stream.deadline_ms = deadline;
                }
                cell.carrier = carrier.clone();
                cell
            })
        };
        carriers.iter().flat_map(each).collect()
    }
}

impl Cell {
    /// Which of a run's cells it is, for people.
    pub(crate) fn title(&self) -> String {
        let loss = self.path.loss.text();
        let case = self.case.iter().map(|case| format!(" {case}"));
        let case: String = case.collect();
        format!("{} {} {loss}{case}", self.scenario, self.carrier)
    }

    /// How long the stream goes on.
    pub(crate) fn seconds(&self) -> f64 {
        let Stream {
            seconds,
            tensors,
            fps,
            ..
        } = &self.stream;
        match (seconds, tensors, fps) {
            (Some(seconds), _, _) => seconds.0,
            (None, Some(tensors), Some(fps)) => *tensors as f64 / fps.0,
            _ => 0.0,
        }
    }

    /// Frames a second; 0 is as fast as the session takes them.
    pub(crate) fn fps(&self) -> f64 {
        self.stream.fps.map_or(0.0, |fps| fps.0)
    }

    /// Frames that the edge captures; none where it is told to end.
    pub(crate) fn frames(&self) -> Option<u64> {
        let of_seconds = self.stream.fps.map(|fps| self.seconds() * fps.0);
        self.stream
            .tensors
            .or_else(|| of_seconds.map(|frames| rounded(frames).max(1)))
    }

    /// The bottleneck's rate at a moment, seconds from the start.
    pub(crate) fn rate_at(&self, moment: f64) -> Mbps {
        self.steps
            .iter()
            .take_while(|step| step.at_s.0 <= moment)
            .filter_map(|step| step.rate_mbps)
            .last()
            .unwrap_or(self.path.rate_mbps)
    }

    /// The time that a tensor of `bits` bits on the wire needs on the empty path at the start, its
    /// parity aside, milliseconds: their time at the bottleneck, and one way.
    pub(crate) fn limit_ms(&self, bits: f64) -> f64 {
        let Millis(delay) = self.path.delay_ms;
        bits / self.path.rate_mbps.0 / 1e3 + delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
about = 'two carriers under two losses'
[path]
rate_mbps = 20
delay_ms = 20
queue_ms = 100
[stream]
fps = 30
tensors = 300
deadline_ms = 35
reliable_deadline_ms = 30000
carriers = ['udp', 'tcp/bbr']
most_parity = 0.4
[[case]]
loss = 'none'
[[case]]
loss = 'iid:1%'
most_parity = 0.2
[[step]]
at_s = 5
rate_mbps = 3
[[step]]
at_s = 7
delay_ms = 30
[[step]]
at_s = 8
rate_mbps = 40
";

    #[test]
    fn a_run_for_each_carrier_and_loss() {
        let scenario = Scenario::parse("pair", TEXT).unwrap();
        let cells = scenario.cells(&[], None);
        let titles: Vec<_> = cells.iter().map(Cell::title).collect();
        assert_eq!(
            titles,
            [
                "pair udp none",
                "pair udp iid:1%",
                "pair tcp/bbr none",
                "pair tcp/bbr iid:1%"
            ]
        );
        let parity: Vec<_> = cells
            .iter()
            .map(|cell| cell.stream.most_parity.unwrap().0)
            .collect();
        assert_eq!(parity, [0.4, 0.2, 0.4, 0.2]);
        let deadlines: Vec<_> = cells.iter().map(|cell| cell.stream.deadline_ms).collect();
        assert_eq!(deadlines, [35, 35, 30_000, 30_000]);
        assert_eq!((cells[0].frames(), cells[0].seconds()), (Some(300), 10.0));

        let other = scenario.cells(&["udp/adaptive".parse().unwrap()], Some(Seconds(4.0)));
        assert_eq!(other.len(), 2);
        assert_eq!(other[0].title(), "pair udp/adaptive none");
        assert_eq!((other[0].frames(), other[0].seconds()), (Some(120), 4.0));
    }

    #[test]
    fn cases_have_names_and_options_of_their_own() {
        let text = TEXT
            .replace("most_parity = 0.4", "options = ['--coder', 'jpeg']")
            .replace(
                "loss = 'none'",
                "name = 'adaptive'\noptions = ['--adaptive-quality']",
            )
            .replace("[path]", "[path]\nloss = 'iid:5%'");
        let cells = Scenario::parse("pair", &text).unwrap().cells(&[], None);
        assert_eq!(cells[0].title(), "pair udp iid:5% adaptive");
        assert_eq!(
            cells[0].stream.options,
            ["--coder", "jpeg", "--adaptive-quality"]
        );
        assert_eq!(cells[1].title(), "pair udp iid:1%");
        assert_eq!(cells[1].stream.options, ["--coder", "jpeg"]);
    }

    #[test]
    fn the_rate_follows_the_steps() {
        let cells = Scenario::parse("steps", TEXT).unwrap().cells(&[], None);
        let at = |moment| cells[0].rate_at(moment).0;
        assert_eq!(
            [at(0.0), at(4.9), at(5.0), at(7.5), at(9.0)],
            [20.0, 20.0, 3.0, 3.0, 40.0]
        );
    }

    #[test]
    fn the_limit_is_the_time_at_the_bottleneck_and_one_way() {
        let cells = Scenario::parse("limit", TEXT).unwrap().cells(&[], None);
        assert!((cells[0].limit_ms(100_000.0) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn an_unlimited_stream_ends_when_it_is_told_to() {
        let text = TEXT.replace("fps = 30\ntensors = 300", "unlimited = true\nseconds = 10");
        let cells = Scenario::parse("all", &text).unwrap().cells(&[], None);
        assert_eq!((cells[0].frames(), cells[0].seconds()), (None, 10.0));
    }
}
