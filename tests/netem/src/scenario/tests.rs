//! Scenario files: all that are shipped parse, and what is wrong says where.

use super::*;
use crate::carrier::Carrier;

const TEXT: &str = "\
about = 'a test'
[path]
rate_mbps = 20
delay_ms = 20
queue_ms = 200
[stream]
fps = 30
tensors = 300
deadline_ms = 35
";

/// What is said of the scenario when `from` is replaced by `to`.
fn refusal(from: &str, to: &str) -> String {
    assert!(TEXT.contains(from), "the test looks for `{from}`");
    match Scenario::parse("test", &TEXT.replace(from, to)) {
        Ok(_) => panic!("`{to}` passes"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_shipped_scenario_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let scenario = Scenario::read(&entry.unwrap().path()).unwrap();
        assert!(!scenario.cells(&[], None).is_empty());
        assert!(!scenario.about.is_empty(), "{}", scenario.name);
        names.push(scenario.name);
    }
    for expected in [
        "headline-35",
        "headline-100",
        "rate-steps",
        "utilisation",
        "utilisation-codel",
        "fairness-2",
        "fairness-4",
        "beside-cubic",
        "overload",
        "varying-rate",
        "accuracy",
        "short",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let scenario = Scenario::parse("test", TEXT).unwrap();
    assert_eq!(scenario.stream.source, Source::StandIn);
    assert_eq!(scenario.stream.stand_in_bytes(), 12_000);
    assert_eq!(scenario.stream.carriers, [Carrier::default()]);
    assert!(scenario.stream.retransmission);
    assert_eq!(scenario.path.loss.text(), "none");
    assert_eq!(scenario.path.loss.netem, None);
}

#[test]
fn unknown_keys_and_bad_values_say_what_and_where() {
    for (from, to, expected) in [
        ("delay_ms = 20", "delay = 20", ["line 4", "delay"]),
        (
            "delay_ms = 20",
            "delay_ms = -1",
            ["line 4", "-1 ms; 0 to 10000 can be"],
        ),
        (
            "rate_mbps = 20",
            "rate_mbps = 0",
            ["line 3", "0 Mbit/s; 0.01 to"],
        ),
        (
            "rate_mbps = 20",
            "rate_mbps = '20'",
            ["line 3", "invalid type"],
        ),
        (
            "delay_ms = 20",
            "delay_ms = nan",
            ["line 4", "NaN ms; 0 to"],
        ),
        (
            "fps = 30",
            "fps = 30\ncarriers = ['sctp']",
            ["line 8", "no carrier `sctp`"],
        ),
        ("fps = 30", "fps = 30\nburst = 4", ["line 8", "burst"]),
        (
            "[stream]",
            "loss = 'iid:120%'\n[stream]",
            ["line 6", "a probability is 0 to 1"],
        ),
        ("about = 'a test'", "", ["missing field", "about"]),
    ] {
        let error = refusal(from, to);
        for part in expected {
            assert!(error.contains(part), "{to}: {error}");
        }
    }
}

#[test]
fn what_netem_cannot_do_is_refused_with_the_reason() {
    for (key, expected) in [
        ("loss = 'periodic:20,1'", "netem draws every loss at random"),
        ("loss = 'trace:x.csv'", "netem cannot replay a trace"),
        ("back_loss = 'iid:1e-11'", "netem holds no probability"),
        ("seed = 7", "netem before Linux 6.6 has no seed"),
    ] {
        let error = refusal("[stream]", &format!("{key}\n[stream]"));
        assert!(error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (from, to, expected) in [
        (
            "queue_ms = 200",
            "queue_ms = 200\nqueue_bytes = 9999",
            "one is enough",
        ),
        (
            "queue_ms = 200",
            "queue_bytes = 100",
            "path.queue_bytes: 1600",
        ),
        ("queue_ms = 200", "aqm = 'codel'", "manages a queue"),
        (
            "queue_ms = 200",
            "queue_ms = 200\necn = true",
            "only an AQM marks",
        ),
        ("fps = 30", "", "either `fps` or"),
        ("fps = 30", "fps = 30\nunlimited = true", "either `fps` or"),
        ("fps = 30", "unlimited = true", "as long as its `seconds`"),
        ("tensors = 300", "", "either `tensors` or"),
        ("tensors = 300", "tensors = 0", "stream.tensors: 1 to"),
        ("tensors = 300", "seconds = 0", "more than 0"),
        ("deadline_ms = 35", "deadline_ms = 0", "stream.deadline_ms"),
        (
            "fps = 30",
            "fps = 30\ncarriers = []",
            "stream.carriers: none",
        ),
        ("fps = 30", "fps = 30\nbytes = 7", "stream.bytes"),
        (
            "fps = 30",
            "fps = 30\noptions = ['--stand-in=9']",
            "gives `--stand-in` itself",
        ),
        (
            "[stream]",
            "[[case]]\noptions = ['--quiet']\n[stream]",
            "case.options: the laboratory gives `--quiet`",
        ),
        (
            "[stream]",
            "[cloud]\noptions = ['--listen', '[::]:1']\n[stream]",
            "cloud.options: the laboratory gives `--listen`",
        ),
        (
            "[stream]",
            "[[case]]\nname = ''\n[stream]",
            "a name has 1 to 40",
        ),
        (
            "[stream]",
            "[[case]]\nname = 'a'\n[[case]]\nname = 'a'\n[stream]",
            "nobody could tell",
        ),
        (
            "[stream]",
            "[[step]]\nat_s = 5\n[[step]]\nat_s = 5\n[stream]",
            "comes after",
        ),
        (
            "[stream]",
            "[[flow]]\nkind = 'tcp'\nstart_s = 5\nstop_s = 5\n[stream]",
            "stops before it starts",
        ),
        (
            "[stream]",
            "[[flow]]\nkind = 'tsp'\ncongestion = 'bbr'\n[stream]",
            "`congestion` is for `tcp`",
        ),
        (
            "[stream]",
            "[[window]]\nname = 'x'\nfrom_s = 5\nto_s = 5\n[stream]",
            "ends before it begins",
        ),
    ] {
        let error = refusal(from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
    let unshaped = TEXT.replace("queue_ms = 200", "[[step]]\nat_s = 5\nrate_mbps = 3");
    let error = Scenario::parse("test", &unshaped).unwrap_err().to_string();
    assert!(
        error.contains("step.rate_mbps: without `queue_ms`"),
        "{error}"
    );
}

#[test]
fn what_a_model_cannot_have_is_refused_with_the_reason() {
    let text = TEXT.replace("fps = 30", "fps = 30\nsource = 'model'");
    let scenario = Scenario::parse("test", &text).unwrap();
    assert_eq!(scenario.stream.source, Source::Model);
    for (from, to, expected) in [
        (
            "fps = 30",
            "fps = 30\nbytes = 12000",
            "stream.bytes: a model's tensors",
        ),
        (
            "fps = 30\n",
            "unlimited = true\n",
            "stream.unlimited: accuracy",
        ),
        (
            "fps = 30",
            "fps = 30\nreliable_deadline_ms = 9",
            "stream.reliable_deadline_ms: what comes after",
        ),
        (
            "[stream]",
            "[cloud]\nservice_ms = 5\n[stream]",
            "cloud.service_ms: the model takes",
        ),
        (
            "[stream]",
            "[[flow]]\nkind = 'tsp'\n[stream]",
            "a second model on the same processor",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = text.replace(from, to).replace(
            "tensors = 300",
            if to.starts_with("unlimited") {
                "seconds = 10"
            } else {
                "tensors = 300"
            },
        );
        let error = Scenario::parse("test", &changed).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{to}: {error}");
    }
    let error = refusal("fps = 30", "fps = 30\nsource = 'noise'");
    assert!(
        error.contains("line 8") && error.contains("stand-in"),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Scenario::read(Path::new("no/such.toml")).unwrap_err();
    assert!(format!("{error:#}").contains("no/such.toml"));
}
