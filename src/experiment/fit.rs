//! From prepared images to a fitted detector and the scores of every image, for every method.

use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::clock::Clock;
use super::prepare::{Part, Prepared};
use super::seed::derive;
use super::{Experiment, ExperimentError, Method, ScoreTable, ScoredPart, Workspace};
use crate::data::{EpochOrder, Images, Noisy, SampleLoader, Samples, Vectors};
use crate::detector::{
    Baseline, BaselineWeights, Density, EncoderFlow, GanomalyDetector, Gmm, GmmConfig, Knn,
    Mahalanobis, Model, Representation, Scorer, Scores, Sizes, standardized,
};
use crate::encoder::{
    AutoEncoder, AutoEncoderConfig, ENCODER_STAGE, Encoder, EncoderSizes, GANOMALY_STAGE, Ganomaly,
    Pca, Pixels, Pretrained, Projection, SqueezeNet,
};
use crate::files::hex;
use crate::flow::{FLOW_STAGE, RealNvp, RealNvpConfig, Standardizer};
use crate::train::{Display, Kind, Optimisation, Stage, StageSummary, Trainable};

/// Images per forward pass of the pretrained network, whose first maps are large.
const FEATURE_BATCH: usize = 64;

/// What a fit needs to know.
pub(super) struct Fitter<'a> {
    pub experiment: &'a Experiment,
    pub method: Method,
    pub seed: u64,
    pub device: &'a Device,
    pub workspace: &'a Workspace,
    pub log: &'a Path,
    pub backend: &'a str,
    /// Where the pretrained weights are looked for.
    pub backbone: &'a Path,
    pub display: Display,
    pub clock: Clock,
}

/// What a fit leaves.
pub(super) struct Fitted {
    pub model: Model,
    /// Scores of every part.
    pub table: ScoreTable,
    pub stages: Vec<StageSummary>,
}

/// The representation of every part, in the parts' order.
type Representations = Vec<(String, Representation)>;

