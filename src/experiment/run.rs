//! One run of one method: from data to report, continued or skipped where it was done before.

use std::path::PathBuf;

use super::clock::Clock;
use super::evaluation::Evaluation;
use super::fit::Fitter;
use super::prepare::{Pools, Prepared};
use super::run_report::{self, Sources};
use super::seed::derive;
use super::{
    Done, Environment, Experiment, ExperimentError, Method, Metrics, ScoreTable, Summary,
    Workspace, overrides, peak_memory_mib, run_folder, workspace::features_folder,
};
use crate::backend::{Backend, OpenDevice};
use crate::data::{DataStore, Images};
use crate::detector::{Calibration, Detector, DetectorError, Model, Scores};
use crate::encoder::{EncoderSizes, SqueezeNet};
use crate::files;
use crate::train::Display;

/// How a run is carried out; none of it changes what is computed but method, seed and device.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The method.
    pub method: Method,
    /// Seed of split, weights and order.
    pub seed: u64,
    /// Start over.
    pub fresh: bool,
    /// Backend by name, or the preferred one.
    pub device: Option<String>,
    /// How to show progress.
    pub display: Display,
    /// Folder of all artifacts.
    pub artifacts: PathBuf,
    /// The command line, for the record.
    pub command: String,
    /// Where messages go, if not into the run's own log: a process has one log.
    pub log: Option<PathBuf>,
    /// Where features of pretrained networks are kept, if not among the artifacts: runs that have
    /// several folders of artifacts can share them.
    pub features: Option<PathBuf>,
}

impl RunOptions {
    fn folder(&self, experiment: &Experiment) -> PathBuf {
        run_folder(
            &self.artifacts,
            &experiment.name,
            self.method.name(),
            self.seed,
        )
    }
}

