//! Opening a run's folder: what is in it is continued, refused or removed.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::{Moment, RunError, RunFolder};
use crate::files::{self, FileError};
use crate::lock::{FolderLock, LOCK, OWNER, lock_folder};
use crate::method::{Identity, SharedNetwork};
use crate::study::Settings;

/// What an interrupted `fit` continues from, beside the model file that it will write.
fn training_folder(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(".training");
    model.with_file_name(name)
}

/// Which command works in a folder: errors advise what it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// `experiment`, and what reads its runs.
    Experiment,
    /// `fit`.
    Fit,
}

impl Owner {
    /// What the folder holds.
    fn contents(self) -> &'static str {
        match self {
            Self::Experiment => "a run",
            Self::Fit => "an unfinished fit",
        }
    }

    /// The option that starts over.
    fn start_over(self) -> &'static str {
        match self {
            Self::Experiment => "--fresh",
            Self::Fit => "--force",
        }
    }

    /// What leads to another folder.
    fn elsewhere(self) -> &'static str {
        match self {
            Self::Experiment => "--artifacts for another folder",
            Self::Fit => "--out for another model file",
        }
    }

    /// What can be changed for not having to wait.
    fn beside(self) -> &'static str {
        match self {
            Self::Experiment => "another --seed or --artifacts",
            Self::Fit => "another --out",
        }
    }
}

/// A run's folder, locked for this process.
#[derive(Debug)]
pub struct Workspace {
    owner: Owner,
    folder: RunFolder,
    lock: FolderLock,
}

impl Deref for Workspace {
    type Target = RunFolder;

    fn deref(&self) -> &RunFolder {
        &self.folder
    }
}

impl Workspace {
    /// Opens a run's folder for training. A run of the same identity is continued; of another, refused, unless nothing has
    /// been computed; with `fresh`, removed first.
    ///
    /// # Errors
    /// [`RunError`] when the folder is in use, holds another run or cannot be written.
    pub fn for_run(
        root: PathBuf,
        identity: &Identity,
        settings: &Settings,
        fresh: bool,
    ) -> Result<Self, RunError> {
        Self::for_training(Owner::Experiment, root, identity, settings, fresh)
    }

    /// Opens the folder beside the file `model` in which `fit` keeps what it needs to continue. An
    /// unfinished fit of the same identity is continued; of another, refused; with `force`, or where nothing has been
    /// computed, removed first.
    ///
    /// # Errors
    /// [`RunError`] as for [`for_run`](Self::for_run).
    pub fn for_fit(
        model: &Path,
        identity: &Identity,
        settings: &Settings,
        force: bool,
    ) -> Result<Self, RunError> {
        let root = training_folder(model);
        Self::for_training(Owner::Fit, root, identity, settings, force)
    }

    fn for_training(
        owner: Owner,
        root: PathBuf,
        identity: &Identity,
        settings: &Settings,
        fresh: bool,
    ) -> Result<Self, RunError> {
        files::create_folder(&root)?;
        let workspace = Self::lock(root, owner)?;
        let there = workspace
            .config()
            .exists()
            .then(|| workspace.read_identity());
        let same = matches!(&there, Some(Ok(there)) if there.is_same(identity));
        // What has computed nothing has left nothing to continue from.
        let left_over = !same && matches!(there, Some(Ok(_))) && !workspace.has_results();
        // A fit goes on with what is the same, for it is the model that is replaced.
        let anew = fresh && !(same && owner == Owner::Fit);
        if anew || left_over {
            workspace.clear()?;
        } else if there.is_none() && workspace.is_run() {
            return Err(RunError::Workspace(format!(
                "{} holds {} without its settings (config.toml): use {} to replace it",
                workspace.root().display(),
                owner.contents(),
                owner.start_over()
            )));
        } else if let Some(there) = there.filter(|_| !same) {
            let there = there.map_err(|error| {
                RunError::Workspace(format!("{error}: {} replaces it", owner.start_over()))
            })?;
            return Err(RunError::Workspace(format!(
                "{} holds {} with other settings:\n  {}\nUse {} to replace it, or {}",
                workspace.root().display(),
                owner.contents(),
                there.differences(identity).join("\n  "),
                owner.start_over(),
                owner.elsewhere()
            )));
        }
        // A complete run keeps the settings that it was evaluated with until it is evaluated again.
        if !workspace.is_complete() {
            // A run that has lost a part must not be taken for complete when that part is there again.
            files::remove(&workspace.done())?;
            files::write_json(&workspace.identity(), identity)?;
            files::write_text(&workspace.config(), &settings.to_toml())?;
        }
        Ok(workspace)
    }

