//! Whether this machine is what a job asks for.

use std::cmp::Ordering;

use nomad_jobspec::{interpolate, job::Constraint};

/// Why a constraint does not hold; `None` where it does. `resolve` knows attributes of the node.
pub(crate) fn unmet(constraint: &Constraint, resolve: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let Constraint { attribute, operator, value } = constraint;
    let is_set = interpolate(attribute, resolve);
    let left = Some(is_set).filter(|text| !text.contains("${"));
    let right = interpolate(value, resolve);
    let holds = match (operator.as_str(), &left) {
        // On one machine every instance is on the same one.
        ("distinct_hosts", _) => right != "true",
        ("is_set", left) => left.is_some(),
        ("is_not_set", left) => left.is_none(),
        ("!=" | "not", None) => true,
        (_, None) => false,
        ("=" | "==" | "is", Some(left)) => *left == right,
        ("!=" | "not", Some(left)) => *left != right,
        ("<", Some(left)) => order(left, &right) == Ordering::Less,
        ("<=", Some(left)) => order(left, &right) != Ordering::Greater,
        (">", Some(left)) => order(left, &right) == Ordering::Greater,
        (">=", Some(left)) => order(left, &right) != Ordering::Less,
        ("version" | "semver", Some(left)) => right.split(',').all(|part| version(left, part.trim())),
        ("set_contains" | "set_contains_all", Some(left)) => {
            right.split(',').all(|item| left.split(',').any(|known| known.trim() == item.trim()))
        }
        ("set_contains_any", Some(left)) => {
            right.split(',').any(|item| left.split(',').any(|known| known.trim() == item.trim()))
        }
        ("regexp", _) => return Some("the operator \"regexp\" is not supported yet on one machine".to_owned()),
        (other, _) => return Some(format!("unknown operator {other:?} in a constraint")),
    };
    (!holds).then(|| {
        let found = left.map_or_else(|| "not known here".to_owned(), |left| format!("{left:?} here"));
        format!("constraint {attribute} {operator} {right:?} is not met: it is {found}")
    })
}

/// Numbers by size, all else by letters.
fn order(left: &str, right: &str) -> Ordering {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
        _ => left.cmp(right),
    }
}

/// `>= 1.2`, `~> 1.2`, `= 1.2.3` and so on.
fn version(left: &str, constraint: &str) -> bool {
    let operator = constraint.trim_end_matches(|c: char| !matches!(c, '<' | '>' | '=' | '~' | '!'));
    let right = constraint[operator.len()..].trim();
    let parts = |text: &str| -> Vec<u64> {
        let core = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        core.split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    let (left, wanted) = (parts(left), parts(right));
    let at = |parts: &[u64], index: usize| parts.get(index).copied().unwrap_or_default();
    let longest = left.len().max(wanted.len());
    let order = (0..longest).map(|index| at(&left, index).cmp(&at(&wanted, index))).find(|order| order.is_ne());
    let order = order.unwrap_or(Ordering::Equal);
    match operator {
        "" | "=" => order.is_eq(),
        "!=" => order.is_ne(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        // The last part that is named may grow.
        "~>" => {
            order.is_ge() && (0..wanted.len().saturating_sub(1)).all(|index| at(&left, index) == at(&wanted, index))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(attribute: &str, operator: &str, value: &str) -> bool {
        let resolve = |name: &str| match name {
            "attr.driver.docker.version" => Some("20.10.24+dfsg1".to_owned()),
            "attr.cpu.numcores" => Some("8".to_owned()),
            "attr.driver.docker.runtimes" => Some("io.containerd.runc.v2,runc".to_owned()),
            _ => None,
        };
        let constraint = Constraint { attribute: attribute.into(), operator: operator.into(), value: value.into() };
        unmet(&constraint, &resolve).is_none()
    }

    #[test]
    fn versions_numbers_and_sets_are_compared_as_such() {
        let docker = "${attr.driver.docker.version}";
        assert!(holds(docker, "version", ">= 20.9, < 21") && holds(docker, "version", "~> 20.10"));
        assert!(!holds(docker, "version", ">= 26") && !holds(docker, "version", "~> 20.9.1"));
        assert!(holds("${attr.cpu.numcores}", ">=", "4") && holds("${attr.cpu.numcores}", "<", "10.0"));
        assert!(holds("${attr.driver.docker.runtimes}", "set_contains", "runc"));
        assert!(!holds("${attr.driver.docker.runtimes}", "set_contains_any", "kata,runsc"));
    }

    #[test]
    fn what_is_not_known_is_not_set() {
        assert!(holds("${attr.gpu}", "is_not_set", "") && holds("${attr.gpu}", "!=", "x"));
        assert!(!holds("${attr.gpu}", "=", "x") && !holds("${attr.gpu}", "is_set", ""));
        let constraint = Constraint { attribute: "${attr.gpu}".into(), operator: "=".into(), value: "x".into() };
        let told = unmet(&constraint, &|_| None).unwrap();
        assert_eq!(told, "constraint ${attr.gpu} = \"x\" is not met: it is not known here");
    }
}
