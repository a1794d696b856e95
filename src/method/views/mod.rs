//! The method `views`: several descriptions of an image without its size, each with a density of its
//! own; the score is the mean of their standardised scores, and what guards add to it.
//!
//! The paper ends with the question why a flow gives other data sets a higher likelihood than its own.
//! Where a description scales with the contrast of an image, so does its distance from the mode: what
//! is smooth is likely. A view takes that out before the density sees it.

pub(super) mod detector;
mod settings;
mod sizes;

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;
use toml::Table;

pub use detector::Views;
pub use settings::{ViewSettings, ViewsSettings};
pub use sizes::{ViewFlow, ViewSizes};

use super::fitting::features::part_features;
use super::fitting::flow_settings::FlowSettings;
use super::{
    AutoEncoderSettings, Context, DetectorError, EncoderSettings, Entry, Fitted, MethodError, Part,
    Parts, Plan, Scores, Section, SimClrSettings, as_table,
};
use crate::data::{Samples, Vectors};
use crate::encoder::{
    BackboneError, BackboneLook, Batch, ENCODER_STAGE, Look, Networks, OnnxFile, OnnxNetwork,
    Projection, SIMCLR_STAGE, SqueezeNet, check_image,
};
use crate::flow::{BaseKind, FLOW_STAGE};
use crate::train::{Display, StageSummary};
use detector::{BATCH, NAMES, ViewWeights, Weights};

pub(super) static ENTRY: Entry = Entry {
    name: "views",
    summary: "several descriptions of an image without its size, a mixture for each, and with couplings a flow on it",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault: ViewsSettings::fault,
    }],
    plan: |settings| {
        let views = ViewsSettings::read(settings)?.needed();
        let flow = FlowSettings {
            couplings: views.couplings,
            base: BaseKind::Fitted,
            ..FlowSettings::read(settings)?
        };
        let simclr = match views.looks_at(Look::SimClr) {
            true => Some(SimClrSettings::read(settings)?),
            false => None,
        };
        let encoder = EncoderSettings::read(settings)?;
        let onnx = views.looks_at(Look::Onnx).then(|| encoder.onnx());
        let autoencoder = views.looks_at(Look::Autoencoder);
        let autoencoder = autoencoder.then(|| encoder.autoencoder());
        Ok(Box::new(ViewsPlan {
            views,
            encoder: ReadOfEncoder { onnx, autoencoder },
            simclr,
            flow,
        }))
    },
    words: &[detector::WORDS],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE, &FLOW_STAGE],
    notes: &[
        "Scores of views are negative log-likelihoods in deviations from their mean on normal validation images (of guards, the square of what exceeds nearly all of these); the deciding score is the mean of the views and the sum of the guards.",
    ],
    loaders: &[(detector::KIND, Views::load)],
};

/// What a fit reads.
#[derive(Debug, Serialize)]
struct ViewsPlan {
    views: ViewsSettings,
    /// Of the section `encoder`.
    #[serde(skip_serializing_if = "ReadOfEncoder::is_empty")]
    encoder: ReadOfEncoder,
    /// The network of the views that look through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    simclr: Option<SimClrSettings>,
    /// The couplings and the stage that all views share; Gaussians are each view's own.
    flow: FlowSettings,
}

/// What a fit reads of the section `encoder`.
#[derive(Debug, Serialize)]
struct ReadOfEncoder {
    /// The ONNX file of the views that look through one.
    #[serde(flatten)]
    onnx: Option<OnnxFile>,
    /// The autoencoder whose latent views are of.
    #[serde(flatten)]
    autoencoder: Option<AutoEncoderSettings>,
}

impl ReadOfEncoder {
    fn is_empty(&self) -> bool {
        self.onnx.is_none() && self.autoencoder.is_none()
    }
}

impl ViewsPlan {
    /// The flow of a view, whose Gaussians are its own.
    fn flow_of(&self, view: &ViewSettings) -> FlowSettings {
        FlowSettings {
            gaussians: view.gaussians,
            base: view.base,
            ..self.flow.clone()
        }
    }

