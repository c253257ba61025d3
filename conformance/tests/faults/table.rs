//! What became of all cases, as a person reads it.

use std::fmt::Write;

use conformance::fault_proxy::Fault;

use super::{
    case::{Case, Life},
    finding::Outcome,
};

/// What became of the cases that were played.
#[derive(Default)]
pub(crate) struct Table(Vec<(Case, Outcome)>);

impl Table {
    pub(crate) fn add(&mut self, case: Case, outcome: Outcome) {
        self.0.push((case, outcome));
    }

    /// The cases that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = self.0.iter().filter(|(_, outcome)| !outcome.findings.is_empty());
        failed.map(|(case, _)| case.to_string()).collect()
    }

    /// How many cases passed of how many, by fault and life.
    pub(crate) fn show(&self) -> String {
        let row = |name: String, cells: Vec<String>| format!("| {name} | {} |\n", cells.join(" | "));
        let mut rows = row("fault".to_owned(), Life::ALL.map(|life| life.to_string()).to_vec());
        rows += &row("---".to_owned(), vec!["---".to_owned(); Life::ALL.len()]);
        for fault in Fault::ALL {
            let cell = |life| {
                let (passed, all) = self.count(|case| case.life == life && case.plan.fault == fault);
                format!("{passed} of {all}")
            };
            rows += &row(fault.to_string(), Life::ALL.map(cell).to_vec());
        }
        let (passed, all) = self.count(|_| true);
        let not_met = self.0.iter().filter(|(_, outcome)| !outcome.met).count();
        rows + &format!("\n{passed} of {all} cases passed; in {not_met} the call did not come that gets the fault\n")
    }

    fn count(&self, is_meant: impl Fn(&Case) -> bool) -> (usize, usize) {
        let meant: Vec<_> = self.0.iter().filter(|(case, _)| is_meant(case)).collect();
        (meant.iter().filter(|(_, outcome)| outcome.findings.is_empty()).count(), meant.len())
    }
}

/// What became of one case.
pub(crate) fn describe(case: &Case, outcome: &Outcome) -> String {
    let words = if outcome.findings.is_empty() { "passed" } else { "FAILED" };
    let not_met = if outcome.met { "" } else { ", and the call did not come" };
    let mut shown = format!("{words}{not_met} ({:.0?}) {case}", outcome.took);
    for finding in &outcome.findings {
        let _infallible = write!(shown, "\n    {}: {}", finding.question, short(&finding.text));
    }
    for remark in &outcome.remarks {
        let _infallible = write!(shown, "\n    ({})", short(remark));
    }
    shown
}

fn short(text: &str) -> String {
    text.chars().take(400).collect()
}
