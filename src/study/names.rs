//! From a name such as `mnist-3` or `cifar10-plane` to what is to be run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::resolve::{Layer, Schema, assignment};
use super::{Settings, StudyError};
use crate::data::DatasetName;
use crate::files;
use crate::suggest::{did_you_mean, nearest};

/// Folder of the study files, below the working folder.
const FOLDER: &str = "experiments";

/// The studies that come with the program, for when it runs outside its repository.
const BUILT_IN: [(&str, &str); 7] = [
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
];

/// Section of a study file that names its variants.
const VARIANTS: &str = "variants";

/// The studies that can be run: one TOML file each.
#[derive(Clone, Debug)]
pub struct Studies(Vec<Study>);

/// One study file.
#[derive(Clone, Debug)]
pub struct Study {
    /// File name without `.toml`.
    pub name: String,
    /// Where it was read, for messages.
    pub path: PathBuf,
    text: String,
    schema: Schema,
}

/// A method, with settings of its own where it is a variant that the study names.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Name of the variant, or of the method: what tables call it, and its folder.
    pub name: String,
    /// Name of the method.
    pub method: String,
    /// The variant's settings over those of the study.
    changes: Table,
}

/// One run of a study, but for its seed: a class left out as the anomaly, and a method.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Canonical name, `<study>-<class>`, also its folder's.
    pub name: String,
    /// Index of the class left out.
    pub class: u8,
    /// Official name of the class left out.
    pub class_name: String,
    /// Name of the variant, or of the method.
    pub variant: String,
    /// Name of the method.
    pub method: String,
    /// Resolved settings.
    pub settings: Settings,
}

impl Studies {
    /// The built-in studies, and above them those of `folder`, or of `experiments/` where there is
    /// such a folder.
    ///
    /// # Errors
    /// [`StudyError`] when a folder that was asked for or a file cannot be read.
    pub fn open(folder: Option<&Path>, schema: &Schema) -> Result<Self, StudyError> {
        let mut studies = BTreeMap::new();
        for (name, text) in BUILT_IN {
            let study = Study {
                name: name.to_owned(),
                path: PathBuf::from(format!("built-in {name}.toml")),
                text: text.to_owned(),
                schema: schema.clone(),
            };
            studies.insert(study.name.clone(), study);
        }
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
            let study = Study {
                name: stem.to_string_lossy().to_lowercase(),
                text: files::read_text(&path)?,
                path,
                schema: schema.clone(),
            };
            studies.insert(study.name.clone(), study);
        }
        Ok(Self(studies.into_values().collect()))
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

impl Choice {
    /// A variant's settings, `key=value` each.
    pub fn settings(&self) -> Vec<String> {
        fn leaves(table: &Table, prefix: &str, found: &mut Vec<String>) {
            for (key, value) in table {
                match value {
                    Value::Table(inner) => leaves(inner, &format!("{prefix}{key}."), found),
                    leaf => found.push(format!("{prefix}{key}={leaf}")),
                }
            }
        }
        let mut found = Vec::new();
        leaves(&self.changes, "", &mut found);
        found
    }
}

impl Study {
    /// Its settings with the user's overrides and without a variant's: what all of its runs share,
    /// the data among them.
    ///
    /// # Errors
    /// [`StudyError::Setting`] naming what is wrong.
    pub fn shared(&self, overrides: &[String]) -> Result<Settings, StudyError> {
        self.settings(None, overrides)
    }

    /// Its settings, with those of the variant over them and the user's overrides above all.
    ///
    /// # Errors
    /// [`StudyError::Setting`] naming what is wrong.
    pub fn resolve(&self, choice: &Choice, overrides: &[String]) -> Result<Settings, StudyError> {
        self.settings(Some(choice), overrides)
    }

    fn settings(
        &self,
        choice: Option<&Choice>,
        overrides: &[String],
    ) -> Result<Settings, StudyError> {
        let file = self.path.display().to_string();
        let mut changes = self.parsed()?;
        changes.remove(VARIANTS);
        let mut layers = vec![Layer {
            place: file.clone(),
            changes,
        }];
        layers.extend(choice.map(|choice| Layer {
            place: format!("{file}, [{VARIANTS}.{}]", choice.name),
            changes: choice.changes.clone(),
        }));
        for text in overrides {
            layers.push(assignment(text)?);
        }
        self.schema.resolve(layers)
    }

    fn parsed(&self) -> Result<Table, StudyError> {
        let table = self.text.parse();
        table.map_err(|error| StudyError::setting(self.path.display().to_string(), error))
    }

    /// Its variants, in the file's order of names.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when one of them has no method or bears the name of one.
    pub fn variants(&self) -> Result<Vec<Choice>, StudyError> {
        let mut table = self.parsed()?;
        let variants = match table.remove(VARIANTS) {
            None => return Ok(Vec::new()),
            Some(Value::Table(variants)) => variants,
            Some(_) => {
                let reason = format!("`{VARIANTS}` must be a table of tables");
                return Err(StudyError::setting(self.path.display().to_string(), reason));
            }
        };
        let variants = variants.into_iter();
        variants
            .map(|(name, value)| self.variant(name, value))
            .collect()
    }

