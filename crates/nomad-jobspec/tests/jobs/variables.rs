//! Variables, their types and where their values come from.

use crate::{env, errors, read, task};

#[test]
fn the_command_line_wins_over_files_and_files_over_defaults() {
    let text = format!(
        "variable \"a\" {{ default = \"1\" }}\nvariable \"b\" {{ default = \"1\" }}\nvariable \"c\" {{ type = list(string) }}\n{}",
        task("env {\n A = var.a\n B = var.b\n C = join(\"-\", var.c)\n }")
    );
    let parsed = read(&text, &[("b", "3"), ("c", "[\"x\", \"y\"]")], Some("a = \"2\"\nb = \"2\"\n"));
    let env = parsed.unwrap_or_else(|error| panic!("{error}")).job.groups[0].tasks[0].env.clone();

    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), ["2", "3", "x-y"]);
}

#[test]
fn a_variables_value_is_converted_to_its_type_or_refused() {
    let text = |ty: &str, value: &str| {
        format!("variable \"v\" {{\n type = {ty}\n default = {value}\n}}\n{}", task("env { A = jsonencode(var.v) }"))
    };
    for (ty, value, expected) in [
        ("list(string)", "[1, true]", "[\"1\",\"true\"]"),
        ("set(number)", "[\"1\", 1, 2]", "[1,2]"),
        ("map(bool)", "{ a = \"true\" }", "{\"a\":true}"),
        ("tuple([string, number])", "[1, \"2\"]", "[\"1\",2]"),
        ("object({ a = string, b = optional(number) })", "{ a = 1, c = 2 }", "{\"a\":\"1\",\"b\":null}"),
        ("list(object({ a = number }))", "[{ a = \"1\" }]", "[{\"a\":1}]"),
    ] {
        assert_eq!(env(&text(ty, value))["A"], expected, "{ty}");
    }

    for (ty, value, expected) in [
        ("number", "\"many\"", "variable \"v\": a number is needed, this is \"many\""),
        ("object({ a = string })", "{}", "variable \"v\": attribute \"a\" is required"),
        ("tuple([string])", "[]", "variable \"v\": a list of 1 elements is needed"),
        ("list(thing)", "[]", "unknown type of variable \"v\""),
    ] {
        let message = errors(&text(ty, value));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_variables_validation_is_held() {
    let text = format!(
        r#"variable "count" {{
          type    = number
          default = 1
          colour  = "red"
          validation {{
            condition     = var.count > 0 && var.count < 5
            error_message = "From 1 to 4."
          }}
        }}
        {}"#,
        task("env { A = var.count }")
    );
    let right = text.replace("colour  = \"red\"", "");

    let unknown = errors(&text);
    let refused = read(&right, &[("count", "7")], None).unwrap_err().to_string();

    assert!(unknown.contains("unsupported argument \"colour\" of a variable"), "{unknown}");
    assert!(refused.contains("variable \"count\" is 7, which its validation refuses"), "{refused}");
    assert!(refused.contains("From 1 to 4."), "{refused}");
    assert_eq!(env(&right)["A"], "1");
}