/// Runs an experiment to its report, or to where it is stopped.
///
/// # Errors
/// [`ExperimentError`]; after an interruption the same call continues.
pub fn run(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Summary, ExperimentError> {
    let open = Backend::choose(options.device.as_deref())?;
    let root = options.folder(experiment);
    let mut clock = Clock::start();
    // A run that is complete needs no images; and images that are missing must not cost a run that
    // is to be replaced.
    let complete = !options.fresh && root.join("done.json").exists();
    let pools = match complete {
        true => None,
        false => Some(Pools::load(experiment, store)?),
    };
    let workspace = Workspace::for_run(root, options.method, &experiment.config, options.fresh)?;
    let log = options.log.clone().unwrap_or_else(|| workspace.log());
    crate::logging::to_file(&log);
    let run = Run {
        experiment,
        options,
        workspace,
        open,
        log,
        backbone: store.backbone(SqueezeNet::FILE),
    };
    if complete && run.workspace.is_complete() {
        return run.complete_before(store);
    }
    let pools = match pools {
        Some(pools) => pools,
        None => Pools::load(experiment, store)?,
    };
    clock.step("load images", None);
    run.to_report(pools, clock)
}

/// Evaluates a trained run again, with other thresholds, and writes metrics and report anew.
///
/// # Errors
/// [`ExperimentError`] when there is no finished run; nothing is changed then.
pub fn reevaluate(
    experiment: &Experiment,
    confidence: Option<f64>,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Summary, ExperimentError> {
    let open = Backend::choose(options.device.as_deref())?;
    let workspace = Workspace::existing(options.folder(experiment))?;
    if !workspace.is_complete() {
        return Err(ExperimentError::Workspace(format!(
            "the run in {} is not complete: `encoder-flow experiment {}` continues it",
            workspace.root().display(),
            experiment.name
        )));
    }
    let mut experiment = experiment.clone();
    experiment.config = workspace.read_config()?;
    if let Some(confidence) = confidence {
        experiment.config.evaluation.confidence = confidence;
        if let Some((key, reason)) = experiment.config.fault() {
            return Err(ExperimentError::Setting {
                place: format!("--confidence {confidence}"),
                reason: format!("`{key}` {reason}"),
            });
        }
    }
    let run = Run {
        experiment: &experiment,
        options,
        log: workspace.log(),
        workspace,
        open,
        backbone: store.backbone(SqueezeNet::FILE),
    };
    run.evaluate_again(store, false)
}

struct Run<'a> {
    experiment: &'a Experiment,
    options: &'a RunOptions,
    workspace: Workspace,
    open: OpenDevice,
    log: PathBuf,
    /// Where the pretrained weights are looked for.
    backbone: PathBuf,
}

impl Run<'_> {
    fn to_report(&self, pools: Pools, clock: Clock) -> Result<Summary, ExperimentError> {
        let environment = self.environment(&pools)?;
        let path = self.workspace.split();
        for file in &pools.skipped {
            let path = file.path.display();
            self.options
                .display
                .say(&format!("left out {path}: {}", file.reason));
        }
        let pools = self.with_features(pools)?;
        let prepared = pools.split(self.experiment, self.options.seed, &path)?;
        self.announce(&prepared);
        let mut fitter = Fitter {
            experiment: self.experiment,
            method: self.options.method,
            seed: self.options.seed,
            device: &self.open.device,
            workspace: &self.workspace,
            log: &self.log,
            backend: self.open.backend.name(),
            backbone: &self.backbone,
            display: self.options.display,
            clock,
        };
        let fitted = fitter.fit(&prepared)?;
        let mut clock = fitter.clock;
        let validation = &prepared.part("validation").images;
        let detector = self.calibrated(fitted.model, &fitted.table, validation)?;
        files::create_folder(&self.workspace.detector())?;
        detector.save(self.workspace.model())?;
        fitted.table.write(&self.workspace.scores())?;
        let evaluation = self.evaluate(&fitted.table)?;
        clock.step("evaluate", None);
        let done = Done {
            backend: self.open.backend.name().to_owned(),
            timings: clock.steps,
            peak_memory_mib: peak_memory_mib(),
            stages: fitted.stages,
        };
        self.write(&Sources {
            experiment: self.experiment,
            method: self.options.method,
            prepared: &prepared,
            detector: detector.scorer(),
            table: &fitted.table,
            evaluation: &evaluation,
            environment: &environment,
            done: &done,
            stages: self.workspace.root(),
        })?;
        files::write_json(&self.workspace.done(), &done)?;
        Ok(self.summary(evaluation.metrics, fitted.table.names, done))
    }

    /// With the features of all images, where the method looks through a pretrained network: they
    /// do not depend on the split, so all runs in one folder of artifacts share them.
    fn with_features(&self, mut pools: Pools) -> Result<Pools, ExperimentError> {
        let config = &self.experiment.config;
        let method = self.options.method;
        if let (Some(EncoderSizes::SqueezeNet { input, .. }), false) =
            (config.encoder_of(method), config.by_positions(method))
        {
            let device = &self.open.device;
            let network = SqueezeNet::load(&self.backbone, device)?.with_input(input);
            let options = self.options;
            let own = || features_folder(&options.artifacts);
            let folder = options.features.clone().unwrap_or_else(own);
            let display = self.options.display;
            pools.extract_features(&network, input, &folder, device, |line| display.say(line))?;
        }
        Ok(pools)
    }

    /// The record of versions and device: the first start's, when this one continues it.
    fn environment(&self, pools: &Pools) -> Result<Environment, ExperimentError> {
        let mut record = Environment::new(&self.open, self.options.seed, &self.options.command);
        pools.describe(&mut record);
        let path = self.workspace.environment();
        if path.exists() {
            let here = record.backend.clone();
            record = record.continued(files::read_json(&path)?).map_err(|first| {
                ExperimentError::Workspace(format!(
                    "the run in {} was begun on {first}, and this is {here}: choose `--device {first}`, or start over with --fresh",
                    self.workspace.root().display()
                ))
            })?;
        }
        files::write_json(&path, &record)?;
        Ok(record)
    }

    /// A run that is complete: its summary, evaluated again if the threshold has changed.
    fn complete_before(&self, store: &DataStore) -> Result<Summary, ExperimentError> {
        let unchanged = self.workspace.metrics().exists()
            && self.workspace.report().exists()
            && self.workspace.evaluated_config()? == self.experiment.config.evaluation;
        if !unchanged {
            return self.evaluate_again(store, true);
        }
        summary_of(&self.workspace, self.experiment, self.options)
    }

    /// Metrics and report of a finished run, from its stored scores.
    fn evaluate_again(
        &self,
        store: &DataStore,
        was_complete: bool,
    ) -> Result<Summary, ExperimentError> {
        let done: Done = files::read_json(&self.workspace.done())?;
        let table = ScoreTable::read(&self.workspace.scores())?;
        let environment: Environment = files::read_json(&self.workspace.environment())?;
        let detector = Detector::load_on(self.workspace.model(), &self.open.device)?;
        let pools = Pools::load(self.experiment, store)?;
        let path = self.workspace.split();
        let prepared = pools.split(self.experiment, self.options.seed, &path)?;
        for scored in &table.parts {
            let part = prepared.parts.iter().find(|part| part.name == scored.name);
            if part.is_none_or(|part| part.indices != scored.indices) {
                return Err(ExperimentError::Workspace(format!(
                    "the {} images are not those that {} was made from: use the same data, or --fresh",
                    scored.name,
                    self.workspace.scores().display()
                )));
            }
        }
        let evaluation = self.evaluate(&table)?;
        self.write(&Sources {
            experiment: self.experiment,
            method: self.options.method,
            prepared: &prepared,
            detector: detector.scorer(),
            table: &table,
            evaluation: &evaluation,
            environment: &environment,
            done: &done,
            stages: self.workspace.root(),
        })?;
        Ok(Summary {
            was_complete,
            ..self.summary(evaluation.metrics, table.names, done)
        })
    }

    /// The detector with p-values from the validation images: every second one gives the scale of
    /// the scores, the others the p-values. They have chosen the epoch, too, so the p-values of an
    /// experiment are approximate; `fit` holds images out for them alone. The images themselves give
    /// the range of the heat maps.
    fn calibrated(
        &self,
        model: Model,
        table: &ScoreTable,
        validation: &Images,
    ) -> Result<Detector, DetectorError> {
        let names = model.scorer().score_names();
        let every_second = |first: usize| {
            let columns = table.part("validation").map(|part| &part.columns);
            let columns = columns.into_iter().flatten();
            let half =
                columns.map(|column| column.iter().skip(first).step_by(2).copied().collect());
            Scores::new(names, half.collect())
        };
        let deciding = model.scorer().deciding();
        let calibration = Calibration::fit(deciding, &every_second(0), &every_second(1))?;
        let origin = format!(
            "experiment {}, seed {}",
            self.experiment.name, self.options.seed
        );
        Detector::new(model, calibration, &origin).with_heat_range(validation)
    }

    fn evaluate(&self, table: &ScoreTable) -> Result<Evaluation, ExperimentError> {
        let seed = derive(self.options.seed, "bootstrap");
        Evaluation::new(table, &self.experiment.config, seed)
    }

    /// Writes settings, thresholds, metrics and report, after all of them have been made.
    fn write(&self, sources: &Sources) -> Result<(), ExperimentError> {
        let html = run_report::render(sources)?;
        let config = self.experiment.config.to_toml();
        files::create_folder(&self.workspace.detector())?;
        // A run without its page is evaluated again: nothing half replaced is taken for current.
        files::remove(&self.workspace.report())?;
        files::write_json(&self.workspace.thresholds(), &sources.evaluation.thresholds)?;
        files::write_json(&self.workspace.metrics(), &sources.evaluation.metrics)?;
        files::write_text(&self.workspace.report(), &html)?;
        Ok(files::write_text(&self.workspace.config(), &config)?)
    }

    fn announce(&self, prepared: &Prepared) {
        let sizes: Vec<String> = prepared
            .parts
            .iter()
            .map(|part| format!("{} {}", part.images.len(), part.name))
            .collect();
        let display = self.options.display;
        let (anomaly, left_out) = (self.experiment.anomaly_name(), &self.experiment.class_name);
        let classes = match self.experiment.excluded_class() {
            None => format!("class {anomaly:?} is the anomaly"),
            Some(_) => format!(
                "class {anomaly:?} stands in as the anomaly, class {left_out:?} is left out of everything"
            ),
        };
        display.say(&format!(
            "{}: {classes}; {}",
            self.experiment.name,
            sizes.join(", ")
        ));
        display.say(&format!(
            "{} by {} on {}, seed {}, into {}",
            self.options.method,
            self.open.backend.name(),
            self.open.description(),
            self.options.seed,
            self.workspace.root().display()
        ));
    }

    fn summary(&self, metrics: Metrics, scores: Vec<String>, done: Done) -> Summary {
        Summary {
            metrics,
            scores,
            backend: done.backend.clone(),
            done,
            ..empty_summary(self.experiment, self.options, self.workspace.report())
        }
    }
}