    /// Fits the density of one view, of the number `index` in the list.
    fn fit_view(
        &self,
        index: usize,
        (context, parts): (&mut Context, &[Seen]),
        sizes: &ViewSizes,
        networks: Networks,
    ) -> Result<(ViewFlow, ViewWeights, Option<StageSummary>), MethodError> {
        let (number, view) = (index + 1, &self.views.list[index]);
        let seen = view.view();
        let purpose = |purpose: &str| format!("{purpose} of view {number}");
        let describe = |context: &Context, name: &'static str, (part, features): &Seen| {
            let count = (part.images.len(), BATCH);
            let rows = Vectors::in_batches(sizes.dim(&seen), count, |indices| {
                let features = features.as_ref();
                let features = features.map(|all| all.batch(indices, context.device));
                let images = part.images.batch(indices, context.device);
                seen.describe(&Batch::new(images, networks).with_features(features))
            });
            // Somebody else's network may do anything.
            match rows.first_not_finite() {
                Some(image) => Err(MethodError::NotFinite {
                    part: name.to_owned(),
                    image,
                }),
                None => Ok(rows),
            }
        };
        let train = describe(context, "train", &parts[0])?;
        let rng = &mut context.rng(&purpose("components"));
        let projection = Projection::fit(&train, view.components, rng, context.device);
        let train = projection.project(&train, BATCH);
        let valid = describe(context, "validation", &parts[1])?;
        let valid = projection.project(&valid, BATCH);
        let count = train.len();
        context.clock.step(&purpose("components"), Some(count));
        context.note_components(&format!("view {number}"), count, train.dim());
        let flow = self.flow_of(view);
        let flow_sizes = flow.sizes(train.dim(), train.len());
        let folder = format!("view-{number}");
        let (flow, summary) = flow.fit_within(&folder, context, flow_sizes, train, valid)?;
        let sizes = ViewFlow {
            view: seen,
            flow: flow_sizes,
            mean: 0.0,
            deviation: 1.0,
            guard: None,
        };
        Ok((sizes, ViewWeights { projection, flow }, summary))
    }
}

impl Plan for ViewsPlan {
    fn settings(&self) -> Table {
        as_table(self)
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        check_image(shape).map_err(DetectorError::Shape)?;
        if let Some(settings) = &self.encoder.autoencoder {
            settings.check(shape)?;
        }
        if let Some(settings) = &self.simclr {
            settings.check(shape)?;
        }
        if let Some(dictionary) = self.views.dictionary(shape) {
            dictionary.check(shape).map_err(DetectorError::Shape)?;
        }
        Ok(())
    }

    fn pretrained(&self) -> Option<BackboneLook> {
        let squeezenet = self.views.pretrained().map(BackboneLook::SqueezeNet);
        squeezenet.or_else(|| self.encoder.onnx.clone().map(BackboneLook::Onnx))
    }

    fn trains_autoencoder(&self) -> bool {
        self.encoder.autoencoder.is_some()
    }

    fn trains_simclr(&self) -> bool {
        self.simclr.is_some()
    }

    // By them the views are standardised, and guards begin.
    fn is_chosen_by_validation(&self) -> bool {
        true
    }

    fn skips_training_scores(&self) -> bool {
        let mut views = self.views.list.iter();
        views.any(|view| self.flow_of(view).remembers())
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        self.check(context.image_shape())?;
        let flows = self.views.list.len() * usize::from(self.flow.trains());
        let trained = [self.trains_autoencoder(), self.trains_simclr()];
        context.expect_stages(flows + trained.map(usize::from).iter().sum::<usize>());
        let (mut weights, mut stages) = self.networks(context, parts)?;
        let mut sizes = self.sizes(context.image_shape(), weights.onnx.as_ref());
        // Training and validation images first.
        let at = (context.device, context.display);
        let seen: Vec<Seen> = parts
            .iter()
            .map(|part| (part, features(part, weights.networks(), at)))
            .collect();
        for (index, view) in self.views.list.iter().enumerate() {
            context.say(&format!("view {}: {}", index + 1, view.name()));
            let fitted = self.fit_view(index, (context, &seen), &sizes, weights.networks())?;
            let (flow, fitted, stage) = fitted;
            sizes.views.push(flow);
            weights.views.push(fitted);
            stages.extend(stage);
        }
        let mut scorer = Views::new(context.conversion, sizes, weights, context.device);
        let scores = self.standardise_and_score(&mut scorer, &seen, context);
        context.note_scoring(&scores);
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
            made_up: None,
        })
    }
}

