//! One description of the whole image, in place of one for each of its positions.

use super::*;

/// By the settings of the study without couplings, so that the base distribution is the whole density, and with some.
#[test]
fn whole_images_are_described_with_couplings_and_without() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let whole = [
        "data.size=64",
        "encoder.kind=pca",
        "encoder.positions=false",
        "encoder.latent=8",
        "flow.hidden=8",
        "flow.training.epochs=1",
    ];
    for couplings in [0, 2] {
        let model = place.path().join(format!("{couplings}.safetensors"));
        let couplings = format!("flow.couplings={couplings}");
        let command = fit(set, &model, &[&whole[..], &[&couplings]].concat());
        let output = command_output(command);
        assert!(output.contains("image AUROC"), "{output}");
        let verdicts = succeeds(score_at_a_tenth(&model, &set.join("test/good")));
        assert_eq!(verdicts.lines().count(), 1 + FEW.good, "{verdicts}");
    }
}