    fn variant(&self, name: String, value: Value) -> Result<Choice, StudyError> {
        let place = format!("{}, [{VARIANTS}.{name}]", self.path.display());
        let wrong = |reason: String| Err(StudyError::setting(place.clone(), reason));
        if slug(&name) != name {
            return wrong(format!(
                "`{name}` is no name for a folder: use `{}`",
                slug(&name)
            ));
        }
        if self.schema.methods.contains(&name.as_str()) {
            return wrong(format!(
                "`{name}` is a method: give the variant another name"
            ));
        }
        let Value::Table(mut changes) = value else {
            return wrong("must be a table with `method` and settings".to_owned());
        };
        let method = match changes.remove("method") {
            Some(Value::String(method)) => method,
            _ => return wrong("needs `method`, such as method = \"encoder-flow\"".to_owned()),
        };
        if !self.schema.methods.contains(&method.as_str()) {
            let known = self.schema.methods.iter().copied();
            return wrong(format!(
                "unknown method `{method}`{} Known: {}",
                did_you_mean(&method, known),
                self.schema.methods.join(", ")
            ));
        }
        Ok(Choice {
            name,
            method,
            changes,
        })
    }

    /// What can be run: every method as the study has it, then its variants.
    ///
    /// # Errors
    /// As for [`variants`](Self::variants).
    pub fn choices(&self) -> Result<Vec<Choice>, StudyError> {
        let plain = self.schema.methods.iter().map(|&method| Choice {
            name: method.to_owned(),
            method: method.to_owned(),
            changes: Table::new(),
        });
        Ok(plain.chain(self.variants()?).collect())
    }

    /// The method or variant called `name`.
    ///
    /// # Errors
    /// [`StudyError::Name`] with the nearest valid name.
    pub fn choice(&self, name: &str) -> Result<Choice, StudyError> {
        let choices = self.choices()?;
        let found = choices.iter().find(|choice| choice.name == name);
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
            StudyError::Name(format!(
                "unknown method `{name}`{} Known in {}: {}",
                did_you_mean(name, known.iter().copied()),
                self.name,
                known.join(", ")
            ))
        })
    }

    /// First comment line of the file: what the study is.
    pub fn description(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches('#').trim()
    }

    /// The run that leaves `class` out.
    pub fn experiment(&self, class: usize, choice: &Choice, settings: Settings) -> Experiment {
        let dataset = settings.data.dataset;
        Experiment {
            name: format!("{}-{}", self.name, class_tags(dataset, class)[0]),
            class: class as u8,
            class_name: dataset.class_names()[class].to_owned(),
            variant: choice.name.clone(),
            method: choice.method.clone(),
            settings,
        }
    }
}

impl Experiment {
    /// Index of the class that plays the anomaly: the one left out, unless another stands in for it.
    pub fn anomalous_class(&self) -> u8 {
        let classes = self.settings.data.dataset.class_names().len();
        ((usize::from(self.class) + self.settings.data.stand_in) % classes) as u8
    }

    /// Official name of the class that plays the anomaly.
    pub fn anomaly_name(&self) -> &str {
        let names = self.settings.data.dataset.class_names();
        match self.excluded_class() {
            Some(_) => names[usize::from(self.anomalous_class())],
            None => &self.class_name,
        }
    }

