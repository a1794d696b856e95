//! The networks that methods share: each is trained in a stage of its own, once for a class and seed.

use super::{EncoderSettings, Identity, SimClrSettings};
use crate::encoder::{ENCODER_STAGE, SIMCLR_STAGE};
use crate::method::{Context, MethodError, Parts, Plan};
use crate::study::Settings;

/// A network that several methods may train alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SharedNetwork {
    /// The autoencoder of the section `encoder`.
    Autoencoder,
    /// The network of the section `simclr`.
    SimClr,
}

impl SharedNetwork {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Autoencoder, Self::SimClr];

    /// Name of its stage.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Autoencoder => ENCODER_STAGE.name,
            Self::SimClr => SIMCLR_STAGE.name,
        }
    }

    /// Whether a fit trains it.
    pub fn is_trained_by(self, plan: &dyn Plan) -> bool {
        match self {
            Self::Autoencoder => plan.trains_autoencoder(),
            Self::SimClr => plan.trains_simclr(),
        }
    }

    /// The one that runs of a plan are taken to share, and that is made before them: the autoencoder, where a plan trains both;
    /// none where it looks through a pretrained network beside that of `simclr`, whose features are made first.
    pub fn made_first(plan: &dyn Plan) -> Option<Self> {
        let first = Self::ALL
            .into_iter()
            .find(|network| network.is_trained_by(plan))?;
        let features_instead = first == Self::SimClr && plan.pretrained().is_some();
        (!features_instead).then_some(first)
    }

    /// What it depends on beside class and seed, in runs of this identity that train it: the images, and its settings.
    pub fn depends_on(self, identity: &Identity) -> Option<String> {
        match self {
            Self::Autoencoder => identity.autoencoder(),
            Self::SimClr => identity.simclr(),
        }
    }

    /// True when runs of both identities train it, and the same one.
    pub fn is_shared(self, one: &Identity, other: &Identity) -> bool {
        let own = self.depends_on(one);
        own.is_some() && own == self.depends_on(other)
    }

    /// Trains it, and leaves it in its stage's folder.
    ///
    /// # Errors
    /// [`MethodError`] when its section cannot be read, or the training fails or is stopped.
    pub fn train(
        self,
        settings: &Settings,
        context: &mut Context,
        parts: &Parts,
    ) -> Result<(), MethodError> {
        let unread = |error: toml::de::Error| MethodError::Settings(error.to_string());
        match self {
            Self::Autoencoder => {
                let section = EncoderSettings::read(settings).map_err(unread)?;
                section.autoencoder().fit(context, parts).map(|_| ())
            }
            Self::SimClr => {
                let section = SimClrSettings::read(settings).map_err(unread)?;
                section.fit(context, parts).map(|_| ())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Method, schema};

    #[test]
    fn of_several_things_to_share_one_is_shared() {
        let by_views = |looks: &[&str]| {
            let views = looks.iter().map(|look| {
                let view =
                    format!("of = \"{look}\"\nnormalise = \"l2\"\ncomponents = 8\ngaussians = 3");
                toml::Value::Table(view.parse().expect("a view"))
            });
            let mut table = schema().defaults;
            table["views"]["list"] = toml::Value::Array(views.collect());
            let settings = Settings::from_table(table).expect("settings");
            let plan = Method::Views.plan(&settings).expect("a plan");
            SharedNetwork::made_first(plan.as_ref())
        };
        let (autoencoder, simclr) = (SharedNetwork::Autoencoder, SharedNetwork::SimClr);
        assert_eq!(by_views(&["differences"]), None);
        assert_eq!(by_views(&["simclr", "differences"]), Some(simclr));
        assert_eq!(by_views(&["simclr", "autoencoder"]), Some(autoencoder));
        // The features of all images are the longer step.
        assert_eq!(by_views(&["simclr", "squeezenet"]), None);
        assert_eq!(by_views(&["autoencoder", "squeezenet"]), Some(autoencoder));
    }
}