impl Fitter<'_> {
    /// Fits the method and scores every part.
    ///
    /// # Errors
    /// [`ExperimentError`]; what was trained until then is kept, and the same call continues.
    pub fn fit(&mut self, prepared: &Prepared) -> Result<Fitted, ExperimentError> {
        let config = &self.experiment.config;
        match config.encoder_of(self.method) {
            Some(_) if config.by_positions(self.method) => self.fit_positions(prepared),
            Some(sizes) => self.fit_on_encoder(sizes, prepared),
            None => self.fit_ganomaly(prepared),
        }
    }

    fn fit_on_encoder(
        &mut self,
        sizes: EncoderSizes,
        prepared: &Prepared,
    ) -> Result<Fitted, ExperimentError> {
        let (encoder, mut stages) = self.encoder(sizes, prepared)?;
        let representations = self.representations(&encoder, sizes, prepared)?;
        if self.method == Method::EncoderFlow {
            let (detector, flow) = self.encoder_flow(sizes, encoder, &representations)?;
            stages.push(flow);
            let table = self.score(detector.score_names(), prepared, |index| {
                detector.score_representation(&representations[index].1)
            });
            return Ok(Fitted {
                model: Model::EncoderFlow(detector),
                table,
                stages,
            });
        }
        let latents = &representations[0].1.latents;
        let (density, standardizer) = self.density(latents);
        let conversion = self.experiment.config.conversion();
        let weights = BaselineWeights { encoder, density };
        let detector = Baseline::new(conversion, sizes, weights, standardizer, self.device);
        self.clock.step("fit", Some(latents.len()));
        let table = self.score(detector.score_names(), prepared, |index| {
            detector.score_representation(&representations[index].1)
        });
        Ok(Fitted {
            model: Model::Baseline(detector),
            table,
            stages,
        })
    }

    /// The encoder: trained in its stage, taken from another method of the same run, or computed.
    fn encoder(
        &mut self,
        sizes: EncoderSizes,
        prepared: &Prepared,
    ) -> Result<(Encoder, Vec<StageSummary>), ExperimentError> {
        let train = &prepared.part("train").images;
        match sizes {
            EncoderSizes::Pixels { shape } => Ok((Encoder::Pixels(Pixels::new(shape)), Vec::new())),
            EncoderSizes::Pca { components, .. } => {
                let rng = &mut self.rng("principal components");
                let pca = Pca::fit(train, components, rng, self.device);
                self.clock.step("principal components", Some(train.len()));
                Ok((Encoder::Pca(pca), Vec::new()))
            }
            EncoderSizes::SqueezeNet {
                input,
                components,
                pixels,
                ..
            } => {
                let network = SqueezeNet::load(self.backbone, self.device)?.with_input(input);
                let part = prepared.part("train");
                let features = match &part.features {
                    Some(features) => features.clone(),
                    None => features_of(&network, train, self.device),
                };
                let rng = &mut self.rng("principal components");
                let projection = Projection::fit(&features, components, rng, self.device);
                let beside = (pixels > 0).then(|| Pca::fit(train, pixels, rng, self.device));
                self.clock.step("principal components", Some(train.len()));
                let encoder = Pretrained {
                    network,
                    projection,
                    pixels: beside,
                };
                Ok((Encoder::SqueezeNet(encoder), Vec::new()))
            }
            EncoderSizes::Autoencoder(config) => {
                let (model, summary) = self.autoencoder(config, prepared)?;
                Ok((Encoder::Autoencoder(model), vec![summary]))
            }
        }
    }

    /// The autoencoder, from its stage or from another method of the same run.
    pub(super) fn autoencoder(
        &mut self,
        config: AutoEncoderConfig,
        prepared: &Prepared,
    ) -> Result<(AutoEncoder, StageSummary), ExperimentError> {
        let experiment = self.experiment;
        self.workspace
            .adopt_encoder(&experiment.config, self.backend)?;
        let model = config.init(&mut self.rng("encoder weights"), self.device);
        let training = &experiment.config.encoder.training;
        self.train_on_images(&ENCODER_STAGE, training, model, prepared)
    }

    /// Latents of every part, computed once and kept beside the run.
    fn representations(
        &mut self,
        encoder: &Encoder,
        sizes: EncoderSizes,
        prepared: &Prepared,
    ) -> Result<Representations, ExperimentError> {
        let path = self.workspace.latents();
        let frozen = encoder.clone().frozen(self.device);
        let fingerprint = fingerprint(&frozen, prepared);
        // A cache that cannot be read, or is of something else, is computed again.
        let stored = Representation::load(&path, &fingerprint).ok();
        if let Some(mut stored) = stored {
            let found = prepared.parts.iter().map(|part| {
                stored
                    .remove_entry(&part.name)
                    .filter(|(_, found)| found.latents.len() == part.images.len())
            });
            if let Some(found) = found.collect::<Option<Representations>>() {
                self.clock.step("read latents", None);
                return Ok(found);
            }
        }
        let mut representations = Vec::new();
        for part in &prepared.parts {
            self.say(&format!(
                "encoding {} {} images",
                part.images.len(),
                part.name
            ));
            let representation = match (&frozen, &part.features) {
                (Encoder::SqueezeNet(encoder), Some(features)) => Representation {
                    latents: encoder.latents(features, &part.images, self.device),
                    reconstruction: None,
                },
                _ => Representation::of(&frozen, sizes.latent(), &part.images, self.device),
            };
            representations.push((part.name.clone(), representation));
        }
        // Pixels are no smaller than the images that they were made from.
        if !matches!(encoder, Encoder::Pixels(_)) {
            Representation::save(&representations, &fingerprint, &path)?;
        }
        self.clock.step("encode and decode", Some(prepared.len()));
        Ok(representations)
    }

    /// The flow stage, and the detector that it completes.
    fn encoder_flow(
        &mut self,
        sizes: EncoderSizes,
        encoder: Encoder,
        representations: &Representations,
    ) -> Result<(EncoderFlow, StageSummary), ExperimentError> {
        let config = &self.experiment.config;
        let [train, valid] = [0, 1].map(|part| &representations[part].1.latents);
        let standardizer = Standardizer::fit(train.values(), train.dim());
        let [train, valid] =
            [train, valid].map(|latents| standardized(&standardizer, latents, self.device));
        let flow_sizes = config.flow(train.dim());
        let (flow, summary) = self.flow(flow_sizes, train, valid)?;
        let sizes = Sizes {
            encoder: sizes,
            flow: flow_sizes,
        };
        let conversion = config.conversion();
        let detector =
            EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, self.device);
        Ok((detector, summary))
    }

    /// The flow stage on rows of standardised latents, each followed by its context if the flow has
    /// one.
    pub(super) fn flow(
        &mut self,
        sizes: RealNvpConfig,
        train: Vectors,
        valid: Vectors,
    ) -> Result<(RealNvp, StageSummary), ExperimentError> {
        let config = &self.experiment.config.flow;
        // The base distribution's means want as many points as there are.
        let first = config.training.batch_size.max(sizes.gaussians);
        let first: Vec<usize> = (0..train.len().min(first)).collect();
        let model: RealNvp = sizes
            .init(&mut self.rng("flow weights"), self.device)
            .initialised_from(train.batch(&first, self.device));
        let input = train.values().iter().flat_map(|value| value.to_le_bytes());
        let input = digest(&input.collect::<Vec<u8>>());
        let seed = derive(self.seed, "noise");
        let noisy = |vectors, noise| Arc::new(Noisy::new(vectors, sizes.dim, noise, seed));
        let samples = (noisy(train, config.noise as f32), noisy(valid, 0.0));
        self.train(&FLOW_STAGE, &config.training, model, samples, &input)
    }

    /// The density of a baseline, fitted on the training latents, and their scale where it is one of
    /// standardised latents; no density where the reconstruction error is the score.
    fn density(&self, latents: &Vectors) -> (Option<Density>, Option<Standardizer>) {
        let config = &self.experiment.config;
        match self.method {
            Method::Knn => {
                let knn = Knn::fit(latents, config.knn.neighbours, self.device);
                (Some(Density::Knn(knn)), None)
            }
            Method::Mahalanobis => {
                let gaussian = Mahalanobis::fit(latents, self.device);
                (Some(Density::Mahalanobis(gaussian)), None)
            }
            Method::Gmm => {
                let standardizer = Standardizer::fit(latents.values(), latents.dim());
                let latents = standardized(&standardizer, latents, self.device);
                let sizes = GmmConfig {
                    components: config.gmm.gaussians,
                    samples: config.gmm.samples,
                };
                let mixture = Gmm::fit(&latents, sizes, &mut self.rng("mixture"), self.device);
                (Some(Density::Gmm(mixture)), Some(standardizer))
            }
            // The autoencoder; the two others never come here.
            Method::Autoencoder | Method::EncoderFlow | Method::Ganomaly => (None, None),
        }
    }

    fn fit_ganomaly(&mut self, prepared: &Prepared) -> Result<Fitted, ExperimentError> {
        let config = &self.experiment.config;
        let rng = &mut self.rng("ganomaly weights");
        let model = Ganomaly::new(&config.ganomaly(), rng, self.device);
        let training = &config.ganomaly.training;
        let (model, summary) = self.train_on_images(&GANOMALY_STAGE, training, model, prepared)?;
        let detector = GanomalyDetector::new(config.conversion(), model, self.device);
        let table = self.score_images(&detector, prepared)?;
        Ok(Fitted {
            model: Model::Ganomaly(detector),
            table,
            stages: vec![summary],
        })
    }

    fn train_on_images<M: Trainable<Tensor<4>>>(
        &mut self,
        kind: &'static Kind,
        training: &Optimisation,
        model: M,
        prepared: &Prepared,
    ) -> Result<(M, StageSummary), ExperimentError> {
        let [train, valid] = ["train", "validation"].map(|name| prepared.part(name).images.clone());
        let input = digest(
            &[digest(train.as_bytes()), digest(valid.as_bytes())]
                .concat()
                .into_bytes(),
        );
        self.train(kind, training, model, (train, valid), &input)
    }

    /// Trains one stage on samples in memory.
    fn train<M, S>(
        &mut self,
        kind: &'static Kind,
        training: &Optimisation,
        model: M,
        (train, valid): (Arc<S>, Arc<S>),
        input: &str,
    ) -> Result<(M, StageSummary), ExperimentError>
    where
        S: Samples,
        M: Trainable<S::Batch>,
    {
        let label = match (kind.name, self.method) {
            ("encoder", Method::EncoderFlow) => "1/2 encoder".to_owned(),
            ("flow", _) if self.trains_encoder() => "2/2 flow".to_owned(),
            (name, _) => format!("1/1 {name}"),
        };
        let stage = Stage {
            kind,
            label: &label,
            input,
            directory: &self.workspace.stage(kind.name),
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

    /// Scores part by part from the images themselves.
    pub(super) fn score_images(
        &mut self,
        detector: &impl Scorer,
        prepared: &Prepared,
    ) -> Result<ScoreTable, ExperimentError> {
        let mut scores = Vec::new();
        for part in &prepared.parts {
            self.say(&format!(
                "scoring {} {} images",
                part.images.len(),
                part.name
            ));
            scores.push(detector.score(&part.images)?);
        }
        let names = detector.score_names();
        Ok(self.score(names, prepared, |index| scores[index].clone()))
    }

    /// Scores part by part. The training images of nearest neighbours are left out: each is its own
    /// neighbour.
    fn score(
        &mut self,
        names: &[&str],
        prepared: &Prepared,
        mut score: impl FnMut(usize) -> Scores,
    ) -> ScoreTable {
        let left_out = |part: &Part| self.method == Method::Knn && part.name == "train";
        let parts: Vec<ScoredPart> = prepared
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| !left_out(part))
            .map(|(index, part)| {
                ScoredPart::new(&part.name, &part.indices, &part.labels, &score(index))
            })
            .collect();
        let scored = parts.iter().map(|part| part.indices.len()).sum();
        self.clock.step("score", Some(scored));
        ScoreTable {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            parts,
        }
    }

    /// True when the method's encoder has a stage of its own.
    fn trains_encoder(&self) -> bool {
        let sizes = self.experiment.config.encoder_of(self.method);
        matches!(sizes, Some(EncoderSizes::Autoencoder(_)))
    }

    pub(super) fn rng(&self, purpose: &str) -> StdRng {
        StdRng::seed_from_u64(derive(self.seed, purpose))
    }

    pub(super) fn say(&self, line: &str) {
        self.display.say(line);
    }
}

/// What representations depend on: the images, and the encoder's weights.
fn fingerprint(encoder: &Encoder, prepared: &Prepared) -> String {
    let mut hash = weights_hash(encoder);
    for part in &prepared.parts {
        hash.update(part.images.as_bytes());
    }
    hex(&hash.finalize())
}

/// What a pretrained network's features depend on: the images, and its weights.
pub(super) fn features_fingerprint(network: &SqueezeNet, images: &Images) -> String {
    let mut hash = weights_hash(network);
    hash.update(images.as_bytes());
    hex(&hash.finalize())
}

fn weights_hash<M: Module>(module: &M) -> Sha256 {
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

/// A pretrained network's features of every image.
pub(super) fn features_of(network: &SqueezeNet, images: &Images, device: &Device) -> Vectors {
    let mut features = Vectors::new(SqueezeNet::LATENT);
    let all: Vec<usize> = (0..images.len()).collect();
    for indices in all.chunks(FEATURE_BATCH) {
        let batch = network.encode(images.batch(indices, device));
        features.extend(batch.into_data().iter::<f32>());
    }
    features
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
