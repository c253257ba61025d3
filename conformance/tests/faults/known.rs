//! What fails, and is known to: an entry whose cases all pass is itself a failure, so that the list only becomes shorter.

use conformance::fault_proxy::Fault;

use super::{
    case::Case,
    finding::{Finding, Question},
};

/// Cases that fail in one way.
#[derive(Debug)]
pub(crate) struct Known {
    /// Why.
    pub(crate) because: &'static str,
    pub(crate) phases: &'static [&'static str],
    /// What the call begins with.
    pub(crate) calls: &'static [&'static str],
    pub(crate) faults: &'static [Fault],
    pub(crate) questions: &'static [Question],
}

/// All of them. An empty list of conditions is none.
pub(crate) const KNOWN: &[Known] = &[Known {
    because: "an image is not the driver's whose pull has not answered to its end",
    phases: &["start"],
    calls: &["POST /images/create"],
    questions: &[Question::Left],
    ..ANY
}];

/// All cases.
const ANY: Known = Known { because: "", phases: &[], calls: &[], faults: &[], questions: &[] };

impl Known {
    /// Whether a finding of a case is among those.
    pub(crate) fn is(&self, case: &Case, finding: &Finding) -> bool {
        let plan = &case.plan;
        any(self.phases, &plan.phase)
            && (self.calls.is_empty() || self.calls.iter().any(|call| plan.call.as_str().starts_with(call)))
            && any(self.faults, &plan.fault)
            && any(self.questions, &finding.question)
    }
}

fn any<T: PartialEq>(conditions: &[T], value: &T) -> bool {
    conditions.is_empty() || conditions.contains(value)
}
