//! What the flow is compared with on the same representations: an encoder and a simpler score of its
//! latents.

use std::borrow::Cow;
use std::fmt::Debug;

use burn::module::{Module, ModuleDisplay};
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Table;

use super::detector::model_file::{check_shape, filled, onnx_in, parse_sizes};
use super::detector::pictures::{reconstruct, residuals};
use super::fitting::representation::standardized;
use super::{
    Context, DetectorError, EncoderKind, EncoderSettings, Encoding, Fitted, HeatSource, Heatmap,
    MethodError, Parts, Representation, Scorer, Scores, Stored,
};
use crate::data::{Conversion, Images, Vectors};
use crate::encoder::{Encoder, EncoderSizes};
use crate::flow::Standardizer;
use crate::safetensors_file::check_room;
use crate::study::Settings;

/// Entries of which a full covariance is held, at most: half a GiB of it.
pub(super) const LARGEST_COVARIANCE: usize = 8192;

/// A score of latents.
pub trait Density: Module + ModuleDisplay + Debug + Send + Sync + 'static {
    /// Its sizes beside the latent's.
    type Sizes: Serialize + DeserializeOwned + Copy + Debug;
    /// Name of the method, and of its scorer in a model file.
    const METHOD: &'static str;
    /// The one score.
    const SCORES: &'static [&'static str];
    /// Entries that a latent may have, where it is fitted through their full covariance.
    const MOST_ENTRIES: Option<usize>;

    /// The score of each latent; higher is more anomalous.
    fn score(&self, latents: &Vectors) -> Vec<f32>;

    /// Its sizes beside the latent's.
    fn sizes(&self) -> Self::Sizes;

    /// A density of latents of `dim` entries, to be filled from a store.
    fn empty(sizes: Self::Sizes, dim: usize, device: &Device) -> Self;

    /// Numbers in its largest tensor for latents of `dim` entries; none when there is no such
    /// density.
    fn numbers(sizes: Self::Sizes, dim: usize) -> Option<usize>;
}

/// An encoder with a [`Density`] of its latents.
pub struct OnLatents<D: Density> {
    conversion: Conversion,
    sizes: EncoderSizes,
    weights: Weights<D>,
    standardizer: Option<Standardizer>,
    device: Device,
}

/// The fitted parts.
#[derive(Module, Debug)]
struct Weights<D: Module + ModuleDisplay> {
    encoder: Encoder,
    density: D,
}

/// What a model file says beside the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described<S> {
    encoder: EncoderSizes,
    density: S,
    /// Scale of the latents, where the density is one of standardised ones.
    standardizer: Option<Standardizer>,
}

impl<D: Density> OnLatents<D> {
    /// Puts the fitted parts together, with frozen weights. With a `standardizer`, the density is one
    /// of standardised latents.
    pub fn new(
        conversion: Conversion,
        sizes: EncoderSizes,
        (encoder, density): (Encoder, D),
        standardizer: Option<Standardizer>,
        device: &Device,
    ) -> Self {
        let weights = Weights { encoder, density };
        Self {
            conversion,
            sizes,
            weights: weights.valid().to_device(device),
            standardizer,
            device: device.clone(),
        }
    }

    /// From a model file.
    ///
    /// # Errors
    /// What keeps the file from being such a model.
    pub(super) fn load(
        described: Value,
        conversion: Conversion,
        bytes: Vec<u8>,
        device: &Device,
    ) -> Result<Box<dyn Scorer>, String> {
        let Described {
            encoder: sizes,
            density,
            standardizer,
        } = parse_sizes::<Described<D::Sizes>>(described)?;
        sizes.check()?;
        sizes.fits(bytes.len())?;
        check_shape(conversion, sizes.image_shape())?;
        let latent = sizes.latent();
        let numbers = D::numbers(density, latent).unwrap_or(usize::MAX);
        check_room(bytes.len(), numbers, "density")?;
        if let Some(scale) = &standardizer {
            scale.check(latent)?;
        }
        let onnx = onnx_in(&bytes)?;
        let weights = filled(bytes, |rng| {
            Ok(Weights {
                encoder: sizes.empty(onnx, rng, device)?,
                density: D::empty(density, latent, device),
            })
        })?;
        let parts = (weights.encoder, weights.density);
        let scorer = Self::new(conversion, sizes, parts, standardizer, device);
        Ok(Box::new(scorer))
    }

    /// Second half of scoring: from latents to scores.
    pub fn score_representation(&self, representation: &Representation) -> Scores {
        let latents = &representation.latents;
        let latents = match &self.standardizer {
            Some(scale) => Cow::Owned(standardized(scale, latents, &self.device)),
            None => Cow::Borrowed(latents),
        };
        Scores::new(D::SCORES, vec![self.weights.density.score(&latents)])
    }

    /// True when there is something to be seen in what the encoder brings back.
    fn brings_back(&self) -> bool {
        let encoder = &self.weights.encoder;
        encoder.decodes() && !matches!(encoder, Encoder::Pixels(_))
    }
}

