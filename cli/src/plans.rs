//! Reads plans from files, stdin or the command line, with the files that they name.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barrage_model::plan::Plan;
use barrage_plan::{Diagnostic, Overrides, Place, Problem, Source, about};
use barrage_proto::v1;
use barrage_worker::scenario::{CompiledPlan, Files, PrepareError};

use crate::args::Fill;
use crate::exit::{Failure, chain};

/// Largest plan text, bytes; what is longer is refused with its place by the reader.
const TEXT_MAX: u64 = 1024 * 1024;

/// A plan that has been read, ready to be sent.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: String,
    text: String,
    plan: Plan,
    files: BTreeMap<[u8; 32], Vec<u8>>,
    paths: BTreeMap<String, [u8; 32]>,
}

impl Loaded {
    /// The plan, with hashes of its files.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The files' contents by hash.
    pub(crate) fn files(&self) -> &BTreeMap<[u8; 32], Vec<u8>> {
        &self.files
    }

    /// The request that submits it.
    pub(crate) fn request(&self, fill: &Fill) -> v1::SubmitRequest {
        v1::SubmitRequest {
            plan_yaml: self.text.clone(),
            plan_file: self.name.clone(),
            files: self
                .paths
                .iter()
                .map(|(path, hash)| (path.clone(), hash.to_vec()))
                .collect(),
            target: fill.target.clone(),
            seed: fill.seed,
            env: fill.env.iter().cloned().collect(),
            set: fill.set.iter().cloned().collect(),
            resolve: fill.resolve.clone(),
            ..v1::SubmitRequest::default()
        }
    }
}

/// What the command line fills in.
pub(crate) fn overrides(fill: &Fill) -> Overrides {
    Overrides {
        target: fill.target.clone(),
        seed: fill.seed,
        env: fill.env.iter().cloned().collect(),
        set: fill.set.iter().cloned().collect(),
        resolve: fill.resolve.clone(),
        ..Overrides::default()
    }
}

/// Reads a plan file, or stdin for `-`.
pub(crate) fn load(path: &str, fill: &Fill) -> Result<Loaded, Failure> {
    let unreadable = |error: std::io::Error| {
        let hint = hint(path, &error);
        Failure::BadPlan(format!("{path}: the plan could not be read: {error}{hint}"))
    };
    let (name, bytes, folder) = if path == "-" {
        (
            "stdin",
            limited(std::io::stdin().lock()).map_err(unreadable)?,
            PathBuf::from("."),
        )
    } else {
        let opened = std::fs::File::open(path).map_err(unreadable)?;
        let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
        (
            path,
            limited(opened).map_err(unreadable)?,
            folder.unwrap_or(Path::new(".")).to_owned(),
        )
    };
    let text = barrage_plan::text_of(name, &bytes).map_err(|errors| Failure::BadPlan(errors.first().to_string()))?;
    read(name, text, &folder, fill)
}

/// Who names no file may mean a target.
fn hint(path: &str, error: &std::io::Error) -> String {
    let is_plan = [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end));
    let names_host = path.contains(['.', ':']) || path.starts_with("localhost");
    if error.kind() != std::io::ErrorKind::NotFound || is_plan || !names_host || path.starts_with(['.', '/']) {
        return String::new();
    }
    let target = format!("http://{path}");
    match url::Url::parse(&target) {
        Ok(_) => format!("; did you mean the target `{target}`?"),
        Err(_) => String::new(),
    }
}

fn limited(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(TEXT_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refused(error: &Diagnostic, text: &str) -> Failure {
    if error.is_argument() {
        Failure::Usage(error.to_string())
    } else {
        Failure::BadPlan(error.render(text))
    }
}

/// Whether rows and certificates can be used, as the workers will want to.
fn usable(plan: &Plan, files: &BTreeMap<[u8; 32], Vec<u8>>) -> Result<(), PrepareError> {
    let tls = &plan.network.tls;
    if plan.data.is_empty() && tls.ca.is_none() && tls.certificate.is_none() && tls.key.is_none() {
        return Ok(());
    }
    let mut delivered = Files::new();
    for content in files.values() {
        delivered.insert(content.as_slice());
    }
    CompiledPlan::check_files(Arc::new(plan.clone()), &delivered)
}

/// Reads a plan from text, with the files that it names below `folder`.
pub(crate) fn read(name: &str, text: &str, folder: &Path, fill: &Fill) -> Result<Loaded, Failure> {
    let source = Source { file: name, text };
    let mut plan = barrage_plan::read(source, &overrides(fill)).map_err(|errors| refused(errors.first(), text))?;
    let at = |place: Place<'_>, found: String, expected: &str| {
        Failure::BadPlan(about(source, place, Problem::new(found, expected)).render(text))
    };
    let files = barrage_plan::edge::files::load(&mut plan, folder).map_err(|error| {
        let place = error.path().map_or(Place::Key(&[]), Place::Value);
        at(
            place,
            chain(&error),
            "files that can be read, in the plan's folder or below it",
        )
    })?;
    match usable(&plan, &files) {
        Ok(()) => {}
        Err(PrepareError::Data { name, path, problem }) => {
            let found = format!("`{path}` cannot be used: {problem}");
            let place = ["data", name.as_str()];
            return Err(at(
                Place::Key(&place),
                found,
                "rows with every column that the plan uses",
            ));
        }
        Err(error) => {
            let place = Place::Key(&["network", "tls"]);
            return Err(at(
                place,
                chain(&error),
                "PEM files with certificates, and the key that belongs to them",
            ));
        }
    }
    let paths = plan
        .files()
        .into_iter()
        .filter_map(|file| Some((file.path.clone(), file.sha256?)))
        .collect();
    Ok(Loaded {
        name: name.to_owned(),
        text: text.to_owned(),
        plan,
        files,
        paths,
    })
}
