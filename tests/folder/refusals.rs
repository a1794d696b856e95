//! What `fit` and `score` cannot do, and how they say so.

use super::*;

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let Fitted {
        set,
        model,
        said,
        warned,
        ..
    } = &*FITTED;
    for part in ["zero.png", "text.jpg", "2 files left out"] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("m.safetensors");
    let mut strict = fit(set, &out, &TINY);
    strict.arg("--strict");
    let error = fails(strict);
    assert!(
        error.contains("text.jpg") || error.contains("zero.png"),
        "{error}"
    );

    // 15 of 60 images for the p-values: the default level of `score` needs 19.
    assert!(said.contains("levels from 0.0625 on"), "{said}");
    for part in [
        "need 19 calibration images, and there are 15",
        "--calibration-share 0.32",
        "76 normal images",
        "--alpha 0.0625",
    ] {
        assert!(warned.contains(part), "{part}: {warned}");
    }

    let error = complains(fit(set, model, &TINY));
    assert!(
        error.contains("exists already") && error.contains("--force"),
        "{error}"
    );
    let few = place.path().join("few");
    std::fs::create_dir(&few).unwrap();
    textures::normal(Cloth::Woven, 1)
        .save(few.join("one.png"))
        .unwrap();
    let error = complains(fit(&few, &out, &TINY));
    assert!(error.contains("at least 20"), "{error}");
    for name in ["two.png", "three.png"] {
        std::fs::write(few.join(name), "no picture").unwrap();
    }
    let error = complains(fit(&few, &out, &TINY));
    let told = "2 files could not be read, such as ";
    assert!(
        error.contains(told) && error.contains("not an image"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn verdicts_that_cannot_be_written_are_an_error() {
    let Fitted { set, model, .. } = &*FITTED;
    let mut score = score_at_a_tenth(model, &set.join("test/good"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    score.stdout(full.unwrap());
    let output = score.output().unwrap();
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn a_stopped_fit_with_other_settings_says_how_to_start_over() {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("m.safetensors");
    leave_an_unfinished_fit(&model);
    let error = fails(fit(&FITTED.set, &model, &TINY));
    for part in [
        "data.channels: 1 there, 3 now",
        "--force to replace it",
        "--out",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("--artifacts"), "{error}");
    assert!(!model.exists());
}

#[test]
fn a_stopped_fit_that_has_trained_nothing_is_in_nobodys_way() {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("m.safetensors");
    leave_an_unfinished_fit(&model);
    let stage = place.path().join("m.safetensors.training/encoder");
    std::fs::remove_dir_all(stage).unwrap();
    runs(fit(&FITTED.set, &model, &TINY));
    assert!(model.exists());
}

#[test]
fn results_go_neither_over_images_nor_among_them() {
    let model = &FITTED.model;
    let place = tempfile::tempdir().unwrap();
    let photos = place.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    let image = photos.join("one.png");
    textures::normal(Cloth::Woven, 1).save(&image).unwrap();
    let before = std::fs::read(&image).unwrap();
    // An image named as it lies in the working folder has an overlay of its own name.
    for (image, option, output, part) in [
        (".", "--heatmaps", ".", "could replace them"),
        ("one.png", "--heatmaps", ".", "could replace them"),
        ("one.png", "--masks", "../photos", "could replace them"),
        (".", "--masks", "masks", "the next run"),
    ] {
        let mut command = score(model);
        command.current_dir(&photos);
        command.args(["--alpha", "0.1", image, option, output]);
        let error = complains(command);
        assert!(error.contains(option) && error.contains(part), "{error}");
    }
    for inside in ["test/maps", "train/good", "ground_truth/spots"] {
        let mut command = score_at_a_tenth(model, &FITTED.set);
        command.arg("--masks").arg(FITTED.set.join(inside));
        assert!(complains(command).contains("the next run"), "{inside}");
    }
    let mut command = score_at_a_tenth(model, &image);
    command.args(["--force", "--report"]).arg(&image);
    assert!(complains(command).contains("would replace what is read"));
    let mut command = fit(&FITTED.set, &place.path().join("new.safetensors"), &TINY);
    command
        .arg("--report")
        .arg(place.path().join("new.safetensors"));
    assert!(complains(command).contains("is the model file"));
    assert_eq!(std::fs::read(&image).unwrap(), before);
    assert_eq!(std::fs::read_dir(&photos).unwrap().count(), 1);
}

#[test]
fn settings_without_effect_are_said() {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("m.safetensors");
    let idle = [
        "kernel.centres=500",
        "data.train_share=0.5",
        "positions.context=on",
        "positions.top=0.5",
        "flow.hidden=512",
    ];
    // What equals the default asks for nothing.
    let settings = [
        &idle[..],
        &["encoder.kind=pca", "data.size=32", "flow.couplings=0"],
    ]
    .concat();
    let warned = text(&runs(fit(&FITTED.set, &model, &settings)).stderr);
    for setting in idle {
        let told = format!("--set {setting} changes nothing here");
        assert!(warned.contains(&told), "{setting}: {warned}");
    }
    assert_eq!(
        warned.matches("changes nothing").count(),
        idle.len(),
        "{warned}"
    );
}

#[test]
fn small_sets_and_dark_ones_are_said() {
    let place = tempfile::tempdir().unwrap();
    let dark = place.path().join("dark");
    std::fs::create_dir(&dark).unwrap();
    for seed in 0..20 {
        // 12 bits in files of 16.
        let grey = image::DynamicImage::ImageRgb8(textures::normal(Cloth::Woven, seed)).to_luma16();
        let low = image::ImageBuffer::from_fn(grey.width(), grey.height(), |x, y| {
            image::Luma([grey.get_pixel(x, y).0[0] >> 4])
        });
        let low: image::ImageBuffer<image::Luma<u16>, Vec<u16>> = low;
        low.save(dark.join(format!("{seed}.png"))).unwrap();
    }
    let model = place.path().join("m.safetensors");
    let fitted = |settings: &[&str]| {
        let mut command = fit(&dark, &model, settings);
        command
            .args(["--force", "--method"])
            .arg(settings[0].split('.').next().unwrap());
        text(&runs(command).stderr)
    };
    // Fewer images than features, and Gaussians, and centres.
    let warned = fitted(&["padim.encoder=pca", "data.size=64"]);
    assert!(
        warned.contains("20 of 20 images stay below an eighth"),
        "{warned}"
    );
    assert!(warned.contains("rests on 13 images"), "{warned}");
    for settings in [
        ["gmm.encoder=pca", "gmm.samples=4", "data.size=64"],
        ["kernel.encoder=pca", "kernel.centres=20000", "data.size=32"],
    ] {
        fitted(&settings);
        let mut command = score(&model);
        command.args(["--alpha", "0.2"]).arg(&dark);
        let scored = succeeds(command);
        assert_eq!(scored.lines().count(), 21, "{scored}");
    }
    let mut large = fit(&dark, &model, &["padim.encoder=pca"]);
    large.args(["--force", "--method", "padim", "--size", "1024"]);
    let error = complains(large);
    assert!(
        error.contains("do not fit into memory: lower padim.dimensions"),
        "{error}"
    );
}

#[test]
fn what_score_cannot_do_is_said_in_one_line() {
    let model = &FITTED.model;
    let place = tempfile::tempdir().unwrap();
    let inside = |name: &str| place.path().join(name);
    let image = inside("one.png");
    textures::normal(Cloth::Woven, 1).save(&image).unwrap();
    std::fs::create_dir(inside("empty")).unwrap();
    std::fs::write(inside("text.png"), "no picture").unwrap();
    for (name, part) in [
        ("none.png", "there is no such file or folder"),
        ("none*.png", "no file has a name of this pattern"),
        ("empty", "no image in this folder"),
        ("text.png", "PNG, JPEG, TIFF, BMP and WebP are read"),
    ] {
        let error = complains(score_at_a_tenth(model, &inside(name)));
        assert!(error.contains(name) && error.contains(part), "{error}");
    }
    let mut two = score_at_a_tenth(model, &inside("text.png"));
    std::fs::write(inside("zero.png"), []).unwrap();
    two.arg(inside("zero.png"));
    let error = fails(two);
    for part in [
        "text.png left out",
        "zero.png left out",
        "none of the 2 files",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }

    std::fs::write(inside("half"), &std::fs::read(model).unwrap()[..500]).unwrap();
    for (model, part) in [
        (image.clone(), "the model comes first"),
        (inside("empty"), "is a folder: give the file"),
        (inside("none.safetensors"), "there is no such file"),
        (inside("half"), "damaged"),
    ] {
        let error = complains(score_at_a_tenth(&model, &image));
        assert!(error.contains(part), "{error}");
    }

    let mut default = score(model);
    default.arg(&image);
    assert!(complains(default).contains("at least 19 calibration images"));
    for (alpha, part) in [
        ("0", "strictly between 0 and 1"),
        ("2", "strictly between 0 and 1"),
        ("-1", "strictly between 0 and 1"),
        ("0.001", "at least 999 calibration images"),
    ] {
        let mut command = score(model);
        command.args(["--alpha", alpha]).arg(&image);
        let error = complains(command);
        assert!(error.contains(part), "{alpha}: {error}");
    }

    let mut heat = score_at_a_tenth(model, &image);
    heat.args(["--heat", "gradient", "--heatmaps"]);
    heat.arg(inside("maps"));
    let error = complains(heat);
    assert!(
        error.contains("no heat map from gradient: ask for positions"),
        "{error}"
    );
    assert!(!inside("maps").exists());
    let mut nowhere = score_at_a_tenth(model, &image);
    nowhere.args(["--heat", "positions"]);
    assert!(fails(nowhere).contains("--heatmaps"));
}

#[test]
fn one_damaged_file_costs_one_line() {
    let Fitted { set, model, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    // More than one batch of them, and the damaged one amidst.
    for number in 0..70 {
        let from = set.join(format!("train/good/{:03}.png", number % 50));
        let to = place.path().join(format!("{number:02}.png"));
        std::fs::copy(from, to).unwrap();
    }
    let damaged = place.path().join("40.png");
    let whole = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let output = runs(score_at_a_tenth(model, place.path()));
    // A header and a verdict for each of the others; no trace of a progress bar.
    assert_eq!(text(&output.stdout).lines().count(), 1 + 69);
    let warned = text(&output.stderr);
    assert_eq!(warned.lines().count(), 1, "{warned}");
    assert!(
        warned.contains("40.png left out (--strict stops instead): "),
        "{warned}"
    );
}

#[test]
fn only_the_default_falls_back_where_the_network_is_missing() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("m.safetensors");
    let mut named = fit(set, &model, &[]);
    named.args(["--method", "padim"]);
    let asked = fit(set, &model, &["encoder={ kind = \"squeezenet\" }"]);
    for command in [named, asked] {
        let error = fails(command);
        assert!(error.contains("data fetch squeezenet"), "{error}");
        assert!(!model.exists());
    }
    // What needs no network is not held up by it.
    let output = both(&runs(fit(
        set,
        &model,
        &[
            "encoder={ kind = \"pca\" }",
            "data.size=32",
            "flow.couplings=0",
        ],
    )));
    assert!(!output.contains("were described from scratch"), "{output}");
    assert!(model.exists());
}
