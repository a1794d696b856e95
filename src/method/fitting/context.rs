//! What a fit is given beside its images: a device, a seed, a folder to keep its stages in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::representation::Representation;
use crate::data::{Conversion, EpochOrder, SampleLoader, Samples};
use crate::files::{self, hex};
use crate::method::{Clock, DetectorError, MethodError, Part, Parts, Scorer, Scores, derive};
use crate::train::{Display, Kind, Optimisation, Stage, StageSummary, Trainable};

/// What a fit needs to know beside its settings and its images.
pub struct Context<'a> {
    /// Seed of weights and order.
    pub seed: u64,
    /// Where it computes.
    pub device: &'a Device,
    /// Folder with a folder for each of its stages, and for what it keeps beside.
    pub folder: &'a Path,
    /// Where messages go.
    pub log: &'a Path,
    /// Where the pretrained weights are looked for.
    pub weights: &'a Path,
    /// What the images have been brought to.
    pub conversion: Conversion,
    /// How to show progress.
    pub display: Display,
    /// What takes how long.
    pub clock: Clock,
    /// How many stages it has begun.
    pub stages: StageCount,
    /// False where nobody asks for the scores of training images.
    pub training_scores: bool,
    /// What whoever asked for the fit should know of it, once it is done.
    pub notes: Vec<String>,
}

/// The stages of a fit, `1/2 encoder`.
#[derive(Clone, Copy, Debug)]
pub struct StageCount {
    begun: usize,
    expected: usize,
}

impl Default for StageCount {
    /// None begun yet, of the one that a fit has unless it says how many.
    fn default() -> Self {
        Self {
            begun: 0,
            expected: 1,
        }
    }
}

impl fmt::Display for StageCount {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}/{}", self.begun, self.expected)
    }
}

/// What a fit leaves.
pub struct Fitted {
    /// The fitted method.
    pub scorer: Box<dyn Scorer>,
    /// Scores of every part that was scored, by the part's name.
    pub scores: Vec<(String, Scores)>,
    /// Its training stages.
    pub stages: Vec<StageSummary>,
    /// How well its score tells validation images from the same with made-up defects (AUROC), where the fit
    /// has looked at it.
    pub made_up: Option<f64>,
}

