//! What is asked of an engine: a method and a route, without what differs from one request to the next.

use std::fmt;

use hyper::Method;

/// A call by its method and route, such as `POST /containers/ID/start`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(String);

impl Call {
    /// The call of a request, whose path may begin with the API's version.
    pub fn of(method: &Method, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && !is_version(part)).collect();
        let words = match parts.as_slice() {
            ["images", "json" | "create" | "load" | "get" | "prune"] | ["containers", "json" | "create" | "prune"] => {
                parts
            }
            // A name of an image has parts of its own.
            ["images", .., last @ ("json" | "tag" | "push" | "history")] => vec!["images", "NAME", last],
            ["distribution", .., last] => vec!["distribution", "NAME", last],
            ["images", _, ..] => vec!["images", "NAME"],
            [kind @ ("containers" | "exec" | "networks" | "volumes"), name, rest @ ..] if *name != "create" => {
                [&[*kind, "ID"], rest].concat()
            }
            _ => parts,
        };
        Self(format!("{method} /{}", words.join("/")))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it changes nothing.
    pub fn reads(&self) -> bool {
        self.0.starts_with("GET ") || self.0.starts_with("HEAD ")
    }

    /// Whether its answer ends only when one of both wants it.
    pub fn is_stream(&self) -> bool {
        let streams = ["GET /events", "GET /containers/ID/logs", "POST /exec/ID/start", "POST /containers/ID/attach"];
        streams.contains(&self.as_str())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_route_are_one() {
        let calls = [
            (Method::GET, "/v1.41/containers/0a1b/json", "GET /containers/ID/json"),
            (Method::GET, "/containers/json", "GET /containers/json"),
            (Method::POST, "/v1.41/containers/create", "POST /containers/create"),
            (Method::DELETE, "/v1.41/containers/web-6cf1", "DELETE /containers/ID"),
            (Method::GET, "/v1.41/images/registry:5000/v1/app:1/json", "GET /images/NAME/json"),
            (Method::DELETE, "/v1.41/images/app:1", "DELETE /images/NAME"),
            (Method::POST, "/v1.41/images/create", "POST /images/create"),
            (Method::POST, "/v1.41/exec/0a1b/start", "POST /exec/ID/start"),
            (Method::POST, "/v1.41/networks/web/connect", "POST /networks/ID/connect"),
            (Method::GET, "/_ping", "GET /_ping"),
        ];

        for (method, path, expected) in calls {
            assert_eq!(Call::of(&method, path).as_str(), expected);
        }
    }
}
