//! How a method describes whole images: which encoder, how it is fitted, and what it makes of them.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use toml::Table;

use super::context::weights_hash;
use super::{
    Context, DetectorError, MethodError, Parts, Representation, SimClrSettings, as_table, simclr,
};
use crate::data::{Images, Samples, Vectors};
use crate::encoder::{
    AutoEncoder, AutoEncoderConfig, ENCODER_STAGE, Encoder, EncoderSizes, PatchPca, Pca, Pixels,
    Pretrained, PretrainedLook, Projection, SqueezeNet,
};
use crate::files::hex;
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::{Optimisation, StageSummary};

/// Images per forward pass of the pretrained network, whose first maps are large.
const FEATURE_BATCH: usize = 64;
/// The section of [`EncoderSettings`].
const SECTION: &str = "encoder";

/// Which encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// The encoder of an autoencoder, trained in a stage of its own.
    Autoencoder,
    /// Principal components; of patches, where there is a latent for every position.
    Pca,
    /// Principal components of the features of SqueezeNet 1.1, pretrained on ImageNet: results are
    /// not from scratch.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
    /// Principal components of the features of a network that is trained without labels in a stage of
    /// its own.
    #[serde(rename = "simclr")]
    SimClr,
    /// The image's own values.
    Pixels,
}

/// The section `encoder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// Which encoder.
    pub kind: EncoderKind,
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// One latent for every position instead of one for the image.
    pub positions: bool,
    /// Principal components of patches, for each of three scales (`pca` with positions).
    pub patch_components: usize,
    /// Side to which images are resized for the pretrained network (`squeezenet`).
    pub input: usize,
    /// Principal components of the image itself beside those of the pretrained network's features;
    /// 0 for none (`squeezenet` without positions).
    pub pixel_components: usize,
    /// Its stage.
    pub training: Optimisation,
}

/// An autoencoder and its stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutoEncoderSettings {
    /// Channels after the first convolution.
    pub width: usize,
    /// Dimension of the latent.
    pub latent: usize,
    /// Its stage.
    pub training: Optimisation,
}

/// An encoder of whole images with what it reads of the settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// The encoder of an autoencoder.
    Autoencoder(AutoEncoderSettings),
    /// Principal components.
    Pca {
        /// Number of components.
        components: usize,
    },
    /// Principal components of a pretrained network's features.
    SqueezeNet {
        /// Side to which images are resized before.
        input: usize,
        /// Number of components.
        components: usize,
        /// Principal components of the image itself beside them; 0 for none.
        pixel_components: usize,
    },
    /// Principal components of the features of a network that is trained without labels.
    SimClr {
        /// The network and its stage.
        settings: SimClrSettings,
        /// Number of components.
        components: usize,
    },
    /// The image's own values.
    Pixels,
}

impl EncoderSettings {
    /// Reads the section.
    pub(super) fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section(SECTION)
    }

    /// The first key with which no run is possible.
    pub(super) fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let encoder = Self::read(settings)?;
        let most = EncoderSizes::MOST_PIXEL_COMPONENTS;
        let checks = [
            Check::new(
                "kind",
                encoder.kind != EncoderKind::Pixels,
                "must be \"autoencoder\", \"pca\", \"squeezenet\" or \"simclr\": raw pixels are for knn, gmm and mahalanobis",
            ),
            Check::new(
                "positions",
                !(encoder.positions && encoder.kind == EncoderKind::SimClr),
                "must be false with `kind = \"simclr\"`, which describes whole images",
            ),
            Check::within("width", encoder.width, AutoEncoderConfig::WIDTHS),
            Check::within("latent", encoder.latent, 2..=EncoderSizes::LARGEST_LATENT),
            Check::within(
                "patch_components",
                encoder.patch_components,
                PatchPca::COMPONENTS,
            ),
            Check::within("input", encoder.input, SqueezeNet::INPUTS),
            Check::new(
                "pixel_components",
                encoder.pixel_components <= most,
                format!("must be at most {most} (0 for none)"),
            ),
        ];
        let fault = first_fault(SECTION, checks);
        Ok(fault.or_else(|| optimisation_fault(SECTION, &encoder.training)))
    }

    /// The autoencoder of the section.
    pub fn autoencoder(&self) -> AutoEncoderSettings {
        AutoEncoderSettings {
            width: self.width,
            latent: self.latent,
            training: self.training.clone(),
        }
    }

    /// The encoder that the section asks for, with what it needs of other sections.
    pub(super) fn encoding(&self, settings: &Settings) -> Result<Encoding, toml::de::Error> {
        self.encoding_by(self.kind, self.latent, self.pixel_components, settings)
    }

    /// Another encoder, of `components`, with what it needs of the sections.
    pub(super) fn encoding_by(
        &self,
        kind: EncoderKind,
        components: usize,
        pixel_components: usize,
        settings: &Settings,
    ) -> Result<Encoding, toml::de::Error> {
        Ok(match kind {
            EncoderKind::Autoencoder => Encoding::Autoencoder(self.autoencoder()),
            EncoderKind::Pca => Encoding::Pca { components },
            EncoderKind::SqueezeNet => Encoding::SqueezeNet {
                input: self.input,
                components,
                pixel_components,
            },
            EncoderKind::SimClr => Encoding::SimClr {
                settings: SimClrSettings::read(settings)?,
                components,
            },
            EncoderKind::Pixels => Encoding::Pixels,
        })
    }
}

impl AutoEncoderSettings {
    /// Sizes of the autoencoder of images of this shape.
    pub fn sizes(&self, [channels, size, _]: [usize; 3]) -> AutoEncoderConfig {
        AutoEncoderConfig {
            channels,
            size,
            width: self.width,
            latent: self.latent,
        }
    }