impl ViewsPlan {
    /// The networks that views look through, loaded or trained, and no view yet.
    fn networks(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(Weights, Vec<StageSummary>), MethodError> {
        let shape = context.image_shape();
        let network = match self.views.pretrained() {
            Some(look) => Some(SqueezeNet::load(context.weights, context.device)?.with(look)),
            None => None,
        };
        let onnx = match &self.encoder.onnx {
            Some(file) => Some(file.load(shape[0]).map_err(BackboneError::from)?),
            None => None,
        };
        let mut stages = Vec::new();
        let autoencoder = match &self.encoder.autoencoder {
            Some(settings) => {
                let (network, stage) = settings.fit(context, parts)?;
                stages.push(stage);
                Some(network.to_device(context.device))
            }
            None => None,
        };
        let simclr = match &self.simclr {
            Some(settings) => {
                let (network, stage) = settings.fit(context, parts)?;
                stages.push(stage);
                Some(network)
            }
            None => None,
        };
        let dictionary = self.views.dictionary(shape).map(|sizes| {
            let images = &parts.train().images;
            let rng = &mut context.rng("dictionary of patches");
            let fitted = sizes.fit(images, rng, context.device);
            context.clock.step("dictionary of patches", None);
            fitted
        });
        let weights = Weights {
            network,
            onnx,
            autoencoder,
            simclr,
            dictionary,
            views: Vec::new(),
        };
        Ok((weights, stages))
    }

    /// The sizes for images of this shape, and of no view yet.
    fn sizes(&self, shape: [usize; 3], onnx: Option<&OnnxNetwork>) -> ViewSizes {
        let autoencoder = self.encoder.autoencoder.as_ref();
        ViewSizes {
            shape,
            input: self.views.input,
            onnx: onnx.map(|network| network.sizes().clone()),
            autoencoder: autoencoder.map(|settings| settings.sizes(shape)),
            simclr: self.simclr.as_ref().map(|settings| settings.sizes(shape)),
            dictionary: self.views.dictionary(shape),
            views: Vec::new(),
        }
    }

    /// The scores of the parts that are to be scored, once the scorer has been told what those of the validation images, the
    /// second part, are like.
    fn standardise_and_score(
        &self,
        scorer: &mut Views,
        seen: &[Seen],
        context: &Context,
    ) -> Vec<(String, Scores)> {
        let score = |(part, features): &Seen| {
            context.say(&format!(
                "scoring {} {} images",
                part.images.len(),
                part.name
            ));
            let found = scorer.nll(&part.images, features.as_deref());
            (part.name.clone(), found)
        };
        let wanted = seen
            .iter()
            .filter(|(part, _)| context.wants_scores_of(&part.name));
        let nll: Vec<(String, Vec<Vec<f32>>)> = wanted.map(score).collect();
        let shares = self.views.list.iter().map(|view| view.guard);
        let validation = &seen[1].0.name;
        if let Some((_, valid)) = nll.iter().find(|(name, _)| name == validation) {
            scorer.standardise(valid, &shares.collect::<Vec<_>>());
        }
        nll.into_iter()
            .map(|(name, columns)| (name, scorer.combined(columns)))
            .collect()
    }
}

/// A part, and what the pretrained network makes of its images, where a view looks through one.
type Seen<'a> = (&'a Part, Option<Cow<'a, Vectors>>);

/// What the pretrained network makes of the images of a part: known before, or computed once for all views.
fn features<'a>(
    part: &'a Part,
    networks: Networks,
    at: (&Device, Display),
) -> Option<Cow<'a, Vectors>> {
    match (networks.squeezenet, networks.onnx) {
        (Some(network), _) => Some(part_features(part, network.latent(), at, |batch| {
            network.encode(batch)
        })),
        (None, Some(network)) => Some(part_features(part, network.features(), at, |batch| {
            network.encode(batch)
        })),
        (None, None) => None,
    }
}

/// Most views.
const MOST: usize = NAMES.len() - 1;
