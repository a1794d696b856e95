//! How a method describes whole images: which encoder, how it is fitted, and what it makes of them.

use std::borrow::Cow;

use burn::tensor::Device;
use rand::rngs::StdRng;
use sha2::Digest;
use toml::Table;

use super::context::weights_hash;
use super::features::{onnx_identity, part_features};
use super::simclr;
use crate::data::{Samples, Vectors};
use crate::encoder::{
    BackboneError, BackboneLook, Encoder, EncoderSizes, Normalisation, OnnxEncoder, OnnxFile, Pca,
    Pixels, PretrainedLook, Projection, SqueezeNet, SqueezeNetEncoder, check_image,
};
use crate::files::hex;
use crate::method::{
    AutoEncoderSettings, Context, DetectorError, EncoderKind, MethodError, Parts, Representation,
    SimClrSettings, as_table,
};
use crate::train::StageSummary;

/// Features that are normalised at a time.
const NORMALISED_BATCH: usize = 4096;

/// An encoder of whole images with what it reads of the settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// The encoder of an autoencoder.
    Autoencoder(AutoEncoderSettings),
    /// Principal components.
    Pca {
        /// Number of components.
        components: usize,
        /// What is taken out of an image before.
        normalise: Normalisation,
    },
    /// Principal components of a pretrained network's features.
    SqueezeNet {
        /// Side to which images are resized before.
        input: usize,
        /// Number of components.
        components: usize,
        /// Principal components of the image itself beside them; 0 for none.
        pixel_components: usize,
        /// What is taken out of the features before.
        normalise: Normalisation,
    },
    /// Principal components of the features of a network that is trained without labels.
    SimClr {
        /// The network and its stage.
        settings: SimClrSettings,
        /// Number of components.
        components: usize,
    },
    /// Principal components of the features of a network from an ONNX file.
    Onnx {
        /// The file, and how it is looked through.
        onnx: OnnxFile,
        /// Number of components.
        components: usize,
        /// What is taken out of the features before.
        normalise: Normalisation,
    },
    /// The image's own values.
    Pixels,
}

impl Encoding {
    /// Which encoder it is.
    pub fn kind(&self) -> EncoderKind {
        match self {
            Self::Autoencoder(_) => EncoderKind::Autoencoder,
            Self::Pca { .. } => EncoderKind::Pca,
            Self::SqueezeNet { .. } => EncoderKind::SqueezeNet,
            Self::SimClr { .. } => EncoderKind::SimClr,
            Self::Onnx { .. } => EncoderKind::Onnx,
            Self::Pixels => EncoderKind::Pixels,
        }
    }

    /// What it reads of the section `encoder`, but for the kind.
    pub fn settings(&self) -> Table {
        let mut table = match self {
            Self::Autoencoder(settings) => as_table(settings),
            Self::SqueezeNet { input, .. } => {
                Table::from_iter([("input".to_owned(), (*input as i64).into())])
            }
            Self::Onnx { onnx, .. } => as_table(onnx),
            Self::Pca { .. } | Self::SimClr { .. } | Self::Pixels => Table::new(),
        };
        // A run of an earlier program, which had no such setting, took nothing out.
        let taken_out = self.normalise().filter(|normalise| !normalise.is_none());
        let taken_out = taken_out.and_then(|normalise| toml::Value::try_from(normalise).ok());
        table.extend(taken_out.map(|value| ("normalise".to_owned(), value)));
        table
    }

    /// What it reads of other sections, by section.
    pub fn other_settings(&self) -> Table {
        match self {
            Self::SimClr { settings, .. } => {
                Table::from_iter([(simclr::SECTION.to_owned(), as_table(settings).into())])
            }
            _ => Table::new(),
        }
    }

    /// Makes sure that images of this shape can be described.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when they cannot.
    pub fn check(&self, shape: [usize; 3]) -> Result<(), DetectorError> {
        match self {
            Self::Autoencoder(settings) => settings.check(shape),
            Self::SimClr { settings, .. } => settings.check(shape),
            Self::Pca { .. } | Self::SqueezeNet { .. } | Self::Onnx { .. } | Self::Pixels => {
                check_image(shape).map_err(DetectorError::Shape)
            }
        }
    }

    /// Entries of the description of an image of this shape; at most so many where an ONNX network, which has yet to be
    /// read, says how many there are.
    pub fn entries(&self, shape: [usize; 3]) -> usize {
        match (self.sizes_by_settings(shape), self.components()) {
            (Some(sizes), _) => sizes.latent(),
            (None, components) => components.unwrap_or_default(),
        }
    }

    /// How many of the first of so many `entries` of a latent are whitened: of variance 1 on training images, and less
    /// where they hardly vary there.
    pub fn whitened(&self, entries: usize) -> usize {
        match self {
            // Components of the image itself stand behind, as they are.
            &Self::SqueezeNet { components, .. } => components.min(SqueezeNet::LATENT).min(entries),
            Self::SimClr { .. } | Self::Onnx { .. } => entries,
            Self::Autoencoder(_) | Self::Pca { .. } | Self::Pixels => 0,
        }
    }

