//! Settings of the methods that look at positions, which a fit chooses by itself or the user by need.

use encoder_flow::folder::{Comparison, FolderFit, fit_folder};
use encoder_flow::train::Display;
use image::RgbImage;

use super::*;

/// Pieces of cloth in a strip.
const PIECES: u32 = 16;

/// A fit chooses by itself whether places matter, and how many positions make a score.
#[test]
fn what_is_chosen_is_chosen_on_normal_images_and_stays_in_the_model() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("m.safetensors");
    let chosen = [
        "positions.context=auto",
        "positions.choose_top=true",
        "positions.tiles=64",
        "flow.training.epochs=1",
    ];
    let command = fit(set, &model, &[&TINY[..], &chosen].concat());
    let output = command_output(command);
    let choice = output.lines().find(|line| line.contains("without and"));
    let choice = choice.unwrap_or_else(|| panic!("{output}"));
    assert!(
        choice.contains("scale-1: NLL of validation positions"),
        "{choice}"
    );
    assert!(
        output.contains("tells made-up defects best (AUROC "),
        "{output}"
    );

    let bytes = std::fs::read(&model).unwrap();
    let head = String::from_utf8_lossy(&bytes[..20_000]).replace('\\', "");
    assert!(head.contains(r#""tiles":64"#), "{head}");
    let verdicts = succeeds(score_at_a_tenth(&model, &set.join("test/good")));
    assert_eq!(verdicts.lines().count(), 1 + FEW.good, "{verdicts}");
}

/// Of two methods, the one that tells made-up defects far better; the order does not matter for what is seen.
#[test]
fn a_rival_is_taken_where_it_misses_far_fewer_made_up_defects() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("m.safetensors");
    let studies = Studies::open(None, &schema()).unwrap();
    let mut fit = FolderFit {
        folder: set.join("train/good"),
        out: out.clone(),
        method: "mahalanobis".to_owned(),
        rival: Some("scratch".to_owned()),
        overrides: TINY
            .iter()
            .chain(&["mahalanobis.encoder=pca"])
            .map(|setting| (*setting).to_owned())
            .collect(),
        calibration_share: 0.25,
        seed: 0,
        strict: false,
        force: true,
        device: Some(common::DEVICE.to_owned()),
        backbone: place.path().join("no-weights"),
        display: Display::Quiet,
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let fitted = fit_folder(&studies, &fit, &|_, _| {}).unwrap();
        let comparison = fitted.comparison.unwrap();
        let said = comparison.to_string();
        let rival = fit.rival.clone().unwrap();
        assert!(said.contains(&format!("({rival} is taken where")), "{said}");
        let Comparison { taken, left, .. } = comparison;
        let far_better = |own: f64, other: f64| 1.0 - other < 0.6 * (1.0 - own);
        match taken.0 == rival {
            true => assert!(far_better(left.1, taken.1), "{taken:?} {left:?}"),
            false => assert!(!far_better(taken.1, left.1), "{taken:?} {left:?}"),
        }
        let origin = &Detector::load(&out).unwrap().description().origin.clone();
        assert!(origin.starts_with(&taken.0), "{origin}");
        let files = std::fs::read_dir(place.path()).unwrap();
        assert_eq!(files.count(), 1, "unfinished work is left");
        let mut both = [taken, left];
        both.sort_by(|a, b| a.0.cmp(&b.0));
        seen.push(both);
        fit.rival = Some(std::mem::replace(&mut fit.method, rival));
    }
    assert_eq!(seen[0], seen[1]);
    // A rival that cannot be fitted leaves the other alone.
    (fit.method, fit.rival) = ("scratch".to_owned(), Some("egbad".to_owned()));
    let fitted = fit_folder(&studies, &fit, &|_, _| {}).unwrap();
    assert_eq!(fitted.comparison, None);
}

/// What is no part of an image's texture is one more scale beside patches, and a description for any method of positions.
#[test]
fn the_texture_is_one_more_scale_or_all_that_is_described() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    for (method, settings, scales) in [
        ("scratch", ["flow.training.epochs=1", "flow.hidden=16"], 2),
        (
            "padim",
            ["padim.encoder=texture", "positions.texture=true"],
            1,
        ),
    ] {
        let model = place.path().join(format!("{method}.safetensors"));
        let mut command = fit(set, &model, &[&TINY[..], &settings].concat());
        command.args(["--method", method]);
        let said = succeeds(command);
        assert!(number(&said, "pixel AUROC") > 0.6, "{said}");
        let mut command = score_at_a_tenth(&model, &set.join("test/good"));
        command.args(["--format", "csv"]);
        let verdicts = succeeds(command);
        let header = verdicts.lines().next().unwrap();
        let columns = header.split(',').filter(|name| name.starts_with("scale_"));
        assert_eq!(columns.count(), scales, "{header}");
    }
    let model = place.path().join("small.safetensors");
    let mut command = fit(set, &model, &[&TINY[..], &["data.size=16"]].concat());
    command.args(["--method", "scratch"]);
    let refused = fails(command);
    assert!(
        refused.contains("it needs 32 each way: set data.size, or positions.texture=false"),
        "{refused}"
    );
}

/// Pixels of a strip of 16 to 1 are kept, and it has one score and one map.
#[test]
fn a_long_strip_is_scored_in_tiles() {
    let place = tempfile::tempdir().unwrap();
    let (set, maps) = (place.path().join("strips"), place.path().join("maps"));
    std::fs::create_dir(&set).unwrap();
    for index in 0..24 {
        let strip = strip(u64::from(PIECES) * index);
        strip.save(set.join(format!("{index:02}.png"))).unwrap();
    }
    let model = place.path().join("m.safetensors");
    let settings = [
        "data.size=384",
        "data.fit=keep",
        "positions.tiles=96",
        "flow.couplings=0",
    ];
    succeeds(fit(&set, &model, &[&TINY[..], &settings].concat()));
    let kept = Detector::load(&model)
        .unwrap()
        .scorer()
        .conversion()
        .sides();
    assert_eq!(kept, [96, 1536]);

    let mut command = score(&model);
    command.arg(&set);
    command.args(["--alpha", "0.2", "--format", "csv", "--heatmaps"]);
    command.arg(&maps);
    assert_eq!(rows(succeeds(command).as_bytes()).len(), 24);
    let drawn: Vec<_> = std::fs::read_dir(&maps).unwrap().collect();
    assert_eq!(drawn.len(), 24);
    let map = image::open(drawn[0].as_ref().unwrap().path()).unwrap();
    assert_eq!((map.height(), map.width()), (96, 1536));
}

/// Pieces side by side.
fn strip(seed: u64) -> RgbImage {
    let mut strip = RgbImage::new(PIECES * textures::SIDE, textures::SIDE);
    for piece in 0..PIECES {
        let image = textures::normal(Cloth::Woven, seed + u64::from(piece));
        image::imageops::replace(&mut strip, &image, i64::from(piece * textures::SIDE), 0);
    }
    strip
}
