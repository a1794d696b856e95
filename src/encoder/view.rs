//! Descriptions of an image from which its size can be taken out.
//!
//! In a description that scales with the image's contrast, images of low contrast lie near the mode of
//! any density of it, whatever they show. Divided by its norm, a description only says what an image
//! is like.

use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::frequency::{RINGS, bands, ycbcr};
use super::{ResNet, ResNetConfig, SqueezeNet, VisualWords, VisualWordsConfig};

/// Norm below which a description counts as zero.
const LEAST_NORM: f64 = 1e-6;
/// Share of a block's sum below which an entry counts as zero.
const LEAST_SHARE: f64 = 1e-8;
/// What of an image is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Its pixels, in `[0, 1]`.
    Pixels,
    /// By quarter of the image, how near its patches come to those of a dictionary.
    Patches,
    /// Differences of neighbouring pixels of its luminance, to the right and below.
    Differences,
    /// Logarithm of its energy by ring and orientation of the frequency (discrete cosine transform),
    /// for luminance and colour, and the mean of every channel.
    Bands,
    /// Means of three maps of SqueezeNet, pretrained on ImageNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
    /// Means and standard deviations of four of its maps.
    #[serde(rename = "squeezenet-moments")]
    SqueezeNetMoments,
    /// Features of a residual network that was trained without labels on the normal images.
    #[serde(rename = "simclr")]
    SimClr,
}

impl Look {
    /// True where the pretrained network looks.
    pub fn is_pretrained(self) -> bool {
        matches!(self, Self::SqueezeNet | Self::SqueezeNetMoments)
    }
}

/// The networks that descriptions may look through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Networks<'a> {
    /// The pretrained one.
    pub squeezenet: Option<&'a SqueezeNet>,
    /// The one that was trained without labels.
    pub simclr: Option<&'a ResNet>,
    /// The dictionary of patches.
    pub dictionary: Option<&'a VisualWords>,
}

/// What is taken out of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Nothing.
    None,
    /// Its Euclidean norm.
    L2,
    /// Its mean, then its norm.
    Contrast,
    /// Of each block, the sum; what is left is brought to the root. (Blocks are the maps of the
    /// pretrained network; other descriptions are one.)
    Sqrt,
}

/// A description with its normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// What is described.
    pub of: Look,
    /// What is taken out of it.
    pub normalise: Normalisation,
}

/// As in the settings: `differences, l2`.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.of {
            Look::Pixels => "pixels",
            Look::Patches => "patches",
            Look::Differences => "differences",
            Look::Bands => "bands",
            Look::SqueezeNet => "squeezenet",
            Look::SqueezeNetMoments => "squeezenet-moments",
            Look::SimClr => "simclr",
        })?;
        f.write_str(match self.normalise {
            Normalisation::None => "",
            Normalisation::L2 => ", l2",
            Normalisation::Contrast => ", contrast",
            Normalisation::Sqrt => ", sqrt",
        })
    }
}

impl View {
    /// Entries of the description of an image of `shape` = `[channels, height, width]`, by a network that was
    /// trained without labels, or a dictionary, of these sizes.
    pub fn dim(
        &self,
        [channels, height, width]: [usize; 3],
        simclr: Option<ResNetConfig>,
        dictionary: Option<VisualWordsConfig>,
    ) -> usize {
        match self.of {
            Look::Pixels => channels * height * width,
            Look::Differences => height * (width - 1) + (height - 1) * width,
            Look::Bands => {
                let luminance = 2 * RINGS + 1;
                luminance + (channels - 1) * (RINGS + 1)
            }
            Look::SqueezeNet => SqueezeNet::LATENT,
            Look::SqueezeNetMoments => SqueezeNet::MOMENTS,
            Look::SimClr => simclr.map_or(0, |network| network.features()),
            Look::Patches => dictionary.map_or(0, |dictionary| dictionary.features()),
        }
    }

    /// Describes images; of the `networks` that one is asked whose features are the description.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to `[batch, dim]`.
    ///
    /// # Panics
    /// When the description is a network's or a dictionary's and there is none.
    pub fn describe(&self, images: Tensor<4>, networks: Networks) -> Tensor<2> {
        let description = match self.of {
            Look::SqueezeNet | Look::SqueezeNetMoments => {
                let network = networks.squeezenet;
                let network = network.expect("a view of the pretrained network comes with it");
                return self.of_features(network.encode(images));
            }
            Look::SimClr => {
                let network = networks.simclr;
                let network = network.expect("a view of the trained network comes with it");
                network.encode(images)
            }
            Look::Patches => {
                let dictionary = networks.dictionary;
                let dictionary = dictionary.expect("a view of patches comes with their dictionary");
                dictionary.describe(images)
            }
            Look::Pixels => unit(images).flatten(1, 3),
            Look::Differences => differences(luminance(unit(images))),
            Look::Bands => bands(unit(images)),
        };
        self.normalised(description)
    }

    /// The description that is part of the pretrained network's latents.
    ///
    /// # Shapes
    /// `[batch, 896]`, or with moments `[batch, 2560]`, to `[batch, dim]`.
    pub fn of_features(&self, features: Tensor<2>) -> Tensor<2> {
        let description = match (self.of, features.dims()[1]) {
            (Look::SqueezeNet, SqueezeNet::MOMENTS) => SqueezeNet::means_of(features),
            _ => features,
        };
        self.normalised(description)
    }