    /// Number of components, for those encoders that have any.
    pub fn components(&self) -> Option<usize> {
        match *self {
            Self::Pca { components, .. }
            | Self::SqueezeNet { components, .. }
            | Self::SimClr { components, .. }
            | Self::Onnx { components, .. } => Some(components),
            Self::Autoencoder(_) | Self::Pixels => None,
        }
    }

    /// What is taken out of an image, or of a network's features, for those encoders that can.
    fn normalise(&self) -> Option<Normalisation> {
        match *self {
            Self::Pca { normalise, .. }
            | Self::SqueezeNet { normalise, .. }
            | Self::Onnx { normalise, .. } => Some(normalise),
            Self::Autoencoder(_) | Self::SimClr { .. } | Self::Pixels => None,
        }
    }

    /// How a pretrained network looks at images, if one does.
    pub fn pretrained(&self) -> Option<BackboneLook> {
        match self {
            &Self::SqueezeNet { input, .. } => Some(BackboneLook::SqueezeNet(PretrainedLook {
                input,
                moments: false,
            })),
            Self::Onnx { onnx, .. } => Some(BackboneLook::Onnx(onnx.clone())),
            _ => None,
        }
    }

    /// The sizes of the fitted `encoder` for images of this shape.
    pub fn sizes(&self, shape: [usize; 3], encoder: &Encoder) -> EncoderSizes {
        if let (
            Self::Onnx {
                components,
                normalise,
                ..
            },
            Encoder::Onnx(exported),
        ) = (self, encoder)
        {
            return EncoderSizes::Onnx {
                shape,
                network: exported.network.sizes().clone(),
                components: *components,
                normalise: *normalise,
            };
        }
        let known = self.sizes_by_settings(shape);
        known.expect("an ONNX network is fitted to an encoder that holds it")
    }

    /// The sizes, where they follow from the settings: those of an ONNX network are in its file.
    fn sizes_by_settings(&self, shape: [usize; 3]) -> Option<EncoderSizes> {
        Some(match *self {
            Self::Autoencoder(ref settings) => EncoderSizes::Autoencoder(settings.sizes(shape)),
            Self::Pca {
                components,
                normalise,
            } => EncoderSizes::Pca {
                shape,
                components,
                normalise,
            },
            Self::SqueezeNet {
                input,
                components,
                pixel_components: pixels,
                normalise,
            } => EncoderSizes::SqueezeNet {
                shape,
                input,
                components,
                pixels,
                normalise,
            },
            Self::SimClr {
                ref settings,
                components,
            } => EncoderSizes::SimClr {
                network: settings.sizes(shape),
                components,
            },
            Self::Onnx { .. } => return None,
            Self::Pixels => EncoderSizes::Pixels { shape },
        })
    }

