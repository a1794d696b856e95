//! The section `positions`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::detector::MOST_SCALES;
use super::rows::Poses;
use crate::encoder::{
    BackboneError, EncoderSizes, MapSource, Normalisation, OnnxFile, OnnxNetwork, PatchSizes,
    PositionConfig, SqueezeNet,
};
use crate::method::{
    AutoEncoderSettings, DetectorError, EncoderKind, EncoderSettings, FlowSettings, MethodError,
};
use crate::study::{Check, Fault, Settings, first_fault};

const SECTION: &str = "positions";

/// The section `positions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionSettings {
    /// Fire modules whose maps are used.
    layers: Vec<usize>,
    /// How often the image is shrunk for each scale.
    scales: Vec<usize>,
    /// The texture residual describes the positions of one more scale.
    #[serde(default)]
    texture: bool,
    /// Bring every image to the same mean and standard deviation.
    intensity: bool,
    /// Side of the square of neighbours that a feature is the mean of.
    pooling: usize,
    /// What is taken out of the features that a network has for every position.
    #[serde(default)]
    normalise: Normalisation,
    /// Whitened components; 0 for all.
    components: usize,
    /// Those of them that a flow sees; 0 for all.
    head: usize,
    /// Whether the flow knows the position.
    context: PositionContext,
    /// Mirrored training images are seen as well.
    flips: bool,
    /// Training images turned by quarters are seen as well.
    turns: bool,
    /// Share of the positions that the image's score is the mean of.
    top: f64,
    /// Choose that share by made-up defects.
    choose_top: bool,
    /// Side in pixels of the tiles that images are scored in; 0 for none.
    tiles: usize,
}

/// Whether a flow knows where in the image a position lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PositionContext {
    /// It does not.
    Off,
    /// It does.
    On,
    /// As the positions of validation images have the higher likelihood.
    Auto,
}

/// What a fit reads of the settings to describe positions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    #[serde(skip)]
    pub(super) source: Source,
    /// How often the image is shrunk for every scale, the image's own first.
    scales: Vec<usize>,
    /// Whether there is one more, of the texture residual.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    texture: bool,
    intensity: bool,
    pooling: usize,
    #[serde(skip_serializing_if = "Normalisation::is_none")]
    normalise: Normalisation,
    flips: bool,
    turns: bool,
    pub(super) top: f64,
    pub(super) choose_top: bool,
    pub(super) tiles: usize,
}

/// Where the features come from, with what that reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Source {
    Autoencoder(AutoEncoderSettings),
    #[serde(rename = "pca")]
    Patches {
        patch_components: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        patch_side: Option<usize>,
    },
    #[serde(rename = "squeezenet")]
    SqueezeNet {
        layers: Vec<usize>,
    },
    Onnx(OnnxFile),
    Texture,
}

/// A source of features as a fit takes it.
pub(super) enum Opened<'a> {
    Autoencoder(&'a AutoEncoderSettings),
    Patches(PatchSizes),
    SqueezeNet,
    Onnx(OnnxNetwork),
    Texture,
}

/// A scale, and how its positions are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DescribedScale {
    /// How often the image is shrunk.
    pub shrink: usize,
    /// By the texture residual, whatever describes the others.
    pub texture: bool,
}

/// Which of a position's components a density sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Components {
    /// All that are kept; 0 for as many as there are features.
    pub components: usize,
    /// Those that the flow sees; 0 for all of them.
    pub head: usize,
    /// Whether the flow knows the position.
    pub context: PositionContext,
}

impl Components {
    /// Of so many components that are kept, those that the flow sees.
    pub(super) fn head_of(&self, kept: usize) -> usize {
        match self.head {
            0 => kept,
            head => head.min(kept),
        }
    }

    /// With or without the position, or both to choose from, and what a stage's folder then ends with.
    pub(super) fn tried(&self, flow: &FlowSettings) -> &'static [(bool, &'static str)] {
        match self.context {
            PositionContext::Off => &[(false, "")],
            // Without couplings there is nothing that a position could enter.
            _ if flow.couplings == 0 => &[(false, "")],
            PositionContext::On => &[(true, "")],
            PositionContext::Auto => &[(false, "-without-position"), (true, "-with-position")],
        }
    }
}

