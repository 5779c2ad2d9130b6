//! What the user sees of a stream: a line a frame, and summaries.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use tensorwire_codec::Classification;
use tensorwire_endpoints::clock::millis;
use tensorwire_endpoints::datapath::PathStats;
use tensorwire_endpoints::description::Description;
use tensorwire_endpoints::edge::{DISCONNECTED, Outcome, SentTensor};
use tensorwire_endpoints::statistics::Percentiles;
use tensorwire_protocol::ReceivedResult;
use tensorwire_protocol::admission::{DropReason, DropRule};
use tensorwire_protocol::wire::ResultStatus;

use crate::news::Sessions;

/// A line of output.
#[derive(Serialize, Default)]
struct Line<'a> {
    frame: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// answered, failed, dropped, unanswered or skipped.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// The step of the ladder, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_share: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    class: u32,
    label: String,
    score: f32,
}

/// The summary for programs.
#[derive(Serialize)]
pub(crate) struct Counted<'a> {
    drop_rule: &'static str,
    /// Frames captured; each is in exactly one of the counts that follow.
    frames: usize,
    answered: usize,
    /// Refused or not computed by the cloud.
    failed: usize,
    /// Lost on the way or superseded there.
    dropped: usize,
    unanswered: usize,
    /// Not sent, by reason: rate, deadline, server-busy, superseded, disconnected, or failed.
    skipped: &'a BTreeMap<&'static str, usize>,
    /// Answered tensors that were whole.
    whole: usize,
    labelled: usize,
    correct: usize,
    /// Of the coded tensors.
    bytes: usize,
    latency_ms: LatencyMs,
    sessions: Sessions,
}

/// From capture to answer.
#[derive(Serialize)]
struct LatencyMs {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// What the user sees of a stream.
pub(crate) struct Report {
    description: Option<Description>,
    quiet: bool,
    /// Tensors sent by each step of the ladder.
    steps: Vec<usize>,
    latencies: Vec<f64>,
    model: Vec<f64>,
    encode: Vec<f64>,
    inference: Vec<f64>,
    bytes: usize,
    answered: usize,
    whole: usize,
    labelled: usize,
    correct: usize,
    failed: usize,
    dropped: usize,
    unanswered: usize,
    /// By reason.
    skipped: BTreeMap<&'static str, usize>,
}

impl Report {
    pub(crate) fn new(description: Option<Description>, quiet: bool, steps: u8) -> Self {
        Self {
            description,
            quiet,
            steps: vec![0; usize::from(steps)],
            latencies: Vec::new(),
            model: Vec::new(),
            encode: Vec::new(),
            inference: Vec::new(),
            bytes: 0,
            answered: 0,
            whole: 0,
            labelled: 0,
            correct: 0,
            failed: 0,
            dropped: 0,
            unanswered: 0,
            skipped: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Answered {
                sent,
                result,
                latency,
            } => {
                self.sent(&sent);
                self.answered(&sent, &result, millis(latency));
            }
            Outcome::Dropped { sent, reason } => {
                self.sent(&sent);
                self.dropped += 1;
                self.lost(&sent, "dropped", Some(reason.name()));
            }
            Outcome::Unanswered { sent } => {
                self.sent(&sent);
                self.unanswered += 1;
                self.lost(&sent, "unanswered", None);
            }
            Outcome::Skipped {
                frame,
                notice,
                reason,
            } => {
                let dropped = DropReason::ALL.iter().find(|r| r.notice() == notice);
                let name = match dropped {
                    Some(dropped) => dropped.name(),
                    None if reason == DISCONNECTED => DISCONNECTED,
                    None => "failed",
                };
                *self.skipped.entry(name).or_default() += 1;
                let line = Line {
                    frame: frame.0,
                    outcome: "skipped",
                    reason: Some(&reason),
                    ..Line::default()
                };
                self.print(&line);
            }
            _ => {}
        }
    }

    fn sent(&mut self, sent: &SentTensor) {
        self.bytes += sent.bytes;
        if let Some(tensors) = self.steps.get_mut(usize::from(sent.step)) {
            *tensors += 1;
        }
        self.model.push(millis(sent.model));
        self.encode.push(millis(sent.encode));
        self.labelled += usize::from(sent.label.is_some());
    }

    fn answered(&mut self, sent: &SentTensor, result: &ReceivedResult, latency: f64) {
        let failure = failure(result.status);
        if failure.is_some() {
            self.failed += 1;
        } else {
            self.answered += 1;
            self.whole += usize::from(result.missing_share == 0.0);
            self.latencies.push(latency);
            self.inference.push(millis(result.compute));
        }
        let classes = Classification::decode(&result.payload).map(|result| result.classes);
        let classes = classes.unwrap_or_default();
        let best = classes.first().map(|(class, _)| *class);
        self.correct += usize::from(best.is_some() && best == sent.label);
        let predictions = classes.iter().map(|&(class, score)| Prediction {
            class,
            label: self.name(class),
            score,
        });
        let line = Line {
            frame: sent.frame.0,
            name: Some(&sent.name),
            outcome: if failure.is_some() {
                "failed"
            } else {
                "answered"
            },
            reason: Some(failure.unwrap_or_else(|| result.reason.name())),
            bytes: Some(sent.bytes),
            step: self.step(sent),
            missing_share: Some(result.missing_share),
            inference_ms: Some(millis(result.compute)),
            latency_ms: Some(latency),
            label: sent.label.map(|class| self.name(class)),
            predictions: predictions.collect(),
        };
        self.print(&line);
    }

