//! Overlays and masks: where an image departs from normal.

use super::*;

#[test]
fn a_mask_that_cannot_be_read_is_left_out_or_refused() {
    let model = &FITTED.model;
    let place = tempfile::tempdir().unwrap();
    let counts = Counts {
        train: 1,
        good: 2,
        defective: 1,
    };
    textures::write(place.path(), Cloth::Woven, 5, counts);
    let mask = place.path().join("ground_truth/spot/000_mask.png");
    std::fs::write(&mask, "no picture").unwrap();
    let output = runs(score_at_a_tenth(model, place.path()));
    assert_eq!(text(&output.stdout).lines().count(), 1 + 2 + 4);
    let warned = text(&output.stderr);
    for part in [
        "000_mask.png left out (--strict stops instead): ",
        "image AUROC",
        "pixel AUROC",
    ] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    let mut strict = score_at_a_tenth(model, place.path());
    strict.arg("--strict");
    assert!(complains(strict).contains("000_mask.png"));
}

#[test]
fn overlays_and_exit_status_serve_a_pipeline() {
    let place = tempfile::tempdir().unwrap();
    let maps = place.path().join("maps");
    let black = place.path().join("black.png");
    image::RgbImage::new(150, 90).save(&black).unwrap();
    let mut command = score_at_a_tenth(&FITTED.model, &black);
    command.args(["--fail-on-anomaly", "--heatmaps"]).arg(&maps);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // An order that is not understood is an error, and no anomaly.
    let mut misspelt = score_at_a_tenth(&FITTED.model, &black);
    misspelt.arg("--fail-on-anomalies");
    assert_eq!(misspelt.output().unwrap().status.code(), Some(1));
    assert!(text(&output.stdout).contains("ANOMALOUS"));
    let overlay = std::fs::read_dir(&maps).unwrap().next().unwrap().unwrap();
    assert_eq!(image::image_dimensions(overlay.path()).unwrap(), (150, 90));

    // What an earlier pass has left is not mixed with this one's.
    let again = || {
        let mut command = score_at_a_tenth(&FITTED.model, &black);
        command.arg("--heatmaps").arg(&maps);
        command
    };
    let error = complains(again());
    assert!(error.contains("holds 1 .png already"), "{error}");
    let mut forced = again();
    forced.arg("--force");
    runs(forced);
    // Whether a picture that cannot be read is anomalous is not known.
    let unreadable = place.path().join("empty.png");
    std::fs::write(&unreadable, []).unwrap();
    let normal = FITTED.set.join("train/good/000.png");
    let mut command = score_at_a_tenth(&FITTED.model, &normal);
    command.arg(&unreadable).arg("--fail-on-anomaly");
    let output = command.output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("1 of the images could not be read"),
        "{error}"
    );
}

#[test]
fn models_of_experiments_draw_all_images_on_one_scale() {
    let place = tempfile::tempdir().unwrap();
    succeeds(experiment(place.path(), "digits-3", &[]));
    let run = run_folder(place.path(), "digits-3", 0);
    let model = run.join("detector/model.safetensors");
    let detector = Detector::load(&model).unwrap();
    let [low, high] = detector.description().heat_range.unwrap();
    assert!(low < high, "{low} {high}");

    let digit = place.path().join("digit.png");
    let pixels = digits(1, 0).images.get(0).to_vec();
    let digit_image = image::GrayImage::from_raw(28, 28, pixels).unwrap();
    digit_image.save(&digit).unwrap();
    for source in ["reconstruction", "gradient"] {
        let maps = place.path().join(source);
        let mut command = score_at_a_tenth(&model, &digit);
        command.args(["--heat", source, "--heatmaps"]).arg(&maps);
        succeeds(command);
        let overlay = std::fs::read_dir(&maps).unwrap().next().unwrap().unwrap();
        assert_eq!(image::image_dimensions(overlay.path()).unwrap(), (28, 28));
    }
    // The images of its p-values have chosen the epoch.
    let page = place.path().join("page.html");
    let mut command = score_at_a_tenth(&model, &digit);
    command.arg("--report").arg(&page);
    succeeds(command);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("about a share of 0.1 would"));
    assert!(page.contains("validation images, which had a say in the fit"));
    // A folder in place of the model: the one in it is named.
    let error = complains(score_at_a_tenth(&run, &digit));
    assert!(error.contains("detector/model.safetensors"), "{error}");
}

#[test]
fn masks_are_as_large_as_their_pictures_and_rarely_mark_normal_ones() {
    let Fitted { set, model, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let [masks, maps] = ["masks", "maps"].map(|name| place.path().join(name));
    let test = set.join("test");
    let mut command = score_at_a_tenth(model, &test);
    command.args(["--format", "csv", "--masks"]).arg(&masks);
    command.arg("--heatmaps").arg(&maps);
    let rows = rows(succeeds(command).as_bytes());
    let mut alarms = 0;
    for row in &rows {
        let path = Path::new(&row[0]);
        let parent = path.parent().unwrap().file_name().unwrap();
        let stem = path.file_stem().unwrap();
        let name = format!("{}_{}.png", parent.display(), stem.display());
        let mask = image::open(masks.join(&name)).unwrap().to_luma8();
        let picture = image::open(path).unwrap();
        assert_eq!(mask.dimensions(), (picture.width(), picture.height()));
        assert!(mask.pixels().all(|pixel| matches!(pixel.0[0], 0 | 255)));
        let marked = mask.pixels().filter(|pixel| pixel.0[0] == 255).count();
        alarms += usize::from(is_good(&row[0]) && marked as f64 > 0.001 * mask.len() as f64);

        let overlay = image::open(maps.join(&name)).unwrap().to_rgb8();
        assert_eq!(overlay.dimensions(), mask.dimensions());
        if &row[3] == "true" {
            // The least likely place of an image that is called anomalous.
            let colour = |pixel: &image::Rgb<u8>| pixel.0[0] != pixel.0[2];
            let coloured = overlay.pixels().filter(|pixel| colour(pixel)).count();
            assert!(coloured >= 46, "{name}: {coloured} of 9,216 pixels");
        }
    }
    // Of 10 images at the level 0.1, by 15 calibration images: more than 3 in 1.7 % of the draws
    // (beta-binomial), and the seed is fixed.
    assert!(alarms <= 3, "{alarms}");

    let mut same = score_at_a_tenth(model, &test);
    same.arg("--masks").arg(&maps).arg("--heatmaps").arg(&maps);
    assert!(complains(same).contains("name the same folder"));
    let mut same = score_at_a_tenth(model, &test);
    same.args(["--masks", "new", "--heatmaps", "./new"]);
    assert!(complains(same).contains("name the same folder"));
}
