//! `fit FOLDER --out MODEL`: a detector for a folder of normal images.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::data::fetch_weights;
use super::labelled::{self, tell_skipped, tell_stray};
use super::places::{refuse_source, same_place};
use super::score::DEFAULT_ALPHA;
use super::{DEFAULT_METHOD, DataPlace, DeviceChoice, StudyPlace, command_line, page, print};
use crate::data::DataStore;
use crate::data::folder::{Layout, NearDuplicates, layout};
use crate::encoder::SqueezeNet;
use crate::folder::{FittedFolder, FolderFit, FolderPage, Scored, ScoringOptions, fit_folder};
use crate::progress::progress;
use crate::report::Timing;
use crate::study::Studies;
use crate::train::{Display, install_signal_handlers};

/// Variant of the study `folder` that takes no pretrained weights.
const SCRATCH: &str = "scratch";

#[derive(Args)]
pub struct FitArgs {
    /// Folder of normal images (PNG, JPEG, TIFF, BMP, WebP; subfolders too), or of MVTec AD's layout:
    /// train/good, test/<defect>, ground_truth/<defect>.
    folder: PathBuf,
    /// The model file to write.
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// Method, or variant that the study `folder` names (`encoder-flow list` shows all) [default:
    /// encoder-flow, or scratch where that misses less than 60 % as many made-up defects].
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Side in pixels of the square that images are brought to, from 16 to 1024; where their proportions
    /// are kept, of the square of the same area. `--method scratch` leaves smaller images at their size
    /// (`--set data.enlarge=true` enlarges them).
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Keep pictures of one object together: what the (group) of this regular expression matches in a
    /// name, as in '^([^_]+)_', is its object, and none is both learned from and held out. Names begin
    /// with the sub-folder, as cam1/part7_2.png does. Without it, sub-folders of train/good are objects.
    #[arg(long, value_name = "REGEX")]
    group_by: Option<String>,
    /// Override a setting, e.g. --set encoder.kind=autoencoder or --set data.fit=crop (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Share of the images that is held out for the p-values: the more, the smaller the levels that
    /// can be asked for.
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    calibration_share: f64,
    /// Seed of the split, the initial weights and the order of images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stop at a file that cannot be read instead of leaving it out.
    #[arg(long)]
    strict: bool,
    /// Write a page about the detector: the least likely images, histograms and timings, of the test
    /// images where the folder has any, and otherwise of those held out.
    #[arg(long, value_name = "PAGE.html")]
    report: Option<PathBuf>,
    /// Replace the model file and the report, and what an earlier fit with other settings has left unfinished.
    #[arg(long, visible_alias = "fresh")]
    force: bool,
    /// One line per epoch, no dashboard.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    device: DeviceChoice,
    /// Weights of the pretrained network [default: in the data folder, fetched when missing].
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    data: DataPlace,
    #[command(flatten)]
    studies: StudyPlace,
}

/// Fetches the pretrained network's weights, where the network may be used; whether they are there now. A fetch that
/// fails ends the fit: a detector that finds far less is for whoever asks for it.
fn weights_are_fetched(store: &DataStore, offline: bool) -> anyhow::Result<bool> {
    if offline {
        return Ok(false);
    }
    eprintln!("fetching the pretrained network's weights (5 MB), once");
    match fetch_weights(store) {
        Ok(_) => Ok(true),
        Err(error) => bail!(
            "{error}\nWithout these weights much less is found on photographs: try again, or take --method {SCRATCH}, which \
             needs none"
        ),
    }
}

/// True where an override says how images are described.
fn says_encoder(overrides: &[String]) -> bool {
    let mut settings = overrides.iter().filter_map(|set| set.split_once('='));
    settings.any(|(key, _)| matches!(key.trim(), "encoder" | "encoder.kind"))
}

/// What is fitted, and whether it is from scratch because there are no pretrained weights.
fn order(
    args: &FitArgs,
    studies: &Studies,
    store: &DataStore,
) -> anyhow::Result<(FolderFit, bool)> {
    // Whoever sets something means one method. (Groups of pictures are no setting of a method.)
    let set = !args.overrides.is_empty() || args.size.is_some();
    let rival = (args.method.is_none() && !set).then(|| SCRATCH.to_owned());
    let size = args.size.map(|size| format!("data.size={size}"));
    // Quoted, so that nothing in it is taken for another kind of value.
    let group_by = args.group_by.clone().map(toml::Value::String);
    let group_by = group_by.map(|pattern| format!("data.group_by={pattern}"));
    let shortcuts = size.into_iter().chain(group_by);
    let method = args.method.as_deref().unwrap_or(DEFAULT_METHOD);
    let mut fit = FolderFit {
        folder: args.folder.clone(),
        out: args.out.clone(),
        method: method.to_owned(),
        rival,
        overrides: shortcuts.chain(args.overrides.clone()).collect(),
        calibration_share: args.calibration_share,
        seed: args.seed,
        strict: args.strict,
        force: args.force,
        device: args.device.name.clone(),
        backbone: match &args.backbone {
            Some(path) => path.clone(),
            None => store.backbone(SqueezeNet::FILE),
        },
        display: Display::choose(args.plain),
    };
    let missing = fit.wants_backbone(studies)? && !fit.backbone.is_file();
    if let (true, Some(path)) = (missing, &args.backbone) {
        bail!("--backbone {}: there is no such file", path.display());
    }
    let without = missing && !weights_are_fetched(store, args.data.offline)?;
    // Whoever asks for the network, or for another method on it, is told that it is missing.
    let scratch = without && method == DEFAULT_METHOD && !says_encoder(&args.overrides);
    if scratch {
        fit.method = SCRATCH.to_owned();
        fit.rival = None;
    }
    Ok((fit, scratch))
}

