//! The method `autoencoder`: what the autoencoder does not bring back.

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::Device;
use serde_json::Value;
use toml::Table;

use super::detector::model_file::{check_shape, filled, parse_sizes};
use super::detector::pictures::{reconstruct, residuals};
use super::{
    AutoEncoderSettings, Context, DetectorError, EncoderSettings, Encoding, Entry, Fitted,
    HeatSource, Heatmap, MethodError, Parts, Plan, Representation, Scorer, Scores, Stored,
    as_table,
};
use crate::data::{Conversion, Images};
use crate::encoder::{AutoEncoder, AutoEncoderConfig, ENCODER_STAGE, Encoder};
use crate::study::Settings;

/// Name of the method, and of its scorer in a model file.
const METHOD: &str = "autoencoder";
/// Mean absolute difference of image and reconstruction, pixels in `[-1, 1]`.
const SCORES: &[&str] = &["reconstruction"];

pub(super) static ENTRY: Entry = Entry {
    name: METHOD,
    summary: "reconstruction error of the autoencoder",
    // It has the section `encoder` in common with `encoder-flow`, which brings it.
    sections: &[],
    plan: |settings| Ok(Box::new(Reconstruction::read(settings)?)),
    words: &[&[("reconstruction", "reconstruction error")]],
    stages: &[&ENCODER_STAGE],
    notes: &[],
    loaders: &[(METHOD, AutoEncoderScorer::load)],
};

/// What a fit reads.
#[derive(Debug)]
struct Reconstruction(AutoEncoderSettings);

impl Reconstruction {
    fn read(settings: &Settings) -> Result<Self, toml::de::Error> {
        Ok(Self(EncoderSettings::read(settings)?.autoencoder()))
    }
}

impl Plan for Reconstruction {
    fn settings(&self) -> Table {
        Table::from_iter([("encoder".to_owned(), as_table(&self.0).into())])
    }

    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError> {
        Ok(self.0.check(shape)?)
    }

    fn trains_autoencoder(&self) -> bool {
        true
    }

    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError> {
        let encoding = Encoding::Autoencoder(self.0.clone());
        let (encoder, stages) = encoding.fit(context, parts)?;
        let representations = encoding.represent(&encoder, context, parts)?;
        let sizes = self.0.sizes(context.image_shape());
        let scorer = AutoEncoderScorer::new(context.conversion, sizes, encoder, context.device);
        Ok(
            context.finish_represented(scorer, stages, &representations, |_, part| {
                reconstruction_scores(part)
            }),
        )
    }
}

/// The reconstruction errors as scores.
fn reconstruction_scores(representation: &Representation) -> Scores {
    let errors = representation.reconstruction.clone();
    Scores::new(SCORES, vec![errors.unwrap_or_default()])
}

/// Scores images by how far their reconstruction is from them.
struct AutoEncoderScorer {
    conversion: Conversion,
    sizes: AutoEncoderConfig,
    encoder: Encoder,
    device: Device,
}

impl AutoEncoderScorer {
    fn new(
        conversion: Conversion,
        sizes: AutoEncoderConfig,
        encoder: Encoder,
        device: &Device,
    ) -> Self {
        Self {
            conversion,
            sizes,
            encoder: encoder.frozen(device),
            device: device.clone(),
        }
    }

    fn load(
        described: Value,
        conversion: Conversion,
        bytes: Vec<u8>,
        device: &Device,
    ) -> Result<Box<dyn Scorer>, String> {
        let sizes: AutoEncoderConfig = parse_sizes(described)?;
        sizes.check()?;
        sizes.fits(bytes.len())?;
        check_shape(conversion, sizes.image_shape())?;
        let model: AutoEncoder = filled(bytes, |rng| Ok(sizes.init(rng, device)))?;
        let encoder = Encoder::Autoencoder(model.valid());
        Ok(Box::new(Self::new(conversion, sizes, encoder, device)))
    }
}

impl Scorer for AutoEncoderScorer {
    fn score_names(&self) -> &'static [&'static str] {
        SCORES
    }

    fn conversion(&self) -> Conversion {
        self.conversion
    }

    fn stored(&self) -> Stored {
        Stored::new(METHOD, &self.sizes)
    }

    fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
        match &self.encoder {
            Encoder::Autoencoder(model) => model.save_into(store),
            _ => Err(SafetensorsStoreError::Other(
                "its encoder is no autoencoder".to_owned(),
            )),
        }
    }

    fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
        let latent = self.sizes.latent;
        let found = Representation::of(&self.encoder, latent, images, &self.device);
        Ok(reconstruction_scores(&found))
    }

    fn reconstruct(&self, images: &Images) -> Option<Images> {
        reconstruct(images, &self.device, |batch| {
            self.encoder.decode(self.encoder.encode(batch))
        })
    }

    fn heat(&self, images: &Images, source: HeatSource) -> Option<Vec<Heatmap>> {
        self.heat_sources().contains(&source).then_some(())?;
        residuals(images, &self.device, |batch| {
            self.encoder.decode(self.encoder.encode(batch))
        })
    }

    fn heat_sources(&self) -> &'static [HeatSource] {
        &[HeatSource::Reconstruction]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::test_device;
    use crate::method::detector::scorer::tests::{
        Enlarge, assert_score_of_image_alone, grey_32, noise,
    };
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    pub fn detector() -> impl Scorer {
        let device = test_device();
        let sizes = AutoEncoderConfig {
            channels: 1,
            size: 32,
            width: 4,
            latent: 6,
        };
        let model = sizes.init(&mut StdRng::seed_from_u64(1), &device);
        let model = model.map(&mut Enlarge(8.0));
        let conversion = grey_32();
        AutoEncoderScorer::new(conversion, sizes, Encoder::Autoencoder(model), &device)
    }

    #[test]
    fn a_score_depends_on_its_image_alone() {
        assert_score_of_image_alone(&detector(), &noise(300, 3));
    }
}
