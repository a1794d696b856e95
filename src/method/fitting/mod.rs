//! What a fit is made of, whatever the method: the images and what describes them, its context (seeds, stages, folders,
//! log), and what its result depends on.

pub(in crate::method) mod adversarial;
mod clock;
pub(in crate::method) mod context;
mod encoder_settings;
mod encoding;
pub(in crate::method) mod features;
pub(in crate::method) mod flow_settings;
mod identity;
mod parts;
pub(in crate::method) mod representation;
mod seed;
mod shared_network;
pub(in crate::method) mod simclr;

pub use clock::Clock;
pub use context::{Context, Fitted, StageCount};
pub use encoder_settings::{AutoEncoderSettings, EncoderKind, EncoderSettings};
pub use encoding::Encoding;
pub(crate) use features::{backbone_features, features_fingerprint};
pub use flow_settings::FlowSettings;
pub use identity::Identity;
pub use parts::{Part, Parts};
pub use representation::Representation;
pub(crate) use seed::derive;
pub(crate) use shared_network::SharedNetwork;
pub use simclr::SimClrSettings;
