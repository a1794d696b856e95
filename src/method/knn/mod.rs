//! The method `knn`: distance to the nearest training images.

pub(super) mod bank;

use serde::{Deserialize, Serialize};
use toml::Table;

pub use bank::{Knn, KnnSizes};

use super::on_latents::{Looks, OnLatents};
use super::{
    Context, EncoderKind, Encoding, Entry, Fitted, MethodError, Parts, Plan, Section, as_table,
};
use crate::encoder::{ENCODER_STAGE, EncoderSizes, SIMCLR_STAGE};
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "knn",
    summary: "mean distance to the nearest training images",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| Ok(Box::new(NearestNeighbours::read(settings)?)),
    words: &[&[("neighbour_distance", "neighbour distance")]],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE],
    notes: &[
        "The threshold comes from the held-out normal images: a training image is its own nearest neighbour.",
    ],
    loaders: &[("knn", OnLatents::<Knn>::load)],
};

/// The section `knn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnnSettings {
    /// What it looks at.
    encoder: EncoderKind,
    /// Number of principal components.
    components: usize,
    /// Number of neighbours.
    neighbours: usize,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let knn: KnnSettings = settings.section("knn")?;
    let checks = [
        Check::within(
            "components",
            knn.components,
            2..=EncoderSizes::LARGEST_LATENT,
        ),
        Check::within("neighbours", knn.neighbours, 1..=1000),
    ];
    let of_encoder = knn.encoder.checks("encoder", false);
    Ok(first_fault("knn", of_encoder.into_iter().chain(checks)))
}

/// What a fit reads.
#[derive(Debug)]
struct NearestNeighbours {
    looks: Looks,
    neighbours: usize,
}

impl NearestNeighbours {
    fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        let KnnSettings {
            encoder,
            components,
            neighbours,
        } = settings.section("knn")?;
        #[derive(Serialize)]
        struct Own {
            neighbours: usize,
        }
        let own = as_table(&Own { neighbours });
        Ok(Self {
            looks: Looks::new("knn", (encoder, components), own, settings)?,
            neighbours,
        })
    }
}

impl Plan for NearestNeighbours {
    fn settings(&self) -> Table {
        self.looks.settings()
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(self.looks.check::<Knn>(shape)?)
    }

    fn encoding(&self) -> Option<&Encoding> {
        Some(&self.looks.encoding)
    }

    fn skips_training_scores(&self) -> bool {
        true
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        self.looks.fit(context, parts, |context, latents| {
            (Knn::fit(latents, self.neighbours, context.device), None)
        })
    }
}
