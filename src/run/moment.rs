//! When something was begun: `--fresh` makes anew what was begun before a moment.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A moment, in UTC (RFC 3339 with milliseconds): texts of this form sort as they follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(String);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let now = SystemTime::now();
        Self(humantime::format_rfc3339_millis(now).to_string())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_sort_as_they_follow_each_other() {
        let before = Moment("2026-01-31T23:59:59.999Z".to_owned());
        let after = Moment("2026-02-01T00:00:00.000Z".to_owned());
        assert!(before < after);
        assert_eq!(Moment::now().to_string().len(), before.to_string().len());
    }
}
