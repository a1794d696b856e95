//! `score MODEL PATHS...`: a verdict for every image.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::labelled::{self, tell_skipped, tell_stray};
use super::places::{refuse_among_images, refuse_source, same_place};
use super::verdicts::{Format, Printer};
use super::{DeviceChoice, command_line, page};
use crate::backend::Backend;
use crate::data::folder::{MvtecTest, Unscored, unscored};
use crate::folder::{FolderPage, SCORING_BATCH, Scored, Scoring, ScoringOptions};
use crate::method::{Detector, HeatSource};
use crate::progress::progress;
use crate::report::Timing;

/// Share of false alarms allowed unless the user says otherwise.
pub const DEFAULT_ALPHA: f64 = 0.05;
/// Exit status of `--fail-on-anomaly` when there is one.
const ANOMALY_STATUS: u8 = 2;
/// Paths that the title of a page names.
const NAMED: usize = 3;

#[derive(Args)]
pub struct ScoreArgs {
    /// Model file, from `fit` or from an experiment (detector/model.safetensors).
    model: PathBuf,
    /// Images, folders or quoted patterns; of a folder in MVTec AD's layout the test images.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How to print the verdicts.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Share of false alarms allowed: images with a p-value of at most this are anomalous.
    #[arg(long, default_value_t = DEFAULT_ALPHA, allow_negative_numbers = true)]
    alpha: f64,
    /// Write an overlay for every image into this folder: where it departs from normal. An image that
    /// is called anomalous shows its least likely place; another one stays grey but for what no
    /// normal image has shown.
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// What heat maps are made of: positions, reconstruction or gradient [default: the detector's
    /// own].
    #[arg(long, value_name = "SOURCE", requires = "heatmaps")]
    heat: Option<HeatSource>,
    /// Write a mask of every image into this folder, white where it is defective at the level --alpha:
    /// at most that share of normal images has more than a thousandth of its area marked.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Write a page about the images: the least likely ones with heat map and mask, histograms of scores
    /// and p-values, the ROC curve where there are labels, timings.
    #[arg(long, value_name = "PAGE.html")]
    report: Option<PathBuf>,
    /// Replace the page of --report, and pictures that --heatmaps and --masks have left before.
    #[arg(long)]
    force: bool,
    /// Exit with status 2 when an image is anomalous, and with 1 when one could not be read.
    #[arg(long)]
    fail_on_anomaly: bool,
    /// Stop at a file that cannot be read instead of leaving it out.
    #[arg(long)]
    strict: bool,
    /// Print throughput and latency to standard error.
    #[arg(long)]
    timings: bool,
    #[command(flatten)]
    device: DeviceChoice,
}

