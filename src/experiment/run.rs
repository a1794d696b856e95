//! One run: the stages in order, each continued or skipped where it was done before.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::evaluation::Evaluation;
use super::prepare::Prepared;
use super::run_report::{self, Sources};
use super::{
    Done, Environment, Experiment, ExperimentError, ScoreTable, ScoredPart, Summary, Workspace,
    peak_memory_mib, run_folder,
};
use crate::backend::{Backend, OpenDevice};
use crate::data::{DataStore, EpochOrder, Images, SampleLoader, Samples, Vectors};
use crate::detector::{Detector, EncoderFlow, Representation};
use crate::encoder::AutoEncoder;
use crate::files;
use crate::flow::{RealNvp, Standardizer, Transform};
use crate::train::{Display, Monitor, Optimisation, Stage, StageSummary, was_interrupted};

/// Name of the method, and of its folder.
pub const METHOD: &str = "encoder-flow";

/// Monitors of the encoder stage, in the order of its step's output.
const ENCODER_MONITORS: &[Monitor] = &[
    Monitor {
        name: "L1",
        unit: "",
    },
    Monitor {
        name: "Latent mean",
        unit: "",
    },
    Monitor {
        name: "Latent deviation",
        unit: "",
    },
];

/// Monitors of the flow stage, in the order of its step's output.
const FLOW_MONITORS: &[Monitor] = &[
    Monitor {
        name: "NLL",
        unit: "nats",
    },
    Monitor {
        name: "Bits per dim",
        unit: "bits/dim",
    },
    Monitor {
        name: "Latent norm",
        unit: "",
    },
];

/// How a run is carried out; none of it changes what is computed but the seed and the device.
#[derive(Clone, Debug)]
pub struct RunOptions {
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
    let root = run_folder(&options.artifacts, &experiment.name, METHOD, options.seed);
    let workspace = Workspace::for_run(root, &experiment.config, options.fresh)?;
    crate::logging::to_file(&workspace.log());
    let run = Run {
        experiment,
        options,
        workspace,
        open,
    };
    if run.workspace.done().exists() {
        return run.repeat_evaluation(store, true);
    }
    run.train_and_report(store)
}

/// Evaluates a trained run again, with other thresholds, and writes metrics and report anew.
///
/// # Errors
/// [`ExperimentError`] when there is no finished run.
pub fn reevaluate(
    experiment: &Experiment,
    confidence: Option<f64>,
    store: &DataStore,
    options: &RunOptions,
) -> Result<Summary, ExperimentError> {
    let root = run_folder(&options.artifacts, &experiment.name, METHOD, options.seed);
    let workspace = Workspace::existing(root)?;
    let mut experiment = experiment.clone();
    experiment.config = workspace.read_config()?;
    if let Some(confidence) = confidence {
        experiment.config.evaluation.confidence = confidence;
        experiment.config.check()?;
    }
    if !workspace.done().exists() {
        return Err(ExperimentError::Workspace(format!(
            "the run in {} is not complete: `encoder-flow experiment {}` continues it",
            workspace.root().display(),
            experiment.name
        )));
    }
    files::write_text(&workspace.config(), &experiment.config.to_toml())?;
    let run = Run {
        experiment: &experiment,
        options,
        workspace,
        open: Backend::choose(options.device.as_deref())?,
    };
    run.repeat_evaluation(store, false)
}

struct Run<'a> {
    experiment: &'a Experiment,
    options: &'a RunOptions,
    workspace: Workspace,
    open: OpenDevice,
}