pub fn run(args: FitArgs) -> anyhow::Result<()> {
    install_signal_handlers()?;
    if let Some(path) = &args.report {
        page::check(path, args.force)?;
        if same_place(path, &args.out) {
            bail!(
                "--report {}: is the model file of --out: name another page",
                path.display()
            );
        }
    }
    let studies = args.studies.studies()?;
    // A folder without images needs no weights.
    let mut sources = layout(&args.folder)?.files();
    sources.extend(args.backbone.clone());
    refuse_source("--out", &args.out, &sources)?;
    if let Some(page) = &args.report {
        refuse_source("--report", page, &sources)?;
    }
    let (fit, scratch) = order(&args, &studies, &args.data.store()?)?;
    let bar = progress("reading", 0);
    let watch = |done: usize, of: usize| {
        // A rival reads them once more.
        if done == 1 && bar.is_finished() {
            bar.reset();
        }
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        if done == of {
            // Training shows its own progress.
            bar.finish_and_clear();
        }
    };
    let fitted = fit_folder(&studies, &fit, &watch)?;
    if scratch {
        eprintln!(
            "warning: without the pretrained network's weights, patches were described from scratch: on \
             photographs, much less is found. `encoder-flow data fetch squeezenet` brings the weights, \
             --method {SCRATCH} asks for this"
        );
    }
    let notes = tell(&fit, &fitted);
    let tests = match layout(&fit.folder)? {
        Layout::Mvtec {
            test, stray_masks, ..
        } => {
            tell_stray(&stray_masks);
            Some(test)
        }
        Layout::Plain { .. } => None,
    };
    // Where the level is out of reach, p-values still rank images and their positions.
    let reachable = fitted.detector.conformal().reachable_alpha();
    let options = ScoringOptions {
        alpha: DEFAULT_ALPHA.max(reachable),
        overlays: None,
        heat: None,
        masks: None,
        strict: fit.strict,
    };
    let alpha = options.alpha;
    if tests.as_ref().is_some_and(Vec::is_empty) {
        print("no test images");
    }
    let tests = tests.filter(|tests| !tests.is_empty());
    let scored = match tests {
        Some(tests) => {
            let files: Vec<PathBuf> = tests.iter().map(|test| test.path.clone()).collect();
            let scored = labelled::pass(&fitted.detector, &files, Some(tests), options)?;
            if let Some(metrics) = &scored.metrics {
                print(&labelled::describe(metrics));
            }
            scored
        }
        None if args.report.is_some() => {
            labelled::pass(&fitted.detector, &fitted.held_out, None, options)?
        }
        None => return Ok(()),
    };
    match &args.report {
        Some(path) => write_page(path, (&fit, &fitted), (&scored, alpha), notes),
        None => Ok(()),
    }
}

/// Prints what was fitted and to what; what the user should know of it.
fn tell(fit: &FolderFit, fitted: &FittedFolder) -> Vec<String> {
    tell_skipped(&fitted.skipped, &fitted.ignored);
    if let Some(comparison) = &fitted.comparison {
        print(&format!("method {}; {comparison}", comparison.taken.0));
    }
    let [train, validation, calibration] = fitted.counts;
    let smallest = fitted.detector.conformal().reachable_alpha();
    print(&format!(
        "fitted to {train} images, epoch chosen on {validation}, p-values from {calibration}: levels from {smallest} on\n\
         time {:.0} s\nmodel {}",
        fitted.seconds,
        fit.out.display()
    ));
    if let Some([train, validation, calibration]) = fitted.groups {
        print(&format!(
            "groups {train} / {validation} / {calibration}, none in two parts"
        ));
    }
    let mut notes = fitted.notes.clone();
    match (fitted.duplicates, &fitted.groups) {
        (NearDuplicates { found: 0, held_out }, _) => print(&format!(
            "none of the {held_out} held-out images nearly equals one that is trained on"
        )),
        (NearDuplicates { found, held_out }, groups) => {
            let remedy = match groups {
                None => "--group-by keeps the pictures of an object together",
                Some(_) => "other groups may keep the pictures of an object together",
            };
            notes.push(format!(
                "{found} of {held_out} held-out images nearly equal one that is trained on (by a difference hash): if they show the same objects, p-values of new objects come out too small; {remedy}"
            ));
        }
    }
    // What `score` does unless it is told otherwise.
    notes.extend(fitted.shortage(DEFAULT_ALPHA));
    for note in &notes {
        eprintln!("warning: {note}");
    }
    notes
}

/// Writes the page about a detector.
fn write_page(
    path: &Path,
    (fit, fitted): (&FolderFit, &FittedFolder),
    (scored, alpha): (&Scored, f64),
    notes: Vec<String>,
) -> anyhow::Result<()> {
    let [train, validation, calibration] = fitted.counts;
    let mut setup = vec![(
        "Normal images".to_owned(),
        format!("{train} trained on, {validation} for the epoch, {calibration} held out"),
    )];
    if !fitted.ignored.is_empty() {
        setup.push(("No images".to_owned(), fitted.ignored.clone()));
    }
    let comparison = fitted.comparison.as_ref();
    setup.extend(comparison.map(|found| ("Compared".to_owned(), found.to_string())));
    let page = FolderPage {
        detector: &fitted.detector,
        scored,
        alpha,
        title: fit.folder.display().to_string(),
        model: fit.out.display().to_string(),
        held_out: scored.metrics.is_none(),
        setup,
        timings: vec![Timing {
            stage: "fit".to_owned(),
            seconds: fitted.seconds,
            images_per_second: None,
        }],
        skipped: &fitted.skipped,
        command: command_line(),
        notes,
    };
    page::write(path, &page.render()?)?;
    print(&format!("report {}", path.display()));
    Ok(())
}
