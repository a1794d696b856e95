//! The section `flow`, and the flow stage.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::InferenceStep;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

use super::context::digest;
use crate::data::{Noisy, Samples, Vectors, batches};
use crate::flow::{BaseKind, FLOW_STAGE, Mixing, RealNvp, RealNvpConfig, TiedMixture};
use crate::method::{Context, MethodError, derive};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::{Optimisation, StageSummary};

/// Rows that a base distribution is fitted to, at most.
const FITTED: usize = 100_000;

/// The section `flow`: a fit reads all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSettings {
    /// Coupling layers.
    pub couplings: usize,
    /// Units of a conditioner's hidden layer.
    pub hidden: usize,
    /// Hidden layers of a conditioner.
    pub layers: usize,
    /// Bound of the log-scale, in nats.
    pub clamp: f64,
    /// What happens between couplings.
    pub mixing: Mixing,
    /// Activation normalisation before every coupling.
    pub actnorm: bool,
    /// Gaussians of the base distribution; 0 for a standard normal.
    pub gaussians: usize,
    /// How these Gaussians come about.
    pub base: BaseKind,
    /// Of a fitted base distribution, runs of expectation maximisation whose mixtures are averaged.
    pub starts: usize,
    /// Standard deviation of the noise added to every training latent, in units of its own.
    pub noise: f64,
    /// Its stage.
    pub training: Optimisation,
}

