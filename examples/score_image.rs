//! A verdict and a heat map for one image: `cargo run --example score_image -- MODEL IMAGE`.

use std::error::Error;
use std::path::Path;

use encoder_flow::Detector;
use encoder_flow::image;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(model), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: score_image MODEL IMAGE".into());
    };
    println!("{}", describe(model.as_ref(), path.as_ref())?);
    Ok(())
}

/// What the model says of the image, and where it looks.
pub fn describe(model: &Path, path: &Path) -> Result<String, Box<dyn Error>> {
    let detector = Detector::load(model)?;
    let picture = image::open(path)?;
    let verdict = detector.score(&picture)?;
    let word = if verdict.is_anomalous(0.05) {
        "anomalous"
    } else {
        "normal"
    };
    let mut text = format!(
        "{word}: p = {:.4}, driven by {}",
        verdict.p_value, verdict.driver
    );

    let map = detector.heatmap(&picture, None)?;
    let oddest =
        (0..map.values().len()).max_by(|&a, &b| map.values()[a].total_cmp(&map.values()[b]));
    if let Some(pixel) = oddest {
        text += &format!(
            "\noddest at row {}, column {}",
            pixel / map.width(),
            pixel % map.width()
        );
    }
    Ok(text)
}