impl Context<'_> {
    /// `[channels, height, width]` of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.conversion.shape()
    }

    /// Latents and reconstruction errors of every part.
    pub(in crate::method) fn latents(&self) -> PathBuf {
        self.folder.join("latents.safetensors")
    }

    /// A generator of its own for every purpose.
    pub fn rng(&self, purpose: &str) -> StdRng {
        StdRng::seed_from_u64(derive(self.seed, purpose))
    }

    /// Works in a folder of the run's folder.
    ///
    /// # Errors
    /// Those of `work`, and when the folder cannot be made.
    pub fn within<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Context) -> Result<T, MethodError>,
    ) -> Result<T, MethodError> {
        let folder = self.folder.join(name);
        files::create_folder(&folder).map_err(DetectorError::from)?;
        let mut inner = Context {
            folder: &folder,
            clock: std::mem::replace(&mut self.clock, Clock::start()),
            notes: std::mem::take(&mut self.notes),
            ..*self
        };
        let result = work(&mut inner);
        self.stages = inner.stages;
        self.clock = inner.clock;
        self.notes = inner.notes;
        result
    }

    /// Shows a line.
    pub fn say(&self, line: &str) {
        self.display.say(line);
    }

    /// Says how many stages the fit trains.
    pub(in crate::method) fn expect_stages(&mut self, count: usize) {
        self.stages.expected = count;
    }

    /// Notes where so many training images vary in fewer directions than there are components asked for.
    pub(in crate::method) fn note_components(&mut self, what: &str, images: usize, asked: usize) {
        let most = images.saturating_sub(1);
        if most < asked {
            self.notes.push(format!(
                "{what}: {images} training images vary in {most} directions, and {asked} components are asked for: those \
                 beyond count for nothing. Take more images, or ask for fewer components"
            ));
        }
    }

    /// Trains one stage on the images of the first two parts.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub fn train_on_images<M: Trainable<Tensor<4>>>(
        &mut self,
        kind: &'static Kind,
        training: &Optimisation,
        model: M,
        parts: &Parts,
    ) -> Result<(M, StageSummary), MethodError> {
        let [train, valid] = [parts.train(), parts.validation()].map(|part| part.images.clone());
        self.train(kind, training, model, (train, valid), &input_digest(parts))
    }

    /// Trains one stage on samples in memory; `input` is a digest of what they were made from.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub fn train<M, S>(
        &mut self,
        kind: &'static Kind,
        training: &Optimisation,
        model: M,
        (train, valid): (Arc<S>, Arc<S>),
        input: &str,
    ) -> Result<(M, StageSummary), MethodError>
    where
        S: Samples,
        M: Trainable<S::Batch>,
    {
        self.stages.begun += 1;
        let label = format!("{} {}", self.stages, kind.name);
        let stage = Stage {
            kind,
            label: &label,
            input,
            directory: &self.folder.join(kind.name),
            log: self.log,
            optimisation: training,
            seed: derive(self.seed, &format!("{} order", kind.name)),
            display: self.display,
        };
        let device = self.device;
        let order = EpochOrder::sequential(valid.count(), 2 * training.batch_size);
        let (model, summary) = stage.run(
            model,
            train.count(),
            |order| SampleLoader::shared(train, order, device),
            SampleLoader::shared(valid, order, device),
        )?;
        self.clock.stage(&summary);
        Ok((model, summary))
    }

    /// True when the part of this name is to be scored.
    pub(in crate::method) fn wants_scores_of(&self, part: &str) -> bool {
        self.training_scores || part != "train"
    }

    /// Scores the parts that are to be scored, one by one, from the images themselves; `known` are the scores of one
    /// part, by its name, where a fit has them already.
    ///
    /// # Errors
    /// [`MethodError`] when an image cannot be scored.
    pub fn score_images(
        &mut self,
        scorer: &dyn Scorer,
        parts: &Parts,
        known: Option<(&str, Scores)>,
    ) -> Result<Vec<(String, Scores)>, MethodError> {
        let (mut scores, mut scored) = (Vec::new(), 0);
        let wanted = parts.iter().filter(|part| self.wants_scores_of(&part.name));
        for Part { name, images, .. } in wanted {
            let found = match &known {
                Some((known, scores)) if known == name => scores.clone(),
                _ => {
                    self.say(&format!("scoring {} {name} images", images.len()));
                    scored += images.len();
                    scorer.score(images)?
                }
            };
            scores.push((name.clone(), found));
        }
        self.clock.step("score", Some(scored));
        Ok(scores)
    }

    /// What a fit of one stage leaves, with the scores of the parts that are to be scored.
    ///
    /// # Errors
    /// [`MethodError`] when an image cannot be scored.
    pub fn finish_one_stage(
        &mut self,
        scorer: impl Scorer + 'static,
        stage: StageSummary,
        parts: &Parts,
    ) -> Result<Fitted, MethodError> {
        let scores = self.score_images(&scorer, parts, None)?;
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages: vec![stage],
            made_up: None,
        })
    }

    /// What a fit on representations leaves, with the scores that `score` makes of those of the parts that are to be
    /// scored.
    pub(in crate::method) fn finish_represented<S: Scorer + 'static>(
        &mut self,
        scorer: S,
        stages: Vec<StageSummary>,
        representations: &[(String, Representation)],
        score: impl Fn(&S, &Representation) -> Scores,
    ) -> Fitted {
        let wanted = representations
            .iter()
            .filter(|(part, _)| self.wants_scores_of(part));
        let scores = wanted.map(|(part, found)| (part.clone(), score(&scorer, found)));
        let scores: Vec<(String, Scores)> = scores.collect();
        self.note_scoring(&scores);
        Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
            made_up: None,
        }
    }

    /// Notes the time of scoring.
    pub(in crate::method) fn note_scoring(&mut self, scores: &[(String, Scores)]) {
        let scored = scores.iter().map(|(_, scores)| scores.len()).sum();
        self.clock.step("score", Some(scored));
    }
}

/// SHA-256 of all weights of a module.
pub(crate) fn weights_hash<M: Module>(module: &M) -> Sha256 {
    struct Weights(Sha256);
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            for value in param.val().into_data().iter::<f32>() {
                self.0.update(value.to_le_bytes());
            }
        }
    }
    let mut weights = Weights(Sha256::new());
    module.visit(&mut weights);
    weights.0
}

/// Digest of the images that a stage is trained on and chosen by.
pub(in crate::method) fn input_digest(parts: &Parts) -> String {
    let of = |part: &Part| {
        let mut hash = Sha256::new();
        part.images.iter().for_each(|image| hash.update(image));
        hex(&hash.finalize())
    };
    digest(
        [of(parts.train()), of(parts.validation())]
            .concat()
            .as_bytes(),
    )
}

/// SHA-256 in hexadecimal digits.
pub(in crate::method) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
