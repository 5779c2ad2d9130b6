//! What goes wrong, and what is said then.

use crate::support::{printed, refused};

#[test]
fn failures_say_what_to_do() {
    let missing = refused(&["split", "no/such/model.onnx"], 1);
    assert!(missing.contains("no/such/model.onnx"), "{missing}");
    let missing = refused(&["conceal", "--images", "no/such/images"], 1);
    assert!(missing.contains("no/such/images"), "{missing}");
    let unknown = refused(&["conceal", "--split", "ad_3"], 1);
    assert!(
        unknown.contains("ad_3") && unknown.contains("add_3"),
        "{unknown}"
    );
    let hybrid = ["--limit", "5", "--methods", "hybrid"];
    let bundle = refused(&[&["conceal", "--split", "add_2"][..], &hybrid].concat(), 1);
    assert!(
        bundle.contains("--bundle") && bundle.contains("--swap"),
        "{bundle}"
    );
    let range = refused(&["quality", "--split", "add_2", "--limit", "5"], 1);
    assert!(
        range.contains("--clip") && range.contains("--swap"),
        "{range}"
    );
    let sigma = refused(&["quality", "--sigma", "3", "--limit", "5"], 1);
    assert!(sigma.contains("--swap"), "{sigma}");
    let early = refused(
        &[
            "conceal",
            "--limit",
            "5",
            "--json",
            "no/such/folder/rows.json",
        ],
        1,
    );
    assert!(early.contains("no/such/folder"), "{early}");
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [
        &["conceal", "--no-such-flag"][..],
        &["conceal", "--missing", "1.5"],
        &["conceal", "--methods", "zero,best"],
        &["conceal", "--map", "elements,columns"],
        &["conceal", "--motion", "2"],
        &["conceal", "--packets", "0"],
        &["conceal", "--swap", "--bundle", "x.twb"],
        &["quality", "--qualities", "0"],
        &["calibrate", "--sigma", "0", "--out", "x.twb"],
        &["calibrate", "--hold-out", "1", "--out", "x.twb"],
        &["calibrate", "--sigma", "3", "--min-max", "--out", "x.twb"],
    ] {
        refused(arguments, 2);
    }
    let help = printed(&["conceal", "--help"]);
    assert!(
        help.contains("Examples:") && help.contains("--missing"),
        "{help}"
    );
}
