//! The images of a run: loaded, converted, split.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Environment, RunError};
use crate::backend::OpenDevice;
use crate::data::folder::{Skipped, labelled};
use crate::data::{
    Conversion, DataStore, DatasetName, GivenSplit, Images, Labelled, Split, Vectors,
};
use crate::encoder::Backbone;
use crate::files;
use crate::method::{Part, Parts, Representation, backbone_features, features_fingerprint};
use crate::study::Experiment;
use crate::train::Display;

/// Held while features are computed: the other jobs of a sweep wait for the file instead of computing
/// them as well.
static EXTRACTION: Mutex<()> = Mutex::new(());

/// Name of the features in their file.
const FEATURES: &str = "features";

/// The converted images of an experiment's data sets, not yet split.
pub struct Pools {
    /// Files of the user's own folder that could not be read.
    pub skipped: Vec<Skipped>,
    own: Pool,
    others: Vec<(DatasetName, Pool)>,
}

/// A converted data set.
struct Pool {
    images: Images,
    labels: Arc<Vec<u8>>,
    class_names: Vec<String>,
    source: String,
    conversion: String,
    /// Which images are the training set, where the data set says so itself.
    given: Option<GivenSplit>,
    /// The file of each image, where each has one of its own.
    files: Option<Vec<String>>,
    /// Features of every image, where the method looks through a pretrained network.
    features: Option<Vectors>,
}

/// The images of every part, and what is known about them.
pub struct Prepared {
    /// train, validation, test-normal, test-anomalous, other data sets.
    pub parts: Parts,
    /// Class names of the data set that is trained on.
    pub class_names: Vec<String>,
    /// The file of each of its images, where each has one of its own.
    pub files: Option<Vec<String>>,
}

impl Pools {
    /// Loads and converts the images that the experiment asks for.
    ///
    /// # Errors
    /// [`RunError`] when data is missing or damaged.
    pub fn load(experiment: &Experiment, store: &DataStore) -> Result<Self, RunError> {
        let data = &experiment.settings.data;
        let (own, skipped) = match data.dataset {
            DatasetName::Folder => labelled(
                Path::new(&data.folder),
                experiment.settings.sizing(),
                data.group_by()?.as_ref(),
            )?,
            name => (store.load(name)?, Vec::new()),
        };
        let conversion = experiment.settings.conversion();
        let conversion = match data.dataset {
            // They have been brought to the size and the proportions that they share, which others have to have.
            DatasetName::Folder => {
                let [_, height, width] = own.images.shape();
                conversion.with_sides([height, width])
            }
            _ => conversion,
        };
        let pool = |name, loaded| Pool::new(name, loaded, conversion, data.limit);
        let load = |&name| Ok((name, pool(name, store.load(name)?)?));
        let others: Result<_, RunError> = data.ood.iter().map(load).collect();
        Ok(Self {
            skipped,
            own: pool(data.dataset, own)?,
            others: others?,
        })
    }

    /// `[channels, height, width]` of the images that are trained on.
    pub fn shape(&self) -> [usize; 3] {
        self.own.images.shape()
    }

    /// Adds a pretrained network's features of every image, computed once and kept in `folder`.
    ///
    /// # Errors
    /// [`RunError`] when the file of features cannot be written.
    pub fn extract_features(
        &mut self,
        network: &Backbone,
        folder: &Path,
        (open, display): (&OpenDevice, Display),
    ) -> Result<(), RunError> {
        let device = &open.device;
        let _alone = EXTRACTION.lock().unwrap_or_else(PoisonError::into_inner);
        for pool in std::iter::once(&mut self.own).chain(self.others.iter_mut().map(|(_, p)| p)) {
            let fingerprint =
                features_fingerprint(network, (open.backend.name(), device), &pool.images);
            let path = folder.join(format!(
                "{}-{}.safetensors",
                network.name(),
                &fingerprint[..16]
            ));
            let stored = Representation::load(&path, &fingerprint).ok();
            let stored = stored.and_then(|mut parts| parts.remove(FEATURES));
            let whole = |found: &Representation| found.latents.len() == pool.images.len();
            let features = match stored.filter(whole) {
                Some(found) => found.latents,
                None => {
                    display.say(&format!("features of {} images", pool.images.len()));
                    let latents = backbone_features(network, &pool.images, (device, display));
                    let part = Representation {
                        latents,
                        reconstruction: None,
                    };
                    let parts = [(FEATURES.to_owned(), part)];
                    // What went wrong once is not kept for the next run.
                    if parts[0].1.latents.first_not_finite().is_none() {
                        files::create_folder(folder)?;
                        Representation::save(&parts, &fingerprint, &path)?;
                    }
                    let [(_, part)] = parts;
                    part.latents
                }
            };
            pool.features = Some(features);
        }
        Ok(())
    }

