//! Runs of the command, and what it leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tw-lab"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What a successful run prints.
pub(crate) fn printed(arguments: &[&str]) -> String {
    let output = lab(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "no bar where standard error is no terminal");
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a run that fails.
pub(crate) fn refused(arguments: &[&str], code: i32) -> String {
    let output = lab(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(errors.starts_with("error: "), "{errors}");
    errors
}

pub(crate) fn rows(path: &Path) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    file["rows"].as_array().unwrap().clone()
}

/// A folder, and files in it as arguments.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}
