//! The section `encoder`: which encoder, and what it is made of.

use serde::{Deserialize, Serialize};

use crate::encoder::{
    AutoEncoder, AutoEncoderConfig, ENCODER_STAGE, EncoderSizes, Normalisation, OnnxFile, OnnxLook,
    OnnxNetwork, PatchSizes, SqueezeNet,
};
use crate::method::{Context, DetectorError, Encoding, MethodError, Parts, SimClrSettings};
use crate::study::{Check, Fault, Settings, first_fault, optimisation_fault};
use crate::train::{Optimisation, StageSummary};

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
    /// Principal components of the features of a network from an ONNX file, or those of every position:
    /// results are not from scratch.
    Onnx,
    /// The texture residual, for every position.
    Texture,
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
    /// Shorter side in pixels that smaller images are enlarged to for that; 0 for none.
    #[serde(default)]
    pub patch_side: usize,
    /// Side to which images are resized for the pretrained network (`squeezenet`; `onnx` where the file
    /// leaves it open).
    pub input: usize,
    /// The file of the network (`onnx`).
    pub file: String,
    /// Names of its tensors that are used; none for its first output (`onnx`).
    pub output: Vec<String>,
    /// Mean of pixels in `[0, 1]` that it was trained on, per channel or one for all (`onnx`).
    pub mean: Vec<f64>,
    /// Their standard deviation (`onnx`).
    pub std: Vec<f64>,
    /// What is taken out of the features before their components are (`squeezenet`, `onnx`), or out of the image (`pca`), where
    /// the whole image is described.
    #[serde(default)]
    pub normalise: Normalisation,
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

impl EncoderKind {
    /// That the setting `key` does not ask for what this program was built without.
    pub(in crate::method) fn compiled(self, key: &'static str) -> Check {
        Check::new(
            key,
            self != Self::Onnx || OnnxNetwork::COMPILED,
            "cannot be: this program was built without the engine for ONNX networks; build it with `--features onnx`",
        )
    }

    /// What the setting `key` must be for a method that looks at every position, or at the whole image.
    pub(in crate::method) fn checks(self, key: &'static str, positions: bool) -> [Check; 2] {
        let (possible, must) = match positions {
            true => (
                !matches!(self, Self::Pixels | Self::SimClr),
                "must be \"pca\" (patches), \"texture\", \"squeezenet\", \"onnx\" or \"autoencoder\" where every position is described",
            ),
            false => (
                self != Self::Texture,
                "must be another: \"texture\" describes every position, not the whole image (`positions = true`, in methods that have it)",
            ),
        };
        [self.compiled(key), Check::new(key, possible, must)]
    }
}

