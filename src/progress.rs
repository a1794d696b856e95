//! How far a step is, on standard error, where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `count` images of a step; nothing at all where standard error is no terminal.
///
/// What is printed meanwhile goes through [`ProgressBar::suspend`].
pub(crate) fn progress(step: &str, count: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {pos}/{len} images, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(count as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(step.to_owned())
}
