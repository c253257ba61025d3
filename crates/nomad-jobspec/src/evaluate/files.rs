//! Functions that ask for files: `file`, `filebase64`, `fileexists`, `fileset`.
//!
//! The evaluator calls plain functions only, which know no files. So a function leaves its question, the evaluation
//! fails, the question is answered, and the expression is evaluated once more.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
};

use hcl::eval::{Context, Evaluate, FuncArgs, FuncDef, ParamType};

use super::functions::{Answer, Named, base64};
use crate::{Files, body::Value};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Text(String),
    Base64(String),
    Exists(String),
    List(String, String),
}

thread_local! {
    static ANSWERS: RefCell<BTreeMap<Question, Answer>> = RefCell::default();
    static OPEN: Cell<Option<Question>> = Cell::default();
}

/// Makes the functions callable.
pub(super) fn declare(context: &mut Context<'_>) {
    let one: [Named; 3] = [
        ("file", |args| ask(Question::Text(text(&args, 0)))),
        ("filebase64", |args| ask(Question::Base64(text(&args, 0)))),
        ("fileexists", |args| ask(Question::Exists(text(&args, 0)))),
    ];
    for (name, func) in one {
        context.declare_func(name, FuncDef::new(func, [ParamType::String]));
    }
    let list = |args: FuncArgs| ask(Question::List(text(&args, 0), text(&args, 1)));
    context.declare_func("fileset", FuncDef::new(list, [ParamType::String, ParamType::String]));
}

/// An expression's value, with its questions answered.
pub(super) fn evaluate(
    expression: &hcl::Expression,
    context: &Context<'_>,
    files: &dyn Files,
) -> Result<Value, hcl::eval::Error> {
    ANSWERS.take();
    loop {
        let value = expression.evaluate(context);
        let Some(question) = OPEN.take() else { return value };
        let answer = question.answer(files);
        ANSWERS.with_borrow_mut(|answers| answers.insert(question, answer));
    }
}

fn text(args: &FuncArgs, index: usize) -> String {
    args.get(index).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn ask(question: Question) -> Answer {
    ANSWERS.with_borrow(|answers| answers.get(&question).cloned()).unwrap_or_else(|| {
        OPEN.set(Some(question));
        Err("it is not read yet".to_owned())
    })
}

impl Question {
    fn answer(&self, files: &dyn Files) -> Answer {
        let read = |path: &str| files.read(Path::new(path));
        match self {
            Self::Text(path) => read(path).map(Value::from),
            Self::Base64(path) => read(path).map(|text| base64(text.as_bytes()).into()),
            Self::Exists(path) => Ok(read(path).is_ok().into()),
            Self::List(directory, pattern) => {
                let found = files.list(Path::new(directory), pattern)?;
                Ok(found.into_iter().map(Value::from).collect())
            }
        }
    }
}
