//! From a name such as `mnist-3` or `cifar10-plane` to what is to be run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lineage::{Source, Sources};
use super::resolve::Schema;
use super::{Experiment, Study, StudyError};
use crate::data::DatasetName;
use crate::files;
use crate::suggest::{did_you_mean, nearest};

/// Folder of the study files, below the working folder.
const FOLDER: &str = "experiments";

/// The studies that come with the program, for when it runs outside its repository.
const BUILT_IN: [(&str, &str); 9] = [
    ("cifar10", include_str!("../../experiments/cifar10.toml")),
    (
        "cifar10-squeezenet",
        include_str!("../../experiments/cifar10-squeezenet.toml"),
    ),
    ("digits", include_str!("../../experiments/digits.toml")),
    (
        "fashion-mnist",
        include_str!("../../experiments/fashion-mnist.toml"),
    ),
    ("folder", include_str!("../../experiments/folder.toml")),
    ("mnist", include_str!("../../experiments/mnist.toml")),
    (
        "mnist-squeezenet",
        include_str!("../../experiments/mnist-squeezenet.toml"),
    ),
    (
        "paper-cifar10",
        include_str!("../../experiments/paper-cifar10.toml"),
    ),
    (
        "paper-mnist",
        include_str!("../../experiments/paper-mnist.toml"),
    ),
];

fn built_in() -> Sources {
    let sources = BUILT_IN.into_iter().map(|(name, text)| {
        let path = PathBuf::from(format!("built-in {name}.toml"));
        let text = text.to_owned();
        (name.to_owned(), Source { path, text })
    });
    sources.collect()
}

/// The studies that can be run: one TOML file each.
#[derive(Clone, Debug)]
pub struct Studies(Vec<Study>);

impl Studies {
    /// The built-in studies, and above them those of `folder`, or of `experiments/` where there is
    /// such a folder.
    ///
    /// # Errors
    /// [`StudyError`] when a folder that was asked for or a file cannot be read.
    pub fn open(folder: Option<&Path>, schema: &Schema) -> Result<Self, StudyError> {
        let mut sources = built_in();
        let default = Path::new(FOLDER);
        let folder = match folder {
            Some(folder) if !folder.is_dir() => {
                return Err(StudyError::Name(format!(
                    "--experiments {}: there is no such folder",
                    folder.display()
                )));
            }
            Some(folder) => Some(folder),
            None => default.is_dir().then_some(default),
        };
        for path in folder.map(study_files).transpose()?.unwrap_or_default() {
            let stem = path.file_stem().unwrap_or_default();
            let name = stem.to_string_lossy().to_lowercase();
            let text = files::read_text(&path)?;
            sources.insert(name, Source { path, text });
        }
        Ok(Self::of(sources, schema))
    }

    fn of(sources: Sources, schema: &Schema) -> Self {
        let sources = Arc::new(sources);
        let study = |name: &String| Study {
            name: name.clone(),
            sources: Arc::clone(&sources),
            schema: schema.clone(),
        };
        Self(sources.keys().map(study).collect())
    }

    /// All studies by name.
    pub fn iter(&self) -> impl Iterator<Item = &Study> {
        self.0.iter()
    }

    /// The experiment called `name` by the method or variant `chosen`, with the user's overrides.
    ///
    /// # Errors
    /// [`StudyError::Name`] with the nearest valid name, or [`StudyError::Setting`].
    pub fn find(
        &self,
        name: &str,
        chosen: &str,
        overrides: &[String],
    ) -> Result<Experiment, StudyError> {
        let wanted = name.to_lowercase();
        // The longest study name wins, so that a study may be called `mnist-small`.
        let mut matching: Vec<(&Study, &str)> = self
            .iter()
            .filter_map(|study| Some((study, wanted.strip_prefix(&study.name)?.strip_prefix('-')?)))
            .collect();
        matching.sort_by_key(|(study, _)| study.name.len());
        if let Some((study, class)) = matching.pop() {
            let dataset = study.shared(overrides)?.data.dataset;
            if let Some(index) = find_class(dataset, class) {
                let choice = study.choice(chosen)?;
                let settings = study.resolve(&choice, overrides)?;
                return Ok(study.experiment(index, &choice, settings));
            }
        }
        Err(self.unknown(name))
    }

