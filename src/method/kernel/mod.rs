//! The method `kernel`: exact likelihood of every position under a kernel around each of a coreset of
//! those that training images show: for what repeats.

use serde::{Deserialize, Serialize};

use super::on_positions::{DensityPlan, KernelSettings, PositionPlan, WORDS};
use super::{EncoderKind, Entry, Section};
use crate::encoder::ENCODER_STAGE;
use crate::study::{Check, Fault, Settings, first_fault};

pub(super) static ENTRY: Entry = Entry {
    name: "kernel",
    summary: "likelihood of positions under a kernel around each of many centres",
    sections: &[Section {
        defaults: include_str!("settings.toml"),
        fault,
    }],
    plan: |settings| {
        let own: KernelMethodSettings = settings.section("kernel")?;
        Ok(Box::new(PositionPlan::read(settings, own.encoder, |_| {
            DensityPlan::Kernel(KernelSettings {
                centres: own.centres,
            })
        })?))
    },
    words: &[WORDS],
    stages: &[&ENCODER_STAGE],
    notes: &[],
    // Loaded by `encoder-flow`, whose scorer of positions it is.
    loaders: &[],
};

/// The section `kernel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelMethodSettings {
    /// What describes positions.
    encoder: EncoderKind,
    /// Centres of the kernels.
    centres: usize,
}

fn fault(settings: &Settings) -> Result<Option<Fault>, toml::de::Error> {
    let own: KernelMethodSettings = settings.section("kernel")?;
    let own_check = Check::within("centres", own.centres, 1..=20_000);
    let checks = own
        .encoder
        .checks("encoder", true)
        .into_iter()
        .chain([own_check]);
    Ok(first_fault("kernel", checks))
}
