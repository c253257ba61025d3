//! What is wrong with a file, and where: all of it at once, each with the source and a pointer.

use std::{fmt, ops::Range, sync::Arc};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::Source;

/// So many problems are shown, and counted beyond.
const MOST_SHOWN: usize = 50;
/// The longest excerpt, in bytes.
const LONGEST_SHOWN: usize = 4096;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, in a sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the file; `None` where it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span), hint: None }
    }

    /// A problem of the file as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, hint: None }
    }

    /// The problem with advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The problem with its place in its text, both cut to what a person reads.
    fn without_excerpt(&self, source: &NamedSource<String>) -> Self {
        let clipped = |text: &str| match text.char_indices().nth(LONGEST_SHOWN / 4) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        };
        let place = self.span.as_ref().and_then(|span| source.inner().get(..span.start)).map(|before| {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
            format!(" at {}:{line}:{column}", source.name())
        });
        let message = clipped(&self.message) + &place.unwrap_or_default();
        Self { message, span: None, hint: self.hint.as_deref().map(clipped) }
    }
}

/// All that is wrong with a file.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Arc<NamedSource<String>>,
    /// In order of appearance.
    pub problems: Vec<Problem>,
}

impl Diagnostics {
    /// Problems of a file.
    pub fn new(source: &Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        Self { source: Arc::new(NamedSource::new(&source.name, source.text.clone())), problems }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(120);
        for problem in self.problems.iter().take(MOST_SHOWN) {
            let mut report = String::new();
            handler.render_report(&mut report, &Shown { problem, source: &self.source })?;
            // A line without end is no excerpt.
            if report.len() > LONGEST_SHOWN {
                report.clear();
                let problem = &problem.without_excerpt(&self.source);
                handler.render_report(&mut report, &Shown { problem, source: &self.source })?;
            }
            f.write_str(&report)?;
        }
        match self.problems.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  ... and {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

struct Shown<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref().map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(Some("here".to_owned()), span.start, span.len()))))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }
}