    fn lost(&self, sent: &SentTensor, outcome: &'static str, reason: Option<&'static str>) {
        let line = Line {
            frame: sent.frame.0,
            name: Some(&sent.name),
            outcome,
            reason,
            bytes: Some(sent.bytes),
            step: self.step(sent),
            label: sent.label.map(|class| self.name(class)),
            ..Line::default()
        };
        self.print(&line);
    }

    fn step(&self, sent: &SentTensor) -> Option<u8> {
        (self.steps.len() > 1).then_some(sent.step)
    }

    fn name(&self, class: u32) -> String {
        match &self.description {
            Some(description) => description.label(class as usize).into_owned(),
            None => class.to_string(),
        }
    }

    fn print(&self, line: &Line<'_>) {
        if !self.quiet
            && let Ok(text) = serde_json::to_string(line)
        {
            // Whoever reads may have gone (`| head`); the stream and its summary go on.
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }

    pub(crate) fn counted(&self, rule: DropRule, sessions: Sessions) -> Counted<'_> {
        let latencies = Percentiles::of(self.latencies.clone());
        let sent = self.answered + self.failed + self.dropped + self.unanswered;
        Counted {
            drop_rule: rule.name(),
            frames: sent + self.skipped.values().sum::<usize>(),
            answered: self.answered,
            failed: self.failed,
            dropped: self.dropped,
            unanswered: self.unanswered,
            skipped: &self.skipped,
            whole: self.whole,
            labelled: self.labelled,
            correct: self.correct,
            bytes: self.bytes,
            latency_ms: LatencyMs {
                p50: latencies.at(50.0),
                p95: latencies.at(95.0),
                p99: latencies.at(99.0),
            },
            sessions,
        }
    }

    pub(crate) fn summary(self, stats: Option<&PathStats>) {
        let sent = self.answered + self.failed + self.dropped + self.unanswered;
        let reasons: Vec<_> = (self.skipped.iter())
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        };
        eprintln!(
            "{sent} tensors sent: {} answered ({} of them whole), {} failed or refused by the cloud, {} lost on \
             the way or superseded, {} unanswered; {} frames skipped{reasons}",
            self.answered,
            self.whole,
            self.failed,
            self.dropped,
            self.unanswered,
            self.skipped.values().sum::<usize>()
        );
        if sent > 0 && sent == self.unanswered {
            eprintln!(
                "nothing came back: is UDP let through to the cloud's data port, and back? `--carrier tcp` \
                 or `quic-stream` may get through where it is not"
            );
        }
        if self.labelled > 0 {
            let share = 100.0 * self.correct as f64 / self.labelled as f64;
            eprintln!(
                "top-1 {share:.1} % ({} of {} labelled)",
                self.correct, self.labelled
            );
        }
        if let Some(bytes) = self.bytes.checked_div(sent) {
            eprintln!("{bytes} bytes a tensor");
        }
        if self.steps.len() > 1 {
            let steps = self.steps.iter().enumerate();
            let steps: Vec<String> = steps.map(|(step, n)| format!("{step}: {n}")).collect();
            eprintln!("tensors by step: {}", steps.join(", "));
        }
        for (name, values) in [
            ("edge model", self.model),
            ("encode", self.encode),
            ("cloud", self.inference),
            ("capture to answer", self.latencies),
        ] {
            let percentiles = Percentiles::of(values);
            if let (Some(p50), Some(p99)) = (percentiles.at(50.0), percentiles.at(99.0)) {
                eprintln!("{name:<18} p50 {p50:8.2} ms   p99 {p99:8.2} ms");
            }
        }
        if let Some(PathStats {
            session,
            send_failed,
            ..
        }) = stats
        {
            if session.datagrams_sent == 0 {
                eprintln!(
                    "{} bytes sent, {} received, {} tensors abandoned",
                    session.bytes_sent, session.bytes_received, session.tensors_abandoned
                );
                return;
            }
            eprintln!(
                "{} datagrams sent, {send_failed} not sent, {} received, {} refused, {} tensors abandoned",
                session.datagrams_sent,
                session.datagrams_received,
                session.refused.total(),
                session.tensors_abandoned
            );
        }
    }
}

/// Why the cloud did not compute a tensor, where it did not.
const fn failure(status: ResultStatus) -> Option<&'static str> {
    match status {
        ResultStatus::Done => None,
        ResultStatus::Undecodable => Some("undecodable"),
        ResultStatus::ModelFailed => Some("model failed"),
        ResultStatus::Busy => Some("busy"),
        ResultStatus::Superseded => Some("superseded"),
        _ => Some("unknown"),
    }
}
