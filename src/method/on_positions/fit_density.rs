//! Fitting the density of the positions at one scale.

use rand::rngs::StdRng;
use rand::seq::index::sample;

use super::fit::{BankSettings, DensityPlan, KernelSettings, PlaceSettings, PositionPlan};
use super::room::{check_covariances, check_places};
use super::rows::{Poses, Rows, Scale, Wanted, latents};
use super::settings::Components;
use super::{
    ComponentFlow, DensitySizes, KernelDensity, PatchBank, PlaceGaussians, PositionDensity,
    TiedGaussians,
};
use crate::data::{Images, Samples};
use crate::encoder::{ComponentOrder, POSITION_CONTEXT, Projection};
use crate::flow::{BaseKind, MixtureConfig, RealNvp, RealNvpConfig};
use crate::method::{Context, DetectorError, FlowSettings, MethodError, Parts};
use crate::train::StageSummary;

/// Positions that a density is fitted to, at most.
const TRAINED: usize = 100_000;
/// Numbers in the features of positions, at most: 200 MB, of which there are two copies for a while.
const MOST_NUMBERS: usize = 50_000_000;
/// Positions that it is validated on, at most.
const VALIDATED: usize = 25_000;
/// Positions that a coreset is taken from, at most.
const REMEMBERED: usize = 40_000;

/// A density with its sizes, and the stages that it took.
type Density = (PositionDensity, DensitySizes, Vec<StageSummary>);

/// What the fit of one scale reads.
struct Fit<'a> {
    scale: Scale<'a>,
    train: &'a Images,
    valid: &'a Images,
    poses: Poses,
    /// Of the draws of this density.
    rng: StdRng,
}

impl PositionPlan {
    /// The density of one scale.
    ///
    /// # Errors
    /// [`MethodError`] when a training fails or is stopped.
    pub(super) fn fit_scale(
        &self,
        context: &mut Context,
        parts: &Parts,
        scale: Scale,
    ) -> Result<Density, MethodError> {
        let name = format!("scale {}", scale.number);
        let purpose = format!("density of {name}");
        let mut fit = Fit {
            scale,
            train: &parts.train().images,
            valid: &parts.validation().images,
            poses: self.description.poses(),
            rng: context.rng(&purpose),
        };
        let count = fit.train.len();
        context.say(&format!(
            "{name}: describing the positions of {count} images"
        ));
        let fitted = match &self.density {
            DensityPlan::Gaussian(components) => fit.gaussian(context, *components)?,
            DensityPlan::Mixture(components, own) => fit.mixture(context, *components, *own)?,
            DensityPlan::Flow(components, flow) => fit.flow(context, components, flow)?,
            DensityPlan::Kernel(own) => fit.kernel(context, own)?,
            DensityPlan::Bank(own) => fit.bank(context, own)?,
            DensityPlan::Places(own) => fit.places(context, own)?,
        };
        context.clock.step(&purpose, Some(count));
        Ok(fitted)
    }
}