impl EncoderSettings {
    /// Reads the section.
    pub(in crate::method) fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section(SECTION)
    }

    /// The first key with which no run is possible.
    pub(in crate::method) fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let encoder = Self::read(settings)?;
        let most = EncoderSizes::MOST_PIXEL_COMPONENTS;
        let per_channel = |values: &[f64], least: f64| {
            matches!(values.len(), 1 | 3)
                && values
                    .iter()
                    .all(|value| value.is_finite() && *value > least)
        };
        let checks = [
            Check::new(
                "kind",
                encoder.kind != EncoderKind::Pixels,
                "must be \"autoencoder\", \"pca\", \"texture\", \"squeezenet\", \"simclr\" or \"onnx\": raw pixels are for knn, gmm and mahalanobis",
            ),
            Check::within("width", encoder.width, AutoEncoderConfig::WIDTHS),
            Check::within("latent", encoder.latent, 2..=EncoderSizes::LARGEST_LATENT),
            Check::within(
                "patch_components",
                encoder.patch_components,
                PatchSizes::COMPONENTS,
            ),
            Check::within("patch_side", encoder.patch_side, PatchSizes::SMALLEST),
            Check::within("input", encoder.input, SqueezeNet::INPUTS),
            Check::new(
                "pixel_components",
                encoder.pixel_components <= most,
                format!("must be at most {most} (0 for none)"),
            ),
            Check::new(
                "file",
                !(encoder.kind == EncoderKind::Onnx && encoder.file.is_empty()),
                "must name the ONNX file with `kind = \"onnx\"`",
            ),
            Check::new(
                "output",
                encoder.output.iter().all(|name| !name.is_empty()),
                "must be names of tensors (none for the network's first output)",
            ),
            Check::new(
                "mean",
                per_channel(&encoder.mean, f64::NEG_INFINITY),
                "must be one number for all channels, or three",
            ),
            Check::new(
                "std",
                per_channel(&encoder.std, 0.0),
                "must be one number above 0 for all channels, or three",
            ),
        ];
        let whole = Check::new(
            "positions",
            !(encoder.positions && encoder.kind == EncoderKind::SimClr),
            "must be false with `kind = \"simclr\"`, which describes whole images",
        );
        let of_kind = encoder.kind.checks("kind", encoder.positions);
        let checks = [whole].into_iter().chain(of_kind).chain(checks);
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

    /// The ONNX file of the section, and how it is looked through.
    pub fn onnx(&self) -> OnnxFile {
        OnnxFile {
            file: self.file.clone().into(),
            look: OnnxLook {
                output: self.output.clone(),
                input: self.input,
                mean: self.mean.clone(),
                std: self.std.clone(),
            },
        }
    }

    /// The encoder that the section asks for, with what it needs of other sections.
    pub(in crate::method) fn encoding(
        &self,
        settings: &Settings,
    ) -> Result<Encoding, toml::de::Error> {
        self.encoding_by(self.kind, self.latent, self.pixel_components, settings)
    }

    /// Another encoder, of `components`, with what it needs of the sections.
    pub(in crate::method) fn encoding_by(
        &self,
        kind: EncoderKind,
        components: usize,
        pixel_components: usize,
        settings: &Settings,
    ) -> Result<Encoding, toml::de::Error> {
        Ok(match kind {
            EncoderKind::Autoencoder => Encoding::Autoencoder(self.autoencoder()),
            EncoderKind::Pca => Encoding::Pca {
                components,
                normalise: self.normalise,
            },
            EncoderKind::SqueezeNet => Encoding::SqueezeNet {
                input: self.input,
                components,
                pixel_components,
                normalise: self.normalise,
            },
            EncoderKind::SimClr => Encoding::SimClr {
                settings: SimClrSettings::read(settings)?,
                components,
            },
            EncoderKind::Onnx => Encoding::Onnx {
                onnx: self.onnx(),
                components,
                normalise: self.normalise,
            },
            // Texture is refused before: it describes positions alone.
            EncoderKind::Pixels | EncoderKind::Texture => Encoding::Pixels,
        })
    }
}

impl AutoEncoderSettings {
    /// Sizes of the autoencoder of images of this shape.
    pub fn sizes(&self, shape: [usize; 3]) -> AutoEncoderConfig {
        AutoEncoderConfig::for_images(shape, self.width, self.latent)
    }

    /// Makes sure that it can be trained on images of this shape.
    ///
    /// # Errors
    /// [`DetectorError::Shape`] when it cannot.
    pub(in crate::method) fn check(&self, shape: [usize; 3]) -> Result<(), DetectorError> {
        let checked = self.sizes(shape).check_images(shape);
        checked.map_err(DetectorError::Shape)
    }

    /// Trains it in its stage.
    ///
    /// # Errors
    /// [`MethodError`] when the training fails or is stopped, or there is no such network for the images.
    pub fn fit(
        &self,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(AutoEncoder, StageSummary), MethodError> {
        self.check(context.image_shape())?;
        let sizes = self.sizes(context.image_shape());
        let model = sizes.init(&mut context.rng("encoder weights"), context.device);
        context.train_on_images(&ENCODER_STAGE, &self.training, model, parts)
    }
}