    /// The study called `name`.
    ///
    /// # Errors
    /// [`StudyError::Name`] with the nearest valid name.
    pub fn study(&self, name: &str) -> Result<&Study, StudyError> {
        let wanted = name.to_lowercase();
        self.iter()
            .find(|study| study.name == wanted)
            .ok_or_else(|| {
                let known: Vec<&str> = self.iter().map(|study| study.name.as_str()).collect();
                StudyError::Name(format!(
                    "there is no study `{name}`{} Known: {}",
                    did_you_mean(&wanted, known.iter().copied()),
                    known.join(", ")
                ))
            })
    }

    fn unknown(&self, name: &str) -> StudyError {
        let names_of = |study: &Study| -> Vec<String> {
            let dataset = match study.shared(&[]) {
                Ok(settings) => settings.data.dataset,
                Err(_) => return Vec::new(),
            };
            let mut tags = dataset
                .anomalies()
                .flat_map(|class| class_tags(dataset, class))
                .collect::<Vec<_>>();
            // An index says little where classes have names.
            if tags.iter().any(|tag| tag.parse::<usize>().is_err()) {
                tags.retain(|tag| tag.parse::<usize>().is_err());
            }
            let tags = tags.into_iter();
            tags.map(|tag| format!("{}-{tag}", study.name)).collect()
        };
        let names: Vec<String> = self.iter().flat_map(names_of).collect();
        let wanted = name.to_lowercase();
        let hint = if let Some(study) = self.iter().find(|study| study.name == wanted) {
            let names = names_of(study);
            let example = names.get(3).or(names.first());
            let example = example.map(|example| format!(", as in `{example}`"));
            format!(
                ": add the class that is the anomaly{}",
                example.unwrap_or_default()
            )
        } else {
            nearest(&wanted, names.iter().map(String::as_str))
                .map(|known| format!(", did you mean `{known}`?"))
                .unwrap_or_default()
        };
        StudyError::Name(format!(
            "there is no experiment `{name}`{hint} (`encoder-flow list` shows what there is)"
        ))
    }
}

/// The TOML files of a folder.
fn study_files(folder: &Path) -> Result<Vec<PathBuf>, StudyError> {
    let entries = std::fs::read_dir(folder).map_err(files::FileError::io("read", folder))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect())
}

/// The name of a class in the names of experiments and in tables: `plane`, `3`.
pub fn class_tag(dataset: DatasetName, class: usize) -> String {
    class_tags(dataset, class).swap_remove(0)
}

/// Names by which a class can be called, the canonical one first: the paper's short name, the
/// official name, the index.
pub fn class_tags(dataset: DatasetName, class: usize) -> Vec<String> {
    let official = slug(dataset.class_names()[class]);
    let short = match official.as_str() {
        "airplane" => Some("plane"),
        "automobile" => Some("car"),
        "t-shirt-top" => Some("t-shirt"),
        _ => None,
    };
    let index = class.to_string();
    let mut tags: Vec<String> = short.map(str::to_owned).into_iter().collect();
    tags.push(official);
    if !tags.contains(&index) {
        tags.push(index);
    }
    tags
}

/// Index of the class that can be called `wanted`.
pub fn find_class(dataset: DatasetName, wanted: &str) -> Option<usize> {
    dataset
        .anomalies()
        .find(|&class| class_tags(dataset, class).iter().any(|tag| tag == wanted))
}