impl PositionSettings {
    /// Reads the section.
    pub fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section(SECTION)
    }

    /// The first key with which no run is possible.
    pub fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let own = Self::read(settings)?;
        let rising = |values: &[usize]| {
            !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1])
        };
        let layers = SqueezeNet::LAYERS;
        let most = EncoderSizes::LARGEST_LATENT;
        let checks = [
            Check::new(
                "layers",
                rising(&own.layers) && own.layers.iter().all(|layer| layers.contains(layer)),
                "must be fire modules from 2 to 9, in rising order",
            ),
            Check::new(
                "scales",
                rising(&own.scales) && own.scales.iter().all(|scale| [1, 2, 4, 8].contains(scale)),
                "must be of 1, 2, 4 and 8, in rising order",
            ),
            Check::new(
                "texture",
                !own.texture || own.scales.len() < MOST_SCALES,
                format!("must be false with {MOST_SCALES} scales"),
            ),
            Check::new(
                "pooling",
                own.pooling % 2 == 1 && own.pooling <= 15,
                "must be odd and at most 15 (1 for none)",
            ),
            Check::new(
                "components",
                own.components <= most && own.components != 1,
                format!("must be from 2 to {most} (0 for all)"),
            ),
            Check::new(
                "head",
                own.head != 1 && (own.components == 0 || own.head <= own.components),
                "must be at least 2 and at most the number of components (0 for all)",
            ),
            Check::new(
                "top",
                (0.0..=1.0).contains(&own.top),
                "must be from 0 (the least likely position) to 1 (all)",
            ),
            Check::new(
                "tiles",
                own.tiles == 0 || PositionConfig::SIDES.contains(&own.tiles),
                format!(
                    "must be from {} to {} pixels (0 for the image as one)",
                    PositionConfig::SIDES.start(),
                    PositionConfig::SIDES.end()
                ),
            ),
        ];
        Ok(first_fault(SECTION, checks))
    }

    /// How positions are described by an encoder of this kind.
    pub fn description(&self, kind: EncoderKind, encoder: &EncoderSettings) -> Description {
        let source = match kind {
            EncoderKind::Autoencoder => Source::Autoencoder(encoder.autoencoder()),
            // The other two are refused before.
            EncoderKind::Pca | EncoderKind::SimClr | EncoderKind::Pixels => Source::Patches {
                patch_components: encoder.patch_components,
                patch_side: (encoder.patch_side > 0).then_some(encoder.patch_side),
            },
            EncoderKind::SqueezeNet => Source::SqueezeNet {
                layers: self.layers.clone(),
            },
            EncoderKind::Onnx => Source::Onnx(encoder.onnx()),
            EncoderKind::Texture => Source::Texture,
        };
        let scales = match source {
            Source::SqueezeNet { .. } => self.scales.clone(),
            // Patches have three scales of their own, and the others one size.
            Source::Autoencoder(_) | Source::Patches { .. } | Source::Onnx(_) | Source::Texture => {
                vec![1]
            }
        };
        // A patch's features are of different kinds, whose common norm says nothing; those of the small autoencoder
        // have not been tried.
        let normalise = match source {
            Source::SqueezeNet { .. } | Source::Onnx(_) => self.normalise,
            Source::Autoencoder(_) | Source::Patches { .. } | Source::Texture => {
                Normalisation::None
            }
        };
        // An autoencoder is trained on images as they are, and energies know the level of noise.
        let as_they_are = matches!(source, Source::Autoencoder(_) | Source::Texture);
        let intensity = self.intensity && !as_they_are;
        // Energies are means of a neighbourhood.
        let pooling = match source {
            Source::Texture => 1,
            _ => self.pooling,
        };
        Description {
            texture: self.texture && !matches!(source, Source::Texture),
            source,
            scales,
            intensity,
            pooling,
            normalise,
            flips: self.flips,
            turns: self.turns,
            top: self.top,
            choose_top: self.choose_top,
            tiles: self.tiles,
        }
    }

    /// Which components a density sees.
    pub fn components(&self) -> Components {
        Components {
            components: self.components,
            head: self.head,
            context: self.context,
        }
    }
}

