//! The method `padim`: a Gaussian for every place in the image (Defard et al., "PaDiM",
//! arXiv:2011.08785).

use serde::{Deserialize, Serialize};

use super::on_positions::{DensityPlan, PlaceSettings, PositionPlan, WORDS};
use super::{EncoderKind, Entry, Section};
use crate::encoder::ENCODER_STAGE;
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "padim",
    summary: "a Gaussian of some features for every place in the image",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| {
        let own: PadimSettings = settings.section("padim")?;
        Ok(Box::new(PositionPlan::read(settings, own.encoder, |_| {
            DensityPlan::Places(PlaceSettings {
                dimensions: own.dimensions,
            })
        })?))
    },
    words: &[WORDS],
    stages: &[&ENCODER_STAGE],
    notes: &[
        "PaDiM here scores an image by the mean of its least likely positions, a share of which made-up defects choose it under `positions.choose_top`; its authors by the least likely one.",
    ],
    // Loaded by `encoder-flow`, whose scorer of positions it is.
    loaders: &[],
};

/// The section `padim`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PadimSettings {
    /// What describes positions.
    encoder: EncoderKind,
    /// Features that are looked at.
    dimensions: usize,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: PadimSettings = settings.section("padim")?;
    let own_check = Check::within("dimensions", own.dimensions, 1..=1024);
    let checks = own
        .encoder
        .checks("encoder", true)
        .into_iter()
        .chain([own_check]);
    Ok(first_fault("padim", checks))
}