impl Run<'_> {
    fn device(&self) -> &Device {
        &self.open.device
    }

    fn train_and_report(&self, store: &DataStore) -> Result<Summary, ExperimentError> {
        let config = &self.experiment.config;
        let mut clock = Clock::default();
        let mut environment =
            Environment::new(&self.open, self.options.seed, &self.options.command);
        let mut prepared = Prepared::new(
            self.experiment,
            self.options.seed,
            store,
            &self.workspace,
            &mut environment,
        )?;
        files::write_json(&self.workspace.environment(), &environment)?;
        let total: usize = prepared.sizes().values().sum();
        clock.step("load and split images", Some(total));
        self.announce(&prepared);

        let (autoencoder, encoder) = self.encoder_stage(&mut prepared)?;
        clock.stage("encoder stage", &encoder);
        let representations = self.representations(&autoencoder, &prepared)?;
        clock.step("encode and decode", Some(total));

        let train = &representations[0].1.latents;
        let standardizer = Standardizer::fit(train.values(), train.dim());
        let (flow, flow_summary) = self.flow_stage(&standardizer, &representations)?;
        clock.stage("flow stage", &flow_summary);

        let detector = EncoderFlow::new(
            config.conversion(),
            config.sizes(),
            autoencoder,
            standardizer,
            flow,
            self.device(),
        );
        detector.save(&self.workspace.detector())?;
        let table = score_all(&detector, &prepared, &representations);
        table.write(&self.workspace.scores())?;
        clock.step("score", Some(total));

        let mut done = Done {
            timings: Vec::new(),
            peak_memory_mib: None,
            stages: vec![
                stage_line("encoder", &encoder),
                stage_line("flow", &flow_summary),
            ],
        };
        let evaluation = self.evaluate(&table)?;
        clock.step("evaluate", None);
        done.timings = clock.steps;
        done.peak_memory_mib = peak_memory_mib();
        self.write_report(
            &prepared,
            &detector,
            &table,
            &evaluation,
            &environment,
            &done,
        )?;
        files::write_json(&self.workspace.done(), &done)?;
        Ok(self.summary(evaluation, table.names, done, false))
    }

    /// Metrics and report of a finished run, from its stored scores.
    fn repeat_evaluation(
        &self,
        store: &DataStore,
        was_complete: bool,
    ) -> Result<Summary, ExperimentError> {
        let done: Done = files::read_json(&self.workspace.done())?;
        let table = ScoreTable::read(&self.workspace.scores())?;
        let evaluation = self.evaluate(&table)?;
        let environment: Environment = files::read_json(&self.workspace.environment())?;
        let detector = EncoderFlow::load(&self.workspace.detector(), self.device())?;
        let prepared = Prepared::new(
            self.experiment,
            self.options.seed,
            store,
            &self.workspace,
            &mut environment.clone(),
        )?;
        self.write_report(
            &prepared,
            &detector,
            &table,
            &evaluation,
            &environment,
            &done,
        )?;
        Ok(self.summary(evaluation, table.names, done, was_complete))
    }

    fn announce(&self, prepared: &Prepared) {
        let sizes: Vec<String> = prepared
            .parts
            .iter()
            .map(|part| format!("{} {}", part.images.len(), part.name))
            .collect();
        self.say(&format!(
            "{}: class {:?} is the anomaly; {}",
            self.experiment.name,
            self.experiment.class_name,
            sizes.join(", ")
        ));
        self.say(&format!(
            "{} on {}, seed {}, into {}",
            self.open.backend.name(),
            self.open.description(),
            self.options.seed,
            self.workspace.root().display()
        ));
    }

    /// A line of progress; a reader that has gone (`| head`) is no reason to stop.
    fn say(&self, line: &str) {
        if self.options.display != Display::Quiet {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn encoder_stage(
        &self,
        prepared: &mut Prepared,
    ) -> Result<(AutoEncoder, StageSummary), ExperimentError> {
        let config = &self.experiment.config;
        let rng = &mut StdRng::seed_from_u64(derive(self.options.seed, "encoder weights"));
        let model = config.sizes().autoencoder.init(rng, self.device());
        // The images move into the loaders, and back when nothing else holds them.
        let train = Arc::new(prepared.take_images("train"));
        let valid = Arc::new(prepared.take_images("validation"));
        let outcome = self.stage(
            ("encoder", "1/2 encoder"),
            ENCODER_MONITORS,
            &config.encoder.training,
            model,
            (train.clone(), valid.clone()),
        );
        prepared.put_images("train", Arc::unwrap_or_clone(train));
        prepared.put_images("validation", Arc::unwrap_or_clone(valid));
        outcome
    }

    fn flow_stage(
        &self,
        standardizer: &Standardizer,
        representations: &[(String, Representation)],
    ) -> Result<(RealNvp, StageSummary), ExperimentError> {
        let config = &self.experiment.config;
        let standardized = |index: usize| -> Arc<Vectors> {
            let latents = &representations[index].1.latents;
            let all: Vec<usize> = (0..latents.len()).collect();
            let (rows, _) = standardizer.forward(latents.batch(&all, self.device()));
            let mut vectors = Vectors::new(latents.dim());
            vectors.extend(rows.into_data().iter::<f32>());
            Arc::new(vectors)
        };
        let (train, valid) = (standardized(0), standardized(1));
        let rng = &mut StdRng::seed_from_u64(derive(self.options.seed, "flow weights"));
        let first: Vec<usize> = (0..train.len().min(config.flow.training.batch_size)).collect();
        let model = config
            .sizes()
            .flow
            .init(rng, self.device())
            .initialised_from(train.batch(&first, self.device()));
        self.stage(
            ("flow", "2/2 flow"),
            FLOW_MONITORS,
            &config.flow.training,
            model,
            (train, valid),
        )
    }

    /// Trains one stage on samples in memory.
    fn stage<M, S>(
        &self,
        (name, label): (&'static str, &str),
        monitors: &'static [Monitor],
        optimisation: &Optimisation,
        model: M,
        (train, valid): (Arc<S>, Arc<S>),
    ) -> Result<(M, StageSummary), ExperimentError>
    where
        S: Samples,
        M: crate::train::Trainable<S::Batch>,
    {
        if was_interrupted() {
            return Err(ExperimentError::Interrupted);
        }
        let stage = Stage {
            name,
            label,
            directory: &self.workspace.stage(name),
            log: &self.workspace.log(),
            monitors,
            throughput: if name == "encoder" {
                "Images"
            } else {
                "Latents"
            },
            optimisation,
            seed: derive(self.options.seed, &format!("{name} order")),
            display: self.options.display,
        };
        let device = self.device();
        let order = EpochOrder::sequential(valid.count(), 2 * optimisation.batch_size);
        let result = stage.run(
            model,
            train.count(),
            |order| SampleLoader::shared(train, order, device),
            SampleLoader::shared(valid, order, device),
        )?;
        Ok(result)
    }

    /// Latents of every part, computed once and kept beside the run.
    fn representations(
        &self,
        autoencoder: &AutoEncoder,
        prepared: &Prepared,
    ) -> Result<Vec<(String, Representation)>, ExperimentError> {
        let path = self.workspace.latents();
        let latent = self.experiment.config.encoder.latent;
        // A cache that cannot be read, or is of other images, is computed again.
        let mut stored = Representation::load(&path).unwrap_or_default();
        let mut computed = false;
        let mut representations = Vec::new();
        for part in &prepared.parts {
            if was_interrupted() {
                return Err(ExperimentError::Interrupted);
            }
            let cached = stored.remove(&part.name).filter(|found| {
                found.latents.len() == part.images.len() && found.latents.dim() == latent
            });
            let representation = cached.unwrap_or_else(|| {
                computed = true;
                self.say(&format!(
                    "encoding {} {} images",
                    part.images.len(),
                    part.name
                ));
                Representation::of(autoencoder, latent, &part.images, self.device())
            });
            representations.push((part.name.clone(), representation));
        }
        if computed {
            Representation::save(&representations, &path)?;
        }
        Ok(representations)
    }

    /// Thresholds and metrics, written.
    fn evaluate(&self, table: &ScoreTable) -> Result<Evaluation, ExperimentError> {
        let seed = derive(self.options.seed, "bootstrap");
        let evaluation = Evaluation::new(table, &self.experiment.config, seed)?;
        files::write_json(&self.workspace.thresholds(), &evaluation.thresholds)?;
        files::write_json(&self.workspace.metrics(), &evaluation.metrics)?;
        Ok(evaluation)
    }

    fn write_report(
        &self,
        prepared: &Prepared,
        detector: &EncoderFlow,
        table: &ScoreTable,
        evaluation: &Evaluation,
        environment: &Environment,
        done: &Done,
    ) -> Result<(), ExperimentError> {
        let encoder = Stage::history(&self.workspace.stage("encoder"))?;
        let flow = Stage::history(&self.workspace.stage("flow"))?;
        let html = run_report::render(&Sources {
            experiment: self.experiment,
            prepared,
            detector,
            table,
            evaluation,
            environment,
            done,
            histories: [&encoder, &flow],
        })?;
        Ok(files::write_text(&self.workspace.report(), &html)?)
    }

    fn summary(
        &self,
        evaluation: Evaluation,
        scores: Vec<String>,
        done: Done,
        was_complete: bool,
    ) -> Summary {
        Summary {
            title: format!(
                "{}  {METHOD}  seed {}",
                self.experiment.name, self.options.seed
            ),
            class_name: self.experiment.class_name.clone(),
            metrics: evaluation.metrics,
            scores,
            confidence: self.experiment.config.evaluation.confidence,
            done,
            report: self.workspace.report(),
            was_complete,
        }
    }
}

/// Scores every part through the detector's one scoring path.
fn score_all(
    detector: &EncoderFlow,
    prepared: &Prepared,
    representations: &[(String, Representation)],
) -> ScoreTable {
    let parts = prepared.parts.iter().zip(representations);
    ScoreTable {
        names: detector
            .score_names()
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        parts: parts
            .map(|(part, (_, representation))| {
                let scores = detector.score_representation(representation);
                ScoredPart::new(&part.name, &part.indices, &part.labels, &scores)
            })
            .collect(),
    }
}

fn stage_line(name: &str, summary: &StageSummary) -> (String, usize, usize, f64) {
    (
        name.to_owned(),
        summary.best_epoch,
        summary.epochs,
        summary.best_loss,
    )
}

/// A seed of its own for every use of randomness, so that a change of one does not move the others.
pub(super) fn derive(seed: u64, purpose: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// Measures the steps of a run.
struct Clock {
    last: Instant,
    steps: Vec<(String, f64, Option<f64>)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            steps: Vec::new(),
        }
    }
}

impl Clock {
    /// The time since the last step, for `images` images.
    fn step(&mut self, name: &str, images: Option<usize>) {
        let seconds = self.last.elapsed().as_secs_f64();
        let rate = images.map(|images| images as f64 / seconds.max(1e-9));
        self.steps.push((name.to_owned(), seconds, rate));
        self.last = Instant::now();
    }

    /// A stage measures itself, over all resumptions.
    fn stage(&mut self, name: &str, summary: &StageSummary) {
        let rate = summary.samples as f64 / summary.seconds.max(1e-9);
        self.steps
            .push((name.to_owned(), summary.seconds, Some(rate)));
        self.last = Instant::now();
    }
}

impl Prepared {
    /// Takes the images out of a part.
    fn take_images(&mut self, name: &str) -> Images {
        let shape = self.part(name).images.shape();
        let empty = Images::new(shape, Vec::new()).expect("no bytes are whole images");
        std::mem::replace(&mut self.part_mut(name).images, empty)
    }

    fn put_images(&mut self, name: &str, images: Images) {
        self.part_mut(name).images = images;
    }
}
