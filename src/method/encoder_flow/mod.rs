//! The method `encoder-flow`, the paper's: a flow's likelihood of what an encoder makes of an image,
//! as a whole or position by position.

pub(super) mod detector;
mod fit;
mod fit_positions;
pub(super) mod positions;

pub use detector::{EncoderFlow, EncoderFlowWeights, Sizes};
pub use positions::{PositionFlow, PositionSizes, PositionWeights};

use super::{EncoderSettings, Entry, FlowSettings, Plan, Section, SimClrSettings, simclr};
use crate::encoder::{ENCODER_STAGE, SIMCLR_STAGE};
use crate::flow::FLOW_STAGE;
use fit::WholeImages;
use fit_positions::Positions;

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
            defaults: simclr::SETTINGS,
            fault: SimClrSettings::fault,
        },
    ],
    plan: |settings| {
        let encoder = EncoderSettings::read(settings)?;
        let flow = FlowSettings::read(settings)?;
        Ok(match encoder.positions {
            true => Box::new(Positions::new(&encoder, flow)) as Box<dyn Plan>,
            false => Box::new(WholeImages::read(&encoder, flow, settings)?),
        })
    },
    words: &[
        ("nll", "flow NLL"),
        ("reconstruction", "reconstruction error"),
        ("latent_norm", "norm after the flow"),
        ("top_positions", "NLL of the least likely positions"),
        ("mean_position", "mean NLL of the positions"),
    ],
    stages: &[&ENCODER_STAGE, &SIMCLR_STAGE, &FLOW_STAGE],
    notes: &["Log-likelihoods are those of the standardised latent, in nats."],
    loaders: &[
        (detector::KIND, EncoderFlow::load),
        (positions::KIND, PositionFlow::load),
    ],
};
