//! Decision records are files `NNNN-title.md`, numbered without gaps or repetition.

use crate::tidy::Violation;
use crate::tidy::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut numbered: Vec<(u32, &str)> = Vec::new();
    for path in &tree.records {
        let name = path.trim_start_matches("docs/adr/");
        match number(name) {
            Some(number) => numbered.push((number, path)),
            None if name == "README.md" => {}
            None => found.push(Violation::new(
                path,
                1,
                "a decision record is named NNNN-title.md, in small letters",
            )),
        }
    }
    numbered.sort_unstable();
    for (expected, (number, path)) in (1..).zip(numbered) {
        if number != expected {
            let message = format!("decision records are numbered without gaps: expected {expected:04}");
            found.push(Violation::new(path, 1, message));
            break;
        }
    }
    found
}

fn number(name: &str) -> Option<u32> {
    let (digits, title) = name.strip_suffix(".md")?.split_once('-')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = digits.len() == 4 && !title.is_empty() && title.chars().all(plain);
    fits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::apply;

    fn names(names: &[&str]) -> Vec<String> {
        let paths: Vec<String> = names.iter().map(|name| format!("docs/adr/{name}")).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
        apply(check, &files)
    }

    #[test]
    fn numbers_follow_each_other() {
        assert!(names(&["README.md", "0001-rows.md", "0002-grants.md"]).is_empty());
        let gap = "numbered without gaps: expected 0002";
        assert_eq!(
            names(&["0001-a.md", "0003-b.md"]),
            [format!("docs/adr/0003-b.md:1: decision records are {gap}")]
        );
        assert_eq!(
            names(&["0001-a.md", "0001-b.md"]),
            [format!("docs/adr/0001-b.md:1: decision records are {gap}")]
        );
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["1-a.md", "0001-A.md", "0001.md", "notes.txt"] {
            assert_eq!(names(&[name]).len(), 1, "{name}");
        }
    }
}
