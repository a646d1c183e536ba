//! The examples of the repository are valid, and every plan reads back from its canonical text.

use std::path::{Path, PathBuf};

use barrage_model::plan::Plan;
use barrage_plan::{Overrides, Source, read, show};

fn plans() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.join("../examples"), root.join("tests/good")] {
        for entry in std::fs::read_dir(folder).expect("a folder of plans") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() >= 4, "the examples are gone");
    found
}

/// The plan without the places of its SLAs, which differ between texts.
fn unplaced(mut plan: Plan) -> Plan {
    plan.sla.iter_mut().for_each(|sla| sla.at = None);
    plan
}

#[test]
fn plans_read_back_from_their_canonical_text() {
    for path in plans() {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let plan =
            read(Source { file, text: &text }, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = show(&plan);
        let again = read(Source { file, text: &shown }, &Overrides::default())
            .unwrap_or_else(|errors| panic!("{}\n{shown}", errors.first().render(&shown)));
        let (was, is) = (
            format!("{:#?}", unplaced(plan)),
            format!("{:#?}", unplaced(again.clone())),
        );
        let differs = was.lines().zip(is.lines()).enumerate().find(|(_, (was, is))| was != is);
        assert_eq!((differs, was.len()), (None, is.len()), "{file}");
        assert_eq!(show(&again), shown, "{file}");
    }
}
