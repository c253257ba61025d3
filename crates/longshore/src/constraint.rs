//! Whether this machine is what a job asks for.

mod version;

use std::cmp::Ordering;

use nomad_jobspec::{
    interpolate,
    job::{Constraint, Operator},
};
use regex::bytes::{Regex, RegexBuilder};

use self::version::{Prereleases, meets};

/// Why a constraint does not hold; `None` where it does. `resolve` knows attributes of the node.
pub(crate) fn unmet(constraint: &Constraint, resolve: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let Constraint { attribute, operator, value } = constraint;
    let left = Some(interpolate(attribute, resolve)).filter(|text| !text.contains("${"));
    let right = interpolate(value, resolve);
    let asked = || match operator {
        Operator::IsSet | Operator::IsNotSet => format!("constraint {attribute} {}", operator.name()),
        _ => format!("constraint {attribute} {} {right:?}", operator.name()),
    };
    match holds(*operator, left.as_deref(), &right) {
        Ok(true) => None,
        Ok(false) => {
            let found = left.map_or_else(|| "unknown".to_owned(), |left| format!("{left:?} here"));
            Some(format!("{} is not met: it is {found}", asked()))
        }
        Err(error) => Some(format!("{}: {error}", asked())),
    }
}

/// What no machine can meet, since it cannot be read.
pub(crate) fn malformed(constraint: &Constraint) -> Option<String> {
    let Constraint { attribute, operator, value } = constraint;
    // What is known only on a machine is judged there.
    let judged = !value.contains("${");
    let error = judged.then(|| holds(*operator, Some("1.0.0"), value).err()).flatten()?;
    Some(format!("constraint {attribute} {} {value:?}: {error}", operator.name()))
}

fn holds(operator: Operator, left: Option<&str>, right: &str) -> Result<bool, String> {
    let Some(left) = left else {
        return Ok(matches!(operator, Operator::IsNotSet | Operator::NotEqual));
    };
    let items = |text: &str| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
    Ok(match operator {
        Operator::IsSet => true,
        Operator::IsNotSet => false,
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Less => order(left, right) == Ordering::Less,
        Operator::LessOrEqual => order(left, right) != Ordering::Greater,
        Operator::Greater => order(left, right) == Ordering::Greater,
        Operator::GreaterOrEqual => order(left, right) != Ordering::Less,
        Operator::Regexp => regexp(right)?.is_match(left.as_bytes()),
        Operator::Version => meets(left, right, Prereleases::OnlyWhereNamed)?,
        Operator::Semver => meets(left, right, Prereleases::InOrder)?,
        Operator::ContainsAll => items(right).iter().all(|item| items(left).contains(item)),
        Operator::ContainsAny => items(right).iter().any(|item| items(left).contains(item)),
    })
}

/// Nomad's expressions are RE2's, whose classes are ASCII.
fn regexp(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).unicode(false).build();
    built.map_err(|error| format!("invalid regular expression: {error}"))
}

/// Numbers by size, all else by letters.
fn order(left: &str, right: &str) -> Ordering {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
        _ => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraint(attribute: &str, operator: &str, value: &str) -> Constraint {
        let operator = Operator::named(operator).unwrap();
        Constraint { attribute: attribute.into(), operator, value: value.into() }
    }

    fn holds(attribute: &str, operator: &str, value: &str) -> bool {
        let resolve = |name: &str| match name {
            "attr.driver.docker.version" => Some("20.10.24+dfsg1".to_owned()),
            "attr.cpu.numcores" => Some("8".to_owned()),
            "attr.driver.docker.runtimes" => Some("io.containerd.runc.v2,runc".to_owned()),
            _ => None,
        };
        unmet(&constraint(attribute, operator, value), &resolve).is_none()
    }

    #[test]
    fn versions_numbers_and_sets_are_compared_as_such() {
        let docker = "${attr.driver.docker.version}";
        assert!(holds(docker, "version", ">= 20.9, < 21") && holds(docker, "semver", "> 20.10.2"));
        assert!(!holds(docker, "version", ">= 26"));
        assert!(holds("${attr.cpu.numcores}", ">=", "4") && holds("${attr.cpu.numcores}", "<", "10.0"));
        assert!(holds("${attr.driver.docker.runtimes}", "set_contains", "runc"));
        assert!(!holds("${attr.driver.docker.runtimes}", "set_contains_all", "runc,kata"));
        assert!(holds("${attr.driver.docker.runtimes}", "set_contains_any", "kata, runc"));
        assert!(!holds("${attr.driver.docker.runtimes}", "set_contains_any", "kata,runsc"));
    }

    #[test]
    fn an_expression_matches_anywhere() {
        let docker = "${attr.driver.docker.version}";
        assert!(holds(docker, "regexp", "^2\\d\\.10") && holds(docker, "regexp", "DFSG|dfsg"));
        assert!(!holds(docker, "regexp", "^1\\d\\."));
    }

    #[test]
    fn what_is_not_known_is_not_set() {
        assert!(holds("${attr.gpu}", "is_not_set", "") && holds("${attr.gpu}", "!=", "x"));
        assert!(!holds("${attr.gpu}", "=", "x") && !holds("${attr.gpu}", "is_set", ""));
        assert!(!holds("${attr.gpu}", "regexp", ".*") && !holds("${attr.gpu}", "version", "> 0"));
        let message = unmet(&constraint("${attr.gpu}", "==", "x"), &|_| None).unwrap();
        assert_eq!(message, "constraint ${attr.gpu} = \"x\" is not met: it is unknown");
    }

    #[test]
    fn what_cannot_be_read_is_reported_before_a_machine_is_asked() {
        let message = |operator, value| malformed(&constraint("${attr.x}", operator, value)).unwrap_or_default();
        assert!(message("regexp", "(").contains("constraint ${attr.x} regexp \"(\": invalid regular expression"));
        assert_eq!(
            message("version", "about 3"),
            "constraint ${attr.x} version \"about 3\": \"about 3\" is not a version"
        );
        assert_eq!((message("version", ">= 3").as_str(), message("=", "about 3").as_str()), ("", ""));
    }
}
