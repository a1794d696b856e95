//! The page of `fit --report` and `score --report`.

use super::*;

fn page(path: &Path) -> String {
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.ends_with("</html>") || page.trim_end().ends_with("</html>"));
    for attribute in ["src=\"", "href=\""] {
        for (at, _) in page.match_indices(attribute) {
            assert!(page[at + attribute.len()..].starts_with("data:"));
        }
    }
    page
}

#[test]
fn score_writes_a_page_of_labelled_and_unlabelled_images() {
    let Fitted { set, model, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("page.html");
    let with_page = |images: &Path| {
        let mut command = score_at_a_tenth(model, images);
        command.arg("--report").arg(&path);
        command
    };
    let output = runs(with_page(set));
    let labelled = page(&path);
    for part in [
        "image AUROC",
        "AUPRO",
        "ROC curves",
        "P-values",
        "Kinds of defects",
        "scratch",
        &format!("of {} good images at 0.1 (", FEW.good),
    ] {
        assert!(labelled.contains(part), "{part}");
    }
    // Twelve images, each with its heat map and mask.
    assert_eq!(labelled.matches("<img ").count(), 36);
    let verdicts = text(&output.stdout);
    let anomalies = verdicts
        .lines()
        .filter(|line| line.starts_with("ANOMALOUS"))
        .count();
    let sentence = format!("{anomalies} of {} images are anomalous", FEW.good + 16);
    assert!(labelled.contains(&sentence), "{sentence}");

    let error = complains(with_page(&set.join("test/good")));
    assert!(
        error.contains("exists already: --force replaces it"),
        "{error}"
    );
    let mut again = with_page(&set.join("test/good"));
    again.arg("--force");
    runs(again);
    let unlabelled = page(&path);
    assert!(unlabelled.contains("scored images") && !unlabelled.contains("ROC curves"));
    assert_eq!(unlabelled.matches("<img ").count(), 30);

    let mut nowhere = score_at_a_tenth(model, set);
    nowhere
        .arg("--report")
        .arg(place.path().join("none/page.html"));
    assert!(complains(nowhere).contains("there is no folder"));
    let mut folder = score_at_a_tenth(model, set);
    folder.arg("--report").arg(place.path());
    assert!(complains(folder).contains("is a folder: name the page"));
}

#[test]
fn fit_writes_a_page_of_what_it_held_out_or_tested_on() {
    let Fitted { set, .. } = &*FITTED;
    let place = tempfile::tempdir().unwrap();
    let [out, path] = ["m.safetensors", "page.html"].map(|name| place.path().join(name));
    let settings = [&TINY[..], &["data.size=32"]].concat();
    let mut command = fit(&set.join("train/good"), &out, &settings);
    command.arg("--report").arg(&path);
    let said = succeeds(command);
    assert!(
        said.contains(&format!("report {}", path.display())),
        "{said}"
    );
    let held_out = page(&path);
    assert!(held_out.contains("the 15 below were held out"), "{said}");
    assert!(held_out.contains("need 19 calibration images") && !held_out.contains("Figure 3"));
    // Those among the images to be learnt from that are none.
    for file in ["zero.png", "text.jpg"] {
        assert!(held_out.contains(file), "{file}");
    }

    let mut refused = fit(set, &place.path().join("n.safetensors"), &settings);
    refused.arg("--report").arg(&path);
    assert!(complains(refused).contains("exists already"));
    let mut command = fit(set, &out, &settings);
    command.arg("--force").arg("--report").arg(&path);
    let said = succeeds(command);
    let tested = page(&path);
    let area = format!("{:.3}", number(&said, "image AUROC"));
    assert!(
        tested.contains(&area) && tested.contains("ROC curves"),
        "{said}"
    );
}
