//! What a model file says of its views beside the weights, and what of it can be built.

use serde::{Deserialize, Serialize};

use super::detector::NAMES;
use crate::data::Conversion;
use crate::encoder::{
    AutoEncoderConfig, Look, NetworkSizes, OnnxSizes, PretrainedLook, ResNetConfig, SqueezeNet,
    View, VisualWordsConfig, check_image,
};
use crate::flow::RealNvpConfig;
use crate::method::Spread;
use crate::method::detector::model_file::check_shape;
use crate::safetensors_file::check_room;

/// What a model file says beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSizes {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Side to which images are resized for SqueezeNet.
    pub input: usize,
    /// The network from an ONNX file, where a view looks through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnx: Option<OnnxSizes>,
    /// Sizes of the autoencoder, where a view is of its latent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<AutoEncoderConfig>,
    /// Sizes of the network that was trained without labels, where a view looks through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simclr: Option<ResNetConfig>,
    /// Sizes of the dictionary of patches, where a view compares them with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<VisualWordsConfig>,
    /// The views.
    pub views: Vec<ViewFlow>,
}

/// One view, the sizes of its flow, and the scale of its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewFlow {
    /// The description and its normalisation.
    pub view: View,
    /// Of the flow; its `dim` is the number of components.
    pub flow: RealNvpConfig,
    /// Mean negative log-likelihood of normal validation images, in nats.
    pub mean: f64,
    /// Its standard deviation there.
    pub deviation: f64,
    /// Of a guard, the number of these deviations above that mean from which on it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<f64>,
}

impl ViewFlow {
    /// The scale of its score.
    pub(super) fn spread(&self) -> Spread {
        Spread {
            mean: self.mean,
            deviation: self.deviation,
        }
    }

    /// What a negative log-likelihood adds to the deciding score.
    pub(super) fn part(&self, nll: f32) -> f32 {
        let standard = self.spread().standard(nll);
        match self.guard {
            None => standard,
            // What is not a number is not silenced.
            Some(from) if standard.is_nan() || f64::from(standard) > from => {
                (standard - from as f32).powi(2)
            }
            Some(_) => 0.0,
        }
    }
}

impl ViewSizes {
    /// How SqueezeNet looks at images, if it does.
    pub(super) fn pretrained(&self) -> Option<PretrainedLook> {
        Look::pretrained(self.views.iter().map(|view| view.view.of), self.input)
    }

    /// Views that the score is the mean of: those that are no guards.
    pub(super) fn scored(&self) -> usize {
        let scored = self.views.iter().filter(|view| view.guard.is_none());
        scored.count()
    }

    /// Entries of the description that a view is of.
    pub(super) fn dim(&self, view: &View) -> usize {
        let networks = NetworkSizes {
            onnx: self.onnx.as_ref().map(|network| network.features),
            autoencoder: self.autoencoder.map(|network| network.latent),
            simclr: self.simclr,
            dictionary: self.dictionary,
        };
        view.dim(self.shape, networks)
    }

    /// What keeps a detector of these sizes from being built from so many bytes of a file, if anything does.
    pub(super) fn check(&self, conversion: Conversion, bytes: usize) -> Result<(), String> {
        if !(1..NAMES.len()).contains(&self.views.len()) {
            return Err(format!("{} views are not supported", self.views.len()));
        }
        check_shape(conversion, self.shape)?;
        check_image(self.shape)?;
        if !SqueezeNet::INPUTS.contains(&self.input) {
            return Err(format!(
                "an input of {} pixels is not supported",
                self.input
            ));
        }
        self.check_networks(bytes)?;
        if self.scored() == 0 {
            return Err("all of its views are guards".to_owned());
        }
        let mut views = self.views.iter();
        views.try_for_each(|view| self.check_view(view, bytes))
    }

    /// That every network which a view looks through is there, and can be built.
    fn check_networks(&self, bytes: usize) -> Result<(), String> {
        let networks = [
            (Look::Onnx, self.onnx.is_some(), "network"),
            (Look::Autoencoder, self.autoencoder.is_some(), "autoencoder"),
            (Look::SimClr, self.simclr.is_some(), "network"),
            (Look::Patches, self.dictionary.is_some(), "dictionary"),
        ];
        for (look, is_there, what) in networks {
            if !is_there && self.views.iter().any(|view| view.view.of == look) {
                return Err(format!("the {what} of a view is missing"));
            }
        }
        if let Some(network) = &self.onnx {
            network.check()?;
        }
        if let Some(network) = self.autoencoder {
            self.check_seen(network.image_shape(), "autoencoder")?;
            network.check()?;
            network.fits(bytes)?;
        }
        if let Some(network) = self.simclr {
            self.check_seen(network.image_shape(), "network")?;
            network.check()?;
            network.fits(bytes)?;
        }
        match self.dictionary {
            Some(dictionary) => dictionary.check(self.shape),
            None => Ok(()),
        }
    }

    /// That a network is for images of this shape.
    fn check_seen(&self, shape: [usize; 3], what: &str) -> Result<(), String> {
        match shape == self.shape {
            true => Ok(()),
            false => Err(format!("its {what} is for other images")),
        }
    }

    /// That the flow and the scale of a view can be.
    fn check_view(&self, view: &ViewFlow, bytes: usize) -> Result<(), String> {
        view.flow.check()?;
        if view.flow.context > 0 {
            return Err("a view has no place that its flow could know".to_owned());
        }
        view.flow.fits(bytes)?;
        let dim = self.dim(&view.view);
        if view.flow.dim > dim {
            return Err("a view's flow is not of its description's size".to_owned());
        }
        check_room(bytes, dim.saturating_mul(view.flow.dim), "projection")?;
        if !view.spread().is_sound() || view.guard.is_some_and(|from| !from.is_finite()) {
            return Err("the scale of a view's score is damaged".to_owned());
        }
        Ok(())
    }
}
