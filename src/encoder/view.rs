//! Descriptions of an image as a whole, from which its size can be taken out.

use std::cell::OnceCell;
use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::frequency::{RINGS, bands, ycbcr};
use super::gradients::{self, oriented_gradients};
use super::{
    AutoEncoder, Normalisation, OnnxNetwork, PretrainedLook, ResNet, ResNetConfig, SqueezeNet,
    VisualWords, VisualWordsConfig,
};

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
    /// By orientation and part of the image, the length of its gradients that run that way.
    Gradients,
    /// Logarithm of its energy by ring and orientation of the frequency (discrete cosine transform),
    /// for luminance and colour, and the mean of every channel.
    Bands,
    /// Means of three maps of SqueezeNet, pretrained on ImageNet.
    #[serde(rename = "squeezenet")]
    SqueezeNet,
    /// Means and standard deviations of four of its maps.
    #[serde(rename = "squeezenet-moments")]
    SqueezeNetMoments,
    /// The latent of the autoencoder, trained on the normal images.
    Autoencoder,
    /// Features of a residual network that was trained without labels on the normal images.
    #[serde(rename = "simclr")]
    SimClr,
    /// Tensors of a network from an ONNX file, their means where they have positions.
    Onnx,
}

impl Look {
    /// True where SqueezeNet looks.
    pub fn is_squeezenet(self) -> bool {
        matches!(self, Self::SqueezeNet | Self::SqueezeNetMoments)
    }

    /// How SqueezeNet looks at images of `input` pixels for all of these, if one of them is through it.
    pub fn pretrained(
        mut looks: impl Iterator<Item = Self> + Clone,
        input: usize,
    ) -> Option<PretrainedLook> {
        let look = PretrainedLook {
            input,
            moments: looks.clone().any(|of| of == Self::SqueezeNetMoments),
        };
        looks.any(Self::is_squeezenet).then_some(look)
    }
}

/// The networks that descriptions may look through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Networks<'a> {
    /// SqueezeNet, pretrained.
    pub squeezenet: Option<&'a SqueezeNet>,
    /// The one from an ONNX file.
    pub onnx: Option<&'a OnnxNetwork>,
    /// The autoencoder.
    pub autoencoder: Option<&'a AutoEncoder>,
    /// The one that was trained without labels.
    pub simclr: Option<&'a ResNet>,
    /// The dictionary of patches.
    pub dictionary: Option<&'a VisualWords>,
}

/// Sizes on which the length of a network's description depends.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkSizes {
    /// Entries of what the network from an ONNX file gives.
    pub onnx: Option<usize>,
    /// Entries of the autoencoder's latent.
    pub autoencoder: Option<usize>,
    /// Of the network that was trained without labels.
    pub simclr: Option<ResNetConfig>,
    /// Of the dictionary of patches.
    pub dictionary: Option<VisualWordsConfig>,
}

/// Images, and what networks make of them: asked when the first view wants it, and once for all views.
pub struct Batch<'a> {
    images: Tensor<4>,
    networks: Networks<'a>,
    squeezenet: OnceCell<Tensor<2>>,
    onnx: OnceCell<Tensor<2>>,
    autoencoder: OnceCell<Tensor<2>>,
    simclr: OnceCell<Tensor<2>>,
}

impl<'a> Batch<'a> {
    /// Of images `[batch, channels, height, width]` in `[-1, 1]`, and the networks that views may look through.
    pub fn new(images: Tensor<4>, networks: Networks<'a>) -> Self {
        Self {
            images,
            networks,
            squeezenet: OnceCell::new(),
            onnx: OnceCell::new(),
            autoencoder: OnceCell::new(),
            simclr: OnceCell::new(),
        }
    }

    /// With features that were computed before, `[batch, features]`: SqueezeNet's where there is one, else those of
    /// the network from an ONNX file.
    pub fn with_features(mut self, features: Option<Tensor<2>>) -> Self {
        let known = features.map_or_else(OnceCell::new, OnceCell::from);
        match self.networks.squeezenet {
            Some(_) => self.squeezenet = known,
            None => self.onnx = known,
        }
        self
    }

    fn squeezenet(&self) -> Tensor<2> {
        let network = present(self.networks.squeezenet);
        let features = || network.encode(self.images.clone());
        self.squeezenet.get_or_init(features).clone()
    }

    fn onnx(&self) -> (Tensor<2>, Vec<usize>) {
        let network = present(self.networks.onnx);
        let features = || network.encode(self.images.clone());
        (self.onnx.get_or_init(features).clone(), network.blocks())
    }

    fn autoencoder(&self) -> Tensor<2> {
        let network = present(self.networks.autoencoder);
        let latents = || network.encode(self.images.clone());
        self.autoencoder.get_or_init(latents).clone()
    }

    fn simclr(&self) -> Tensor<2> {
        let network = present(self.networks.simclr);
        let features = || network.encode(self.images.clone());
        self.simclr.get_or_init(features).clone()
    }

