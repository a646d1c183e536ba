//! One module per rule.

mod bans;
mod edges;
mod length;
mod lib_rs;
mod manifests;
mod markers;
mod parsed;
mod purity;
mod records;
mod skips;
mod tasks;

use super::Violation;
use super::source::Token;
use super::tree::Tree;

/// A rule: what it finds wrong in a tree, in any order, possibly repeated.
pub(crate) type Rule = fn(&Tree) -> Vec<Violation>;

/// Every rule.
pub(crate) const ALL: [Rule; 11] = [
    parsed::check,
    edges::check,
    manifests::check,
    length::check,
    purity::check,
    lib_rs::check,
    markers::check,
    skips::check,
    records::check,
    bans::check,
    tasks::check,
];

/// The lines where the tokens of `pattern`, written with spaces between them, follow each other.
fn find(tokens: &[&Token], pattern: &str) -> Vec<usize> {
    let wanted: Vec<&str> = pattern.split(' ').collect();
    tokens
        .windows(wanted.len())
        .filter(|window| window.iter().zip(&wanted).all(|(token, wanted)| token.text == *wanted))
        .map(|window| window[0].line)
        .collect()
}
