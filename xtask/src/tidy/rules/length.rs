//! A file holds at most 500 lines of code and a function fewer than 70, tests, comments and blank lines not counted.

use std::ops::RangeInclusive;

use proc_macro2::Span;
use syn::visit::{self, Visit};

use crate::tidy::Violation;
use crate::tidy::source::{Source, is_for_tests};
use crate::tidy::tree::Tree;

/// The longest file, in lines of code.
const FILE_LINES_MAX: usize = 500;
/// A function must end before this line of its own.
const FUNCTION_LINES_END: usize = 70;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources
        .iter()
        .filter(|source| !source.is_test)
        .flat_map(check_source)
        .collect()
}

fn check_source(source: &Source) -> Vec<Violation> {
    let lines = source.code_lines();
    let mut found = Vec::new();
    if lines.len() > FILE_LINES_MAX {
        let message = format!(
            "the file has {} lines of code; the ceiling is {FILE_LINES_MAX}",
            lines.len()
        );
        found.push(Violation::new(&source.path, 1, message));
    }
    let mut functions = Functions::default();
    if let Some(file) = &source.file {
        functions.visit_file(file);
    }
    for (name, place) in functions.0 {
        let length = lines.iter().filter(|line| place.contains(line)).count();
        if length >= FUNCTION_LINES_END {
            let message = format!("function {name} has {length} lines; it must end before line {FUNCTION_LINES_END}");
            found.push(Violation::new(&source.path, *place.start(), message));
        }
    }
    found
}

/// Names and lines of all functions outside tests.
#[derive(Default)]
struct Functions(Vec<(String, RangeInclusive<usize>)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, end: Span) {
        let start = signature.fn_token.span.start().line;
        self.0.push((signature.ident.to_string(), start..=end.end().line));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.add(&function.sig, function.block.brace_token.span.close());
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, function.block.brace_token.span.close());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block.brace_token.span.close());
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    fn function(lines: usize) -> String {
        format!(
            "/// Doc.\n#[inline]\npub fn long() {{\n{}}}\n",
            "    a();\n\n    // why\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_ends_before_line_70() {
        assert!(apply(check, &[("a/src/b.rs", &function(69))]).is_empty());
        assert_eq!(
            apply(check, &[("a/src/b.rs", &function(70))]),
            ["a/src/b.rs:3: function long has 70 lines; it must end before line 70"]
        );
        let method = format!("impl A {{\n    {}}}\n", function(70));
        assert_eq!(
            apply(check, &[("a/src/b.rs", &method)]),
            ["a/src/b.rs:4: function long has 70 lines; it must end before line 70"]
        );
    }

    #[test]
    fn a_file_has_500_lines_at_most() {
        let lines = "const A: u8 = 0; // note\n\n/// Doc.\n";
        assert!(
            apply(
                check,
                &[(
                    "a/src/b.rs",
                    &format!("{}\n", lines.repeat(500).trim_end_matches("/// Doc.\n"))
                )]
            )
            .is_empty()
        );
        let long = format!("{}struct B;\n", lines.repeat(500));
        assert_eq!(
            apply(check, &[("a/src/b.rs", &long)]),
            ["a/src/b.rs:1: the file has 501 lines of code; the ceiling is 500"]
        );
    }

    #[test]
    fn tests_may_be_longer() {
        let inside = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(600));
        assert!(apply(check, &[("a/src/b.rs", &inside), ("a/src/tests.rs", &function(600))]).is_empty());
    }
}
