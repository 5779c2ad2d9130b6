//! What became of each frame of a model's stream, as `tw-edge` said it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::quantity::rounded;

/// How a frame ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// The cloud released its tensor, computed it, and its answer came.
    Answered,
    /// The cloud did not compute it.
    Failed,
    /// Lost on the way, or superseded there.
    Dropped,
    /// No answer came.
    Unanswered,
    /// It was not sent.
    Skipped,
}

/// A frame of a model's stream.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, Serialize)]
pub(crate) struct Frame {
    /// Counted from 0 in the order of capture.
    pub(crate) number: u64,
    pub(crate) fate: Fate,
    /// Of its coded tensor; 0 where it was not sent.
    pub(crate) bytes: u64,
    /// The step of the ladder that it was coded by, where there is one.
    pub(crate) step: Option<u8>,
    /// Answered from every slice.
    pub(crate) whole: bool,
    /// From capture to answer, microseconds; 0 without an answer.
    pub(crate) latency_us: u64,
    /// Answered, and with the class of its label.
    pub(crate) correct: bool,
}

/// What `tw-edge --json` writes about a model's stream, as far as it matters here.
#[derive(Deserialize, Serialize, Debug)]
pub(crate) struct ModelFile {
    pub(crate) frames: u64,
    pub(crate) answered: u64,
    pub(crate) labelled: u64,
    pub(crate) correct: u64,
    /// Frames that were not sent, by reason.
    pub(crate) skipped: BTreeMap<String, u64>,
}

/// A model's stream, as its edge saw it.
#[derive(Deserialize, Serialize, Debug)]
pub(crate) struct ModelRun {
    pub(crate) file: ModelFile,
    /// In the order of capture.
    pub(crate) frames: Vec<Frame>,
    /// Sent tensors that came to nothing, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// A line of `tw-edge`.
#[derive(Deserialize)]
struct Line {
    frame: u64,
    outcome: Fate,
    reason: Option<String>,
    #[serde(default)]
    bytes: u64,
    step: Option<u8>,
    missing_share: Option<f64>,
    #[serde(default)]
    latency_ms: f64,
    label: Option<String>,
    #[serde(default)]
    predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
struct Prediction {
    label: String,
}

impl ModelRun {
    /// Reads what an edge said of each frame, and its summary.
    pub(crate) fn new(file: ModelFile, lines: &str) -> Result<Self> {
        let (mut frames, mut lost) = (Vec::new(), BTreeMap::new());
        for (number, text) in (1..).zip(lines.lines()) {
            let line: Line = serde_json::from_str(text)
                .with_context(|| format!("line {number} of tw-edge is of another form"))?;
            let reason = match line.outcome {
                Fate::Answered | Fate::Skipped => None,
                Fate::Unanswered => Some("unanswered".to_owned()),
                Fate::Failed | Fate::Dropped => line.reason.clone(),
            };
            if let Some(reason) = reason {
                *lost.entry(reason).or_default() += 1;
            }
            frames.push(line.frame());
        }
        frames.sort_by_key(|frame| frame.number);
        let run = Self { file, frames, lost };
        run.check()?;
        Ok(run)
    }

    /// The lines and the summary are of one edge, and count the same.
    fn check(&self) -> Result<()> {
        let count = |of: fn(&Frame) -> bool| self.frames.iter().filter(|frame| of(frame)).count();
        for (what, lines, summary) in [
            ("frames", self.frames.len(), self.file.frames),
            (
                "answers",
                count(|frame| frame.fate == Fate::Answered),
                self.file.answered,
            ),
            (
                "right answers",
                count(|frame| frame.correct),
                self.file.correct,
            ),
        ] {
            ensure!(
                lines as u64 == summary,
                "tw-edge tells of {lines} {what}, and counts {summary}"
            );
        }
        let twice = self
            .frames
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.number == b.number));
        ensure!(!twice, "tw-edge tells of a frame twice");
        let sent = self.frames.iter().filter(|frame| frame.is_sent()).count();
        ensure!(
            sent as u64 == self.file.labelled,
            "not every image has a label: nobody knows which answers are right"
        );
        Ok(())
    }
}