    /// The encoder: trained in its stage, or computed.
    ///
    /// # Errors
    /// [`MethodError`] when a training fails or is stopped or pretrained weights cannot be had.
    pub fn fit(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(Encoder, Vec<StageSummary>), MethodError> {
        let train = &parts.train().images;
        let rng = &mut context.rng("principal components");
        let encoder = match *self {
            Self::Autoencoder(ref settings) => {
                let (model, summary) = settings.fit(context, parts)?;
                return Ok((Encoder::Autoencoder(model), vec![summary]));
            }
            Self::SimClr {
                ref settings,
                components,
            } => {
                let (encoder, summary) = settings.fit_encoder(components, context, parts)?;
                return Ok((encoder, vec![summary]));
            }
            Self::Pixels => {
                return Ok((Encoder::Pixels(Pixels::new(context.image_shape())), vec![]));
            }
            Self::Pca {
                components,
                normalise,
            } => {
                let of = (components, normalise);
                Encoder::Pca(Pca::fit(train, of, rng, context.device))
            }
            Self::SqueezeNet {
                input,
                components,
                pixel_components,
                normalise,
            } => {
                let look = (input, normalise);
                let components = (components, pixel_components);
                Encoder::SqueezeNet(fit_squeezenet(look, components, context, parts, rng)?)
            }
            Self::Onnx {
                ref onnx,
                components,
                normalise,
            } => {
                let look = (onnx, normalise);
                Encoder::Onnx(fit_onnx(look, components, context, parts, rng)?)
            }
        };
        let count = train.len();
        context.clock.step("principal components", Some(count));
        // Of a network's features, and of the image itself.
        let entries = self.entries(context.image_shape());
        let whitened = self.whitened(entries);
        for asked in [whitened, entries - whitened] {
            context.note_components("principal components", count, asked);
        }
        Ok((encoder, Vec::new()))
    }

    /// What the fitted encoder makes of every part, computed once and kept beside the run.
    ///
    /// # Errors
    /// [`MethodError`] when an image is described by numbers that are not finite, or the file cannot be written.
    pub fn represent(
        &self,
        encoder: &Encoder,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<Vec<(String, Representation)>, MethodError> {
        let path = context.latents();
        let frozen = encoder.clone().frozen(context.device);
        let fingerprint = fingerprint(&frozen, parts);
        // A cache that cannot be read, or is of something else, is computed again.
        if let Ok(mut stored) = Representation::load(&path, &fingerprint) {
            let found = parts.iter().map(|part| {
                let found = stored.remove_entry(&part.name);
                found.filter(|(_, found)| found.latents.len() == part.images.len())
            });
            if let Some(found) = found.collect::<Option<Vec<_>>>() {
                context.clock.step("read latents", None);
                return Ok(found);
            }
        }
        let latent = self.sizes(context.image_shape(), &frozen).latent();
        let mut representations = Vec::new();
        for part in parts.iter() {
            let (count, name) = (part.images.len(), part.name.clone());
            context.say(&format!("encoding {count} {name} images"));
            let representation = match (&frozen, &part.features) {
                (Encoder::SqueezeNet(encoder), Some(features)) => Representation {
                    latents: encoder.latents(features, &part.images, context.device),
                    reconstruction: None,
                },
                (Encoder::Onnx(encoder), Some(features)) => Representation {
                    latents: encoder.latents(features, context.device),
                    reconstruction: None,
                },
                _ => Representation::of(&frozen, latent, &part.images, context.device),
            };
            if let Some(image) = representation.latents.first_not_finite() {
                return Err(MethodError::NotFinite { part: name, image });
            }
            representations.push((name, representation));
        }
        // Pixels are no smaller than the images that they were made from.
        if !matches!(encoder, Encoder::Pixels(_)) {
            Representation::save(&representations, &fingerprint, &path)?;
        }
        let count = Some(parts.images());
        context.clock.step("encode and decode", count);
        Ok(representations)
    }
}

/// What representations depend on: the images, and the encoder's weights.
fn fingerprint(encoder: &Encoder, parts: &Parts) -> String {
    let mut hash = weights_hash(encoder);
    if let Encoder::Onnx(exported) = encoder {
        hash.update(onnx_identity(&exported.network));
    }
    for part in parts.iter() {
        part.images.iter().for_each(|image| hash.update(image));
    }
    hex(&hash.finalize())
}

/// SqueezeNet, and the principal components of what it makes of training images; beside them so many of the images
/// themselves.
fn fit_squeezenet(
    (input, normalise): (usize, Normalisation),
    (components, pixel_components): (usize, usize),
    context: &Context,
    parts: &Parts,
    rng: &mut StdRng,
) -> Result<SqueezeNetEncoder, MethodError> {
    let (train, device) = (parts.train(), context.device);
    let network = SqueezeNet::load(context.weights, device)?.with_input(input);
    let at = (device, context.display);
    let features = part_features(train, network.latent(), at, |images| network.encode(images));
    let features = normalised(&features, (normalise, SqueezeNet::blocks(false)), device);
    let projection = Projection::fit(&features, components, rng, device);
    let pixels = (pixel_components > 0).then(|| {
        let of = (pixel_components, Normalisation::None);
        Pca::fit(&train.images, of, rng, device)
    });
    Ok(SqueezeNetEncoder {
        network,
        normalise,
        projection,
        pixels,
    })
}

/// A network from an ONNX file, and the principal components of what it makes of training images.
fn fit_onnx(
    (onnx, normalise): (&OnnxFile, Normalisation),
    components: usize,
    context: &Context,
    parts: &Parts,
    rng: &mut StdRng,
) -> Result<OnnxEncoder, MethodError> {
    let (train, device) = (parts.train(), context.device);
    let channels = context.image_shape()[0];
    let network = onnx.load(channels).map_err(BackboneError::from)?;
    let at = (device, context.display);
    let features = part_features(train, network.features(), at, |images| {
        network.encode(images)
    });
    // Somebody else's network may do anything.
    if let Some(image) = features.first_not_finite() {
        let part = train.name.clone();
        return Err(MethodError::NotFinite { part, image });
    }
    let features = normalised(&features, (normalise, network.blocks()), device);
    let projection = Projection::fit(&features, components, rng, device);
    Ok(OnnxEncoder {
        network,
        normalise,
        projection,
    })
}

/// What a normalisation leaves of features of these blocks.
fn normalised<'a>(
    features: &'a Vectors,
    (normalise, blocks): (Normalisation, Vec<usize>),
    device: &Device,
) -> Cow<'a, Vectors> {
    if normalise.is_none() {
        return Cow::Borrowed(features);
    }
    let count = (features.len(), NORMALISED_BATCH);
    Cow::Owned(Vectors::in_batches(features.dim(), count, |indices| {
        normalise.apply(features.batch(indices, device), blocks.clone())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_components_are_kept_than_there_are() {
        let shape = [1, 16, 16];
        let pca = |components| Encoding::Pca {
            components,
            normalise: Normalisation::L2,
        };
        for (encoding, entries) in [
            (pca(300), 256),
            (pca(30), 30),
            (
                Encoding::SqueezeNet {
                    input: 64,
                    components: 4096,
                    pixel_components: 10,
                    normalise: Normalisation::None,
                },
                SqueezeNet::LATENT + 10,
            ),
            (Encoding::Pixels, 256),
        ] {
            assert_eq!(encoding.entries(shape), entries, "{encoding:?}");
        }
    }
}
