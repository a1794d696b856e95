//! `score MODEL PATHS...`: a verdict for every image.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::labelled::{self, tell_skipped};
use super::{DeviceChoice, command_line, page};
use crate::backend::Backend;
use crate::data::folder::{Layout, MvtecTest, layout, list};
use crate::folder::{FolderPage, SCORING_BATCH, Scored, Scoring, ScoringOptions};
use crate::method::{Detector, HeatSource, Verdict};
use crate::progress::progress;
use crate::report::Timing;

/// Share of false alarms allowed unless the user says otherwise.
pub const DEFAULT_ALPHA: f64 = 0.05;
/// Exit status of `--fail-on-anomaly` when there is one.
const ANOMALY_STATUS: u8 = 2;

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
    /// Replace the page of --report, if there is one.
    #[arg(long)]
    force: bool,
    /// Exit with status 2 when an image is anomalous.
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

/// How verdicts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

pub fn run(args: ScoreArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let open = Backend::choose(args.device.name.as_deref())?;
    let backend = format!("{}, {}", open.backend.name(), open.description());
    let detector = Detector::load_on(&args.model, &open.device)?;
    detector.check_device(&open)?;
    let ready = started.elapsed();
    if let (Some(masks), Some(heatmaps)) = (&args.masks, &args.heatmaps)
        && same_place(masks, heatmaps)
    {
        bail!("--masks and --heatmaps name the same folder, and their files have the same names");
    }
    if let Some(path) = &args.report {
        page::check(path, args.force)?;
    }
    let options = ScoringOptions {
        alpha: args.alpha,
        overlays: args.heatmaps,
        heat: args.heat,
        masks: args.masks,
        strict: args.strict,
    };
    // What cannot be done is said before the files are looked for.
    detector.conformal().check(args.alpha)?;
    let (files, tests) = files(&args.paths)?;
    // Nothing else comes of the scoring than what is printed, file by file.
    let only_prints = options.overlays.is_none()
        && options.masks.is_none()
        && args.report.is_none()
        && tests.is_none()
        && !(args.fail_on_anomaly || args.timings || args.strict);
    let mut scoring = Scoring::new(&detector, tests, options)?;
    let mut printer = Printer::new(args.format, args.alpha);
    let progress = progress("scoring", files.len());
    for batch in files.chunks(SCORING_BATCH) {
        let verdicts = scoring.add(batch)?;
        // Both may be one terminal.
        progress.suspend(|| {
            let mut each = verdicts.iter();
            each.try_for_each(|(path, verdict)| printer.print(path, verdict))
        })?;
        progress.inc(batch.len() as u64);
        if printer.reader_is_gone && only_prints {
            break;
        }
    }
    progress.finish_and_clear();
    let scored = scoring.finish()?;
    if let ([only], 0) = (&scored.skipped[..], scored.images) {
        bail!("{}: {}", only.path.display(), only.reason);
    }
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
    if args.timings {
        tell_timings(ready, &scored);
    }
    if let Some(path) = &args.report {
        let paths: Vec<String> = args
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let page = FolderPage {
            detector: &detector,
            scored: &scored,
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
            command: command_line(),
            notes: Vec::new(),
        };
        page::write(path, &page.render()?)?;
        eprintln!("report {}", path.display());
    }
    let failed = args.fail_on_anomaly && scored.anomalies > 0;
    Ok(ExitCode::from(if failed { ANOMALY_STATUS } else { 0 }))
}

/// True for two names of one folder; of folders that are not there yet, as far as the names say it.
fn same_place(left: &Path, right: &Path) -> bool {
    let place = |path: &Path| {
        let found = path.canonicalize().or_else(|_| std::path::absolute(path));
        found.unwrap_or_else(|_| path.to_owned())
    };
    place(left) == place(right)
}

/// The files to score, and their labels where they have any.
fn files(paths: &[PathBuf]) -> anyhow::Result<(Vec<PathBuf>, Option<Vec<MvtecTest>>)> {
    if let [folder] = paths
        && folder.is_dir()
        && folder.join("train").join("good").is_dir()
        && let Layout::Mvtec { test, .. } = layout(folder)?
    {
        if test.is_empty() {
            bail!("{} has no test images", folder.join("test").display());
        }
        let files = test.iter().map(|test| test.path.clone()).collect();
        return Ok((files, Some(test)));
    }
    let listing = list(paths)?;
    tell_skipped(&[], &listing.ignored.to_string());
    Ok((listing.files, None))
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

/// Prints verdicts as they come; a reader that has gone (`| head`) is no error, a full disk is one.
struct Printer {
    format: Format,
    alpha: f64,
    begun: bool,
    reader_is_gone: bool,
}

impl Printer {
    fn new(format: Format, alpha: f64) -> Self {
        Self {
            format,
            alpha,
            begun: false,
            reader_is_gone: false,
        }
    }

    fn print(&mut self, path: &Path, verdict: &Verdict) -> anyhow::Result<()> {
        let anomalous = verdict.is_anomalous(self.alpha);
        let name = path.display().to_string();
        let text = match self.format {
            Format::Table => {
                let word = if anomalous { "ANOMALOUS" } else { "normal" };
                format!(
                    "{word:<9}  {:>8.4}  {:>9.2}  {:<15}  {name}\n",
                    verdict.p_value, verdict.score, verdict.driver
                )
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let mut row = vec![
                    name,
                    verdict.score.to_string(),
                    verdict.p_value.to_string(),
                    anomalous.to_string(),
                    verdict.driver.clone(),
                ];
                row.extend(verdict.scores.iter().map(|(_, value)| value.to_string()));
                writer.write_record(row)?;
                String::from_utf8(writer.into_inner()?)?
            }
            Format::Jsonl => {
                let scores: serde_json::Map<String, serde_json::Value> = verdict
                    .scores
                    .iter()
                    .map(|&(name, value)| (name.to_owned(), value.into()))
                    .collect();
                let line = serde_json::json!({
                    "path": name,
                    "score": verdict.score,
                    "p_value": verdict.p_value,
                    "anomalous": anomalous,
                    "driver": verdict.driver,
                    "scores": scores,
                });
                format!("{line}\n")
            }
        };
        let header = match std::mem::replace(&mut self.begun, true) {
            true => String::new(),
            false => self.header(verdict),
        };
        let mut out = std::io::stdout().lock();
        let written = out
            .write_all(format!("{header}{text}").as_bytes())
            .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.reader_is_gone = true,
            Err(error) => bail!("cannot write to standard output: {error}"),
            Ok(()) => {}
        }
        Ok(())
    }

    fn header(&self, verdict: &Verdict) -> String {
        match self.format {
            Format::Table => format!(
                "{:<9}  {:>8}  {:>9}  {:<15}  image\n",
                "verdict", "p-value", "score", "driven by"
            ),
            Format::Csv => {
                let scores: String = verdict
                    .scores
                    .iter()
                    .map(|(name, _)| format!(",{name}"))
                    .collect();
                format!("path,score,p_value,anomalous,driver{scores}\n")
            }
            Format::Jsonl => String::new(),
        }
    }
}
