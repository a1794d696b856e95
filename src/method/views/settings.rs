//! The section `views`.

use serde::{Deserialize, Serialize};

use super::MOST;
use crate::encoder::{
    EncoderSizes, Look, Normalisation, PretrainedLook, SqueezeNet, View, VisualWordsConfig,
};
use crate::flow::BaseKind;
use crate::method::{EncoderKind, EncoderSettings, FlowSettings};
use crate::study::{Check, Fault, Settings, first_fault};

/// The section `views`: a fit reads all of it but the words where no view looks at patches, of the section
/// `flow` all but the base, and of the section `encoder` what it says of the autoencoder or an ONNX network, where a view looks
/// through one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewsSettings {
    /// Coupling layers of the flow on each view's mixture; 0 for the mixture alone.
    pub couplings: usize,
    /// Side to which images are resized for SqueezeNet.
    pub input: usize,
    /// Patches of the dictionary that those of an image are compared with, where a view does so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<usize>,
    /// The views.
    pub list: Vec<ViewSettings>,
}

/// One view and its density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSettings {
    /// What of the image is described.
    pub of: Look,
    /// What is taken out of the description.
    pub normalise: Normalisation,
    /// Whitened principal components of it, at most as many as it has entries.
    pub components: usize,
    /// Gaussians of the mixture; 0 for a standard normal, which of whitened components is nearly what one
    /// Gaussian comes to, without a second product as large as the first.
    pub gaussians: usize,
    /// How these Gaussians come about: by default they are fitted, with a full covariance each.
    #[serde(default = "fitted", skip_serializing_if = "is_fitted")]
    pub base: BaseKind,
    /// A share of the normal images, 0.95 say: the view counts only where it is odder than these, and then by
    /// its square. It can call an image odd, but none normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<f64>,
}

fn fitted() -> BaseKind {
    BaseKind::Fitted
}

fn is_fitted(base: &BaseKind) -> bool {
    *base == BaseKind::Fitted
}

impl ViewSettings {
    /// The description and its normalisation.
    pub fn view(&self) -> View {
        View {
            of: self.of,
            normalise: self.normalise,
        }
    }

    /// In a few words, for progress.
    pub(super) fn name(&self) -> String {
        let guard = if self.guard.is_some() {
            ", a guard"
        } else {
            ""
        };
        let kind = match self.base {
            BaseKind::Kernel => "kernels",
            BaseKind::Trained | BaseKind::Fitted | BaseKind::Tied => "Gaussians",
        };
        format!(
            "{}, {} components, {} {kind}{guard}",
            self.view(),
            self.components,
            self.gaussians
        )
    }
}

impl ViewsSettings {
    /// How SqueezeNet looks at images, if it does.
    pub(super) fn pretrained(&self) -> Option<PretrainedLook> {
        Look::pretrained(self.list.iter().map(|view| view.of), self.input)
    }

    /// Sizes of the dictionary that a view of patches needs, for images of this shape, if there is such a view.
    pub(super) fn dictionary(&self, [channels, ..]: [usize; 3]) -> Option<VisualWordsConfig> {
        let words = self.words.filter(|_| self.looks_at(Look::Patches))?;
        Some(VisualWordsConfig { channels, words })
    }

    /// Without what no view asks for.
    pub(super) fn needed(self) -> Self {
        let words = self.words.filter(|_| self.looks_at(Look::Patches));
        Self { words, ..self }
    }

    /// True when one of the views is of this kind.
    pub(super) fn looks_at(&self, of: Look) -> bool {
        self.list.iter().any(|view| view.of == of)
    }

    /// Reads the section.
    pub(super) fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        settings.section("views")
    }

    /// What has to hold of the list, where a network's file is named or not and a base distribution has so many
    /// starts.
    fn list_checks(&self, names_file: bool, starts: usize) -> Vec<Check> {
        let all = |holds: fn(&ViewSettings) -> bool| self.list.iter().all(holds);
        let looks_at_onnx = self.looks_at(Look::Onnx);
        let most = BaseKind::Fitted.most_gaussians();
        vec![
            Check::new(
                "list",
                (1..=MOST).contains(&self.list.len()),
                format!("must name from 1 to {MOST} views"),
            ),
            Check::new(
                "list",
                !looks_at_onnx || self.pretrained().is_none(),
                "must look through SqueezeNet or through a network from an ONNX file, not both",
            ),
            Check::new(
                "list",
                !looks_at_onnx || names_file,
                "can look through an ONNX network where `encoder.file` names its file",
            ),
            Check::new(
                "list",
                self.list.iter().any(|view| view.guard.is_none()),
                "must name a view that is no guard",
            ),
            Check::new(
                "list",
                all(|view| view.guard.is_none_or(|share| (0.5..1.0).contains(&share))),
                "must have a guard from 0.5 to below 1 (the share of normal images of which it says nothing), or none",
            ),
            Check::new(
                "list",
                all(|view| (2..=EncoderSizes::LARGEST_LATENT).contains(&view.components)),
                format!(
                    "must have from 2 to {} components in every view",
                    EncoderSizes::LARGEST_LATENT
                ),
            ),
            Check::new(
                "list",
                all(|view| !view.base.is_trained()),
                "must have a base that is \"fitted\", \"tied\" or \"kernel\" in every view",
            ),
            Check::new(
                "list",
                all(|view| !is_fitted(&view.base) || view.gaussians <= 1000),
                "must have at most 1000 gaussians in every view (0 for a standard normal)",
            ),
            Check::new(
                "list",
                all(|view| view.gaussians <= view.base.most_gaussians()),
                format!(
                    "must have at most {} gaussians in every view whose base is \"tied\", and {} where it is \"kernel\"",
                    BaseKind::Tied.most_gaussians(),
                    BaseKind::Kernel.most_gaussians()
                ),
            ),
            Check::new(
                "list",
                self.list
                    .iter()
                    .filter(|view| is_fitted(&view.base))
                    .all(|view| view.gaussians.saturating_mul(starts) <= most),
                format!(
                    "must have at most {} gaussians in every view with a fitted base and flow.starts = {starts}",
                    most / starts.max(1)
                ),
            ),
        ]
    }

    /// The first key with which no run is possible.
    pub(super) fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
        let views = Self::read(settings)?;
        let encoder = EncoderSettings::read(settings)?;
        let [channels, size] = [settings.data.channels, settings.data.size];
        let shape = [channels, size, size];
        let dictionary = views.dictionary(shape);
        let words_allowed = VisualWordsConfig::WORDS;
        let checks = [
            Check::new(
                "couplings",
                views.couplings <= 256,
                "must be at most 256 (0 for none)",
            ),
            Check::within("input", views.input, SqueezeNet::INPUTS),
            Check::new(
                "words",
                views
                    .words
                    .is_none_or(|words| words_allowed.contains(&words)),
                format!(
                    "must be from {} to {}",
                    words_allowed.start(),
                    words_allowed.end()
                ),
            ),
            Check::new(
                "words",
                !views.looks_at(Look::Patches)
                    || dictionary.is_some_and(|dictionary| dictionary.check(shape).is_ok()),
                format!("must be fewer for images of {size} pixels, which have many patches"),
            ),
        ];
        let starts = FlowSettings::read(settings)?.starts;
        let list = views.list_checks(!encoder.file.is_empty(), starts);
        let looks_at_onnx = views.looks_at(Look::Onnx);
        let compiled = looks_at_onnx.then(|| EncoderKind::Onnx.compiled("list"));
        let checks = compiled.into_iter().chain(checks).chain(list);
        Ok(first_fault("views", checks))
    }
}
