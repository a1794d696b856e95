//! What a run's numbers depend on.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;

use super::simclr::SECTION as SIMCLR;
use crate::files::{self, hex};
use crate::method::Plan;
use crate::study::{Settings, differences};

/// What the digest of pictures is called where two differ.
const PICTURES: &str = "pictures in the folder";

/// Everything that decides a run's numbers: two runs of one identity, class left out, seed and
/// backend have the same. Thresholds are not among it; they are evaluated anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Name of the method.
    pub method: String,
    /// SHA-256 of the pretrained weights, where the method reads any; `missing` without the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Which images, and their split.
    pub data: Table,
    /// Which pictures the user's folder had, where the images are these: their digest, or [`UNREADABLE`](Self::UNREADABLE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<String>,
    /// What the fit reads of the settings.
    pub settings: Table,
    /// [Version](Plan::version) of what the method fits.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
}

/// The version of what no program has changed, which is in no file.
fn first() -> u32 {
    1
}

/// True for [`first`].
fn is_first(version: &u32) -> bool {
    *version == first()
}

impl Identity {
    /// In place of a digest of pictures, where the folder cannot be read: they may be any.
    pub const UNREADABLE: &str = "unreadable";

    /// Of a method that does as `plan` says, with the pretrained weights that it reads; those of SqueezeNet are in the
    /// file `squeezenet`.
    pub fn of(method: &str, plan: &dyn Plan, settings: &Settings, squeezenet: &Path) -> Self {
        let hash = plan.weights_file(squeezenet).map(|file| {
            // A file that cannot be read is said where it is needed.
            files::sha256(&file).unwrap_or_else(|_| "missing".to_owned())
        });
        Self::new(method, plan, settings, hash)
    }

    /// Of a method that does as `plan` says, with the hash of pretrained `weights` if it reads any.
    pub fn new(
        method: &str,
        plan: &dyn Plan,
        settings: &Settings,
        weights: Option<String>,
    ) -> Self {
        Self {
            method: method.to_owned(),
            weights: weights.filter(|_| plan.weights_file(Path::new("")).is_some()),
            data: crate::method::as_table(&settings.data),
            pictures: None,
            settings: plan.settings(),
            version: plan.version(),
        }
    }

    /// True when a run of this identity has the numbers of one of the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.differences(other).is_empty()
    }

    /// In what another one differs, `this there, that now` with the keys of the settings.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let flat = |identity: &Self| {
            let mut table = identity.settings.clone();
            table.insert("data".to_owned(), identity.data.clone().into());
            table.insert("method".to_owned(), identity.method.clone().into());
            let others = [
                ("pretrained weights", &identity.weights),
                (PICTURES, &identity.pictures),
            ];
            for (name, value) in others {
                table.extend(value.clone().map(|value| (name.to_owned(), value.into())));
            }
            if !is_first(&identity.version) {
                let version = i64::from(identity.version);
                table.insert("version of the method".to_owned(), version.into());
            }
            table
        };
        let (mut there, mut here) = (flat(self), flat(now));
        let unreadable = |identity: &Self| identity.pictures.as_deref() == Some(Self::UNREADABLE);
        if unreadable(self) || unreadable(now) {
            for table in [&mut there, &mut here] {
                table.remove(PICTURES);
            }
        }
        differences(&there, &here)
    }

    /// What the autoencoder of the section `encoder` depends on, where one is trained: the images, and
    /// its settings.
    pub fn autoencoder(&self) -> Option<String> {
        let encoder = self.settings.get("encoder")?.as_table()?;
        let part = |key: &str| Some((key.to_owned(), encoder.get(key)?.clone()));
        let parts = ["width", "latent", "training"].map(part);
        let settings = parts.into_iter().collect::<Option<Table>>()?;
        Some(self.with_images(&settings))
    }

    /// What the network of the section `simclr` depends on, where one is trained: the images, and its settings.
    pub fn simclr(&self) -> Option<String> {
        let settings = self.settings.get(SIMCLR)?.as_table()?;
        Some(self.with_images(settings))
    }

    /// The images, and settings with which something is trained on them.
    fn with_images(&self, settings: &Table) -> String {
        let pictures = self.pictures.as_deref().unwrap_or_default();
        format!("{}{pictures}{settings}", self.data)
    }

    /// First twelve digits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        let version = Some(self.version).filter(|version| !is_first(version));
        let version = version.map(|version| version.to_string());
        let hash = Sha256::new()
            .chain_update(version.unwrap_or_default())
            .chain_update(&self.method)
            .chain_update(self.weights.as_deref().unwrap_or_default())
            .chain_update(self.data.to_string())
            .chain_update(self.pictures.as_deref().unwrap_or_default())
            .chain_update(self.settings.to_string())
            .finalize();
        hex(&hash[..6])
    }
}
