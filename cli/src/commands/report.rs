//! `barrage report`.

use crate::args::{Format, ReportArgs};
use crate::exit::{Failure, Outcome};
use crate::follow::{publish, write_all};
use crate::local::Local;
use crate::places;
use crate::stdout;

/// Renders a stored run, or one that goes on, in one form to stdout and in all to a folder.
pub(crate) async fn report(args: &ReportArgs) -> Outcome {
    let run = args.run.as_deref().map(places::run_id).transpose()?;
    let Some(local) = Local::open(&args.place)? else {
        let mut client = places::coordinator(args.place.coordinator.as_deref()).await?;
        let run = match run {
            Some(run) => run,
            None => places::newest(&mut client).await?,
        };
        publish(&mut client, run, args.out.as_deref(), args.format).await?;
        return Ok(0);
    };
    let run = run.map_or_else(|| local.newest(), Ok)?;
    let mut formats = vec![args.format];
    if args.out.is_some() {
        formats.extend(Format::ALL);
    }
    let words: Vec<barrage_report::Format> = formats
        .iter()
        .map(|format| {
            let known = barrage_report::Format::from_word(format.word());
            known.ok_or_else(|| Failure::Own(format!("there is no format {}", format.word())))
        })
        .collect::<Result<_, _>>()?;
    let mut rendered = local.report(run, &words)?.into_iter();
    let result = rendered.next().unwrap_or_default();
    let shown = stdout::write(&result);
    if let Some(dir) = &args.out {
        write_all(dir, Format::ALL.into_iter().zip(rendered))?;
    }
    shown?;
    Ok(0)
}
