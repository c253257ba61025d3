//! Files made of templates before a task starts.

mod functions;
mod in_task;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use beneath::{Beneath, Links};
use nomad_jobspec::{Problem, interpolate, job::Template};
use rustix::fs::Mode;

use self::in_task::InTask;
use crate::alloc::dir::AllocDir;

/// More than any template's text has.
const MAX_SOURCE: u64 = 16 << 20;

const OUTSIDE: &str = "it leaves the task's directory";

/// What a task's templates may read and write.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) alloc: &'a AllocDir,
    pub(crate) task: &'a str,
    /// The job file's directory.
    pub(crate) job_dir: &'a Path,
}

/// Makes a template's file, and returns the variables that it adds to the environment.
pub(crate) fn make(
    template: &Template,
    places: Places<'_>,
    env: &BTreeMap<String, String>,
    resolve: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, String> {
    let destination = interpolate(&template.destination, resolve);
    let failed = |error: &dyn std::fmt::Display| format!("template for {destination:?}: {error}");
    let to = InTask::new(places.task, &destination).ok_or_else(|| failed(&OUTSIDE))?;
    let alloc = places.alloc.open().map_err(|error| failed(&error))?;
    let text = match (&template.data, &template.source) {
        (Some(data), _) => data.clone(),
        (None, source) => {
            let source = interpolate(source.as_deref().unwrap_or_default(), resolve);
            read(&source, places, &alloc)
                .map_err(|error| failed(&format!("failed to read source {source:?}: {error}")))?
        }
    };
    let text = render(&delimited(&text, template), env).map_err(|error| failed(&error))?;
    to.write(&alloc, &text, Mode::from_raw_mode(template.perms)).map_err(|error| failed(&error))?;
    Ok(if template.env { variables(&text) } else { BTreeMap::new() })
}

/// What is known to be wrong with a template's paths before its task starts.
pub(crate) fn misplaced(template: &Template, task: &str, job_dir: &Path) -> Vec<Problem> {
    let known = |path: &&str| !path.contains("${");
    let mut problems = Vec::new();
    if let Some(destination) = Some(template.destination.as_str()).filter(known)
        && InTask::new(task, destination).is_none()
    {
        let message = format!("template for {destination:?}: {OUTSIDE}");
        problems.push(Problem::at(template.destination_span.clone(), message));
    }
    if let Some(source) = template.source.as_deref().filter(known)
        && (Path::new(source).is_relative() || InTask::new(task, source).is_none())
        && let Err(error) = Beneath::open(job_dir).and_then(|dir| dir.resolve(Path::new(source), Links::Followed))
        && leads_out(&error)
    {
        let hint = "put the file beside the job file, or read it with file()";
        problems.push(Problem::at(template.source_span.clone(), outside(source, job_dir)).hint(hint));
    }
    problems
}

/// A source's text: from the allocation, or from the job file's directory.
fn read(source: &str, places: Places<'_>, alloc: &Beneath) -> Result<String, String> {
    let relative = Path::new(source).is_relative();
    if let Some(from) = InTask::new(places.task, source) {
        let found = alloc.below(&from.bound).and_then(|bound| bound.read(&from.path, Links::Followed));
        match found {
            Err(error) if relative && error.kind() == io::ErrorKind::NotFound => {}
            found => return found.and_then(text_of).map_err(|error| error.to_string()),
        }
    }
    let found = Beneath::open(places.job_dir).and_then(|dir| dir.read(Path::new(source), Links::Followed));
    found.and_then(text_of).map_err(|error| match error {
        error if leads_out(&error) => outside(source, places.job_dir),
        error => error.to_string(),
    })
}

/// Whether a path is refused, and not only missing or closed.
fn leads_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

fn outside(source: &str, job_dir: &Path) -> String {
    format!("{source:?} is outside of the job file's directory, {}, and of the allocation", job_dir.display())
}

fn text_of(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_SOURCE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SOURCE {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_SOURCE >> 20)));
    }
    Ok(text)
}

/// The text with the usual delimiters.
fn delimited(text: &str, template: &Template) -> String {
    let (left, right) = (template.left_delimiter.as_str(), template.right_delimiter.as_str());
    if (left, right) == ("{{", "}}") {
        return text.to_owned();
    }
    text.replace("{{", "\u{0}").replace(left, "{{").replace(right, "}}").replace('\u{0}', "{{\"{{\"}}")
}

fn render(text: &str, env: &BTreeMap<String, String>) -> Result<String, String> {
    let mut template = gtmpl::Template::default();
    functions::declare(&mut template, env);
    template.parse(text).map_err(|error| error.to_string())?;
    template.render(&gtmpl::Context::empty()).map_err(|error| error.to_string())
}