/// Lower case, with one hyphen for every run of other characters.
pub(super) fn slug(name: &str) -> String {
    let words: Vec<&str> = name
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.join("-").to_lowercase()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::method::schema;

    /// Studies of these names and texts beside the built-in ones.
    pub(in crate::study) fn with_all<const N: usize>(own: [(&str, &str); N]) -> Studies {
        let mut sources = super::built_in();
        sources.extend(own.map(|(name, text)| {
            let path = PathBuf::from(format!("{name}.toml"));
            let text = text.to_owned();
            (name.to_owned(), Source { path, text })
        }));
        Studies::of(sources, &schema())
    }

    /// A study of this text, `own`, beside the built-in ones.
    pub(in crate::study) fn with(text: &str) -> Studies {
        with_all([("own", text)])
    }

    fn built_in() -> Studies {
        with_all([])
    }

    const FLOW: &str = "encoder-flow";

    #[test]
    fn a_class_has_several_names_and_one_folder() {
        for (names, canonical, class) in [
            (&["mnist-3", "MNIST-3"][..], "mnist-3", 3),
            (
                &["cifar10-0", "cifar10-airplane", "cifar10-plane"],
                "cifar10-plane",
                0,
            ),
            (&["cifar10-frog", "cifar10-6"], "cifar10-frog", 6),
            (
                &["fashion-mnist-9", "fashion-mnist-ankle-boot"],
                "fashion-mnist-ankle-boot",
                9,
            ),
            (&["digits-0"], "digits-0", 0),
        ] {
            for name in names {
                let experiment = built_in().find(name, FLOW, &[]).unwrap();
                assert_eq!(
                    (experiment.name.as_str(), experiment.class),
                    (canonical, class)
                );
            }
        }
    }

    #[test]
    fn stand_ins_follow_the_class_left_out_and_go_round() {
        for (name, stand_in, class, anomaly, excluded) in [
            ("cifar10-truck", 0, 9, "truck", None),
            ("cifar10-truck", 1, 0, "airplane", Some(9)),
            ("cifar10-truck", 9, 8, "ship", Some(9)),
            ("cifar10-plane", 2, 2, "bird", Some(0)),
        ] {
            let setting = [format!("data.stand_in={stand_in}")];
            let experiment = built_in().find(name, FLOW, &setting).unwrap();
            let found = (experiment.anomalous_class(), experiment.anomaly_name());
            assert_eq!(found, (class, anomaly), "{name} {stand_in}");
            assert_eq!(experiment.excluded_class(), excluded, "{name} {stand_in}");
            assert_eq!(experiment.name, name);
        }
    }

    #[test]
    fn misspelt_names_get_the_nearest_one() {
        for (name, expected) in [
            ("mnits-3", "mnist-3"),
            ("cifar10-plain", "cifar10-plane"),
            ("mnist", "mnist-3"),
            ("folder", "folder-defect"),
            ("folder-good", "folder-defect"),
            ("mnist-12", "mnist-1"),
            ("cifar-10-plane", "cifar10-plane"),
        ] {
            let error = built_in().find(name, FLOW, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = built_in().find("???", FLOW, &[]).unwrap_err().to_string();
        assert!(error.contains("encoder-flow list"), "{error}");
    }

    #[test]
    fn every_study_resolves_and_says_what_it_is() {
        for study in built_in().iter() {
            for choice in study.choices().unwrap() {
                study.resolve(&choice, &[]).unwrap();
            }
            study.compared().unwrap();
            assert!(study.description().len() > 10, "{}", study.name);
        }
    }

    /// What a data set's study calls a variant is that in the studies that extend it.
    #[test]
    fn studies_of_one_data_set_have_the_same_variants() {
        let studies = built_in();
        let of = |study: &str, variant: &str| {
            let choice = studies.study(study).unwrap().choice(variant).unwrap();
            (choice.method.clone(), choice.settings())
        };
        for (own, other) in [
            ("mnist", "paper-mnist"),
            ("mnist", "fashion-mnist"),
            ("cifar10", "paper-cifar10"),
        ] {
            for variant in studies.study(own).unwrap().variants().unwrap() {
                let name = &variant.name;
                assert_eq!(of(other, name), of(own, name), "{other} {name}");
            }
        }
        let squeezenet = of("mnist-squeezenet", "best");
        let without = ["flow.hidden=128".to_owned()];
        let shared = squeezenet
            .1
            .iter()
            .filter(|setting| !without.contains(setting));
        assert!(shared.eq(&of("mnist", "best").1));
    }
}
