//! Nothing unfinished: no ignored tests, no `todo!`, no words that promise to come back later.

use super::find;
use crate::tidy::Violation;
use crate::tidy::source::{Source, Token};
use crate::tidy::tree::Tree;

/// Words that mark unfinished work, in pieces so that this file does not hold them.
const WORDS: [&str; 2] = [concat!("place", "holder"), concat!("for ", "now")];
/// Macros that stand where code is missing.
const MACROS: [&str; 2] = ["todo !", "unimplemented !"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources.iter().flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<Violation> {
    let tokens: Vec<&Token> = source.tokens.iter().collect();
    let say = |line, message: String| Violation::new(&source.path, line, message);
    let mut found: Vec<Violation> = ignored(&tokens)
        .into_iter()
        .map(|line| {
            say(
                line,
                "no ignored tests: assert what happens today, and cite the issue".to_owned(),
            )
        })
        .collect();
    for name in MACROS {
        let shown = name.replace(' ', "");
        found.extend(
            find(&tokens, name)
                .into_iter()
                .map(|line| say(line, format!("`{shown}` is unfinished work"))),
        );
    }
    for (index, line) in source.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let words = WORDS.iter().filter(|word| holds_word(&lower, word));
        found.extend(words.map(|word| say(index + 1, format!("`{word}`: say what is, or finish it"))));
        if holds_word(line, concat!("TO", "DO")) && !cites_issue(line) {
            found.push(say(
                index + 1,
                "open work cites its issue, as in `(#123)` right after the word".to_owned(),
            ));
        }
    }
    found
}

/// Lines of `#[ignore]`, `#[ignore = "…"]` and of `#[cfg_attr(…, ignore)]`.
fn ignored(tokens: &[&Token]) -> Vec<usize> {
    let mut found = find(tokens, "# [ ignore");
    for (index, window) in tokens.windows(3).enumerate() {
        if window
            .iter()
            .map(|token| token.text.as_str())
            .eq(["#", "[", "cfg_attr"])
        {
            let attribute = tokens[index..].iter().take_while(|token| token.text != "]");
            found.extend(attribute.filter(|token| token.text == "ignore").map(|token| token.line));
        }
    }
    found
}

/// Whether `word` stands in `line` with no letter or digit at either side.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

fn cites_issue(line: &str) -> bool {
    line.split_once(concat!("TO", "DO(#"))
        .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    #[test]
    fn ignored_tests_are_found_in_every_form() {
        let text =
            "#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}\n#[cfg_attr(unix, ignore)]\nfn c() {}\n";
        let lines: Vec<String> = apply(check, &[("a/tests/b.rs", text)]);
        assert_eq!(lines.len(), 3);
        for (line, number) in lines.iter().zip([2, 4, 6]) {
            assert!(
                line.starts_with(&format!("a/tests/b.rs:{number}: no ignored tests")),
                "{line}"
            );
        }
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_words() {
        let word = WORDS[0];
        let text = format!(
            "fn a() {{ todo!() }}\n// A {} here\n// Good {}.\n",
            word.to_uppercase(),
            WORDS[1]
        );
        assert_eq!(
            apply(check, &[("a/src/b.rs", &text)]),
            [
                "a/src/b.rs:1: `todo!` is unfinished work".to_owned(),
                format!("a/src/b.rs:2: `{word}`: say what is, or finish it"),
                format!("a/src/b.rs:3: `{}`: say what is, or finish it", WORDS[1]),
            ]
        );
    }

    #[test]
    fn open_work_cites_its_issue() {
        let mark = concat!("TO", "DO");
        let text = format!("// {mark}: later\n// {mark}(#12): later\n// {mark}(me)\n// MAS{mark}N\n");
        let lines = apply(check, &[("a/src/b.rs", &text)]);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("a/src/b.rs:1:") && lines[1].starts_with("a/src/b.rs:3:"),
            "{lines:?}"
        );
    }

    #[test]
    fn words_inside_words_are_fine() {
        assert!(
            apply(
                check,
                &[("a/src/b.rs", "// known for nowhere, ignore\nfn ignore() {}\n")]
            )
            .is_empty()
        );
    }
}
