//! What functions answer.

use crate::{env, errors, task};

#[test]
fn functions_give_what_their_names_promise() {
    let env = env(&task(
        r#"env {
          A = trimspace(file("motd.txt"))
          B = uuidv4()
          C = join(",", sort(fileset(".", "*.txt")))
          D = format("%s-%03d-%.1f%%", "x", 7, 2.5)
          E = jsonencode({ a = [1, true, null] })
          F = base64encode("hi")
          G = replace(upper("a.b"), ".", "_")
          H = join(" ", [for name in ["x", "y"] : "${name}!"])
          I = length(concat([1], [2, 3])) > 2 ? "many" : "few"
          J = lookup({ a = "1" }, "b", "none")
          K = join(",", keys(merge({ a = 1 }, { b = 2 })))
          L = element(split("/", "a/b/c"), 4)
          M = substr("hello", 1, 3)
          N = tostring(max(1, 5, 3))
          O = coalesce("", "first")
          P = jsondecode("{\"k\": \"v\"}").k
        }"#,
    ));

    let expected = [
        "hello",
        "00000000-1111",
        "motd.txt,other.txt",
        "x-007-2.5%",
        "{\"a\":[1,true,null]}",
        "aGk=",
        "A_B",
        "x! y!",
        "many",
        "none",
        "a,b",
        "b",
        "ell",
        "5",
        "first",
        "v",
    ];
    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn additional_functions_give_what_their_names_promise() {
    let env = env(&task(
        r#"env {
          A = jsonencode([slice(["a", "b", "c"], 1, 3), index(["a", "b"], "b"), pow(2, 10), parseint("ff", 16)])
          B = jsonencode([setunion(["b", "a"], ["b"]), setintersection(["a", "b"], ["b"]), setsubtract(["a", "b"], ["b"])])
          C = jsonencode([range(3), range(3, 1), range(0, 10, 4), range(9223372036854775806, 9223372036854775807, 5)])
          D = format("%05d|%-4s|%4s|%d|%q", -42, "x", "y", 9007199254740993, "z")
          E = tostring(tonumber("9007199254740993"))
          F = jsonencode([sum([1, 2]), alltrue([true, false]), anytrue([true, false]), signum(-3)])
          G = title("one two")
          H = indent(2, "a\nb")
          I = join(",", split("", "abc"))
        }"#,
    ));

    let expected = [
        r#"[["b","c"],1,1024,255]"#,
        r#"[["a","b"],["b"],["a"]]"#,
        "[[0,1,2],[3,2],[0,4,8],[9223372036854775806]]",
        r#"-0042|x   |   y|9007199254740993|"z""#,
        "9007199254740993",
        "[3,false,true,-1]",
        "One Two",
        "a\n  b",
        "a,b,c",
    ];
    assert_eq!(env.values().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_function_that_cannot_answer_says_why_at_its_call() {
    for (call, expected) in [
        ("indent(9223372036854775807, \"x\")", "the indent must be from 0 to 1024"),
        ("format(\"%99999999999d\", 1)", "no width above 1024"),
        ("range(0, 5, 0)", "the step leads away from the end"),
        ("range(5000)", "more than 1024 numbers"),
        ("lookup({}, \"b\")", "there is no \"b\", and no default is given"),
        ("file(\"absent\")", "no file exists at absent"),
        ("nothing()", "undefined function `nothing`"),
        ("parseint(\"12\", 1)", "a base is from 2 to 36"),
    ] {
        let message = errors(&task(&format!("env {{\n A = [\"x\", {call}][1]\n }}")));
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("test.nomad.hcl:6:12"), "{message}");
    }
}

#[test]
fn files_are_read_wherever_an_expression_asks_for_them() {
    let text = task(
        "env {\n ALL = jsonencode({ for path in fileset(\".\", \"*.txt\") : path => trimspace(file(path)) })\n \
         WHICH = fileexists(\"none.txt\") ? file(\"none.txt\") : file(\"other.txt\")\n }",
    );

    let env = env(&text);

    assert_eq!(env["ALL"], "{\"motd.txt\":\"hello\",\"other.txt\":\"x\"}");
    assert_eq!(env["WHICH"], "x");
}
