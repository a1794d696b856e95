//! The page that `fit --report` and `score --report` write.

use std::path::Path;

use anyhow::bail;

/// Refuses, before anything is done, a page that cannot be written or would replace a file.
pub fn check(path: &Path, force: bool) -> anyhow::Result<()> {
    let shown = path.display();
    if path.is_dir() {
        bail!("--report {shown}: is a folder: name the page, such as page.html");
    }
    if path.exists() && !force {
        bail!("--report {shown}: exists already: --force replaces it");
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        bail!("--report {shown}: there is no folder {}", parent.display());
    }
    match crate::files::check_writable(parent) {
        Ok(()) => Ok(()),
        Err(error) => bail!("--report {shown}: {error}"),
    }
}

/// Writes the page, whole or not at all.
pub fn write(path: &Path, html: &str) -> anyhow::Result<()> {
    Ok(crate::files::replace_linked(path, |file| {
        file.write_all(html.as_bytes())
    })?)
}
