//! What became of all cases, as a person reads it.

use std::{collections::BTreeMap, fmt::Write};

use conformance::fault_proxy::Fault;

use super::{
    case::{Case, Life},
    finding::Outcome,
    known::{KNOWN, Known},
};

/// What became of the cases that were played.
#[derive(Default)]
pub(crate) struct Table(Vec<(Case, Outcome)>);

/// The counts of a row.
#[derive(Default)]
struct Row {
    cases: usize,
    passed: usize,
    known: usize,
    not_met: usize,
}

impl Table {
    pub(crate) fn add(&mut self, case: Case, outcome: Outcome) {
        self.0.push((case, outcome));
    }

    /// The cases that fail in a way that is not known.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = self.0.iter().filter(|(case, outcome)| !is_known(case, outcome));
        failed.map(|(case, _)| case.to_string()).collect()
    }

    /// What is known to fail and does not.
    pub(crate) fn outdated(&self) -> Vec<&'static Known> {
        let fails = |known: &&Known| {
            self.0.iter().any(|(case, outcome)| outcome.findings.iter().any(|finding| known.is(case, finding)))
        };
        KNOWN.iter().filter(|known| !fails(known)).collect()
    }

    /// The counts by life and fault.
    pub(crate) fn show(&self) -> String {
        let mut rows = BTreeMap::<(Life, Fault), Row>::new();
        for (case, outcome) in &self.0 {
            let row = rows.entry((case.life, case.plan.fault)).or_default();
            row.cases += 1;
            row.passed += usize::from(outcome.findings.is_empty());
            row.known += usize::from(!outcome.findings.is_empty() && is_known(case, outcome));
            row.not_met += usize::from(!outcome.met);
        }
        let mut shown =
            String::from("| life | fault | cases | passed | known | not met |\n|---|---|---|---|---|---|\n");
        for ((life, fault), Row { cases, passed, known, not_met }) in rows {
            let _infallible = writeln!(shown, "| {life} | {fault} | {cases} | {passed} | {known} | {not_met} |");
        }
        let all = self.0.len();
        let passed = self.0.iter().filter(|(_, outcome)| outcome.findings.is_empty()).count();
        let _infallible = writeln!(shown, "\n{all} cases, {passed} passed");
        shown
    }
}

/// What became of one case.
pub(crate) fn describe(case: &Case, outcome: &Outcome) -> String {
    let words = if outcome.findings.is_empty() { "passed" } else { "FAILED" };
    let not_met = if outcome.met { "" } else { ", and the call did not come" };
    let mut shown = format!("{words}{not_met} ({:.0?}) {case}", outcome.took);
    for finding in &outcome.findings {
        let known = KNOWN.iter().find(|known| known.is(case, finding)).map_or("", |known| known.because);
        let _infallible = write!(shown, "\n    {}: {} {known}", finding.question, short(&finding.text));
    }
    for remark in &outcome.remarks {
        let _infallible = write!(shown, "\n    ({})", short(remark));
    }
    shown
}

fn is_known(case: &Case, outcome: &Outcome) -> bool {
    outcome.findings.iter().all(|finding| KNOWN.iter().any(|known| known.is(case, finding)))
}

fn short(text: &str) -> String {
    text.chars().take(400).collect()
}
