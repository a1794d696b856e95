//! One run of one method: from data to report, continued or skipped where it was done before.

use std::path::{Path, PathBuf};

use super::evaluation::{Evaluation, Numbers, anomalous_set, calibrate};
use super::explanation::Explained;
use super::identity::{Planned, plan_of};
use super::images::{Pools, Prepared};
use super::pixels::pixel_metrics;
use super::report::{self, Sources};
use super::stored::summary_of;
use super::{
    Done, Environment, PixelMetrics, RunError, RunFolder, RunOptions, ScoreTable, Summary,
    Workspace, peak_memory_mib,
};
use crate::backend::{Backend, OpenDevice};
use crate::data::{DataStore, DatasetName, Framing, Images, folder};
use crate::encoder::SqueezeNet;
use crate::files;
use crate::method::{
    Calibration, Clock, Context, Detector, DetectorError, Fitted, Identity, Method, NormalMaps,
    Plan, Scorer, SharedNetwork, StageCount, derive,
};
use crate::study::Experiment;

/// Runs an experiment to its report, or to where it is stopped.
///
/// # Errors
/// [`RunError`]; after an interruption the same call continues.
pub fn run(
    experiment: &Experiment,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Summary, RunError> {
    let (run, begun) = Run::open(experiment, store, options)?;
    match begun {
        None => run.complete_before(store),
        Some((pools, clock)) => run.to_report(pools, clock),
    }
}

/// Makes sure, without its images, that the experiment can be run, as far as that can be told.
///
/// # Errors
/// [`RunError`] naming what is wrong.
pub(crate) fn check(experiment: &Experiment) -> Result<(), RunError> {
    let (_, plan) = plan_of(experiment)?;
    check_shape(experiment, plan.as_ref())
}

/// Makes sure that the method can look at images of this shape, where it is known.
fn check_shape(experiment: &Experiment, plan: &dyn Plan) -> Result<(), RunError> {
    let data = &experiment.settings.data;
    // The shape of somebody's own pictures may depend on them.
    let own = data.dataset == DatasetName::Folder;
    match !own || (data.fit != Framing::Keep && data.enlarge) {
        true => Ok(plan.check(experiment.settings.conversion().shape())?),
        false => Ok(()),
    }
}

/// The images, of a shape that the method can look at: told before they are read where it is known then.
///
/// # Errors
/// [`RunError`] when they are missing, the method cannot look at them, or they are not the `pictures` any more that the run
/// is to be of.
fn load(
    experiment: &Experiment,
    plan: &dyn Plan,
    store: &DataStore,
    pictures: Option<&str>,
) -> Result<Pools, RunError> {
    check_shape(experiment, plan)?;
    let pools = Pools::load(experiment, store)?;
    let folder = &experiment.settings.data.folder;
    if let Some(pictures) = pictures
        && folder::digest(Path::new(folder))? != pictures
    {
        return Err(RunError::pictures(
            folder,
            "its pictures have changed since this program began: begin again".to_owned(),
        ));
    }
    plan.check(pools.shape())?;
    Ok(pools)
}

/// A run whose folder is open.
pub(super) struct Run<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) options: &'a RunOptions,
    pub(super) method: Method,
    pub(super) plan: Box<dyn Plan>,
    pub(super) identity: Identity,
    pub(super) workspace: Workspace,
    pub(super) open: OpenDevice,
    pub(super) log: PathBuf,
    /// Where the pretrained weights are looked for.
    pub(super) weights: PathBuf,
}

/// What has been scored, by what, and how.
pub(super) struct ScoredRun<'a> {
    pub prepared: &'a Prepared,
    pub detector: &'a Detector,
    pub table: &'a ScoreTable,
}

/// What the scores say.
pub(super) struct Judged {
    evaluation: Evaluation,
    pixels: Vec<PixelMetrics>,
    explained: Explained,
}

