//! `barrage runs`.

use std::fmt::Write as _;

use barrage_model::ids::RunId;
use barrage_model::units::parse_duration;
use barrage_proto::v1;

use crate::args::RunsCommand;
use crate::commands::report;
use crate::exit::{Failure, Outcome};
use crate::local::Local;
use crate::place::Place;
use crate::places;
use crate::progress::clean;
use crate::stdout;

/// Lists, shows, removes runs.
pub(crate) async fn runs(command: &RunsCommand) -> Outcome {
    match command {
        RunsCommand::Ls { place, limit } => list(place, *limit).await,
        RunsCommand::Show(args) => report::report(args).await,
        RunsCommand::Rm { run, place } => remove(places::run_id(run)?, place).await,
        RunsCommand::Prune {
            keep,
            older_than,
            place,
        } => {
            let older_than = older_than
                .as_deref()
                .map(parse_duration)
                .transpose()
                .map_err(|error| Failure::Usage(format!("--older-than: {error}")))?;
            let older_than_us = older_than.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
            prune(
                v1::PruneRequest {
                    keep: *keep,
                    older_than_us,
                },
                place,
            )
            .await
        }
    }
}

async fn list(place: &Place, limit: u32) -> Outcome {
    let runs = match Local::open(place)? {
        Some(local) => local.list(limit)?,
        None => {
            places::coordinator(place.coordinator.as_deref())
                .await?
                .list(limit)
                .await?
        }
    };
    let mut text = format!(
        "{:<16}  {:<9}  {:<12}  {:>4}  {:<20}  {:>9}  {:>10}  {}\n",
        "RUN", "STATE", "VERDICT", "EXIT", "STARTED", "SECONDS", "ITERATIONS", "NAME"
    );
    for run in runs {
        let exit = run.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let seconds = run.duration_us as f64 / 1e6;
        let started: String = run.started_at.chars().take(19).collect();
        let _infallible = writeln!(
            text,
            "{:<16}  {:<9}  {:<12}  {exit:>4}  {started:<20}  {seconds:>9.1}  {:>10}  {}",
            RunId(run.run).to_string(),
            clean(&run.state),
            clean(&run.verdict),
            run.started,
            clean(&run.name)
        );
    }
    stdout::write(text.as_bytes())?;
    Ok(0)
}

async fn remove(run: u64, place: &Place) -> Outcome {
    let removed = match Local::open(place)? {
        Some(local) => local.remove(run).await?,
        None => {
            places::coordinator(place.coordinator.as_deref())
                .await?
                .remove(run)
                .await?
        }
    };
    if removed {
        Ok(0)
    } else {
        Err(Failure::Usage(format!("there is no stored run {}", RunId(run))))
    }
}

async fn prune(request: v1::PruneRequest, place: &Place) -> Outcome {
    let removed = match Local::open(place)? {
        Some(local) => local.prune(&request).await?,
        None => {
            places::coordinator(place.coordinator.as_deref())
                .await?
                .prune(request)
                .await?
        }
    };
    stdout::line(&format!("{removed} removed"))?;
    Ok(0)
}
