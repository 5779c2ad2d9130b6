//! What is lost, and which methods repair it: choices by name.

use std::str::FromStr;

use tensorwire_concealment::{Method, UnknownMethod};

use crate::lab::experiment::loss::Lost;

/// What is lost together, in the order in which it was given.
#[derive(Clone, Debug)]
pub(super) struct Patterns(pub(super) Vec<Lost>);

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut patterns = vec![];
        for name in text.split(',').map(str::trim) {
            match name {
                "all" => patterns.extend(Lost::units().chain(Lost::packets())),
                "packets" => patterns.extend(Lost::packets()),
                _ => patterns.push(name.parse()?),
            }
        }
        Ok(Self(once_each(patterns)))
    }
}

/// Methods in the order in which they were given.
#[derive(Clone, Debug)]
pub(super) struct Methods(pub(super) Vec<Method>);

impl FromStr for Methods {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(Method::ALL.to_vec()));
        }
        let methods = text.split(',').map(|name| name.trim().parse());
        Ok(Self(once_each(methods.collect::<Result<_, _>>()?)))
    }
}

fn once_each<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    items.into_iter().fold(vec![], |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}