impl<'a> Run<'a> {
    /// Opens the run's folder; with the images and a clock, unless the run is complete.
    ///
    /// # Errors
    /// [`RunError`] when the folder is in use or of another run, or the images are missing.
    pub(super) fn open(
        experiment: &'a Experiment,
        store: &DataStore,
        options: &'a RunOptions,
    ) -> Result<(Self, Option<(Pools, Clock)>), RunError> {
        let open = Backend::choose(options.device.as_deref())?;
        let root = options.folder(experiment);
        let mut clock = Clock::start();
        let Planned {
            method,
            plan,
            identity,
        } = Planned::of(experiment, store)?;
        let weights = store.backbone(SqueezeNet::FILE);
        // A run that is complete needs no images; and images that are missing must not cost a run that
        // is to be replaced.
        let folder = RunFolder::new(root.clone());
        let anew = folder.is_older_than(options.since.as_ref());
        let complete = !anew && folder.is_complete();
        let pools = match complete {
            true => None,
            false => Some(load(
                experiment,
                plan.as_ref(),
                store,
                identity.pictures.as_deref(),
            )?),
        };
        let workspace = Workspace::for_run(root, &identity, &experiment.settings, anew)?;
        let log = options.log.clone().unwrap_or_else(|| workspace.log());
        crate::logging::to_file(&log);
        let run = Self {
            experiment,
            options,
            method,
            plan,
            identity,
            workspace,
            open,
            log,
            weights,
        };
        if complete && run.workspace.is_complete() {
            return Ok((run, None));
        }
        let pools = match pools {
            Some(pools) => pools,
            None => load(
                experiment,
                run.plan.as_ref(),
                store,
                run.identity.pictures.as_deref(),
            )?,
        };
        clock.step("load images", None);
        Ok((run, Some((pools, clock))))
    }

    fn to_report(&self, pools: Pools, clock: Clock) -> Result<Summary, RunError> {
        let environment = self.environment(&pools)?;
        let prepared = self.prepare(pools)?;
        self.announce(&prepared);
        let mut context = self.context(&prepared, clock);
        let Fitted {
            scorer,
            scores,
            stages,
            ..
        } = self.plan.fit(&mut context, &prepared.parts)?;
        for note in &context.notes {
            self.options.display.say(&format!("warning: {note}"));
        }
        let mut clock = context.clock;
        let calibration = calibrate(scorer.as_ref(), &scores)?;
        let table = ScoreTable::new(&prepared.parts, &scores, &calibration);
        let mut detector =
            self.detector(scorer, calibration, &prepared.parts.validation().images)?;
        // The images of the p-values have chosen the epoch of each stage, and what else the method asks them.
        if !stages.is_empty() || self.plan.is_chosen_by_validation() {
            detector = detector.approximate();
        }
        detector.check_device(&self.open)?;
        files::create_folder(&self.workspace.detector())?;
        detector.save(self.workspace.model())?;
        table.write(&self.workspace.scores(), prepared.files.as_deref())?;
        let scored = ScoredRun {
            prepared: &prepared,
            detector: &detector,
            table: &table,
        };
        let judged = self.judge(&scored)?;
        clock.step("evaluate", None);
        let done = Done {
            backend: self.open.backend.name().to_owned(),
            timings: clock.steps,
            peak_memory_mib: peak_memory_mib().filter(|_| !self.options.among_others),
            stages,
        };
        self.write(&scored, &judged, &environment, &done)?;
        files::write_json(&self.workspace.done(), &done)?;
        summary_of(&self.workspace, self.experiment, self.options, false)
    }

    /// The split images, with what other runs have left that this one shares.
    fn prepare(&self, pools: Pools) -> Result<Prepared, RunError> {
        for file in &pools.skipped {
            let path = file.path.display();
            self.options
                .display
                .say(&format!("left out {path}: {}", file.reason));
        }
        let pools = self.with_features(pools)?;
        let path = self.workspace.split();
        let prepared = pools.split(self.experiment, self.options.seed, &path)?;
        let backend = self.open.backend.name();
        for network in SharedNetwork::ALL {
            if network.is_trained_by(self.plan.as_ref()) {
                let wanted = (&self.identity, backend);
                let since = self.options.since.as_ref();
                self.workspace.adopt(network, wanted, since)?;
            }
        }
        Ok(prepared)
    }