    /// Opens the folder of a run that has been trained.
    ///
    /// # Errors
    /// [`RunError`] when there is none or it is in use.
    pub fn existing(root: PathBuf) -> Result<Self, RunError> {
        if !root.join("config.toml").exists() {
            return Err(RunError::Workspace(format!(
                "there is no run in {}: train it with `encoder-flow experiment` first",
                root.display()
            )));
        }
        Self::lock(root, Owner::Experiment)
    }

    fn lock(root: PathBuf, owner: Owner) -> Result<Self, RunError> {
        let lock = lock_folder(&root, owner.beside())?;
        Ok(Self {
            owner,
            folder: RunFolder::new(root),
            lock,
        })
    }

    /// True when a training stage has been begun in it.
    pub fn has_begun(&self) -> bool {
        fn has_checkpoints(folder: &Path) -> bool {
            let folders = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut folders = folders
                .map(|entry| entry.path())
                .filter(|path| path.is_dir());
            folders.any(|path| path.ends_with("checkpoint") || has_checkpoints(&path))
        }
        has_checkpoints(self.root())
    }

    /// True when something has been computed that is lost with the folder.
    fn has_results(&self) -> bool {
        let files = [self.latents(), self.scores(), self.model(), self.done()];
        self.has_begun() || files.iter().any(|file| file.exists())
    }

    /// Renames the folder, and lets it go.
    ///
    /// # Errors
    /// [`RunError`] when it cannot be renamed.
    pub fn rename(mut self, to: &Path) -> Result<(), RunError> {
        std::fs::rename(self.root(), to).map_err(FileError::io("rename", self.root()))?;
        self.lock.moved_to(to);
        Ok(())
    }

    /// Removes the folder and all that is in it.
    ///
    /// # Errors
    /// [`RunError`] when something in it cannot be removed.
    pub fn remove(self) -> Result<(), RunError> {
        let root = self.root().to_owned();
        // On some systems a file that is locked cannot be removed.
        drop(self);
        Ok(std::fs::remove_dir_all(&root).map_err(FileError::io("remove", &root))?)
    }

