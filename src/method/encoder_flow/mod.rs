//! The method `encoder-flow`, the paper's: a flow's likelihood of what an encoder makes of an image,
//! as a whole or position by position.

pub(super) mod detector;
mod fit;

pub use detector::{EncoderFlow, EncoderFlowWeights, Sizes};

use super::fitting::simclr;
use super::on_positions::{DensityPlan, OnPositions, PositionPlan, PositionSettings};
use super::{EncoderSettings, Entry, FlowSettings, Plan, Section, SimClrSettings, on_positions};
use crate::encoder::{ENCODER_STAGE, SIMCLR_STAGE};
use crate::flow::FLOW_STAGE;
use fit::WholeImages;

pub(super) static ENTRY: Entry = Entry {
    name: "encoder-flow",
    summary: "a flow's likelihood of an encoder's latents (the paper's)",
    sections: &[
        Section {
            defaults: include_str!("settings.toml"),
            fault: EncoderSettings::fault,
        },
        Section {
            defaults: "",
            fault: FlowSettings::fault,
        },
        Section {
            defaults: include_str!("../on_positions/settings.toml"),
            fault: PositionSettings::fault,
        },
        Section {
            defaults: simclr::SETTINGS,
            fault: SimClrSettings::fault,
        },
    ],
    plan: |settings| {
        let encoder = EncoderSettings::read(settings)?;
        let flow = FlowSettings::read(settings)?;
        Ok(match encoder.positions {
            true => Box::new(PositionPlan::read(settings, encoder.kind, |positions| {
                DensityPlan::Flow(positions.components(), flow)
            })?) as Box<dyn Plan>,
            false => Box::new(WholeImages::read(&encoder, flow, settings)?),
        })
    },
    words: &[
        &[
            ("nll", "flow NLL"),
            ("reconstruction", "reconstruction error"),
            ("latent_norm", "norm after the flow"),
        ],
        // Of all methods that look at positions: their scorer is one, and is loaded here.
        on_positions::WORDS,
    ],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE, &FLOW_STAGE],
    notes: &["Log-likelihoods are those of the standardised latent, in nats."],
    loaders: &[
        (detector::KIND, EncoderFlow::load),
        (on_positions::KIND, OnPositions::load),
    ],
};
