//! The table of settings, and how a name finds its row.

use super::sections;
use super::setting::Setting;

/// Every setting, section by section.
pub static SETTINGS: &[&[Setting]] = &[
    sections::NETWORK,
    sections::STORAGE,
    sections::COMPACTION,
    sections::AUTH,
    sections::TLS,
    sections::METRICS,
    sections::LIMITS,
    sections::LOG,
    sections::SERVER,
    sections::REPLICATION,
    sections::CLUSTER,
    sections::HOOKS,
    sections::FENCE,
];

/// Every setting.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().flatten()
}

/// The setting of this key, in either spelling.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key || setting.also == Some(key))
}

/// The known name that is most like `name`, if one is like it at all.
pub(super) fn closest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 8)
        .min()
        .map(|(_, candidate)| candidate)
}
