//! `lib.rs` holds documentation, attributes, the module list and re-exports, nothing else. A module that only includes
//! generated code may stand there in full.

use syn::spanned::Spanned;

use crate::tidy::Violation;
use crate::tidy::source::Source;
use crate::tidy::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources
        .iter()
        .filter(|source| source.path.ends_with("src/lib.rs"))
        .flat_map(check_source)
        .collect()
}

fn check_source(source: &Source) -> Vec<Violation> {
    let items = source.file.iter().flat_map(|file| &file.items);
    items
        .filter(|item| match item {
            syn::Item::Use(_) => false,
            syn::Item::Mod(module) => !module.content.iter().all(|(_, items)| items.iter().all(is_inclusion)),
            _ => true,
        })
        .map(|item| {
            Violation::new(
                &source.path,
                item.span().start().line,
                "lib.rs holds only `mod x;` and `use` items",
            )
        })
        .collect()
}

/// `include!(…)`, `tonic::include_proto!(…)` and their like.
fn is_inclusion(item: &syn::Item) -> bool {
    let syn::Item::Macro(item) = item else { return false };
    item.mac
        .path
        .segments
        .last()
        .is_some_and(|name| name.ident.to_string().starts_with("include"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn modules_and_reexports_are_fine_and_code_is_not() {
        let fine = "//! Docs.\n#![deny(unsafe_code)]\nmod a;\npub mod b;\npub use a::C;\nmod d { tonic::include_proto!(\"d\"); }\n";
        assert!(apply(check, &[("a/src/lib.rs", fine), ("a/src/b.rs", "fn d() {}")]).is_empty());
        assert_eq!(
            apply(check, &[("a/src/lib.rs", "mod a;\nfn b() {}\nmod c { fn d() {} }\n")]),
            [
                "a/src/lib.rs:2: lib.rs holds only `mod x;` and `use` items",
                "a/src/lib.rs:3: lib.rs holds only `mod x;` and `use` items",
            ]
        );
    }
}