pub fn run(args: ScoreArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let open = Backend::choose(args.device.name.as_deref())?;
    let detector = Detector::load_on(&args.model, &open.device)?;
    detector.check_device(&open)?;
    let ready = started.elapsed();
    // What cannot be done is said before the files are looked for.
    refuse_impossible(&args, &detector)?;
    let Unscored {
        files,
        tests,
        stray_masks,
        ignored,
        searched,
    } = unscored(&args.paths)?;
    tell_skipped(&[], &ignored.to_string());
    tell_stray(&stray_masks);
    refuse_places(&args, &files, &searched)?;
    let scored = score_all(&args, &detector, &files, tests)?;
    tell_skipped(&scored.skipped, "");
    if scored.images == 0 {
        bail!(
            "none of the {} files could be read, for the reasons above",
            files.len()
        );
    }
    if let Some(metrics) = &scored.metrics {
        eprintln!("{}", labelled::describe(metrics));
    }
    tell_reshaped(&detector, &scored);
    if args.timings {
        tell_timings(ready, &scored);
    }
    if let Some(path) = &args.report {
        let backend = format!("{}, {}", open.backend.name(), open.description());
        let page = page_of(&args, &detector, &scored, (backend, ready));
        page::write(path, &page.render()?)?;
        eprintln!("report {}", path.display());
    }
    if args.fail_on_anomaly && scored.anomalies > 0 {
        return Ok(ExitCode::from(ANOMALY_STATUS));
    }
    // Masks that could not be read say nothing of the images.
    let unread = files.len() - scored.images;
    if args.fail_on_anomaly && unread > 0 {
        bail!(
            "{unread} of the images could not be read, for the reasons above, and whether these are anomalous is not known"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns of pictures of other proportions than those of the fit.
fn tell_reshaped(detector: &Detector, scored: &Scored) {
    if scored.reshaped > 0 {
        let conversion = detector.conversion();
        eprintln!(
            "warning: {} of {} pictures have other proportions than those that the model was fitted to (as {}x{} pixels, \
             width and height): their edges are repeated around them, which may be all that is odd about them",
            scored.reshaped, scored.images, conversion.width, conversion.height
        );
    }
}

/// Refuses a folder for pictures in which there are some already: those of the same names would be replaced, and the
/// others be taken for this pass's.
fn refuse_pictures(option: &str, folder: &Path, force: bool) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_picture = |name: &OsStr| {
        Path::new(name)
            .extension()
            .is_some_and(|kind| kind == "png")
    };
    match entries
        .filter(|entry| is_picture(&entry.file_name()))
        .count()
    {
        0 => Ok(()),
        _ if force => Ok(()),
        count => bail!(
            "{option} {}: holds {count} .png already: name another folder, or --force replaces those of the same names",
            folder.display()
        ),
    }
}

/// Refuses what cannot be done whatever the files are.
fn refuse_impossible(args: &ScoreArgs, detector: &Detector) -> anyhow::Result<()> {
    if let (Some(masks), Some(heatmaps)) = (&args.masks, &args.heatmaps)
        && same_place(masks, heatmaps)
    {
        bail!("--masks and --heatmaps name the same folder, and their files have the same names");
    }
    if let Some(path) = &args.report {
        page::check(path, args.force)?;
    }
    Ok(detector.conformal().check(args.alpha)?)
}

/// Refuses results that would replace what is scored, or lie among it.
fn refuse_places(args: &ScoreArgs, files: &[PathBuf], searched: &[PathBuf]) -> anyhow::Result<()> {
    for (option, folder) in [("--heatmaps", &args.heatmaps), ("--masks", &args.masks)] {
        if let Some(folder) = folder {
            refuse_among_images(option, folder, files, searched)?;
            refuse_pictures(option, folder, args.force)?;
        }
    }
    if let Some(page) = &args.report {
        refuse_source("--report", page, files)?;
        refuse_source("--report", page, std::slice::from_ref(&args.model))?;
    }
    Ok(())
}

/// Scores the files, and prints the verdicts as they come.
fn score_all(
    args: &ScoreArgs,
    detector: &Detector,
    files: &[PathBuf],
    tests: Option<Vec<MvtecTest>>,
) -> anyhow::Result<Scored> {
    // Nothing else comes of the scoring than what is printed, file by file.
    let only_prints = args.heatmaps.is_none()
        && args.masks.is_none()
        && args.report.is_none()
        && tests.is_none()
        && !(args.fail_on_anomaly || args.timings || args.strict);
    let options = ScoringOptions {
        alpha: args.alpha,
        overlays: args.heatmaps.clone(),
        heat: args.heat,
        masks: args.masks.clone(),
        strict: args.strict,
    };
    let mut scoring = Scoring::new(detector, tests, options)?;
    let mut printer = Printer::new(args.format, args.alpha);
    let progress = progress("scoring", files.len());
    for batch in files.chunks(SCORING_BATCH) {
        let judged = scoring.add(batch)?;
        // Both may be one terminal.
        progress.suspend(|| judged.iter().try_for_each(|image| printer.print(image)))?;
        progress.inc(batch.len() as u64);
        if printer.reader_is_gone() && only_prints {
            break;
        }
    }
    progress.finish_and_clear();
    let scored = scoring.finish()?;
    match (&scored.skipped[..], scored.images) {
        ([only], 0) => bail!("{}: {}", only.path.display(), only.reason),
        _ => Ok(scored),
    }
}

/// The page of what was scored, on the `backend`, by a model that was `ready` after so long.
fn page_of<'a>(
    args: &ScoreArgs,
    detector: &'a Detector,
    scored: &'a Scored,
    (backend, ready): (String, Duration),
) -> FolderPage<'a> {
    let named = args.paths.iter().take(NAMED);
    let mut paths: Vec<String> = named.map(|path| path.display().to_string()).collect();
    if args.paths.len() > NAMED {
        paths.push(format!("and {} more", args.paths.len() - NAMED));
    }
    FolderPage {
        detector,
        scored,
        alpha: args.alpha,
        title: paths.join(", "),
        model: args.model.display().to_string(),
        held_out: false,
        setup: vec![("Backend".to_owned(), backend)],
        timings: vec![Timing {
            stage: "load the model".to_owned(),
            seconds: ready.as_secs_f64(),
            images_per_second: None,
        }],
        skipped: &[],
        command: command_line(),
        notes: Vec::new(),
    }
}

fn tell_timings(ready: Duration, scored: &Scored) {
    let seconds = scored.time.as_secs_f64();
    eprintln!(
        "model ready after {:.0} ms; {} images in {:.2} s: {:.1} images/s, {:.1} ms each",
        ready.as_secs_f64() * 1e3,
        scored.images,
        seconds,
        scored.images as f64 / seconds.max(1e-9),
        seconds * 1e3 / scored.images.max(1) as f64
    );
}