    /// What the method's fit is given beside the images.
    fn context(&self, prepared: &Prepared, clock: Clock) -> Context<'_> {
        // Images of a folder may have sides of their own.
        let [_, height, width] = prepared.parts.train().images.shape();
        let conversion = self.experiment.settings.conversion();
        Context {
            seed: self.options.seed,
            device: &self.open.device,
            folder: self.workspace.root(),
            log: &self.log,
            weights: &self.weights,
            conversion: conversion.with_sides([height, width]),
            display: self.options.display,
            clock,
            stages: StageCount::default(),
            training_scores: !self.plan.skips_training_scores(),
            notes: Vec::new(),
        }
    }

    /// Makes what this run shares with others, and leaves the rest to a later start of it: features of
    /// a pretrained network, and the network that methods train alike.
    ///
    /// # Errors
    /// [`RunError`] as for a run.
    pub(super) fn shared_part(self, pools: Pools, clock: Clock) -> Result<(), RunError> {
        self.environment(&pools)?;
        let prepared = self.prepare(pools)?;
        if let Some(network) = SharedNetwork::made_first(self.plan.as_ref()) {
            let settings = &self.experiment.settings;
            let mut context = self.context(&prepared, clock);
            network.train(settings, &mut context, &prepared.parts)?;
        }
        Ok(())
    }

    /// With the features of all images, where the method looks through a pretrained network: they
    /// do not depend on the split, so all runs in one folder of artifacts share them.
    fn with_features(&self, mut pools: Pools) -> Result<Pools, RunError> {
        if let Some(look) = self.plan.pretrained() {
            let device = &self.open.device;
            let channels = self.experiment.settings.data.channels;
            let network = look.load(&self.weights, channels, device)?;
            let (display, folder) = (self.options.display, self.options.features());
            pools.extract_features(&network, &folder, (&self.open, display))?;
        }
        Ok(pools)
    }

    /// The record of versions and device: the first start's, when this one continues it.
    fn environment(&self, pools: &Pools) -> Result<Environment, RunError> {
        let mut record = Environment::new(&self.open, self.options.seed, &self.options.command);
        if let Some(since) = &self.options.since {
            // Another machine, whose clock is ahead, may have said since when.
            record.started = record.started.max(since.clone());
        }
        pools.describe(&mut record);
        record.weights.clone_from(&self.identity.weights);
        let path = self.workspace.environment();
        if path.exists() {
            let here = record.backend.clone();
            record = record.continued(files::read_json(&path)?).map_err(|first| {
                RunError::Workspace(format!(
                    "the run in {} was begun on {first}, and this is {here}: choose `--device {first}`, or start over with --fresh",
                    self.workspace.root().display()
                ))
            })?;
        }
        files::write_json(&path, &record)?;
        Ok(record)
    }

    /// The detector, with the colours of its heat maps from the validation images.
    fn detector(
        &self,
        scorer: Box<dyn Scorer>,
        calibration: Calibration,
        validation: &Images,
    ) -> Result<Detector, DetectorError> {
        let origin = format!(
            "experiment {} by {}, seed {}",
            self.experiment.name, self.experiment.variant, self.options.seed
        );
        // The colours are drawn to the scale of maps of this size.
        let [_, height, width] = validation.shape();
        let sides = vec![[height, width]; validation.len()];
        let maps = NormalMaps::of(scorer.as_ref(), validation, &sides)?;
        Ok(Detector::new(scorer, calibration, &origin).with_normal_maps(maps))
    }

    /// Metrics and thresholds, and what the scores follow on some images of every test set.
    pub(super) fn judge(&self, scored: &ScoredRun) -> Result<Judged, RunError> {
        let (settings, seed) = (&self.experiment.settings, self.options.seed);
        let &ScoredRun {
            prepared,
            detector,
            table,
        } = scored;
        let bootstrap = derive(seed, "bootstrap");
        let evaluation = Evaluation::new(table, detector.conformal(), settings, bootstrap)?;
        let anomalous = anomalous_set(settings);
        let explained = Explained::new((prepared, detector.scorer()), table, anomalous, seed)?;
        let display = self.options.display;
        let pixels = pixel_metrics(self.experiment, prepared, (detector, table), display)?;
        Ok(Judged {
            evaluation,
            pixels,
            explained,
        })
    }

    /// Writes settings, thresholds, metrics and report, after all of them have been made.
    pub(super) fn write(
        &self,
        scored: &ScoredRun,
        judged: &Judged,
        environment: &Environment,
        done: &Done,
    ) -> Result<(), RunError> {
        let Judged {
            evaluation,
            pixels,
            explained,
        } = judged;
        let html = report::render(&Sources {
            experiment: self.experiment,
            method: self.method,
            prepared: scored.prepared,
            scorer: scored.detector.scorer(),
            table: scored.table,
            evaluation,
            pixels,
            explained,
            environment,
            done,
            stages: self.workspace.root(),
        })?;
        let config = self.experiment.settings.to_toml();
        files::create_folder(&self.workspace.detector())?;
        // A run without its page is evaluated again: nothing half replaced is taken for current.
        files::remove(&self.workspace.report())?;
        files::write_json(&self.workspace.thresholds(), &evaluation.thresholds)?;
        let numbers = Numbers {
            metrics: evaluation.metrics.clone(),
            false_alarms: evaluation.false_alarms.clone(),
            pixels: pixels.clone(),
            explanation: Some(explained.numbers.clone()),
        };
        files::write_json(&self.workspace.metrics(), &numbers)?;
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
            self.experiment.variant,
            self.open.backend.name(),
            self.open.description(),
            self.options.seed,
            self.workspace.root().display()
        ));
    }
}