    /// Index of the class left out, where another stands in for it: it is in no part of the split.
    pub fn excluded_class(&self) -> Option<u8> {
        (self.settings.data.stand_in > 0).then_some(self.class)
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
fn slug(name: &str) -> String {
    let words: Vec<&str> = name
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::schema;

    /// A study of this text beside the built-in ones.
    fn with(text: &str) -> Studies {
        let schema = schema();
        let studies = BUILT_IN.into_iter().chain([("own", text)]);
        let studies = studies.map(|(name, text)| Study {
            name: name.to_owned(),
            path: PathBuf::from(format!("{name}.toml")),
            text: text.to_owned(),
            schema: schema.clone(),
        });
        Studies(studies.collect())
    }

    fn built_in() -> Studies {
        with("# another study with nothing of its own")
    }

    const FLOW: &str = "encoder-flow";

    /// The settings of a study of this text, with overrides.
    fn resolved(text: &str, overrides: &[&str]) -> Result<Settings, String> {
        let overrides: Vec<String> = overrides.iter().map(|&item| item.to_owned()).collect();
        let studies = with(text);
        let study = studies.study("own").unwrap();
        study.shared(&overrides).map_err(|error| error.to_string())
    }

    fn number(settings: &Settings, section: &str, key: &str) -> i64 {
        settings.table()[section][key].as_integer().unwrap()
    }

    #[test]
    fn later_settings_win_and_the_rest_stays() {
        let text = "[encoder]\nlatent = 16\n[encoder.training]\nepochs = 3";
        let changes = [
            "encoder.training.epochs=2",
            "flow.mixing=alternate",
            "flow.clamp=1",
        ];
        let settings = resolved(text, &changes).unwrap();
        assert_eq!(number(&settings, "encoder", "latent"), 16);
        let training = settings.table()["encoder"]["training"].clone();
        assert_eq!(training["epochs"].as_integer(), Some(2));
        assert_eq!(settings.table()["flow"]["clamp"].as_float(), Some(1.0));
        let default = resolved("", &[]).unwrap();
        let width = |settings| number(settings, "encoder", "width");
        assert_eq!(width(&settings), width(&default));
        assert_eq!(resolved(&settings.to_toml(), &[]).unwrap(), settings);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        for (text, overrides, expected) in [
            (
                "[encoder]\nlatnt = 3",
                &[][..],
                "did you mean `encoder.latent`",
            ),
            ("[encodr]\nlatent = 3", &[], "did you mean `encoder`"),
            ("[encoder]\nlatent = \"3\"", &[], "must be of type integer"),
            ("[encoder\n", &[], "own.toml"),
            ("[data]\ndataset = \"mnits\"", &[], "did you mean `mnist`"),
            ("", &["data.dataset=mnits"], "--set data.dataset=mnits"),
            ("", &["flow.mixing=permutate"], "did you mean `permutation`"),
            ("", &["knn.encoder=pcs"], "did you mean `pca`"),
            ("", &["data.ood=[\"svhn\", \"svhn\"]"], "once"),
            (
                "",
                &["encoder.latent=1"],
                "--set encoder.latent=1: `encoder.latent` is 1, and must be",
            ),
            (
                "",
                &["encoder.training.epoch=2"],
                "did you mean `encoder.training.epochs`",
            ),
            ("", &["encoder"], "key=value"),
            ("", &["encoder=3"], "must be of type table"),
            (
                "",
                &["encoder.training.epochs=0"],
                "encoder.training.epochs",
            ),
            ("", &["encoder.training.epochs=-1"], "epochs"),
            ("", &["flow.training.learning_rate=nan"], "learning_rate"),
            ("", &["data.size=33"], "data.size"),
            ("", &["evaluation.confidence=1"], "evaluation.confidence"),
            ("", &["data.ood=[\"digits\"]"], "data.ood"),
            ("", &["data.stand_in=10"], "number of classes"),
            ("", &["data.stand_in=-1"], "stand_in"),
        ] {
            let error = resolved(text, overrides).unwrap_err();
            assert!(error.contains(expected), "{text} {overrides:?}: {error}");
        }
    }

    const VARIANT: &str = "[flow]\nhidden = 64\n[variants.small]\nmethod = \"encoder-flow\"\nflow.hidden = 8\nencoder = { kind = \"pca\" }";

    #[test]
    fn a_variant_is_a_method_with_settings_over_those_of_the_study() {
        let studies = with(VARIANT);
        let hidden = |method: &str, overrides: &[String]| {
            let experiment = studies.find("own-3", method, overrides).unwrap();
            assert_eq!(
                (experiment.variant.as_str(), experiment.method.as_str()),
                (method, FLOW)
            );
            number(&experiment.settings, "flow", "hidden")
        };
        assert_eq!(hidden(FLOW, &[]), 64);
        assert_eq!(hidden("small", &[]), 8);
        assert_eq!(hidden("small", &["flow.hidden=16".to_owned()]), 16);
        let study = studies.study("own").unwrap();
        let settings = study.choice("small").unwrap().settings();
        assert_eq!(settings, ["encoder.kind=\"pca\"", "flow.hidden=8"]);
        let names: Vec<String> = study
            .choices()
            .unwrap()
            .into_iter()
            .map(|c| c.name)
            .collect();
        assert_eq!(names.last().map(String::as_str), Some("small"));
        assert_eq!(names.len(), schema().methods.len() + 1);
    }

    #[test]
    fn wrong_variants_are_named_with_their_place() {
        for (text, name, expected) in [
            (
                "[variants.small]\nflow.hidden = 8",
                "small",
                "needs `method`",
            ),
            (
                "[variants.small]\nmethod = \"kn\"",
                "small",
                "did you mean `knn`",
            ),
            ("[variants.knn]\nmethod = \"knn\"", "knn", "is a method"),
            ("[variants.\"A b\"]\nmethod = \"knn\"", "A b", "use `a-b`"),
            ("[variants]\nsmall = 3", "small", "must be a table"),
            ("variants = 3", "small", "table of tables"),
            (VARIANT, "smal", "did you mean `small`"),
            (
                "[variants.small]\nmethod = \"knn\"\nknn.neighbors = 3",
                "small",
                "own.toml, [variants.small]: unknown key `knn.neighbors`, did you mean `knn.neighbours`",
            ),
            (
                "[variants.small]\nmethod = \"knn\"\nknn.neighbours = 0",
                "small",
                "own.toml, [variants.small]: `knn.neighbours` is 0",
            ),
        ] {
            let error = with(text).find("own-3", name, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

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
            assert!(study.description().len() > 10, "{}", study.name);
        }
    }
}