    /// Removes everything but the lock. A folder that is not a run's is refused.
    fn clear(&self) -> Result<(), RunError> {
        let entries = std::fs::read_dir(self.root()).map_err(FileError::io("read", self.root()))?;
        let entries: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !path.ends_with(LOCK) && !path.ends_with(OWNER))
            .collect();
        if !entries.is_empty() && !self.is_run() {
            return Err(RunError::Workspace(format!(
                "{} is not empty and is not a run's folder (it has no config.toml, split.json or environment.json): {} leaves it alone, use {}",
                self.root().display(),
                self.owner.start_over(),
                self.owner.elsewhere()
            )));
        }
        // The file that marks a run goes last: what is interrupted here can be repeated.
        let (marker, others): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|path| *path == self.config());
        for path in others.into_iter().chain(marker) {
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(FileError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Copies a network's finished stage, and the latents, from another method's run of the same experiment
    /// and seed that has [trained it](RunFolder::has_trained) as it is `wanted`: for runs of this identity, on this backend.
    /// A run that has begun its own keeps it.
    ///
    /// # Errors
    /// [`RunError`] when a file cannot be copied.
    pub(crate) fn adopt(
        &self,
        network: SharedNetwork,
        wanted: (&Identity, &str),
        since: Option<&Moment>,
    ) -> Result<(), RunError> {
        let stage = network.stage();
        let target = self.stage(stage);
        // What lies around a model file is the user's.
        if target.exists() || self.owner == Owner::Fit {
            return Ok(());
        }
        for sibling in self.of_all_methods() {
            // The sibling may be at work on what comes after the stage.
            let fits = || sibling.has_trained(network, wanted, since);
            if sibling.root() == self.root() || !fits() {
                continue;
            }
            let copied = files::copy_folder(&sibling.stage(stage), &target);
            if !fits() {
                // It was started over meanwhile: what was copied may lack a file.
                if target.exists() {
                    std::fs::remove_dir_all(&target).map_err(FileError::io("remove", &target))?;
                }
                continue;
            }
            copied?;
            if sibling.latents().exists() {
                let copied = std::fs::copy(sibling.latents(), self.latents());
                copied.map_err(FileError::io("copy to", self.latents()))?;
            }
            return Ok(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Method, schema};
    use crate::study::Studies;

    fn settings(change: &str) -> Settings {
        let studies = Studies::open(None, &schema()).unwrap();
        let changes: Vec<String> = match change {
            "" => Vec::new(),
            change => vec![change.to_owned()],
        };
        studies.study("digits").unwrap().shared(&changes).unwrap()
    }

    fn identity(settings: &Settings) -> Identity {
        let plan = Method::EncoderFlow.plan(settings).unwrap();
        Identity::new("encoder-flow", plan.as_ref(), settings, None)
    }

    #[test]
    fn another_configuration_is_refused_until_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let open = |settings: &Settings, fresh| {
            let identity = identity(settings);
            Workspace::for_run(root.clone(), &identity, settings, fresh)
                .map_err(|error| error.to_string())
        };
        std::fs::write(open(&settings(""), false).unwrap().scores(), "x").unwrap();
        let other = settings("evaluation.confidence=0.9");
        assert!(open(&other, false).unwrap().scores().exists());
        let other = settings("encoder.latent=7");
        let refused = open(&other, false).unwrap_err();
        assert!(
            refused.contains("encoder.latent: 32 there, 7 now"),
            "{refused}"
        );
        let fresh = open(&other, true).unwrap();
        assert!(!fresh.scores().exists());
        assert_eq!(fresh.read_settings().unwrap(), other);
        std::fs::remove_file(fresh.identity()).unwrap();
        drop(fresh);
        let earlier = open(&other, false).unwrap_err();
        assert!(
            earlier.contains("earlier version") && earlier.contains("--fresh"),
            "{earlier}"
        );
    }

    #[test]
    fn a_start_that_has_computed_nothing_is_in_nobody_s_way() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let open = |settings: &Settings| {
            Workspace::for_run(root.clone(), &identity(settings), settings, false)
        };
        let first = open(&settings("")).unwrap();
        std::fs::write(first.split(), "{}").unwrap();
        drop(first);
        let other = settings("encoder.latent=7");
        let second = open(&other).unwrap();
        assert!(!second.split().exists());
        std::fs::write(second.latents(), "x").unwrap();
        drop(second);
        assert!(open(&settings("")).is_err());
        assert!(open(&other).unwrap().latents().exists());
    }

    #[test]
    fn errors_of_a_fit_name_its_own_options() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.safetensors");
        let open = |settings: &Settings, force| {
            Workspace::for_fit(&model, &identity(settings), settings, force)
                .map_err(|error| error.to_string())
        };
        let refused = |settings: &Settings| {
            let error = open(settings, false).unwrap_err();
            assert!(
                !error.contains("--fresh") && !error.contains("--artifacts"),
                "{error}"
            );
            error
        };
        let first = open(&settings(""), false).unwrap();
        assert!(first.root().ends_with("m.safetensors.training"));
        let busy = refused(&settings(""));
        assert!(busy.contains("another --out"), "{busy}");
        let begun = first.stage("encoder").join("checkpoint");
        std::fs::create_dir_all(&begun).unwrap();
        let recorded = first.identity();
        drop(first);
        assert!(open(&settings(""), false).is_ok());
        let changed = settings("encoder.latent=7");
        let other = refused(&changed);
        for part in ["encoder.latent: 32 there, 7 now", "--force", "--out"] {
            assert!(other.contains(part), "{part}: {other}");
        }
        std::fs::write(&recorded, "damaged").unwrap();
        assert!(refused(&changed).contains("--force"));
        // Where nothing has been trained there is nothing to lose, if it is a fit's at all.
        std::fs::remove_dir_all(&begun).unwrap();
        assert!(refused(&changed).contains("--force"));
        drop(open(&settings(""), true).unwrap());
        let again = open(&changed, false).unwrap();
        assert_eq!(again.read_settings().unwrap(), changed);
        drop(again);
        let again = open(&settings(""), true).unwrap();
        assert_eq!(again.read_settings().unwrap(), settings(""));
    }

    #[test]
    fn a_fit_has_begun_when_a_stage_has() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.safetensors");
        let settings = settings("");
        let open = || Workspace::for_fit(&model, &identity(&settings), &settings, false).unwrap();
        let workspace = open();
        std::fs::write(workspace.log(), "x").unwrap();
        assert!(!workspace.has_begun());
        let root = workspace.root().to_owned();
        workspace.remove().unwrap();
        assert!(!root.exists());
        let workspace = open();
        std::fs::create_dir_all(workspace.root().join("scale-1/flow/checkpoint")).unwrap();
        assert!(workspace.has_begun());
    }

    #[test]
    fn a_folder_is_for_one_process_and_never_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let open = |root| Workspace::for_run(root, &identity(&settings("")), &settings(""), true);
        let first = open(root.clone()).unwrap();
        let second = open(root).unwrap_err();
        assert!(second.to_string().contains("another process"));
        drop(first);
        let foreign = folder.path().join("photos");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join("holiday.png"), "x").unwrap();
        assert!(open(foreign.clone()).is_err());
        assert!(foreign.join("holiday.png").exists());
        assert!(Workspace::existing(foreign).is_err());
    }
}
