//! A verdict and a heat map for one image: `cargo run --example score_image -- MODEL IMAGE`.

use encoder_flow::Detector;
use encoder_flow::image;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: score_image MODEL IMAGE".into());
    };
    let detector = Detector::load(model)?;
    let picture = image::open(path)?;
    let verdict = detector.score(&picture)?;
    let word = if verdict.is_anomalous(0.05) {
        "anomalous"
    } else {
        "normal"
    };
    println!(
        "{word}: p = {:.4}, driven by {}",
        verdict.p_value, verdict.driver
    );

    let map = detector.heatmap(&picture, None)?;
    let oddest =
        (0..map.values().len()).max_by(|&a, &b| map.values()[a].total_cmp(&map.values()[b]));
    if let Some(pixel) = oddest {
        println!(
            "oddest at row {}, column {}",
            pixel / map.width(),
            pixel % map.width()
        );
    }
    Ok(())
}