    /// Notes in `environment` where the images came from.
    pub fn describe(&self, environment: &mut Environment) {
        let others = self.others.iter().map(|(_, pool)| pool);
        for pool in std::iter::once(&self.own).chain(others) {
            environment.data.push(pool.source.clone());
            environment.conversion.push(pool.conversion.clone());
        }
    }

    /// Splits the images. The split is written to `path` on the first run and read back, and
    /// checked, on every later one.
    ///
    /// # Errors
    /// [`RunError`] when the split cannot be made, read or written, or does not fit.
    pub fn split(
        self,
        experiment: &Experiment,
        seed: u64,
        path: &Path,
    ) -> Result<Prepared, RunError> {
        let labels = self.own.labels;
        let split = if path.exists() {
            let split: Split = files::read_json(path)?;
            let found = (split.anomalous_class, split.excluded_class, split.seed);
            let wanted = (
                experiment.anomalous_class(),
                experiment.excluded_class(),
                seed,
            );
            if found != wanted {
                return Err(RunError::Workspace(format!(
                    "{} is the split of {}, not of {}: use --fresh",
                    path.display(),
                    describe(found),
                    describe(wanted)
                )));
            }
            split.check(&labels)?;
            split
        } else {
            let shares = experiment.settings.split_shares();
            let anomalous = experiment.anomalous_class();
            let split = match (&self.own.given, experiment.excluded_class()) {
                (Some(given), _) => {
                    Split::given(&labels, anomalous, given, shares.validation, seed)?
                }
                (None, None) => Split::leave_one_class_out(&labels, anomalous, shares, seed)?,
                (None, Some(excluded)) => {
                    Split::with_stand_in(&labels, excluded, anomalous, shares, seed)?
                }
            };
            files::write_json(path, &split)?;
            split
        };
        let own = split.parts().into_iter().map(|(name, indices)| Part {
            name: name.to_owned(),
            images: Arc::new(self.own.images.select(indices)),
            indices: indices.to_vec(),
            labels: labels.clone(),
            features: self.own.features.as_ref().map(|all| all.select(indices)),
        });
        let others = self.others.into_iter().map(|(name, pool)| Part {
            name: name.to_string(),
            indices: (0..pool.images.len()).collect(),
            images: Arc::new(pool.images),
            labels: pool.labels,
            features: pool.features,
        });
        Ok(Prepared {
            parts: Parts::new(own.chain(others).collect()),
            class_names: self.own.class_names,
            files: self.own.files,
        })
    }
}

/// Which split: its anomalous class, its excluded class and its seed.
fn describe((anomalous, excluded, seed): (u8, Option<u8>, u64)) -> String {
    match excluded {
        None => format!("class {anomalous} and seed {seed}"),
        Some(excluded) => format!("class {anomalous} in place of {excluded} and seed {seed}"),
    }
}

impl Pool {
    fn new(
        name: DatasetName,
        mut loaded: Labelled,
        conversion: Conversion,
        limit: usize,
    ) -> Result<Self, RunError> {
        if limit > 0 && limit < loaded.images.len() {
            loaded.images = loaded.images.select(&(0..limit).collect::<Vec<_>>());
            loaded.labels.truncate(limit);
            loaded
                .files
                .iter_mut()
                .for_each(|files| files.truncate(limit));
            loaded.source += &format!(", the first {limit} images of it");
        }
        Ok(Self {
            source: format!("{name}: {}", loaded.source),
            conversion: format!("{name}: {}", conversion.describe(loaded.images.shape())),
            images: conversion.apply(loaded.images)?,
            labels: Arc::new(loaded.labels),
            class_names: loaded.class_names,
            given: loaded.given,
            files: loaded.files,
            features: None,
        })
    }
}
