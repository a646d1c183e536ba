//! What the documentation shows works: every plan in it, and every command with its flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::barrage::{home, run};

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("tests/ lies in the workspace").to_owned()
}

/// `README.md` and what lies in `docs/`, below folders too.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("docs/ can be read") {
            let path = entry.expect("docs/ can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// A fenced block.
struct Block {
    place: String,
    language: String,
    text: String,
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (at, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    place: format!("{}:{}", page.display(), at + 1),
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block does not end", page.display());
    blocks
}

/// Whether the YAML is a whole plan: its first level names steps or scenarios.
fn is_plan(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with("scenarios:") || line.starts_with("steps:"))
}

/// A home with everything in `examples/`, so that plans find their data.
fn with_examples() -> TempDir {
    let home = home();
    copy(&root().join("examples"), home.path());
    copy(&root().join("examples"), &home.path().join("examples"));
    home
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("examples/ can be read") {
        let path = entry.expect("examples/ can be read").path();
        let to = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a file can be copied");
        }
    }
}

#[test]
fn every_plan_in_the_documentation_is_good() {
    let home = with_examples();
    let mut checked = 0;
    for block in pages().iter().flat_map(|page| blocks(page)) {
        if !["yaml", "yml"].contains(&block.language.as_str()) || !is_plan(&block.text) {
            continue;
        }
        let file = home.path().join("block.yaml");
        // A block may leave out where the requests go: the reader is told to use --target.
        std::fs::write(&file, &block.text).expect("a plan can be written");
        let ended = run(&home, ["plan", "check", "block.yaml"]);
        assert_eq!(ended.code, 0, "{}:\n{}", block.place, ended.stderr);
        checked += 1;
    }
    for example in std::fs::read_dir(root().join("examples")).expect("examples/ can be read") {
        let path = example.expect("examples/ can be read").path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| path.extension().is_some_and(|extension| extension == "yaml"))
        else {
            continue;
        };
        let ended = run(&home, ["plan", "check", name]);
        assert_eq!(ended.code, 0, "examples/{name}:\n{}", ended.stderr);
        checked += 1;
    }
    assert!(checked > 4, "only {checked} plans found");
}

/// The `barrage …` commands of shell blocks, without what comes after a pipe, a comment or a redirection.
fn commands(block: &Block) -> Vec<Vec<String>> {
    let joined = block.text.replace("\\\n", " ");
    // Behind a prompt, which may name the host; `cargo run` runs the binary.
    let lines = joined
        .lines()
        .map(|line| line.split_once("$ ").map_or(line, |(_, command)| command));
    let lines = lines.map(|line| line.replace("cargo run --release -- ", "barrage "));
    let whole = lines.map(|line| line.split(" # ").next().unwrap_or_default().to_owned());
    let parts = whole.flat_map(|line| {
        line.split(['|', '>', '&', ';'])
            .map(str::trim)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let words = parts.map(|part| part.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words
        .filter_map(|words| {
            let at = words
                .iter()
                .position(|word| word.rsplit('/').next() == Some("barrage"))?;
            // `NAME=value barrage …` and `docker run … barrage …` among others.
            let is_command = words[..at].iter().all(|word| word.contains('='));
            is_command.then(|| words[at + 1..].to_vec())
        })
        .collect()
}

/// What `barrage WORDS --help` knows: its flags, and its commands.
#[derive(Clone, Debug)]
struct Help {
    flags: Vec<String>,
    commands: Vec<String>,
}

fn help(home: &TempDir, words: &[String]) -> Help {
    let ended = run(home, words.iter().map(String::as_str).chain(["--help"]));
    assert_eq!(ended.code, 0, "barrage {words:?} --help: {}", ended.stderr);
    let (mut flags, mut commands, mut in_commands) = (Vec::new(), Vec::new(), false);
    for line in ended.stdout.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            in_commands = line == "Commands:";
        }
        let head = line.trim_start();
        let indent = line.len() - head.len();
        if in_commands && indent == 2 {
            commands.extend(head.split_whitespace().next().map(str::to_owned));
        }
        if head.starts_with('-') {
            let names = head.split([',', ' ', '=', '[']).filter(|word| word.starts_with('-'));
            flags.extend(names.map(str::to_owned));
        }
    }
    Help { flags, commands }
}

/// Short letters that other tools' users know: documented in the note of `run`, not in the list of flags.
const ALIASES: [&str; 3] = ["-R", "-z", "-X"];

#[test]
fn every_command_in_the_documentation_exists() {
    let home = home();
    let mut known: BTreeMap<Vec<String>, Help> = BTreeMap::new();
    let mut checked = 0;
    let shell = ["", "sh", "bash", "console", "text", "shell"];
    let all = pages().into_iter().flat_map(|page| blocks(&page));
    for block in all.filter(|block| shell.contains(&block.language.as_str())) {
        for words in commands(&block) {
            let mut path: Vec<String> = Vec::new();
            let mut of = known.entry(Vec::new()).or_insert_with(|| help(&home, &[])).clone();
            for word in &words {
                if of.commands.contains(word) {
                    path.push(word.clone());
                    of = known.entry(path.clone()).or_insert_with(|| help(&home, &path)).clone();
                    continue;
                }
                assert!(
                    of.commands.is_empty() || word.starts_with('-'),
                    "{}: barrage {words:?}: {word} is no command; there are {:?}",
                    block.place,
                    of.commands
                );
                let flag = word.split('=').next().unwrap_or(word);
                let is_flag =
                    flag.starts_with('-') && flag.len() > 1 && !flag[1..].starts_with(|c: char| c.is_ascii_digit());
                assert!(
                    !is_flag || of.flags.iter().any(|known| known == flag) || ALIASES.contains(&flag),
                    "{}: barrage {words:?} has no {flag}; it has {:?}",
                    block.place,
                    of.flags
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 4, "only {checked} commands found");
}