impl FlowSettings {
    /// Reads the section.
    pub(in crate::method) fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section("flow")
    }

    /// The first key with which no run is possible.
    pub(in crate::method) fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let flow = Self::read(settings)?;
        let most = flow.base.most_gaussians();
        let checks = [
            Check::new(
                "gaussians",
                flow.gaussians <= most,
                format!("must be at most {most} (0 for a standard normal)"),
            ),
            Check::new(
                "noise",
                (0.0..=10.0).contains(&flow.noise),
                "must be from 0 (none) to 10",
            ),
            Check::within("starts", flow.starts, 1..=100),
            averaged("starts", flow.gaussians, flow.starts(), most),
            Check::new(
                "clamp",
                RealNvpConfig::can_clamp(flow.clamp),
                format!(
                    "must be above 0 and at most {} nats",
                    RealNvpConfig::MOST_CLAMP
                ),
            ),
        ];
        let couplings = flow.sizes(2, 1).limits().into_iter();
        let couplings = couplings.map(|(key, value, allowed)| Check::within(key, value, allowed));
        let fault = first_fault("flow", checks.into_iter().chain(couplings));
        Ok(fault.or_else(|| optimisation_fault("flow", &flow.training)))
    }

    /// How often the Gaussians are there.
    fn starts(&self) -> usize {
        match self.base {
            BaseKind::Fitted => self.starts,
            BaseKind::Trained | BaseKind::Tied | BaseKind::Kernel => 1,
        }
    }

    /// Whether anything of it is trained: without couplings, a normal or a fitted base is the whole density.
    pub fn trains(&self) -> bool {
        self.couplings > 0 || (self.gaussians > 0 && self.base.is_trained())
    }

    /// Whether training latents are remembered one by one: each is then likelier than any new one, and its score says nothing.
    pub(in crate::method) fn remembers(&self) -> bool {
        self.base == BaseKind::Kernel && self.gaussians > 0
    }

    /// Sizes of the flow on `rows` latents of `dim` entries.
    pub fn sizes(&self, dim: usize, rows: usize) -> RealNvpConfig {
        let gaussians = match (self.base, self.gaussians) {
            (BaseKind::Tied, 1..) => TiedMixture::most(self.gaussians, rows, dim),
            _ => self.gaussians.min(rows) * self.starts(),
        };
        RealNvpConfig {
            dim,
            couplings: self.couplings,
            hidden: self.hidden,
            layers: self.layers,
            clamp: self.clamp,
            mixing: self.mixing,
            actnorm: self.actnorm,
            gaussians,
            base: self.base,
            context: 0,
        }
    }

    /// Rows from which whatever starts from data is set: of a fitted base all, else a batch, or as many
    /// as there are Gaussians, drawn at random, for the first rows may be of one image.
    pub(in crate::method) fn start_rows(&self, context: &Context, train: &Vectors) -> Tensor<2> {
        let (wanted, in_order) = match (self.base, self.gaussians) {
            (BaseKind::Fitted | BaseKind::Tied | BaseKind::Kernel, 1..) => {
                (FITTED, train.len() <= FITTED)
            }
            _ => (self.training.batch_size.max(self.gaussians), false),
        };
        let wanted = wanted.min(train.len());
        let rows = match in_order {
            true => (0..wanted).collect(),
            false => sample(&mut context.rng("flow start"), train.len(), wanted).into_vec(),
        };
        train.batch(&rows, context.device)
    }

    /// The flow before its first step: what starts from data has been set from the `rows`.
    pub(in crate::method) fn start(
        &self,
        context: &mut Context,
        sizes: RealNvpConfig,
        rows: Tensor<2>,
    ) -> RealNvp {
        let rng = &mut context.rng("flow weights");
        let count = rows.dims()[0];
        let model = sizes.init(rng, context.device);
        let model = model.initialised_from(rows, self.starts(), rng);
        if sizes.gaussians > 0 {
            context.clock.step("base distribution", Some(count));
        }
        model
    }

    /// The flow stage on rows of latents, each followed by its context if the flow has one; no stage where
    /// nothing of it [is trained](Self::trains).
    ///
    /// The flow before its first step is a candidate too. Where its base is fitted and its couplings begin at the
    /// identity, that is the base: what comes out is no less likely on validation rows that have the noise of the training
    /// rows. (Without that noise, a density of what is blurred by it would be compared with one of what is not.)
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub(in crate::method) fn fit(
        &self,
        context: &mut Context,
        sizes: RealNvpConfig,
        train: Vectors,
        valid: Vectors,
    ) -> Result<(RealNvp, Option<StageSummary>), MethodError> {
        let rows = self.start_rows(context, &train);
        let model = self.start(context, sizes, rows);
        if !self.trains() {
            return Ok((model, None));
        }
        let bytes = |vectors: &Vectors| -> Vec<u8> {
            let values = vectors.values().iter();
            values.flat_map(|value| value.to_le_bytes()).collect()
        };
        let input = digest(&bytes(&train)) + &digest(&bytes(&valid));
        let seed = derive(context.seed, "noise");
        let noisy = |vectors, noise| Arc::new(Noisy::new(vectors, sizes.dim, noise, seed));
        let blurred = noisy(valid.clone(), self.noise as f32);
        let samples = (noisy(train, self.noise as f32), noisy(valid, 0.0));
        let (start, valid) = (model.clone().valid(), samples.1.clone());
        let trained = context.train(&FLOW_STAGE, &self.training, model, samples, &input);
        let (model, mut summary) = trained?;
        let nll = |flow: &RealNvp, rows: &Noisy| self.mean_nll(flow, rows, context.device);
        let [before, after] = [&start, &model].map(|flow| nll(flow, &blurred));
        // What is not a number is not less than one.
        if before < after {
            (summary.best_loss, summary.best_epoch) = (nll(&start, &valid), 0);
            context.say(&format!(
                "{} {}  stays as it started: {before:.4} on validation with the training's noise, \
                 the best epoch {after:.4}",
                context.stages, FLOW_STAGE.name
            ));
            return Ok((start, Some(summary)));
        }
        Ok((model, Some(summary)))
    }

    /// Mean negative log-likelihood, in nats, of rows with the training's noise: what densities that were fitted to such rows,
    /// and one that was not trained further, are compared by.
    pub(in crate::method) fn blurred_nll(
        &self,
        context: &Context,
        flow: &RealNvp,
        dim: usize,
        rows: Vectors,
    ) -> f64 {
        let seed = derive(context.seed, "noise");
        let rows = Noisy::new(rows, dim, self.noise as f32, seed);
        self.mean_nll(flow, &rows, context.device)
    }

    /// Mean negative log-likelihood of the rows in nats, as many at a time as in a validation of the stage.
    fn mean_nll(&self, flow: &RealNvp, rows: &Noisy, device: &Device) -> f64 {
        let part = 2 * self.training.batch_size;
        let sums = batches(rows.count(), part).map(|indices| {
            let step = flow.step(rows.batch(&indices, device));
            let mean = step
                .values()
                .ok()
                .and_then(|values| values.first().copied());
            mean.unwrap_or(f64::NAN) * indices.len() as f64
        });
        sums.sum::<f64>() / rows.count() as f64
    }

    /// [`fit`](Self::fit) with a folder of its own in the run's, which the name of the stage begins with.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped, or the folder cannot be made.
    pub(in crate::method) fn fit_within(
        &self,
        folder: &str,
        context: &mut Context,
        sizes: RealNvpConfig,
        train: Vectors,
        valid: Vectors,
    ) -> Result<(RealNvp, Option<StageSummary>), MethodError> {
        if !self.trains() {
            let rows = self.start_rows(context, &train);
            return Ok((self.start(context, sizes, rows), None));
        }
        let fitted = context.within(folder, |context| self.fit(context, sizes, train, valid));
        let (flow, mut summary) = fitted?;
        if let Some(summary) = &mut summary {
            summary.name = format!("{folder}/{}", summary.name);
        }
        Ok((flow, summary))
    }
}

/// That a mixture of so many Gaussians from each start is no larger than what a model holds.
pub(in crate::method) fn averaged(
    key: &'static str,
    gaussians: usize,
    starts: usize,
    most: usize,
) -> Check {
    let must = format!(
        "must be less: there are {gaussians} Gaussians for each of {starts} starts, and a model holds {most} in all"
    );
    Check::new(key, gaussians.saturating_mul(starts) <= most, must)
}
