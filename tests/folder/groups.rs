//! Pictures of one object stay together, and pictures of one scene are counted.

use super::*;

/// Thirty images of ten objects, `<object>_<number>.png`.
fn objects(folder: &Path, name: impl Fn(usize, usize) -> String) {
    for object in 0..10 {
        for number in 0..3 {
            let path = folder.join(name(object, number));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let seed = (10 * object + number) as u64;
            textures::normal(Cloth::Woven, seed).save(path).unwrap();
        }
    }
}

#[test]
fn groups_are_kept_together_by_name_or_sub_folder() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("m.safetensors");
    let settings = [&TINY[..], &["data.size=32"]].concat();
    let named = place.path().join("named");
    objects(&named, |object, number| {
        format!("part{object}_{number}.png")
    });
    let mut command = fit(&named, &out, &settings);
    command.args(["--group-by", r"^(part\d)_"]);
    let said = succeeds(command);
    // Whole groups of three: 7.5 images are wanted for the p-values, and 3 for validation.
    assert!(
        said.contains("groups 6 / 1 / 3, none in two parts"),
        "{said}"
    );
    assert!(
        said.contains("fitted to 18 images, epoch chosen on 3, p-values from 9"),
        "{said}"
    );

    let nested = place.path().join("nested");
    let good = nested.join("train/good");
    objects(&good, |object, number| format!("part{object}/{number}.png"));
    let mut command = fit(&nested, &out, &settings);
    command.arg("--force");
    assert!(succeeds(command).contains("groups 6 / 1 / 3"));

    let mut wrong = fit(&named, &out, &settings);
    wrong.args(["--force", "--group-by", r"^(part[0-8])_"]);
    let error = complains(wrong);
    assert!(
        error.contains("does not match 3 of 30") && error.contains("part9_0.png"),
        "{error}"
    );
    let mut wrong = fit(&named, &out, &settings);
    wrong.args(["--force", "--group-by", "part"]);
    assert!(complains(wrong).contains("must have a group in parentheses"));
}

#[test]
fn without_groups_near_duplicates_are_counted() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("m.safetensors");
    let settings = [&TINY[..], &["data.size=32"]].concat();
    let folder = place.path().join("set");
    std::fs::create_dir(&folder).unwrap();
    // Every scene once, then all of them again in other light.
    for seed in 0..20 {
        let scene = textures::normal(Cloth::Granite, seed);
        scene.save(folder.join(format!("{seed:02}-a.png"))).unwrap();
        let mut again = scene;
        for value in again.iter_mut() {
            *value = (f32::from(*value) * 0.8 + 12.0) as u8;
        }
        again.save(folder.join(format!("{seed:02}-b.png"))).unwrap();
    }
    let output = runs(fit(&folder, &out, &settings));
    let warned = text(&output.stderr);
    // 14 are held out; a few of them have their other picture there too.
    let found = number(&warned, "warning: ");
    assert!((6.0..=14.0).contains(&found), "{warned}");
    assert!(
        warned.contains("of 14 held-out images nearly equal one"),
        "{warned}"
    );
    let mut grouped = fit(&folder, &out, &settings);
    grouped.args(["--force", "--group-by", r"^(\d+)"]);
    assert!(!text(&runs(grouped).stderr).contains("nearly equal"));
}