impl Description {
    /// All scales.
    pub(super) fn scales(&self) -> Vec<DescribedScale> {
        let own = self.scales.iter().map(|&shrink| DescribedScale {
            shrink,
            texture: false,
        });
        let texture = self.texture.then_some(DescribedScale {
            shrink: 1,
            texture: true,
        });
        own.chain(texture).collect()
    }

    /// How training images are seen.
    pub(super) fn poses(&self) -> Poses {
        Poses {
            flips: self.flips,
            turns: self.turns,
        }
    }

    /// The file of pretrained weights that a fit reads, if it does.
    pub fn weights_file(&self, squeezenet: &Path) -> Option<PathBuf> {
        match &self.source {
            Source::SqueezeNet { .. } => Some(squeezenet.to_owned()),
            Source::Onnx(onnx) => Some(onnx.file.clone()),
            Source::Autoencoder(_) | Source::Patches { .. } | Source::Texture => None,
        }
    }

    /// The autoencoder that a fit trains, if it does.
    pub fn autoencoder(&self) -> Option<&AutoEncoderSettings> {
        match &self.source {
            Source::Autoencoder(settings) => Some(settings),
            _ => None,
        }
    }

    /// What keeps images of `shape` from being described, if anything does that is known without reading a network.
    ///
    /// # Errors
    /// [`MethodError`] with what to do.
    pub(super) fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        self.check_texture(shape)?;
        match self.source {
            Source::Onnx(_) => Ok(()),
            _ => self.config(shape).map(|_| ()),
        }
    }

    /// What keeps the scale of the texture from being described, where there is one.
    fn check_texture(&self, [channels, height, width]: [usize; 3]) -> Result<(), MethodError> {
        if !self.texture {
            return Ok(());
        }
        let checked = MapSource::Texture.check([channels, height, width]);
        checked.map_err(|reason| {
            let remedy = "set data.size, or positions.texture=false";
            DetectorError::Shape(format!("{reason}: {remedy}")).into()
        })
    }

    /// The sizes for images of `shape`, with the source as a fit takes it: the sizes of an ONNX network
    /// are known when it has been read.
    ///
    /// # Errors
    /// [`MethodError`] when such images cannot be described, or the network cannot be read.
    pub(super) fn config(
        &self,
        shape: [usize; 3],
    ) -> Result<(PositionConfig, Opened<'_>), MethodError> {
        let (source, opened) = match &self.source {
            Source::Autoencoder(settings) => {
                let sizes = MapSource::Autoencoder(settings.sizes(shape));
                (sizes, Opened::Autoencoder(settings))
            }
            &Source::Patches {
                patch_components: components,
                patch_side,
            } => {
                let smallest = patch_side.unwrap_or(0);
                let sizes = PatchSizes {
                    components,
                    smallest,
                };
                (MapSource::Patches(sizes), Opened::Patches(sizes))
            }
            Source::SqueezeNet { layers } => {
                let layers = layers.clone();
                (MapSource::SqueezeNet { layers }, Opened::SqueezeNet)
            }
            Source::Onnx(onnx) => {
                let network = onnx.load(shape[0]).map_err(BackboneError::from)?;
                network.positions().map_err(BackboneError::from)?;
                let sizes = MapSource::Onnx(network.sizes().clone());
                (sizes, Opened::Onnx(network))
            }
            Source::Texture => (MapSource::Texture, Opened::Texture),
        };
        let config = PositionConfig {
            shape,
            source,
            intensity: self.intensity,
            pooling: self.pooling,
            normalise: self.normalise,
        };
        self.check_texture(shape)?;
        let mut scales = self.scales.iter();
        config
            .check()
            .and_then(|()| scales.try_for_each(|&scale| config.check_scale(scale)))
            .map_err(|reason| {
                DetectorError::Shape(format!(
                    "{reason}: set data.size, or other positions.layers or positions.scales"
                ))
            })?;
        Ok((config, opened))
    }
}