impl<D: Density> Scorer for OnLatents<D> {
    fn score_names(&self) -> &'static [&'static str] {
        D::SCORES
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        let described = Described {
            encoder: self.sizes.clone(),
            density: self.weights.density.sizes(),
            standardizer: self.standardizer.clone(),
        };
        Stored::new(D::METHOD, &described)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        self.weights.save_into(store)
    }

    fn onnx(&self) -> Option<&[u8]> {
        self.weights.encoder.onnx()
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        let encoder = &self.weights.encoder;
        let latent = self.sizes.latent();
        let representation = Representation::of(encoder, latent, images, &self.device);
        Ok(self.score_representation(&representation))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        let encoder = self.brings_back().then_some(&self.weights.encoder)?;
        reconstruct(images, &self.device, |batch| {
            encoder.decode(encoder.encode(batch))
        })
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        let encoder = &self.weights.encoder;
        residuals(images, &self.device, |batch| {
            encoder.decode(encoder.encode(batch))
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        match self.brings_back() {
            true => &[HeatSource::Reconstruction],
            false => &[],
        }
    }
}

/// What such a method reads: of its own section the encoder and its components, and of the section
/// `encoder` what that encoder needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Looks {
    section: &'static str,
    /// Which encoder of whole images.
    pub encoding: Encoding,
    own: Table,
}

impl Looks {
    /// Through the encoder `kind` with so many `components`; `own` is what the method reads of its
    /// `section` beside these.
    pub fn new(
        section: &'static str,
        (kind, components): (EncoderKind, usize),
        own: Table,
        settings: &Settings,
    ) -> Result<Self, toml::de::Error> {
        let encoder = EncoderSettings::read(settings)?;
        Ok(Self {
            section,
            encoding: encoder.encoding_by(kind, components, 0, settings)?,
            own,
        })
    }

    /// All that is read, under the keys of the settings.
    pub fn settings(&self) -> Table {
        let mut own = self.own.clone();
        let kind = toml::Value::try_from(self.encoding.kind());
        // A unit variant always is a string.
        own.extend(kind.map(|kind| ("encoder".to_owned(), kind)));
        let components = self.encoding.components();
        own.extend(components.map(|count| ("components".to_owned(), (count as i64).into())));
        let mut table = Table::from_iter([(self.section.to_owned(), own.into())]);
        let encoder = self.encoding.settings();
        if !encoder.is_empty() {
            table.insert("encoder".to_owned(), encoder.into());
        }
        table.extend(self.encoding.other_settings());
        table
    }

    /// Makes sure that images of this shape can be described, and a density `D` of their descriptions held.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when not.
    pub fn check<D: Density>(&self, shape: [usize; 3]) -> Result<(), DetectorError> {
        self.encoding.check(shape)?;
        let entries = self.encoding.entries(shape);
        match D::MOST_ENTRIES {
            Some(most) if entries > most => Err(DetectorError::Shape(format!(
                "{entries} values each, and a full covariance of {most} is the largest that is held: set data.size, or {}.encoder to one that makes less of an image",
                self.section
            ))),
            _ => Ok(()),
        }
    }

    /// Fits the encoder, then what `density` makes of the training latents, and scores the parts that
    /// are to be scored.
    pub fn fit<D: Density>(
        &self,
        context: &mut Context,
        parts: &Parts,
        density: impl FnOnce(&mut Context, &Vectors) -> (D, Option<Standardizer>),
    ) -> Result<Fitted, MethodError> {
        self.check::<D>(context.image_shape())?;
        let (encoder, stages) = self.encoding.fit(context, parts)?;
        let representations = self.encoding.represent(&encoder, context, parts)?;
        let latents = &representations[0].1.latents;
        let (density, standardizer) = density(context, latents);
        context.clock.step("fit", Some(latents.len()));
        let sizes = self.encoding.sizes(context.image_shape(), &encoder);
        let parts = (encoder, density);
        let conversion = context.conversion;
        let scorer = OnLatents::new(conversion, sizes, parts, standardizer, context.device);
        Ok(context.finish_represented(
            scorer,
            stages,
            &representations,
            OnLatents::score_representation,
        ))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::encoder::{Normalisation, Pca};
    use crate::method::detector::scorer::tests::{grey_32, noise};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// A detector on five principal components of noise, with the density that `fit` makes of its
    /// latents, which are standardised if asked.
    pub fn on_noise<D: Density>(
        standardised: bool,
        fit: impl FnOnce(&Vectors, &mut StdRng, &Device) -> D,
    ) -> OnLatents<D> {
        let device = test_device();
        let conversion = grey_32();
        let sizes = EncoderSizes::Pca {
            shape: [1, 32, 32],
            components: 5,
            normalise: Normalisation::None,
        };
        let images = noise(300, 3);
        let rng = &mut StdRng::seed_from_u64(1);
        let encoder = Encoder::Pca(Pca::fit(&images, (5, Normalisation::None), rng, &device));
        let mut latents = Representation::of(&encoder, 5, &images, &device).latents;
        let standardizer = standardised.then(|| Standardizer::fit(latents.values(), 5, 0));
        if let Some(scale) = &standardizer {
            latents = standardized(scale, &latents, &device);
        }
        let density = fit(&latents, rng, &device);
        OnLatents::new(conversion, sizes, (encoder, density), standardizer, &device)
    }
}