    /// Takes out of a description what the view is not to see.
    ///
    /// # Shapes
    /// `[batch, dim]` to `[batch, dim]`.
    pub fn normalised(&self, description: Tensor<2>) -> Tensor<2> {
        match self.normalise {
            Normalisation::None => description,
            Normalisation::L2 => by_norm(description),
            Normalisation::Contrast => {
                let mean = description.clone().mean_dim(1);
                by_norm(description - mean)
            }
            Normalisation::Sqrt => {
                let [_, dim] = description.dims();
                let blocks = match self.of {
                    Look::SqueezeNet => SqueezeNet::blocks(false),
                    Look::SqueezeNetMoments => SqueezeNet::blocks(true),
                    _ => vec![dim],
                };
                let mut start = 0;
                let roots = blocks.into_iter().map(|length| {
                    let block = description.clone().narrow(1, start, length);
                    start += length;
                    let block = block.clamp_min(0.0);
                    let sum = block.clone().sum_dim(1).clamp_min(LEAST_NORM);
                    // The root of zero has no slope, and heat maps want one.
                    (block / sum + LEAST_SHARE).sqrt()
                });
                Tensor::cat(roots.collect(), 1)
            }
        }
    }
}

/// From `[-1, 1]` to `[0, 1]`.
pub(super) fn unit(images: Tensor<4>) -> Tensor<4> {
    (images + 1.0) * 0.5
}

/// Divides every row by its Euclidean norm.
pub(super) fn by_norm(rows: Tensor<2>) -> Tensor<2> {
    // Bounded before the root, which has no slope at zero: heat maps want one of blank images too.
    let squares = rows.clone().square().sum_dim(1);
    rows / squares.clamp_min(LEAST_NORM * LEAST_NORM).sqrt()
}

/// `[batch, channels, height, width]` to `[batch, 1, height, width]`.
fn luminance(images: Tensor<4>) -> Tensor<4> {
    ycbcr(images).narrow(1, 0, 1)
}

/// Differences to the right and below, side by side.
fn differences(images: Tensor<4>) -> Tensor<2> {
    let [_, _, height, width] = images.dims();
    let right = images.clone().narrow(3, 1, width - 1) - images.clone().narrow(3, 0, width - 1);
    let below = images.clone().narrow(2, 1, height - 1) - images.narrow(2, 0, height - 1);
    Tensor::cat(vec![right.flatten::<2>(1, 3), below.flatten(1, 3)], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::tensor::TensorData;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn images(channels: usize) -> Tensor<4> {
        let rng = &mut StdRng::seed_from_u64(1);
        let values: Vec<f32> = (0..3 * channels * 64)
            .map(|_| rng.random_range(-0.5..0.5))
            .collect();
        let shape = [3, channels, 8, 8];
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn largest_difference(left: Tensor<2>, right: Tensor<2>) -> f32 {
        (left - right).abs().max().into_scalar::<f32>()
    }

    const LOOKS: [Look; 3] = [Look::Pixels, Look::Differences, Look::Bands];

    #[test]
    fn descriptions_have_the_entries_that_they_say() {
        for of in LOOKS {
            for channels in [1, 3] {
                let view = View {
                    of,
                    normalise: Normalisation::L2,
                };
                let found = view.describe(images(channels), Networks::default());
                assert_eq!(
                    found.dims(),
                    [3, view.dim([channels, 8, 8], None, None)],
                    "{of:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_taken_out_does_not_matter_any_more() {
        let grey = (images(1) + 1.0) * 0.5; // in [0.25, 0.75]
        let back = |unit: Tensor<4>| unit * 2.0 - 1.0;
        for (of, normalise, changed) in [
            // Half the light.
            (Look::Pixels, Normalisation::L2, grey.clone() * 0.5),
            (Look::Differences, Normalisation::L2, grey.clone() * 0.5),
            (Look::Pixels, Normalisation::Sqrt, grey.clone() * 0.5),
            // Less contrast around another mean.
            (
                Look::Pixels,
                Normalisation::Contrast,
                grey.clone() * 0.5 + 0.3,
            ),
            (
                Look::Differences,
                Normalisation::L2,
                grey.clone() * 0.5 + 0.3,
            ),
        ] {
            let view = View { of, normalise };
            let before = view.describe(back(grey.clone()), Networks::default());
            let after = view.describe(back(changed), Networks::default());
            let difference = largest_difference(before, after);
            assert!(difference < 1e-5, "{view:?}: {difference}");
        }
        let raw = View {
            of: Look::Pixels,
            normalise: Normalisation::None,
        };
        let before = raw.describe(back(grey.clone()), Networks::default());
        let after = raw.describe(back(grey * 0.5), Networks::default());
        assert!(largest_difference(before, after) > 0.1);
    }

    #[test]
    fn a_blank_image_has_a_slope() {
        let device = test_device().autodiff();
        let normalisations = [
            Normalisation::L2,
            Normalisation::Contrast,
            Normalisation::Sqrt,
        ];
        for of in LOOKS {
            for normalise in normalisations {
                let view = View { of, normalise };
                let blank = Tensor::<4>::full([1, 3, 8, 8], -1.0, &device).require_grad();
                let described = view.describe(blank.clone(), Networks::default());
                let slopes = blank.grad(&described.sum().backward()).unwrap();
                let slopes: Vec<f32> = slopes.into_data().iter::<f32>().collect();
                assert!(slopes.iter().all(|slope| slope.is_finite()), "{view:?}");
            }
        }
    }
}
