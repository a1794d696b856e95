//! The method `views`: several descriptions of an image without its size, each with a density of its
//! own; the score is the mean of their standardised scores, and what guards add to it.
//!
//! The paper ends with the question why a flow gives other data sets a higher likelihood than its own.
//! Where a description scales with the contrast of an image, so does its distance from the mode: what
//! is smooth is likely. A view takes that out before the density sees it.

pub(super) mod detector;
mod settings;
mod sizes;

use serde::Serialize;
use toml::Table;

pub use detector::Views;
pub use settings::{ViewSettings, ViewsSettings};
pub use sizes::{ViewFlow, ViewSizes};

use super::flow_settings::FlowSettings;
use super::{
    Context, Entry, Fitted, MethodError, Part, Parts, Plan, Scores, Section, SimClrSettings,
    as_table,
};
use crate::data::{Samples, Vectors};
use crate::encoder::{BackboneLook, Look, Networks, Projection, SIMCLR_STAGE, SqueezeNet};
use crate::flow::{BaseKind, FLOW_STAGE};
use crate::train::StageSummary;
use detector::{BATCH, NAMES, ViewWeights, Weights};

pub(super) static ENTRY: Entry = Entry {
    name: "views",
    summary: "several descriptions of an image without its size, a flow on a fitted mixture for each",
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
        Ok(Box::new(ViewsPlan {
            views,
            simclr,
            flow,
        }))
    },
    words: detector::WORDS,
    stages: &[&SIMCLR_STAGE, &FLOW_STAGE],
    notes: &[
        "Scores of views are negative log-likelihoods in deviations from their mean on normal validation images (of guards, the square of what exceeds nearly all of these); the deciding score is the mean of the views and the sum of the guards.",
    ],
    loaders: &[(detector::KIND, Views::load)],
};

/// What a fit reads.
#[derive(Debug, Serialize)]
struct ViewsPlan {
    views: ViewsSettings,
    /// The network of the views that look through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    simclr: Option<SimClrSettings>,
    /// The couplings and the stage that all views share; Gaussians are each view's own.
    flow: FlowSettings,
}

impl ViewsPlan {
    /// Fits the density of one view.
    fn fit_view(
        &self,
        number: usize,
        view: &ViewSettings,
        (context, parts): (&mut Context, &Parts),
        networks: Networks,
    ) -> Result<(ViewWeights, Option<StageSummary>), MethodError> {
        let seen = view.view();
        let purpose = |purpose: &str| format!("{purpose} of view {number}");
        let describe = |context: &Context, part: &Part| -> Vectors {
            let shape = context.image_shape();
            let simclr = self.simclr.as_ref().map(|own| own.sizes(shape));
            let mut rows = Vectors::new(seen.dim(shape, simclr, self.views.dictionary(shape)));
            let all: Vec<usize> = (0..part.images.len()).collect();
            for indices in all.chunks(BATCH) {
                let batch = match (&part.features, seen.of) {
                    (Some(features), of) if of.is_pretrained() => {
                        seen.of_features(features.batch(indices, context.device))
                    }
                    _ => seen.describe(part.images.batch(indices, context.device), networks),
                };
                rows.extend(batch.into_data().iter::<f32>());
            }
            rows
        };
        let project = |context: &Context, projection: &Projection, rows: &Vectors| -> Vectors {
            let mut latents = Vectors::new(projection.dim());
            let all: Vec<usize> = (0..rows.len()).collect();
            for indices in all.chunks(BATCH) {
                let batch = projection.forward(rows.batch(indices, context.device));
                latents.extend(batch.into_data().iter::<f32>());
            }
            latents
        };
        let train = describe(context, parts.train());
        let rng = &mut context.rng(&purpose("components"));
        let projection = Projection::fit(&train, view.components, rng, context.device);
        let train = project(context, &projection, &train);
        let valid = describe(context, parts.validation());
        let valid = project(context, &projection, &valid);
        context
            .clock
            .step(&purpose("components"), Some(train.len()));
        let flow = FlowSettings {
            gaussians: view.gaussians,
            ..self.flow.clone()
        };
        let sizes = flow.sizes(train.dim(), train.len());
        let (flow, summary) = match self.views.couplings {
            0 => (flow.start(context, sizes, &train), None),
            _ => {
                let folder = format!("view-{number}");
                let trained =
                    context.within(&folder, |context| flow.fit(context, sizes, train, valid));
                let (flow, mut summary) = trained?;
                if let Some(summary) = &mut summary {
                    summary.name = format!("{folder}/{}", summary.name);
                }
                (flow, summary)
            }
        };
        Ok((ViewWeights { projection, flow }, summary))
    }
}

