//! A plan that has been accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use barrage_metrics::summary::RunInfo;
use barrage_model::ids::RunId;
use barrage_model::plan::{Plan, Target};
use barrage_plan::{Overrides, Source};
use barrage_proto::v1;
use sha2::{Digest, Sha256};

use crate::compile::{Member, compile};
use crate::machine::fleet::Demand;
use crate::machine::run::Value;
use crate::store::{Files, Hash, NewRun, hex};

/// Largest number of entries in each map of a request.
const ENTRIES_MAX: usize = 1_000;

/// A plan that has been read, and everything that was said with it.
pub(crate) struct Submission {
    pub(crate) id: RunId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) seed: u64,
    pub(crate) plan_hash: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// `-e` values: in memory only, on their way to workers.
    pub(crate) secrets: Vec<Value>,
    pub(crate) files: Vec<Hash>,
    pub(crate) no_wait: bool,
    pub(crate) accept_invalid: bool,
}

impl Submission {
    /// Reads a request. `drawn` is the seed when nobody gives one. Blocks while Poisson arrivals are counted.
    ///
    /// # Errors
    /// Rendered diagnostics, at least one.
    pub(crate) fn read(id: RunId, drawn: u64, request: v1::SubmitRequest, files: &Files) -> Result<Self, Vec<String>> {
        let sizes = [
            request.env.len(),
            request.set.len(),
            request.files.len(),
            request.labels.len(),
        ];
        if sizes.iter().any(|size| *size > ENTRIES_MAX) || request.resolve.len() > ENTRIES_MAX {
            return Err(vec![format!(
                "a submission takes at most {ENTRIES_MAX} entries of each kind"
            )]);
        }
        let secrets: Vec<Value> = request
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let overrides = Overrides {
            target: request.target,
            seed: request.seed,
            env: request.env.into_iter().collect(),
            set: request.set.into_iter().collect(),
            resolve: request.resolve,
            min_workers: request.min_workers,
            name: request.name,
        };
        let source = Source {
            file: &request.plan_file,
            text: &request.plan_yaml,
        };
        let mut plan = barrage_plan::read(source, &overrides).map_err(|all| {
            all.iter()
                .map(|diagnostic| diagnostic.render(&request.plan_yaml))
                .collect::<Vec<String>>()
        })?;
        let named = name_files(&mut plan, &request.files, files)?;
        let seed = plan.seed.unwrap_or(drawn);
        plan.seed = Some(seed);
        check_for_some_fleet(&plan, seed)?;
        Ok(Self {
            id,
            plan: Arc::new(plan),
            seed,
            plan_hash: hex(&Sha256::digest(&request.plan_yaml)),
            labels: request.labels.into_iter().collect(),
            secrets,
            files: named,
            no_wait: request.no_wait,
            accept_invalid: request.accept_invalid,
        })
    }

    /// Which workers it wants.
    pub(crate) fn demand(&self) -> Demand {
        let policy = &self.plan.workers;
        Demand {
            min: policy.min,
            max: policy.max,
            labels: policy.labels.clone(),
        }
    }

    /// The plan as it travels and is stored: without values of secrets.
    pub(crate) fn wire_plan(&self) -> v1::Plan {
        let mut plan = v1::Plan::from(self.plan.as_ref());
        for variable in plan.variables.iter_mut().filter(|variable| variable.secret) {
            variable.value.clear();
        }
        plan
    }

    /// What is stored of it.
    pub(crate) fn new_run(&self) -> NewRun {
        NewRun {
            id: self.id,
            name: self.plan.name.clone(),
            seed: self.seed,
            plan_hash: self.plan_hash.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels.clone(),
            files: self.files.clone(),
            plan: self.wire_plan(),
            accept_invalid: self.accept_invalid,
            submitted_s: crate::clock::wall_secs(),
        }
    }

    /// Identity of the run for its report.
    pub(crate) fn info(&self, started_at: &str, duration_us: u64) -> RunInfo {
        RunInfo {
            id: self.id,
            name: self.plan.name.clone(),
            seed: self.seed,
            plan_hash: self.plan_hash.clone(),
            labels: self
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            started_at: started_at.to_owned(),
            duration_us,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            targets: self.plan.targets.iter().map(Target::url).collect(),
        }
    }
}

/// Writes the hashes of the manifest into the plan, and checks that every file is there.
fn name_files(
    plan: &mut Plan,
    manifest: &std::collections::HashMap<String, Vec<u8>>,
    files: &Files,
) -> Result<Vec<Hash>, Vec<String>> {
    let mut problems = BTreeSet::new();
    let mut used = BTreeSet::new();
    barrage_plan::edge::files::each_file(plan, &mut |file| {
        let hash: Option<Hash> = manifest
            .get(&file.path)
            .and_then(|hash| hash.as_slice().try_into().ok());
        match hash {
            None => {
                problems.insert(format!("the file {:?} was not sent along", file.path));
            }
            Some(hash) if !files.has(&hash) => {
                problems.insert(format!("the file {:?} was not uploaded", file.path));
            }
            Some(hash) => {
                used.insert(hash);
                file.sha256 = Some(hash);
            }
        }
    });
    if problems.is_empty() {
        Ok(used.into_iter().collect())
    } else {
        Err(problems.into_iter().collect())
    }
}

/// What no fleet could run is refused here; what depends on the fleet shows when it is there.
fn check_for_some_fleet(plan: &Plan, seed: u64) -> Result<(), Vec<String>> {
    let worker = |n| Member {
        name: format!("worker {n}"),
        shards: 1,
        max_rate: None,
    };
    let least: Vec<Member> = (0..plan.workers.min.max(1)).map(worker).collect();
    compile(plan, &least, seed)
        .map(drop)
        .map_err(|error| vec![chain(&error)])
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
