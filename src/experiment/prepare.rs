//! The images of a run: loaded, converted, split.

use std::collections::BTreeMap;

use super::{Environment, Experiment, ExperimentError, Workspace};
use crate::data::{DataStore, DatasetName, Images, Split};
use crate::files;

/// The images of every part, and what is known about them.
pub struct Prepared {
    /// The parts in the order of the score table.
    pub parts: Vec<Part>,
    /// Class names of the data set that is trained on.
    pub class_names: Vec<String>,
}

/// One part of the images.
pub struct Part {
    /// `train`, `validation`, `test-normal`, `test-anomalous`, or the name of another data set.
    pub name: String,
    /// The images, converted.
    pub images: Images,
    /// Their indices in their data set's pool.
    pub indices: Vec<usize>,
    /// Classes of the whole pool.
    pub labels: std::sync::Arc<Vec<u8>>,
}

impl Prepared {
    /// Loads and splits the images as the experiment says. The split is written on the first run and
    /// read back, and checked, on every later one.
    ///
    /// # Errors
    /// [`ExperimentError`] when data is missing or damaged, or the split does not fit it.
    pub fn new(
        experiment: &Experiment,
        seed: u64,
        store: &DataStore,
        workspace: &Workspace,
        environment: &mut Environment,
    ) -> Result<Self, ExperimentError> {
        let config = &experiment.config;
        let pool = load(config.data.dataset, experiment, store, environment)?;
        let path = workspace.split();
        let split = if path.exists() {
            let split: Split = files::read_json(&path)?;
            split.check(&pool.labels)?;
            split
        } else {
            let split = Split::leave_one_class_out(
                &pool.labels,
                experiment.class,
                config.split_sizes(),
                seed,
            )?;
            files::write_json(&path, &split)?;
            split
        };
        let mut parts: Vec<Part> = split
            .parts()
            .into_iter()
            .map(|(name, indices)| Part {
                name: name.to_owned(),
                images: pool.images.select(indices),
                indices: indices.to_vec(),
                labels: pool.labels.clone(),
            })
            .collect();
        drop(pool.images);
        for &name in &config.data.ood {
            let other = load(name, experiment, store, environment)?;
            parts.push(Part {
                name: name.to_string(),
                indices: (0..other.images.len()).collect(),
                images: other.images,
                labels: other.labels,
            });
        }
        Ok(Self {
            parts,
            class_names: pool.class_names,
        })
    }

    /// The part called `name`.
    ///
    /// # Panics
    /// Never for the four parts of a split, which are always there.
    pub fn part(&self, name: &str) -> &Part {
        self.parts
            .iter()
            .find(|part| part.name == name)
            .expect("the parts of a split are always there")
    }

    /// As [`part`](Self::part), to be changed.
    pub fn part_mut(&mut self, name: &str) -> &mut Part {
        self.parts
            .iter_mut()
            .find(|part| part.name == name)
            .expect("the parts of a split are always there")
    }

    /// Number of images by part.
    pub fn sizes(&self) -> BTreeMap<&str, usize> {
        let size = |part: &'_ Part| part.images.len();
        self.parts
            .iter()
            .map(|part| (part.name.as_str(), size(part)))
            .collect()
    }
}

/// A converted data set.
struct Pool {
    images: Images,
    labels: std::sync::Arc<Vec<u8>>,
    class_names: Vec<String>,
}

fn load(
    name: DatasetName,
    experiment: &Experiment,
    store: &DataStore,
    environment: &mut Environment,
) -> Result<Pool, ExperimentError> {
    let mut loaded = store.load(name)?;
    let limit = experiment.config.data.limit;
    if limit > 0 && limit < loaded.images.len() {
        loaded.images = loaded.images.select(&(0..limit).collect::<Vec<_>>());
        loaded.labels.truncate(limit);
        loaded.source += &format!(", the first {limit} images of it");
    }
    let conversion = experiment.config.conversion();
    environment.data.push(format!("{name}: {}", loaded.source));
    environment.conversion.push(format!(
        "{name}: {}",
        conversion.describe(loaded.images.shape())
    ));
    Ok(Pool {
        images: conversion.apply(loaded.images)?,
        labels: std::sync::Arc::new(loaded.labels),
        class_names: loaded.class_names,
    })
}
