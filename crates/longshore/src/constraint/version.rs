//! Versions and what is asked of them: `>= 1.2, < 2`.

use std::cmp::Ordering;

/// What a pre-release, such as `1.6.0-beta.1`, meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prereleases {
    /// Only what names a pre-release of the same version.
    OnlyWhereNamed,
    /// What its place in the order meets; there is no `~>` then.
    InOrder,
}

/// Whether a version meets all that is asked. What is asked must be readable; a version that is not meets nothing.
pub(super) fn meets(version: &str, asked: &str, prereleases: Prereleases) -> Result<bool, String> {
    let mut met = true;
    for part in asked.split(',').map(str::trim) {
        let operator = part.trim_end_matches(|c: char| !matches!(c, '<' | '>' | '=' | '~' | '!'));
        let wanted =
            Version::parse(part[operator.len()..].trim()).ok_or_else(|| format!("{part:?} is not a version"))?;
        let known = match operator {
            "" | "=" | "!=" | ">" | ">=" | "<" | "<=" => true,
            "~>" => prereleases == Prereleases::OnlyWhereNamed,
            _ => false,
        };
        if !known {
            return Err(format!("unknown operator {operator:?} of a version"));
        }
        met &= Version::parse(version).is_some_and(|version| version.meets(operator, &wanted, prereleases));
    }
    Ok(met)
}

#[derive(Debug, PartialEq, Eq)]
struct Version {
    /// 1, 2 and 3 of `v1.2.3-beta+build`.
    numbers: Vec<u64>,
    /// Its parts between dots.
    prerelease: Vec<String>,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _build)| version);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, prerelease) = text.split_at(end);
        let numbers = numbers.trim_end_matches('.').split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let prerelease = prerelease.trim_start_matches(['-', '~']);
        let parts = prerelease.split('.').filter(|part| !part.is_empty());
        let plain = prerelease.chars().all(|c| c.is_ascii_alphanumeric() || "-.~".contains(c));
        plain.then(|| Self { numbers, prerelease: parts.map(str::to_owned).collect() })
    }

    fn at(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or_default()
    }

    fn order_of_numbers(&self, other: &Self) -> Ordering {
        let longest = self.numbers.len().max(other.numbers.len());
        let order = (0..longest).map(|index| self.at(index).cmp(&other.at(index))).find(|order| order.is_ne());
        order.unwrap_or(Ordering::Equal)
    }

    /// A release comes after its pre-releases; of those numbers come before words.
    fn order(&self, other: &Self) -> Ordering {
        let of_prereleases = || match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                self.prerelease.iter().map(|part| key(part)).cmp(other.prerelease.iter().map(|part| key(part)))
            }
        };
        self.order_of_numbers(other).then_with(of_prereleases)
    }

    fn meets(&self, operator: &str, wanted: &Self, prereleases: Prereleases) -> bool {
        let order = self.order(wanted);
        let admitted = match (self.prerelease.is_empty(), wanted.prerelease.is_empty()) {
            (true, _) => true,
            (false, true) => prereleases == Prereleases::InOrder,
            (false, false) => prereleases == Prereleases::InOrder || self.order_of_numbers(wanted).is_eq(),
        };
        match operator {
            "" | "=" => order.is_eq(),
            "!=" => order.is_ne(),
            ">" => admitted && order.is_gt(),
            ">=" => admitted && order.is_ge(),
            "<" => admitted && order.is_lt(),
            "<=" => admitted && order.is_le(),
            // The last number that is named may grow.
            "~>" => {
                let fixed = wanted.numbers.len().saturating_sub(1);
                admitted && order.is_ge() && (0..fixed).all(|index| self.at(index) == wanted.at(index))
            }
            _ => false,
        }
    }
}

/// Numbers before words, each in its own order.
fn key(part: &str) -> (bool, u64, &str) {
    match part.parse() {
        Ok(number) => (false, number, ""),
        Err(_) => (true, 0, part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: &str, asked: &str) -> bool {
        meets(version, asked, Prereleases::OnlyWhereNamed).unwrap()
    }

    fn semver(version: &str, asked: &str) -> bool {
        meets(version, asked, Prereleases::InOrder).unwrap()
    }

    #[test]
    fn numbers_are_compared_one_by_one() {
        assert!(version("1.2", "= 1.2.0") && version("v1.10.0", "> 1.9") && version("1.2.3", "!= 1.2"));
        assert!(version("20.10.24+dfsg1", "~> 20.10") && version("1.9.1", "~> 1.2, < 2"));
        assert!(!version("2.0", "~> 1.2") && !version("1.3.0", "~> 1.2.1"));
        assert!(!version("five", "> 0"));
    }

    #[test]
    fn a_prerelease_meets_what_names_one_or_comes_in_order() {
        assert!(!version("1.6.0-beta.1", ">= 1.0") && version("1.6.0-beta.2", ">= 1.6.0-beta.1"));
        assert!(!version("1.7.0-beta", "> 1.6.0-beta"));
        assert!(semver("1.6.0-beta.1", ">= 1.0") && semver("1.6.0-beta.11", "> 1.6.0-beta.2"));
        assert!(semver("1.6.0-rc.1", "< 1.6.0") && semver("1.0.0-alpha", "> 1.0.0-1"));
        assert_eq!(meets("1.0.0", "~> 1.0", Prereleases::InOrder), Err("unknown operator \"~>\" of a version".into()));
    }
}
