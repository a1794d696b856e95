//! Settings that change nothing, said to whoever sets them.

use crate::method::{Method, as_table, idle_overrides};
use crate::study::{Settings, Study};

/// Warns of those of the `overrides` that none of the methods or variants called `names` reads.
///
/// # Errors
/// When a method or a setting is impossible.
pub(super) fn warn_of_idle(
    study: &Study,
    names: &[String],
    overrides: &[String],
) -> anyhow::Result<()> {
    let mut idle: Vec<&String> = overrides.iter().collect();
    for name in names {
        let choice = study.choice(name)?;
        // What is impossible is said here.
        study.resolve(&choice, overrides)?;
        let method: Method = choice.method.parse()?;
        let settings = |overrides: &[String]| study.resolve(&choice, overrides);
        let here = idle_overrides(overrides, settings, |settings: &Settings| {
            let shared = (as_table(&settings.data), as_table(&settings.evaluation));
            Some((method.reads(settings)?, shared))
        });
        idle.retain(|asked| here.contains(asked));
    }
    let who = match names {
        [one] => format!("{one} with these settings does not read it"),
        _ => "no method of these reads it".to_owned(),
    };
    for asked in idle {
        eprintln!("warning: --set {asked} changes nothing here: {who}");
    }
    Ok(())
}