/// The summary of a run that is complete, has these settings and is not being worked on.
pub(super) fn stored_summary(experiment: &Experiment, options: &RunOptions) -> Option<Summary> {
    let workspace = Workspace::existing(options.folder(experiment)).ok()?;
    let stored = workspace.read_config().ok()?;
    let same = overrides::differences(options.method, &stored, &experiment.config).is_empty();
    (same && workspace.is_complete())
        .then(|| summary_of(&workspace, experiment, options).ok())
        .flatten()
}

/// The summary of a run that is complete.
fn summary_of(
    workspace: &Workspace,
    experiment: &Experiment,
    options: &RunOptions,
) -> Result<Summary, ExperimentError> {
    let done: Done = files::read_json(&workspace.done())?;
    Ok(Summary {
        metrics: files::read_json(&workspace.metrics())?,
        scores: ScoreTable::read_names(&workspace.scores())?,
        backend: done.backend.clone(),
        done,
        was_complete: true,
        ..empty_summary(experiment, options, workspace.report())
    })
}

/// A summary without results.
fn empty_summary(experiment: &Experiment, options: &RunOptions, report: PathBuf) -> Summary {
    Summary {
        title: format!(
            "{}  {}  seed {}",
            experiment.name, options.method, options.seed
        ),
        class_name: experiment.anomaly_name().to_owned(),
        left_out: experiment
            .excluded_class()
            .map(|_| experiment.class_name.clone()),
        metrics: Metrics::new(),
        scores: Vec::new(),
        backend: String::new(),
        confidence: experiment.config.evaluation.confidence,
        done: Done::default(),
        report,
        was_complete: false,
    }
}
