//! Fitting the paper's detector: one latent per image.

use serde::Serialize;
use toml::Table;

use super::{EncoderFlow, Sizes};
use crate::flow::Standardizer;
use crate::method::fitting::representation::standardized;
use crate::method::{
    Context, DetectorError, EncoderKind, EncoderSettings, Encoding, Fitted, FlowSettings,
    MethodError, Parts, Plan, as_table,
};
use crate::study::Settings;

/// What a fit reads.
#[derive(Debug)]
pub(super) struct WholeImages {
    encoding: Encoding,
    flow: FlowSettings,
}

impl WholeImages {
    pub fn read(
        encoder: &EncoderSettings,
        flow: FlowSettings,
        settings: &Settings,
    ) -> Result<Self, toml::de::Error> {
        Ok(Self {
            encoding: encoder.encoding(settings)?,
            flow,
        })
    }
}

impl Plan for WholeImages {
    fn settings(&self) -> Table {
        /// What it reads of the section `encoder` but for what [`Encoding::settings`] has.
        #[derive(Serialize)]
        struct Own {
            kind: EncoderKind,
            #[serde(skip_serializing_if = "Option::is_none")]
            latent: Option<usize>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pixel_components: Option<usize>,
            positions: bool,
        }
        let mut encoder = as_table(&Own {
            kind: self.encoding.kind(),
            latent: self.encoding.components(),
            pixel_components: match self.encoding {
                Encoding::SqueezeNet {
                    pixel_components, ..
                } => Some(pixel_components),
                _ => None,
            },
            positions: false,
        });
        encoder.extend(self.encoding.settings());
        let mut table = Table::from_iter([
            ("encoder".to_owned(), encoder.into()),
            ("flow".to_owned(), as_table(&self.flow).into()),
        ]);
        table.extend(self.encoding.other_settings());
        table
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        self.encoding.check(shape)?;
        // How much there is to learn from does not matter here.
        let flow = self.flow.sizes(self.encoding.entries(shape), usize::MAX);
        Ok(flow.check().map_err(|reason| {
            DetectorError::Shape(format!(
                "{reason}: set data.size, or an encoder that makes less of an image (encoder.kind, encoder.latent)"
            ))
        })?)
    }

    fn encoding(&self) -> Option<&Encoding> {
        Some(&self.encoding)
    }

    fn skips_training_scores(&self) -> bool {
        self.flow.remembers()
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let encoders = usize::from(self.trains_autoencoder() || self.trains_simclr());
        context.expect_stages(encoders + usize::from(self.flow.trains()));
        let (encoder, mut stages) = self.encoding.fit(context, parts)?;
        let representations = self.encoding.represent(&encoder, context, parts)?;
        let [train, valid] = [0, 1].map(|part| &representations[part].1.latents);
        let standardizer = Standardizer::fit(
            train.values(),
            train.dim(),
            self.encoding.whitened(train.dim()),
        );
        let [train, valid] =
            [train, valid].map(|latents| standardized(&standardizer, latents, context.device));
        let sizes = Sizes {
            encoder: self.encoding.sizes(context.image_shape(), &encoder),
            flow: self.flow.sizes(train.dim(), train.len()),
        };
        let (flow, summary) = self.flow.fit(context, sizes.flow, train, valid)?;
        stages.extend(summary);
        let conversion = context.conversion;
        let device = context.device;
        let scorer = EncoderFlow::new(conversion, sizes, encoder, standardizer, flow, device);
        Ok(context.finish_represented(
            scorer,
            stages,
            &representations,
            EncoderFlow::score_representation,
        ))
    }
}