    /// Trains it in its stage.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped.
    pub fn fit(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(AutoEncoder, StageSummary), MethodError> {
        let sizes = self.sizes(context.image_shape());
        sizes
            .check_images(context.image_shape())
            .map_err(DetectorError::Shape)?;
        let model = sizes.init(&mut context.rng("encoder weights"), context.device);
        context.train_on_images(&ENCODER_STAGE, &self.training, model, parts)
    }
}

impl Encoding {
    /// Which encoder it is.
    pub fn kind(&self) -> EncoderKind {
        match self {
            Self::Autoencoder(_) => EncoderKind::Autoencoder,
            Self::Pca { .. } => EncoderKind::Pca,
            Self::SqueezeNet { .. } => EncoderKind::SqueezeNet,
            Self::SimClr { .. } => EncoderKind::SimClr,
            Self::Pixels => EncoderKind::Pixels,
        }
    }

    /// What it reads of the section `encoder`, but for the kind.
    pub fn settings(&self) -> Table {
        match self {
            Self::Autoencoder(settings) => as_table(settings),
            Self::SqueezeNet { input, .. } => {
                Table::from_iter([("input".to_owned(), (*input as i64).into())])
            }
            Self::Pca { .. } | Self::SimClr { .. } | Self::Pixels => Table::new(),
        }
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

    /// Number of components, for those encoders that have any.
    pub fn components(&self) -> Option<usize> {
        match *self {
            Self::Pca { components }
            | Self::SqueezeNet { components, .. }
            | Self::SimClr { components, .. } => Some(components),
            Self::Autoencoder(_) | Self::Pixels => None,
        }
    }

    /// How the pretrained network looks at images.
    pub fn pretrained(&self) -> Option<PretrainedLook> {
        match *self {
            Self::SqueezeNet { input, .. } => Some(PretrainedLook {
                input,
                moments: false,
            }),
            _ => None,
        }
    }

    /// Its sizes for images of this shape.
    pub fn sizes(&self, shape: [usize; 3]) -> EncoderSizes {
        match *self {
            Self::Autoencoder(ref settings) => EncoderSizes::Autoencoder(settings.sizes(shape)),
            Self::Pca { components } => EncoderSizes::Pca { shape, components },
            Self::SqueezeNet {
                input,
                components,
                pixel_components: pixels,
            } => EncoderSizes::SqueezeNet {
                shape,
                input,
                components,
                pixels,
            },
            Self::SimClr {
                ref settings,
                components,
            } => EncoderSizes::SimClr {
                network: settings.sizes(shape),
                components,
            },
            Self::Pixels => EncoderSizes::Pixels { shape },
        }
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
            Self::Pca { components } => {
                Encoder::Pca(Pca::fit(train, components, rng, context.device))
            }
            Self::SqueezeNet {
                input,
                components,
                pixel_components,
            } => {
                let device = context.device;
                let network = SqueezeNet::load(context.weights, device)?.with_input(input);
                let features = match &parts.train().features {
                    Some(features) => features.clone(),
                    None => features_of(&network, train, device),
                };
                let projection = Projection::fit(&features, components, rng, device);
                let pixels =
                    (pixel_components > 0).then(|| Pca::fit(train, pixel_components, rng, device));
                Encoder::SqueezeNet(Pretrained {
                    network,
                    projection,
                    pixels,
                })
            }
        };
        let count = Some(train.len());
        context.clock.step("principal components", count);
        Ok((encoder, Vec::new()))
    }

    /// What the fitted encoder makes of every part, computed once and kept beside the run.
    ///
    /// # Errors
    /// [`MethodError`] when the file cannot be written.
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
        let latent = self.sizes(context.image_shape()).latent();
        let mut representations = Vec::new();
        for part in parts.iter() {
            let (count, name) = (part.images.len(), part.name.clone());
            context.say(&format!("encoding {count} {name} images"));
            let representation = match (&frozen, &part.features) {
                (Encoder::SqueezeNet(encoder), Some(features)) => Representation {
                    latents: encoder.latents(features, &part.images, context.device),
                    reconstruction: None,
                },
                _ => Representation::of(&frozen, latent, &part.images, context.device),
            };
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

/// Trains the autoencoder of the section `encoder`, which methods share, and leaves it in its stage's
/// folder.
///
/// # Errors
/// [`MethodError`] when the section cannot be read, or the training fails or is stopped.
pub(crate) fn train_autoencoder(
    settings: &Settings,
    context: &mut Context,
    parts: &Parts,
) -> Result<(), MethodError> {
    let section = EncoderSettings::read(settings);
    let section = section.map_err(|error| MethodError::Settings(error.to_string()))?;
    section.autoencoder().fit(context, parts).map(|_| ())
}

/// What representations depend on: the images, and the encoder's weights.
fn fingerprint(encoder: &Encoder, parts: &Parts) -> String {
    let mut hash = weights_hash(encoder);
    for part in parts.iter() {
        hash.update(part.images.as_bytes());
    }
    hex(&hash.finalize())
}

/// What a pretrained network's features depend on: the images, and its weights.
pub(crate) fn features_fingerprint(network: &SqueezeNet, images: &Images) -> String {
    let mut hash = weights_hash(network);
    if network.latent() != SqueezeNet::LATENT {
        hash.update(b"moments");
    }
    hash.update(images.as_bytes());
    hex(&hash.finalize())
}

/// A pretrained network's features of every image.
pub(crate) fn features_of(network: &SqueezeNet, images: &Images, device: &Device) -> Vectors {
    let mut features = Vectors::new(network.latent());
    let all: Vec<usize> = (0..images.len()).collect();
    for indices in all.chunks(FEATURE_BATCH) {
        let batch = network.encode(images.batch(indices, device));
        features.extend(batch.into_data().iter::<f32>());
    }
    features
}
