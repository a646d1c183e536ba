//! Code that decides reads no clock, no entropy and no environment, does no I/O, prints nothing and never awaits.

use syn::UseTree;
use syn::visit::{self, Visit};

use super::find;
use crate::tidy::Violation;
use crate::tidy::source::{Source, Token};
use crate::tidy::tree::Tree;

/// Crates that are pure but for `src/edge/`.
const PURE: [&str; 7] = ["model", "plan", "metrics", "breaker", "chaos", "rollout", "report"];
/// Crates whose machines are pure.
const PROCESSES: [&str; 3] = ["worker", "coordinator", "gateway"];

/// Tokens that give impure code away, and what is wrong with them.
const SIGNS: [(&str, &str); 31] = [
    ("async", "awaits"),
    ("await", "awaits"),
    ("tokio ::", "awaits"),
    ("Instant", "reads a clock"),
    ("SystemTime", "reads a clock"),
    ("Timestamp :: now", "reads a clock"),
    ("Zoned :: now", "reads a clock"),
    ("rand ::", "draws entropy"),
    ("getrandom ::", "draws entropy"),
    ("OsRng", "draws entropy"),
    ("thread_rng", "draws entropy"),
    ("RandomState", "draws entropy"),
    ("Uuid :: new_v4", "draws entropy"),
    ("std :: env", "reads the environment"),
    ("env :: var", "reads the environment"),
    ("std :: fs", "does I/O"),
    ("std :: process", "does I/O"),
    ("std :: thread", "spawns"),
    ("thread :: spawn", "spawns"),
    ("TcpListener", "does I/O"),
    ("TcpStream", "does I/O"),
    ("UdpSocket", "does I/O"),
    ("UnixStream", "does I/O"),
    ("stdin (", "does I/O"),
    ("stdout (", "prints"),
    ("stderr (", "prints"),
    ("print !", "prints"),
    ("println !", "prints"),
    ("eprint !", "prints"),
    ("eprintln !", "prints"),
    ("dbg !", "prints"),
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources
        .iter()
        .filter(|source| must_be_pure(source))
        .flat_map(check_source)
        .collect()
}

fn must_be_pure(source: &Source) -> bool {
    let folder = source.folder();
    let mut inside = source.path.split('/').skip(1);
    if PURE.contains(&folder) {
        inside.next() == Some("src") && inside.next() != Some("edge")
    } else {
        PROCESSES.contains(&folder) && inside.any(|part| matches!(part, "machine" | "machine.rs" | "step.rs"))
    }
}

fn check_source(source: &Source) -> Vec<Violation> {
    let code: Vec<&Token> = source.code().collect();
    let mut found = Vec::new();
    for (sign, deed) in SIGNS {
        found.extend(
            find(&code, sign)
                .into_iter()
                .map(|line| violation(source, line, sign, deed)),
        );
    }
    found.extend(check_imports(source, &code));
    found
}

/// `use std::{env, fs};` hides a path from a search for its tokens, so imports are looked at leaf by leaf.
fn check_imports(source: &Source, code: &[&Token]) -> Vec<Violation> {
    let mut imports = Imports::default();
    if let Some(file) = &source.file {
        imports.visit_file(file);
    }
    let mut found = Vec::new();
    for (path, line) in imports
        .0
        .into_iter()
        .filter(|(_, line)| code.iter().any(|token| token.line == *line))
    {
        for (sign, deed) in SIGNS.iter().filter(|(sign, _)| sign.contains("::")) {
            let sign_path = sign.trim_end_matches(" ::");
            if path == sign_path || path.starts_with(&format!("{sign_path} ::")) {
                found.push(violation(source, line, sign, deed));
            }
        }
    }
    found
}

fn violation(source: &Source, line: usize, sign: &str, deed: &str) -> Violation {
    let sign = sign.replace(' ', "");
    Violation::new(
        &source.path,
        line,
        format!("pure code {deed}: `{}`", sign.trim_end_matches(['(', ':'])),
    )
}

/// Every imported path in full, with the line of its last name.
#[derive(Default)]
struct Imports(Vec<(String, usize)>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.walk("", &item.tree);
        visit::visit_item_use(self, item);
    }
}

impl Imports {
    fn walk(&mut self, prefix: &str, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.walk(&format!("{prefix}{} :: ", path.ident), &path.tree),
            UseTree::Name(name) => self.leaf(prefix, &name.ident),
            UseTree::Rename(rename) => self.leaf(prefix, &rename.ident),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.0.push((prefix.trim_end_matches(" :: ").to_owned(), line));
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.walk(prefix, tree)),
        }
    }

    fn leaf(&mut self, prefix: &str, name: &proc_macro2::Ident) {
        let path = if name == "self" {
            prefix.trim_end_matches(" :: ").to_owned()
        } else {
            format!("{prefix}{name}")
        };
        self.0.push((path, name.span().start().line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[track_caller]
    fn one(path: &str, text: &str, want: &[&str]) {
        assert_eq!(apply(check, &[(path, text)]), want);
    }

    #[test]
    fn each_planted_impurity_is_found() {
        one(
            "model/src/a.rs",
            "\nasync fn a() {}",
            &["model/src/a.rs:2: pure code awaits: `async`"],
        );
        one(
            "plan/src/a.rs",
            "fn a() { let t = Instant::now(); }",
            &["plan/src/a.rs:1: pure code reads a clock: `Instant`"],
        );
        one(
            "metrics/src/a.rs",
            "fn a() { rand::random() }",
            &["metrics/src/a.rs:1: pure code draws entropy: `rand`"],
        );
        one(
            "report/src/a.rs",
            "fn a() { println!(\"x\"); }",
            &["report/src/a.rs:1: pure code prints: `println!`"],
        );
        one(
            "model/src/a.rs",
            "use std::{\n    env,\n    fs::{self, File},\n};",
            &[
                "model/src/a.rs:2: pure code reads the environment: `std::env`",
                "model/src/a.rs:3: pure code does I/O: `std::fs`",
            ],
        );
        one(
            "model/src/a.rs",
            "use getrandom::fill;",
            &["model/src/a.rs:1: pure code draws entropy: `getrandom`"],
        );
    }

    #[test]
    fn machines_of_processes_are_pure_and_their_loops_are_not() {
        let text = "async fn a() {}";
        for path in [
            "worker/src/machine.rs",
            "coordinator/src/run/machine/fleet.rs",
            "gateway/src/step.rs",
        ] {
            one(path, text, &[&format!("{path}:1: pure code awaits: `async`")]);
        }
        one("worker/src/process.rs", text, &[]);
        one("chaos/src/edge/guard.rs", text, &[]);
        one("cli/src/main.rs", text, &[]);
    }

    #[test]
    fn words_in_comments_strings_and_tests_are_no_impurity() {
        let text = "//! Never async, no Instant.\n/// `std::env`\nfn a(rand: u8) -> &'static str { \"println! std::fs\" }\n\
                    #[cfg(test)]\nmod tests {\n    use std::fs;\n    async fn b() {}\n}\n";
        one("model/src/a.rs", text, &[]);
        one("model/tests/a.rs", "use std::fs;", &[]);
        one(
            "model/src/b.rs",
            "fn a() -> &'static str { env!(\"CARGO_PKG_VERSION\") }",
            &[],
        );
    }
}
