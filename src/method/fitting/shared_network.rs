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