/// `NAME=value` lines; comments and empty lines are left out, quotes taken off.
fn variables(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (!line.starts_with('#')).then(|| (name.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::PathBuf,
    };

    use super::*;

    fn template(data: &str, destination: &str) -> Template {
        Template {
            data: Some(data.into()),
            source: None,
            destination: destination.into(),
            perms: 0o600,
            env: false,
            left_delimiter: "{{".into(),
            right_delimiter: "}}".into(),
            source_span: 0..0,
            destination_span: 0..0,
        }
    }

    /// An allocation with the tasks `web` and `other`, the job file's directory, and a secret of the host beside them.
    struct Directories(tempfile::TempDir);

    impl Directories {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            host.alloc().make(&["web".to_owned(), "other".to_owned()]).unwrap();
            fs::create_dir(host.job_dir()).unwrap();
            fs::write(host.secret(), "theirs").unwrap();
            host
        }

        fn alloc(&self) -> AllocDir {
            AllocDir::new(self.0.path(), "id")
        }

        fn at(&self, path: &str) -> PathBuf {
            self.alloc().path().join(path)
        }

        fn job_dir(&self) -> PathBuf {
            self.0.path().join("job")
        }

        fn secret(&self) -> PathBuf {
            self.0.path().join("secret")
        }

        fn make(&self, template: &Template) -> Result<BTreeMap<String, String>, String> {
            let env = [("NOMAD_PORT_http".to_owned(), "8080".to_owned())].into();
            let (alloc, job_dir) = (self.alloc(), self.job_dir());
            make(template, Places { alloc: &alloc, task: "web", job_dir: &job_dir }, &env, &|_| None)
        }

        /// What a source's text becomes, or why it is refused.
        fn sourced(&self, source: &str) -> Result<String, String> {
            self.make(&sourced(source))?;
            Ok(fs::read_to_string(self.at("web/local/page")).unwrap())
        }

        fn misplaced(&self, template: &Template) -> Vec<String> {
            misplaced(template, "web", &self.job_dir()).into_iter().map(|problem| problem.message).collect()
        }
    }

    fn sourced(source: &str) -> Template {
        Template { data: None, source: Some(source.into()), ..template("", "local/page") }
    }

    fn made(template: &Template) -> Result<(String, BTreeMap<String, String>), String> {
        let host = Directories::new();
        let added = host.make(template)?;
        let file = host.at("web/local/page");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, template.perms);
        Ok((fs::read_to_string(file).unwrap(), added))
    }

    #[test]
    fn the_environment_is_filled_in() {
        let text = "port {{ env \"NOMAD_PORT_http\" }}{{ if env \"X\" }}!{{ end }} {{ env \"NONE\" | toUpper }}.";
        assert_eq!(made(&template(text, "local/page")).unwrap().0, "port 8080 .");
        assert_eq!(made(&template("a", "/local/page")).unwrap().0, "a");
    }

    #[test]
    fn functions_calculate_cut_and_count() {
        let text = concat!(
            "{{ range loop 1 3 }}{{ . }};{{ end }} {{ env \"NOMAD_PORT_http\" | parseInt | add 1 }} {{ subtract 1 3 }} ",
            "{{ envOrDefault \"NONE\" \"other\" }} {{ \"a,b\" | split \",\" | join \"-\" }} {{ \"xax\" | trim \"x\" }} ",
            "{{ base64Encode \"a\" }} {{ base64Decode \"YQ==\" }} {{ toJSON \"q\\\"\" }} {{ \"v1\" | trimPrefix \"v\" }}"
        );
        let expected = "1;2; 8081 2 other a-b a YQ== a \"q\\\"\" 1";
        assert_eq!(made(&template(text, "local/page")).unwrap().0, expected);
        let missing = made(&template("{{ mustEnv \"NONE\" }}", "local/page")).unwrap_err();
        assert!(missing.contains("NONE is not set"), "{missing}");
    }

    #[test]
    fn other_delimiters_leave_the_usual_ones_alone() {
        let mut other = template("[[ env \"NOMAD_PORT_http\" ]] {{ x }}", "local/page");
        (other.left_delimiter, other.right_delimiter) = ("[[".into(), "]]".into());
        assert_eq!(made(&other).unwrap().0, "8080 {{ x }}");
    }

    #[test]
    fn lines_become_environment() {
        let mut lines = template("# comment\nA=1\nexport B=\"x y\"\n\n", "local/page");
        lines.env = true;
        assert_eq!(made(&lines).unwrap().1, [("A".into(), "1".into()), ("B".into(), "x y".into())].into());
    }

    #[test]
    fn what_leads_outside_or_is_not_known_is_an_error() {
        for destination in ["../../etc/passwd", "/etc/passwd", "/alloc/../x", "/allocated", "/local/../../x"] {
            let outside = made(&template("a", destination)).unwrap_err();
            assert_eq!(outside, format!("template for {destination:?}: it leaves the task's directory"));
            assert_eq!(Directories::new().misplaced(&template("a", destination)), [outside]);
        }
        let unknown = made(&template("{{ key \"a/b\" }}", "local/page")).unwrap_err();
        assert!(unknown.contains("key"), "{unknown}");
    }

    #[test]
    fn what_a_task_planted_at_a_destination_is_not_written_through() {
        let host = Directories::new();
        let (secret, directory) = (host.secret(), host.0.path());
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, host.at("web/local/absolute")).unwrap();
        symlink("../../../../secret", host.at("web/secrets/relative")).unwrap();
        symlink(&secret, host.at("alloc/data/shared")).unwrap();
        fs::hard_link(&secret, host.at("web/local/same")).unwrap();
        symlink(directory, host.at("web/local/through")).unwrap();
        symlink(host.at("other/secrets"), host.at("alloc/data/through")).unwrap();

        let page = |destination: &str| Template { perms: 0o777, ..template("ours", destination) };
        for (destination, path) in [
            ("local/absolute", "web/local/absolute"),
            ("/secrets/relative", "web/secrets/relative"),
            ("/alloc/data/shared", "alloc/data/shared"),
            ("/local/same", "web/local/same"),
        ] {
            host.make(&page(destination)).unwrap();
            assert_eq!(fs::read_to_string(host.at(path)).unwrap(), "ours", "{destination}");
            assert!(fs::symlink_metadata(host.at(path)).unwrap().is_file(), "{destination}");
        }
        for destination in ["local/through/secret", "local/through/new/x", "/alloc/data/through/x"] {
            let refused = host.make(&page(destination)).unwrap_err();
            assert!(refused.ends_with("through is no directory"), "{refused}");
        }
        fs::rename(host.at("web/local"), host.at("web/moved")).unwrap();
        symlink(directory, host.at("web/local")).unwrap();
        assert!(host.make(&page("local/secret")).unwrap_err().ends_with("local is no directory"));
        fs::rename(host.at("web"), host.at("moved")).unwrap();
        symlink(directory, host.at("web")).unwrap();
        host.make(&page("secret")).unwrap_err();

        assert_eq!(fs::read_to_string(&secret).unwrap(), "theirs");
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!directory.join("new").exists() && !host.at("other/secrets/x").exists());
    }

    #[test]
    fn a_source_is_read_in_the_job_files_directory_and_in_the_allocation() {
        let host = Directories::new();
        fs::write(host.job_dir().join("page.tpl"), "beside").unwrap();
        symlink("page.tpl", host.job_dir().join("link")).unwrap();
        fs::write(host.at("web/local/own"), "own").unwrap();
        fs::write(host.at("alloc/data/theirs"), "shared").unwrap();

        let absolute = host.job_dir().join("page.tpl").display().to_string();
        for source in ["page.tpl", "./link", "x/../page.tpl", absolute.as_str()] {
            assert_eq!(host.misplaced(&sourced(source)), [""; 0], "{source}");
        }
        assert_eq!(host.sourced("page.tpl").unwrap(), "beside");
        assert_eq!(host.sourced("link").unwrap(), "beside");
        assert_eq!(host.sourced(&absolute).unwrap(), "beside");
        assert_eq!(
            (host.sourced("local/own").unwrap(), host.sourced("/local/own").unwrap()),
            ("own".into(), "own".into())
        );
        assert_eq!(host.sourced("/alloc/data/theirs").unwrap(), "shared");
        assert!(host.sourced("missing").unwrap_err().contains("No such file"));
        assert!(
            host.sourced("/local/page.tpl").unwrap_err().contains("No such file"),
            "which is not beside the job file"
        );
    }

    #[test]
    fn a_source_outside_is_refused_however_it_is_written_or_linked() {
        let host = Directories::new();
        let secret = host.secret().display().to_string();
        fs::create_dir(host.job_dir().join("sub")).unwrap();
        symlink(&secret, host.job_dir().join("absolute")).unwrap();
        symlink("../secret", host.job_dir().join("relative")).unwrap();
        fs::write(host.at("other/secrets/key"), "another task's").unwrap();
        symlink(&secret, host.at("web/local/absolute")).unwrap();
        symlink("../../../../secret", host.at("web/local/relative")).unwrap();
        symlink("../../other/secrets/key", host.at("web/local/others")).unwrap();
        symlink("../../other/secrets/key", host.at("alloc/data/others")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, host.at("web/local/pipe"), Mode::RUSR).unwrap();
        fs::File::create(host.at("web/local/huge")).unwrap().set_len(1 << 40).unwrap();

        for source in [secret.as_str(), "../secret", "sub/../../secret", "absolute", "relative"] {
            let message = host.sourced(source).unwrap_err();
            assert!(message.contains(" is outside of the job file's directory, "), "{source}: {message}");
            assert!(message.ends_with(&host.misplaced(&sourced(source))[0]), "{source}");
        }
        for source in ["absolute", "relative", "others", "pipe", "huge"].map(|name| format!("local/{name}")) {
            let message = host.sourced(&source).unwrap_err();
            let expected = ["it leads out of ", "it is no regular file", "it is larger than 16 MiB"];
            assert!(expected.iter().any(|expected| message.contains(expected)), "{source}: {message}");
        }
        assert!(host.sourced("/alloc/data/others").unwrap_err().contains("it leads out of "));
        assert!(!host.at("web/local/page").exists());
    }
}
