//! `score MODEL PATHS...`: a verdict for every image.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::labelled::{self, BATCH, tell_skipped};
use crate::backend::Backend;
use crate::data::Picture;
use crate::data::folder::{Layout, MvtecTest, Skipped, layout, list, load};
use crate::folder::FolderTest;
use crate::method::{Detector, HeatSource, Verdict};

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
    /// Exit with status 2 when an image is anomalous.
    #[arg(long)]
    fail_on_anomaly: bool,
    /// Stop at a file that cannot be read instead of leaving it out.
    #[arg(long)]
    strict: bool,
    /// Print throughput and latency to standard error.
    #[arg(long)]
    timings: bool,
    /// Backend, where several are compiled in: flex, ndarray, wgpu, vulkan.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
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
    let device = Backend::choose(args.device.as_deref())?.device;
    let detector = Detector::load_on(&args.model, &device)?;
    detector.conformal().check(args.alpha)?;
    if args.heatmaps.is_some() {
        detector.heat_source(args.heat)?;
    }
    let ready = started.elapsed();
    let (files, tests) = files(&args.paths)?;
    if let Some(folder) = &args.heatmaps {
        std::fs::create_dir_all(folder)
            .map_err(|error| anyhow::anyhow!("--heatmaps {}: {error}", folder.display()))?;
    }
    let mut run = Run {
        args: &args,
        detector: &detector,
        printer: Printer::new(args.format, args.alpha),
        progress: progress(files.len()),
        test: tests.map(|tests| FolderTest::new(&detector, tests, args.strict)),
        skipped: Vec::new(),
        scored: 0,
        anomalies: 0,
        scoring: Duration::ZERO,
        overlays: HashSet::new(),
    };
    for batch in files.chunks(BATCH) {
        run.score(batch)?;
    }
    run.progress.finish_and_clear();
    if let ([only], 0) = (&run.skipped[..], run.scored) {
        bail!("{}: {}", only.path.display(), only.reason);
    }
    tell_skipped(&run.skipped, "");
    if run.scored == 0 {
        bail!(
            "none of the {} files could be read, for the reasons above",
            files.len()
        );
    }
    if let Some(test) = run.test.take() {
        eprintln!("{}", labelled::describe(&test.finish()?));
    }
    if args.timings {
        run.tell_timings(ready);
    }
    let failed = args.fail_on_anomaly && run.anomalies > 0;
    Ok(ExitCode::from(if failed { ANOMALY_STATUS } else { 0 }))
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

/// Nothing when standard error is not a terminal, or when the verdicts come that way.
fn progress(files: usize) -> ProgressBar {
    if files <= BATCH || !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} images, {eta} left");
    ProgressBar::new(files as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Run<'a> {
    args: &'a ScoreArgs,
    detector: &'a Detector,
    printer: Printer,
    progress: ProgressBar,
    /// What is compared with labels, where there are any.
    test: Option<FolderTest<'a>>,
    skipped: Vec<Skipped>,
    scored: usize,
    anomalies: usize,
    scoring: Duration,
    /// Names of the overlays so far, without their ending.
    overlays: HashSet<String>,
}

impl Run<'_> {
    fn score(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        let started = Instant::now();
        let loaded = load(files, self.detector.conversion(), self.args.strict)?;
        if !loaded.paths.is_empty() {
            let verdicts = self.detector.score_images(&loaded.images)?;
            self.scoring += started.elapsed();
            for (path, verdict) in loaded.paths.iter().zip(&verdicts) {
                self.anomalies += usize::from(verdict.is_anomalous(self.args.alpha));
                self.printer.print(path, verdict)?;
            }
            self.scored += verdicts.len();
            if let Some(test) = &mut self.test {
                self.skipped.extend(test.add(&loaded, &verdicts)?);
            }
            if let Some(folder) = &self.args.heatmaps {
                for (path, verdict) in loaded.paths.iter().zip(&verdicts) {
                    let anomalous = verdict.is_anomalous(self.args.alpha);
                    self.overlay(path, folder, anomalous)?;
                }
            }
        }
        self.skipped.extend(loaded.skipped);
        self.progress.inc(files.len() as u64);
        Ok(())
    }

    /// Writes `<folder>/<parent>_<stem>.png`, with a number where images of this call share that name.
    fn overlay(&mut self, path: &Path, folder: &Path, anomalous: bool) -> anyhow::Result<()> {
        let picture = Picture::decode(path)?;
        let overlay = self.detector.overlay(&picture, self.args.heat, anomalous)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        let wanted = match parent.to_string_lossy() {
            parent if parent.is_empty() => stem.into_owned(),
            parent => format!("{parent}_{stem}"),
        };
        let mut name = wanted.clone();
        let mut number = 2;
        while !self.overlays.insert(name.clone()) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        let target = folder.join(format!("{name}.png"));
        overlay
            .save(&target)
            .map_err(|error| anyhow::anyhow!("{} cannot be written: {error}", target.display()))
    }

    fn tell_timings(&self, ready: Duration) {
        let seconds = self.scoring.as_secs_f64();
        eprintln!(
            "model ready after {:.0} ms; {} images in {:.2} s: {:.1} images/s, {:.1} ms each",
            ready.as_secs_f64() * 1e3,
            self.scored,
            seconds,
            self.scored as f64 / seconds.max(1e-9),
            seconds * 1e3 / self.scored.max(1) as f64
        );
    }
}

/// Prints verdicts as they come; a reader that has gone (`| head`) is no error.
struct Printer {
    format: Format,
    alpha: f64,
    begun: bool,
}

impl Printer {
    fn new(format: Format, alpha: f64) -> Self {
        Self {
            format,
            alpha,
            begun: false,
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
        let mut out = std::io::stdout().lock();
        if !std::mem::replace(&mut self.begun, true) {
            let _ = out.write_all(self.header(verdict).as_bytes());
        }
        let _ = out.write_all(text.as_bytes());
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
