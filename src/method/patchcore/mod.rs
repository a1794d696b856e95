//! The method `patchcore`: distance of every position to the nearest of a coreset of those that training
//! images show (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", arXiv:2106.08265).

use serde::{Deserialize, Serialize};

use super::on_positions::{BankSettings, DensityPlan, PositionPlan, WORDS};
use super::{EncoderKind, Entry, Section};
use crate::encoder::ENCODER_STAGE;
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "patchcore",
    summary: "distance of positions to the nearest of a coreset of those seen",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| {
        let own: PatchcoreSettings = settings.section("patchcore")?;
        Ok(Box::new(PositionPlan::read(settings, own.encoder, |_| {
            DensityPlan::Bank(BankSettings {
                coreset: own.coreset,
            })
        })?))
    },
    words: &[WORDS],
    stages: &[&ENCODER_STAGE],
    notes: &[
        "PatchCore here scores an image by the mean of its positions that lie farthest from those seen, a share of which made-up defects choose it under `positions.choose_top`; its authors by the farthest one, weighted by how far its neighbours lie. Every scale has a bank of its own, chosen among 40,000 positions at most by 64 random projections (their code: 128).",
    ],
    // Loaded by `encoder-flow`, whose scorer of positions it is.
    loaders: &[],
};

/// The section `patchcore`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchcoreSettings {
    /// What describes positions.
    encoder: EncoderKind,
    /// Share of the positions that is remembered.
    coreset: f64,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: PatchcoreSettings = settings.section("patchcore")?;
    let own_check = Check::new(
        "coreset",
        own.coreset > 0.0 && own.coreset <= 1.0,
        "must be above 0 and at most 1",
    );
    let checks = own
        .encoder
        .checks("encoder", true)
        .into_iter()
        .chain([own_check]);
    Ok(first_fault("patchcore", checks))
}
