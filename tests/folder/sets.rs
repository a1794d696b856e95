//! The generated sets that the other tests rest on.

use super::*;

#[test]
fn the_generated_defects_show_where_their_masks_say() {
    for cloth in Cloth::ALL {
        for (seed, defect) in (0..).zip(Defect::ALL) {
            let (image, mask) = textures::defective(cloth, seed, defect);
            // The same piece; only the camera's noise is another.
            let flawless = textures::normal(cloth, seed);
            let (mut inside, mut outside) = (Vec::new(), Vec::new());
            for ((one, other), mask) in image.pixels().zip(flawless.pixels()).zip(mask.pixels()) {
                let change = f64::from(one.0[1].abs_diff(other.0[1]));
                match mask.0[0] {
                    0 => outside.push(change),
                    _ => inside.push(change),
                }
            }
            let mean = |changes: &[f64]| changes.iter().sum::<f64>() / changes.len() as f64;
            let (change, noise) = (mean(&inside), mean(&outside));
            assert!(
                (5..1000).contains(&inside.len()),
                "{cloth:?} {defect:?}: {} pixels",
                inside.len()
            );
            assert!(
                change > 2.0 * noise,
                "{cloth:?} {defect:?}: {change} {noise}"
            );
        }
    }
}

/// For the eye: `ENCODER_FLOW_TEXTURES=/tmp/textures cargo test --test folder write -- --ignored`.
#[test]
#[ignore = "writes the generated sets to a folder of the user's choice"]
fn write_the_sets() {
    let folder = std::env::var_os("ENCODER_FLOW_TEXTURES").expect("names a folder");
    for cloth in Cloth::ALL {
        let folder = Path::new(&folder).join(format!("{cloth:?}").to_lowercase());
        textures::write(&folder, cloth, 1, Counts::default());
    }
}
