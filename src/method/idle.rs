//! Settings that change nothing.

use toml::{Table, Value};

use super::Method;
use crate::study::{Settings, StudyError};

/// Of the overrides `key=value`, those that change a setting and nothing that is read; `settings` makes settings with
/// overrides, and `reads` says what is read of these. What makes no sense without one of them, it does not name.
pub fn idle_overrides<T: PartialEq>(
    overrides: &[String],
    settings: impl Fn(&[String]) -> Result<Settings, StudyError>,
    reads: impl Fn(&Settings) -> Option<T>,
) -> Vec<&String> {
    let Ok(all) = settings(overrides) else {
        return Vec::new();
    };
    let idle = |index: &usize| {
        let mut others = overrides.to_vec();
        others.remove(*index);
        settings(&others)
            .is_ok_and(|without| without.table() != all.table() && reads(&without) == reads(&all))
    };
    let idle = (0..overrides.len()).filter(idle);
    idle.map(|index| &overrides[index]).collect()
}

impl Method {
    /// What a fit reads of the settings, as far as it makes a difference; none of settings that it cannot read.
    pub fn reads(self, settings: &Settings) -> Option<Table> {
        Some(effective(self.plan(settings).ok()?.settings()))
    }
}

/// What of a method's settings makes a difference: without couplings and a trained base nothing of a flow on positions is
/// trained, and a share that is chosen is not set. (Runs note them all the same: an identity has every setting.)
fn effective(mut settings: Table) -> Table {
    let Some(Value::Table(positions)) = settings.get_mut("positions") else {
        return settings;
    };
    if positions.get("choose_top").and_then(Value::as_bool) == Some(true) {
        positions.remove("top");
    }
    if let Some(Value::Table(flow)) = settings.get_mut("flow") {
        let count = |key: &str| flow.get(key).and_then(Value::as_integer).unwrap_or(0);
        let is_trained = flow.get("base").and_then(Value::as_str) == Some("trained");
        if count("couplings") == 0 && !(count("gaussians") > 0 && is_trained) {
            let kept = ["couplings", "gaussians", "base", "starts"];
            flow.retain(|key, _| kept.contains(&key));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::schema;
    use crate::study::Studies;

    #[test]
    fn what_another_method_reads_changes_nothing() {
        let studies = Studies::open(None, &schema()).unwrap();
        let study = studies.study("digits").unwrap();
        let idle = |method: Method, overrides: &[&str]| -> Vec<String> {
            let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
            let choice = study.choice(method.name()).unwrap();
            let settings = |overrides: &[String]| study.resolve(&choice, overrides);
            let idle = idle_overrides(&overrides, settings, |settings| {
                method
                    .reads(settings)
                    .map(|reads| (reads, settings.data.clone()))
            });
            idle.into_iter().cloned().collect()
        };
        let all = ["encoder.latent=8", "knn.neighbours=3", "data.limit=500"];
        assert_eq!(idle(Method::Knn, &all), ["encoder.latent=8"]);
        assert_eq!(idle(Method::EncoderFlow, &all), ["knn.neighbours=3"]);
        // The default, said once more, changes nothing and misleads nobody.
        assert_eq!(idle(Method::EncoderFlow, &["knn.neighbours=5"]), [""; 0]);
    }
}