impl Fit<'_> {
    fn features(&self) -> usize {
        self.scale.config.features()
    }

    /// The training positions that a density is fitted to.
    fn fitted_rows(&self, context: &Context) -> Result<Rows, MethodError> {
        self.train_rows(context, TRAINED)
    }

    /// Training positions, so many at most.
    fn train_rows(&self, context: &Context, most: usize) -> Result<Rows, MethodError> {
        let train = ("train", self.train);
        self.scale.rows(context, train, self.all_features(most))
    }

    /// Validation positions.
    fn valid_rows(&self, context: &Context) -> Result<Rows, MethodError> {
        let valid = ("validation", self.valid);
        self.scale
            .rows(context, valid, self.all_features(VALIDATED))
    }

    /// All that so many positions have, or as many as fit into memory.
    fn all_features(&self, most: usize) -> Wanted<'static> {
        Wanted {
            poses: self.poses,
            most: most.min(MOST_NUMBERS / self.features().max(1)),
            whole: false,
            features: None,
        }
    }

    /// Components that are kept of the features of a position; 0 for all.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when these are more than a density is fitted to.
    fn kept(&self, components: usize) -> Result<usize, MethodError> {
        let features = self.features();
        let kept = match components {
            0 => features,
            some => some.min(features),
        };
        match RealNvpConfig::base_alone(kept, 0).check() {
            Ok(()) => Ok(kept),
            Err(reason) => Err(DetectorError::Shape(format!(
                "a position has {features} features, of which {kept} are kept: set positions.components ({reason})"
            ))
            .into()),
        }
    }

    /// Whitened components of the training positions, of which a flow sees the first `head`. Where all are kept,
    /// validation positions say how small a variance counts: `valid`, where they have been described already.
    ///
    /// # Errors
    /// [`MethodError`] when validation images cannot be described.
    fn projection(
        &mut self,
        context: &Context,
        train: &Rows,
        valid: Option<&Rows>,
        (kept, head): (usize, usize),
    ) -> Result<Projection, MethodError> {
        let (features, device) = (&train.features, context.device);
        if kept < self.features() {
            return Ok(Projection::fit(features, kept, &mut self.rng, device));
        }
        let described;
        let valid = match valid {
            Some(valid) => &valid.features,
            None => {
                described = self.valid_rows(context)?;
                &described.features
            }
        };
        let order = match head < kept {
            true => ComponentOrder::LargestFirst,
            false => ComponentOrder::Any,
        };
        let rng = &mut self.rng;
        Ok(Projection::fit_whole(features, valid, order, rng, device))
    }

    /// Notes the time until the components were there.
    fn described(&self, context: &mut Context) {
        let step = format!("components of scale {}", self.scale.number);
        context.clock.step(&step, Some(self.train.len()));
    }

    /// Notes where a covariance of so many entries is fitted to fewer positions than those, on average where there are
    /// several: most of its directions then have no variance but what is made up for them.
    fn note_few_rows(&self, context: &mut Context, rows: usize, entries: usize) {
        if rows <= entries {
            context.notes.push(format!(
                "scale {}: the covariance of {entries} components rests on {rows} positions: take more images, a larger \
                 --size, or fewer positions.components",
                self.scale.number
            ));
        }
    }

    fn gaussian(
        &mut self,
        context: &mut Context,
        components: usize,
    ) -> Result<Density, MethodError> {
        let components = self.kept(components)?;
        let train = self.fitted_rows(context)?;
        self.note_few_rows(context, train.features.len(), components);
        let projection = self.projection(context, &train, None, (components, components))?;
        // A standard normal of whitened components is their Gaussian.
        let sizes = RealNvpConfig::base_alone(components, 0);
        let flow = sizes.init(&mut self.rng, context.device);
        Ok(of_flow(
            ComponentFlow { projection, flow },
            components,
            sizes,
            Vec::new(),
        ))
    }

    fn mixture(
        &mut self,
        context: &mut Context,
        components: usize,
        own: MixtureConfig,
    ) -> Result<Density, MethodError> {
        let components = self.kept(components)?;
        let train = self.fitted_rows(context)?;
        // No more Gaussians than there are rows to start them from.
        let gaussians = own.gaussians.min(own.samples).min(train.features.len());
        let rows = train.features.len().min(own.samples) / gaussians.max(1);
        self.note_few_rows(context, rows, components);
        let projection = self.projection(context, &train, None, (components, components))?;
        let remedy = "lower gmm.gaussians or positions.components";
        check_covariances(gaussians * own.starts, components, remedy)?;
        let sizes = RealNvpConfig::base_alone(components, gaussians * own.starts);
        let start = sizes.init(&mut self.rng, context.device);
        let latents = latents(&projection, &train, components, None, context);
        let count = latents.len().min(own.samples);
        let chosen = sample(&mut self.rng, latents.len(), count).into_vec();
        let rows = latents.batch(&chosen, context.device);
        let flow = start.initialised_from(rows, own.starts, &mut self.rng);
        Ok(of_flow(
            ComponentFlow { projection, flow },
            components,
            sizes,
            Vec::new(),
        ))
    }

    /// A base distribution that is fitted, which is the whole density where there is no coupling.
    fn base_alone(
        &mut self,
        context: &mut Context,
        components: &Components,
        flow: &FlowSettings,
    ) -> Result<Density, MethodError> {
        let kept = self.kept(components.components)?;
        let head = components.head_of(kept);
        let train = self.fitted_rows(context)?;
        self.note_few_rows(context, train.features.len(), kept);
        let projection = self.projection(context, &train, None, (kept, head))?;
        self.described(context);
        let sizes = flow.sizes(head, train.features.len());
        let latents = latents(&projection, &train, head, None, context);
        // There may be a hundred thousand of either.
        drop(train);
        let rows = flow.start_rows(context, &latents);
        drop(latents);
        let fitted = rows.dims()[0];
        let flow = flow.start(context, sizes, rows);
        let plural = if sizes.gaussians == 1 { "" } else { "s" };
        context.say(&format!(
            "scale {}: {} Gaussian{plural} of {head} components, fitted to {fitted} positions",
            self.scale.number, sizes.gaussians
        ));
        let density = ComponentFlow { projection, flow };
        let Some(tied) = TiedGaussians::of(&density) else {
            return Ok(of_flow(density, kept, sizes, Vec::new()));
        };
        let sizes = DensitySizes::Tied {
            components: kept,
            gaussians: sizes.gaussians,
        };
        Ok((PositionDensity::Tied(tied), sizes, Vec::new()))
    }

    /// The flow, with the position or without, or whichever of the two has the lower validation NLL.
    fn flow(
        &mut self,
        context: &mut Context,
        components: &Components,
        flow: &FlowSettings,
    ) -> Result<Density, MethodError> {
        // Whitened components under a standard normal are their Gaussian, wherever they lie.
        if !flow.trains() && flow.gaussians == 0 {
            return self.gaussian(context, components.components);
        }
        let kept = self.kept(components.components)?;
        if flow.base == BaseKind::Fitted {
            let remedy = "lower flow.gaussians, or set flow.base=\"tied\", with which all have one";
            let gaussians = flow.gaussians * flow.starts;
            check_covariances(gaussians, components.head_of(kept), remedy)?;
        }
        if !flow.trains() {
            return self.base_alone(context, components, flow);
        }
        let train = self.fitted_rows(context)?;
        let valid = self.valid_rows(context)?;
        let head = components.head_of(kept);
        let projection = self.projection(context, &train, Some(&valid), (kept, head))?;
        let scale = format!("scale-{}", self.scale.number);
        self.described(context);
        let mut best: Option<(f64, RealNvp, RealNvpConfig)> = None;
        let (mut losses, mut stages) = (Vec::new(), Vec::<StageSummary>::new());
        let tried = components.tried(flow);
        for &(knows, suffix) in tried {
            let sides = self.scale.config.grid(self.scale.shrink).sides;
            let sides = knows.then_some(sides);
            let [train, valid] =
                [&train, &valid].map(|rows| latents(&projection, rows, head, sides, context));
            let sizes = RealNvpConfig {
                context: if knows { POSITION_CONTEXT } else { 0 },
                ..flow.sizes(head, train.len())
            };
            let folder = format!("{scale}{suffix}");
            let compared = (tried.len() > 1).then(|| valid.clone());
            let (model, stage) = flow.fit_within(&folder, context, sizes, train, valid)?;
            let loss = compared.map_or(f64::INFINITY, |valid| {
                flow.blurred_nll(context, &model, head, valid)
            });
            if best.as_ref().is_none_or(|&(least, _, _)| loss < least) {
                best = Some((loss, model, sizes));
            }
            losses.push(loss);
            stages.extend(stage);
        }
        if let [without, with] = losses[..] {
            context.say(&format!(
                "{scale}: NLL of validation positions{} {without:.3} without and {with:.3} with their place: the flow {} it",
                if flow.noise > 0.0 { " with the training's noise" } else { "" },
                if with < without { "knows" } else { "does not know" },
            ));
        }
        let Some((_, flow, sizes)) = best else {
            unreachable!("at least one flow is fitted")
        };
        Ok(of_flow(
            ComponentFlow { projection, flow },
            kept,
            sizes,
            stages,
        ))
    }

    fn kernel(&mut self, context: &Context, own: &KernelSettings) -> Result<Density, MethodError> {
        let train = self.train_rows(context, REMEMBERED)?.features;
        let valid = self.valid_rows(context)?.features;
        let rng = &mut self.rng;
        let density = KernelDensity::fit(&train, &valid, own.centres, rng, context.device);
        let centres = density.centres();
        let sizes = DensitySizes::Kernel { centres };
        Ok((PositionDensity::Kernel(density), sizes, Vec::new()))
    }

    fn bank(&mut self, context: &Context, own: &BankSettings) -> Result<Density, MethodError> {
        let train = self.train_rows(context, REMEMBERED)?.features;
        let patches = (train.len() as f64 * own.coreset).ceil() as usize;
        let bank = PatchBank::fit(&train, patches.max(1), &mut self.rng, context.device);
        let patches = bank.patches();
        let sizes = DensitySizes::Bank { patches };
        Ok((PositionDensity::Bank(bank), sizes, Vec::new()))
    }

    fn places(
        &mut self,
        context: &mut Context,
        own: &PlaceSettings,
    ) -> Result<Density, MethodError> {
        check_places(own.dimensions, self.scale.config, self.scale.shrink)?;
        let places = self.scale.config.grid(self.scale.shrink).len();
        let features = self.features();
        let dimensions = own.dimensions.min(features);
        let chosen = sample(&mut self.rng, features, dimensions).into_vec();
        let wanted = Wanted {
            poses: self.poses,
            most: MOST_NUMBERS / dimensions.max(1),
            whole: true,
            features: Some(&chosen),
        };
        let train = self.scale.rows(context, ("train", self.train), wanted)?;
        let train = train.features;
        let number = self.scale.number;
        let seen = train.len() / places.max(1);
        context.say(&format!(
            "scale {number}: a Gaussian of {dimensions} features for each of {places} places, fitted to {seen} images as \
             they are seen"
        ));
        let there = self.train.len() * self.poses.count();
        if seen < there {
            context.notes.push(format!(
                "scale {number}: {there} images as they are seen do not fit into memory, so {seen} of them were fitted to: \
                 a smaller --size (data.size) or padim.dimensions lets more in"
            ));
        }
        if seen <= dimensions {
            context.notes.push(format!(
                "scale {number}: the Gaussian of every place has {dimensions} features and rests on {seen} images: take more \
                 images, or lower padim.dimensions"
            ));
        }
        let gaussians = PlaceGaussians::fit(&train, places, (&chosen, features), context.device);
        let sizes = DensitySizes::Places { dimensions };
        Ok((PositionDensity::Places(gaussians), sizes, Vec::new()))
    }
}

fn of_flow(
    density: ComponentFlow,
    components: usize,
    flow: RealNvpConfig,
    stages: Vec<StageSummary>,
) -> Density {
    let sizes = DensitySizes::Flow { components, flow };
    (PositionDensity::Flow(density), sizes, stages)
}