impl Plan for ViewsPlan {
    fn settings(&self) -> Table {
        as_table(self)
    }

    fn pretrained(&self) -> Option<BackboneLook> {
        self.views.pretrained().map(BackboneLook::SqueezeNet)
    }

    fn trains_simclr(&self) -> bool {
        self.simclr.is_some()
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let network = match self.views.pretrained() {
            Some(look) => Some(SqueezeNet::load(context.weights, context.device)?.with(look)),
            None => None,
        };
        let flows = self.views.list.len() * usize::from(self.views.couplings > 0);
        context.stages[1] = flows + usize::from(self.trains_simclr());
        let (mut views, mut stages) = (Vec::new(), Vec::new());
        let simclr = match &self.simclr {
            Some(settings) => {
                let (network, stage) = settings.fit(context, parts)?;
                stages.push(stage);
                Some(network)
            }
            None => None,
        };
        let shape = context.image_shape();
        let dictionary_sizes = self.views.dictionary(shape);
        let dictionary = dictionary_sizes.map(|sizes| {
            let images = &parts.train().images;
            let rng = &mut context.rng("dictionary of patches");
            let fitted = sizes.fit(images, rng, context.device);
            context.clock.step("dictionary of patches", None);
            fitted
        });
        let networks = Networks {
            squeezenet: network.as_ref(),
            simclr: simclr.as_ref(),
            dictionary: dictionary.as_ref(),
        };
        for (number, view) in (1..).zip(&self.views.list) {
            context.say(&format!("view {number}: {}", view.name()));
            let (weights, stage) = self.fit_view(number, view, (context, parts), networks)?;
            views.push(weights);
            stages.extend(stage);
        }
        let sizes = ViewSizes {
            shape,
            input: self.views.input,
            simclr: self.simclr.as_ref().map(|settings| settings.sizes(shape)),
            dictionary: dictionary_sizes,
            views: self
                .views
                .list
                .iter()
                .zip(&views)
                .map(|(view, weights)| ViewFlow {
                    view: view.view(),
                    flow: self.sizes_of(view, weights, parts),
                    mean: 0.0,
                    deviation: 1.0,
                    guard: None,
                })
                .collect(),
        };
        let weights = Weights {
            network,
            simclr,
            dictionary,
            views,
        };
        let mut scorer = Views::new(context.conversion, sizes, weights, context.device);
        let nll: Vec<(String, Vec<Vec<f32>>)> = parts
            .iter()
            .map(|part| {
                context.say(&format!(
                    "scoring {} {} images",
                    part.images.len(),
                    part.name
                ));
                let found = scorer.nll(&part.images, part.features.as_ref());
                (part.name.clone(), found)
            })
            .collect();
        // The second part is the validation images.
        let shares = self.views.list.iter().map(|view| view.guard);
        scorer.standardise(&nll[1].1, &shares.collect::<Vec<_>>());
        let scores: Vec<(String, Scores)> = nll
            .into_iter()
            .map(|(name, columns)| (name, scorer.combined(columns)))
            .collect();
        context.scored(&scores);
        Ok(Fitted {
            scorer: Box::new(scorer),
            scores,
            stages,
            made_up: None,
        })
    }
}

impl ViewsPlan {
    fn sizes_of(
        &self,
        view: &ViewSettings,
        weights: &ViewWeights,
        parts: &Parts,
    ) -> crate::flow::RealNvpConfig {
        let flow = FlowSettings {
            gaussians: view.gaussians,
            ..self.flow.clone()
        };
        flow.sizes(weights.projection.dim(), parts.train().images.len())
    }
}

/// Most views.
const MOST: usize = NAMES.len() - 1;