impl Line {
    fn frame(&self) -> Frame {
        let answered = self.outcome == Fate::Answered;
        let best = self.predictions.first().map(|best| &best.label);
        Frame {
            number: self.frame,
            fate: self.outcome,
            bytes: self.bytes,
            step: self.step,
            whole: answered && self.missing_share == Some(0.0),
            latency_us: if answered {
                rounded(1e3 * self.latency_ms)
            } else {
                0
            },
            correct: answered && best.is_some() && best == self.label.as_ref(),
        }
    }
}

impl Frame {
    pub(crate) fn is_sent(&self) -> bool {
        self.fate != Fate::Skipped
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Six frames: right, wrong, right with a slice missing, lost, unanswered, dropped at the edge.
    pub(crate) const LINES: &str = r#"{"frame":1,"name":"1","outcome":"answered","reason":"complete","bytes":900,"step":1,"missing_share":0.0,"inference_ms":2.5,"latency_ms":31.0,"label":"Bag","predictions":[{"class":6,"label":"Shirt","score":0.9},{"class":8,"label":"Bag","score":0.1}]}
{"frame":0,"name":"0","outcome":"answered","reason":"complete","bytes":1000,"step":0,"missing_share":0.0,"inference_ms":2.5,"latency_ms":30.25,"label":"Bag","predictions":[{"class":8,"label":"Bag","score":0.9}]}
{"frame":2,"name":"2","outcome":"answered","reason":"deadline","bytes":1000,"step":0,"missing_share":0.25,"inference_ms":2.5,"latency_ms":99.0,"label":"Shirt","predictions":[{"class":6,"label":"Shirt","score":0.5}]}
{"frame":3,"name":"3","outcome":"dropped","reason":"lost","bytes":1000,"step":0,"label":"Bag"}
{"frame":4,"name":"4","outcome":"unanswered","bytes":1000,"step":0,"label":"Bag"}
{"frame":5,"outcome":"skipped","reason":"the session has no room for it"}
"#;

    pub(crate) fn file() -> ModelFile {
        ModelFile {
            frames: 6,
            answered: 3,
            labelled: 5,
            correct: 2,
            skipped: BTreeMap::from([("rate".to_owned(), 1)]),
        }
    }

    #[test]
    fn lines_are_frames_in_the_order_of_capture() {
        let run = ModelRun::new(file(), LINES).unwrap();
        let numbers: Vec<u64> = run.frames.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        let correct: Vec<bool> = run.frames.iter().map(|frame| frame.correct).collect();
        assert_eq!(correct, [true, false, true, false, false, false]);
        assert_eq!(
            run.frames[2],
            Frame {
                number: 2,
                fate: Fate::Answered,
                bytes: 1_000,
                step: Some(0),
                whole: false,
                latency_us: 99_000,
                correct: true,
            }
        );
        let lost = [("lost".to_owned(), 1), ("unanswered".to_owned(), 1)];
        assert_eq!(run.lost, BTreeMap::from(lost));
        assert!(!run.frames[5].is_sent());
    }

    #[test]
    fn lines_that_are_not_what_the_summary_counts_are_refused() {
        let refused = |change: fn(&mut ModelFile), lines: &str| {
            let mut file = file();
            change(&mut file);
            format!("{:#}", ModelRun::new(file, lines).unwrap_err())
        };
        for (change, expected) in [
            (
                (|file| file.frames = 7) as fn(&mut ModelFile),
                "6 frames, and counts 7",
            ),
            (|file| file.answered = 2, "3 answers, and counts 2"),
            (|file| file.correct = 3, "2 right answers, and counts 3"),
            (|file| file.labelled = 4, "not every image has a label"),
        ] {
            let error = refused(change, LINES);
            assert!(error.contains(expected), "{error}");
        }
        let twice = LINES.replace("\"frame\":4", "\"frame\":3");
        assert!(refused(|_| {}, &twice).contains("a frame twice"));
        let other = LINES.replace("\"answered\"", "\"told\"");
        assert!(refused(|_| {}, &other).contains("line 1 of tw-edge"));
        // What was written when the disk was full, say.
        assert!(refused(|_| {}, &LINES[..LINES.len() - 9]).contains("line 6"));
    }
}