    fn words(&self) -> Tensor<2> {
        present(self.networks.dictionary).describe(self.images.clone())
    }
}

/// The network that a view looks through.
fn present<N>(network: Option<&N>) -> &N {
    network.expect("a view comes with the network that it looks through")
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
            Look::Gradients => "gradients",
            Look::Bands => "bands",
            Look::SqueezeNet => "squeezenet",
            Look::SqueezeNetMoments => "squeezenet-moments",
            Look::Autoencoder => "autoencoder",
            Look::SimClr => "simclr",
            Look::Onnx => "onnx",
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
    /// Entries of the description of an image of `shape` = `[channels, height, width]`, by networks of these sizes.
    pub fn dim(&self, [channels, height, width]: [usize; 3], networks: NetworkSizes) -> usize {
        match self.of {
            Look::Pixels => channels * height * width,
            Look::Differences => height * (width - 1) + (height - 1) * width,
            Look::Gradients => gradients::FEATURES,
            Look::Bands => {
                let luminance = 2 * RINGS + 1;
                luminance + (channels - 1) * (RINGS + 1)
            }
            Look::SqueezeNet => SqueezeNet::LATENT,
            Look::SqueezeNetMoments => SqueezeNet::MOMENTS,
            Look::Autoencoder => networks.autoencoder.unwrap_or(0),
            Look::SimClr => networks.simclr.map_or(0, |network| network.features()),
            Look::Patches => networks.dictionary.map_or(0, |words| words.features()),
            Look::Onnx => networks.onnx.unwrap_or(0),
        }
    }

    /// Describes images.
    ///
    /// # Shapes
    /// To `[batch, dim]`.
    ///
    /// # Panics
    /// When the description is a network's or a dictionary's and the batch comes without.
    pub fn describe(&self, batch: &Batch) -> Tensor<2> {
        let images = || batch.images.clone();
        let whole = |description: Tensor<2>| {
            let [_, dim] = description.dims();
            (description, vec![dim])
        };
        let (description, blocks) = match self.of {
            Look::SqueezeNet => {
                let features = batch.squeezenet();
                let means = match features.dims()[1] {
                    SqueezeNet::MOMENTS => SqueezeNet::means_of(features),
                    _ => features,
                };
                (means, SqueezeNet::blocks(false))
            }
            Look::SqueezeNetMoments => (batch.squeezenet(), SqueezeNet::blocks(true)),
            Look::Onnx => batch.onnx(),
            Look::Autoencoder => whole(batch.autoencoder()),
            Look::SimClr => whole(batch.simclr()),
            Look::Patches => whole(batch.words()),
            Look::Pixels => whole(unit(images()).flatten(1, 3)),
            Look::Differences => whole(differences(luminance(unit(images())))),
            Look::Gradients => whole(oriented_gradients(unit(images()))),
            Look::Bands => whole(bands(unit(images()))),
        };
        self.normalise.apply(description, blocks)
    }
}

/// From `[-1, 1]` to `[0, 1]`.
pub(super) fn unit(images: Tensor<4>) -> Tensor<4> {
    (images + 1.0) * 0.5
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

    /// Without any network.
    fn described(view: View, images: Tensor<4>) -> Tensor<2> {
        view.describe(&Batch::new(images, Networks::default()))
    }

    fn largest_difference(left: Tensor<2>, right: Tensor<2>) -> f32 {
        (left - right).abs().max().into_scalar::<f32>()
    }

    const LOOKS: [Look; 4] = [
        Look::Pixels,
        Look::Differences,
        Look::Gradients,
        Look::Bands,
    ];

    #[test]
    fn descriptions_have_the_entries_that_they_say() {
        for of in LOOKS {
            for channels in [1, 3] {
                let view = View {
                    of,
                    normalise: Normalisation::L2,
                };
                let found = described(view, images(channels));
                assert_eq!(
                    found.dims(),
                    [3, view.dim([channels, 8, 8], NetworkSizes::default())],
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
            (Look::Gradients, Normalisation::L2, grey.clone() * 0.5 + 0.3),
        ] {
            let view = View { of, normalise };
            let before = described(view, back(grey.clone()));
            let after = described(view, back(changed));
            let difference = largest_difference(before, after);
            assert!(difference < 1e-5, "{view:?}: {difference}");
        }
        let raw = View {
            of: Look::Pixels,
            normalise: Normalisation::None,
        };
        let before = described(raw, back(grey.clone()));
        let after = described(raw, back(grey * 0.5));
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
                let described = described(view, blank.clone());
                let slopes = blank.grad(&described.sum().backward()).unwrap();
                let slopes: Vec<f32> = slopes.into_data().iter::<f32>().collect();
                assert!(slopes.iter().all(|slope| slope.is_finite()), "{view:?}");
            }
        }
    }
}
