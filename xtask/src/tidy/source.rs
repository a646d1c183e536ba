//! A Rust file as the rules see it: a flat list of tokens, and which of them are tests.

use std::ops::Range;

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One token: an identifier, a literal, a bracket, or punctuation (`::` is one token).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// As written.
    pub(crate) text: String,
    /// The first line, from 1.
    pub(crate) line: usize,
    /// The last line; a literal may span several.
    pub(crate) end_line: usize,
    /// Whether it lies in code that only tests compile.
    pub(crate) in_test: bool,
}

/// A Rust file.
pub(crate) struct Source {
    /// The path from the root.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
    /// All tokens but comments and documentation.
    pub(crate) tokens: Vec<Token>,
    /// The syntax tree; `None` when the file is [`Self::broken`].
    pub(crate) file: Option<syn::File>,
    /// Line and reason, when the file is not Rust.
    pub(crate) broken: Option<(usize, String)>,
    /// Whether the whole file is test code.
    pub(crate) is_test: bool,
}

impl Source {
    /// Parses a file.
    pub(crate) fn new(path: String, text: String) -> Self {
        let is_test = is_test_path(&path);
        let mut source = Self {
            path,
            text,
            tokens: Vec::new(),
            file: None,
            broken: None,
            is_test,
        };
        let stream: TokenStream = match source.text.parse() {
            Ok(stream) => stream,
            Err(error) => {
                source.broken = Some((error.span().start().line, error.to_string()));
                return source;
            }
        };
        match syn::parse2::<syn::File>(stream.clone()) {
            Ok(file) => {
                let mut tests = TestLines::default();
                tests.visit_file(&file);
                flatten(stream, &source.text, &tests.0, &mut source.tokens);
                source.file = Some(file);
            }
            Err(error) => source.broken = Some((error.span().start().line, error.to_string())),
        }
        source
    }

    /// The crate's folder: the first part of the path.
    pub(crate) fn folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The file's name without its folders.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The tokens outside tests; none in a test file.
    pub(crate) fn code(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| !self.is_test && !token.in_test)
    }

    /// The lines that hold code outside tests, each once, in order.
    pub(crate) fn code_lines(&self) -> Vec<usize> {
        let mut lines: Vec<usize> = self.code().flat_map(|token| token.line..=token.end_line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Paths without `.rs` of the modules that this file declares for tests alone.
    pub(crate) fn test_module_stems(&self) -> Vec<String> {
        let Some(file) = &self.file else { return Vec::new() };
        let stem = self.path.trim_end_matches(".rs");
        let folder = match self.name() {
            "lib.rs" | "main.rs" | "mod.rs" => stem.rsplit_once('/').map_or("", |(folder, _)| folder),
            _ => stem,
        };
        let modules = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => Some(&module.ident),
            _ => None,
        });
        modules.map(|name| format!("{folder}/{name}")).collect()
    }
}

/// Files that hold tests and nothing else, by place: `tests.rs`, and all below a folder `tests` or `benches`.
fn is_test_path(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}

/// Whether an item exists for tests alone: `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]` and its like.
pub(crate) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => ends_in_test(path),
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        syn::Meta::List(list) => ends_in_test(&list.path),
        syn::Meta::NameValue(_) => false,
    })
}

/// `test`, `tokio::test` and so on.
fn ends_in_test(path: &syn::Path) -> bool {
    path.segments.last().is_some_and(|segment| segment.ident == "test")
}

/// Collects the lines of items that only tests compile.
#[derive(Default)]
struct TestLines(Vec<Range<usize>>);

impl TestLines {
    fn add(&mut self, attributes: &[syn::Attribute], span: Span) -> bool {
        let found = is_for_tests(attributes);
        if found {
            self.0.push(span.start().line..span.end().line + 1);
        }
        found
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !self.add(attributes_of(item), item.span()) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !self.add(&function.attrs, function.span()) {
            visit::visit_impl_item_fn(self, function);
        }
    }
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn flatten(stream: TokenStream, text: &str, tests: &[Range<usize>], out: &mut Vec<Token>) {
    let mut glued = false;
    for tree in stream {
        let span = tree.span();
        if is_comment(text, span) {
            continue;
        }
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = brackets(group.delimiter());
                push(open, group.span_open(), tests, out);
                flatten(group.stream(), text, tests, out);
                push(close, group.span_close(), tests, out);
                glued = false;
            }
            TokenTree::Punct(punct) => {
                let colon = punct.as_char() == ':';
                if colon && glued {
                    if let Some(before) = out.last_mut() {
                        before.text.push(':');
                    }
                    glued = false;
                } else {
                    push(punct.as_char().to_string(), span, tests, out);
                    glued = colon && punct.spacing() == Spacing::Joint;
                }
            }
            TokenTree::Ident(name) => {
                push(name.to_string(), span, tests, out);
                glued = false;
            }
            TokenTree::Literal(literal) => {
                push(literal.to_string(), span, tests, out);
                glued = false;
            }
        }
    }
}

/// Documentation comes as `#[doc = "…"]` tokens that all lie on the comment itself.
fn is_comment(text: &str, span: Span) -> bool {
    text.get(span.byte_range())
        .is_some_and(|written| written.starts_with("//") || written.starts_with("/*"))
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn push(text: impl Into<String>, span: Span, tests: &[Range<usize>], out: &mut Vec<Token>) {
    let (line, end_line) = (span.start().line, span.end().line);
    let in_test = tests.iter().any(|lines| lines.contains(&line));
    out.push(Token {
        text: text.into(),
        line,
        end_line,
        in_test,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("a/src/b.rs".to_owned(), text.to_owned())
    }

    #[test]
    fn comments_and_documentation_are_no_code() {
        let text = "//! Inner.\n\n/// Outer.\n/** Block. */\nfn a() {\n    // Why.\n    b(\"x\n\ny\");\n}\n";
        assert_eq!(source(text).code_lines(), [5, 7, 8, 9, 10]);
    }

    #[test]
    fn tests_are_no_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[tokio::test]\nasync fn c() {}\n\
                    #[cfg(all(test, unix))]\nfn d() {}\n#[cfg(any(test, unix))]\nfn e() {}\n";
        assert_eq!(source(text).code_lines(), [1, 10, 11]);
        for path in [
            "a/src/tests.rs",
            "a/src/tests/x.rs",
            "tests/src/lib.rs",
            "a/benches/x.rs",
        ] {
            assert!(Source::new(path.to_owned(), String::new()).is_test, "{path}");
        }
    }

    #[test]
    fn tokens_are_flat_and_paths_keep_their_colons() {
        let texts: Vec<String> = source("a::b!(c: 'd', r#\"{\"#);")
            .tokens
            .into_iter()
            .map(|token| token.text)
            .collect();
        assert_eq!(
            texts,
            ["a", "::", "b", "!", "(", "c", ":", "'d'", ",", "r#\"{\"#", ")", ";"]
        );
    }

    #[test]
    fn a_broken_file_keeps_the_place() {
        assert!(source("fn a() {}\nfn b(").broken.is_some_and(|(line, _)| line == 2));
        assert!(source("fn a() {}\nfn fn\n").broken.is_some_and(|(line, _)| line == 2));
    }
}
