//! Manifests declare only the dependencies that their crate may have.

use toml::{Table, Value};

use crate::finding::{Finding, Rule};
use crate::rules::direction::CRATES;
use crate::rules::headers::is_manifest;
use crate::tree::TextFile;
use crate::workspace::Workspace;

/// Sections of a manifest that hold dependencies.
const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Dependencies against the direction of the crates, and manifests that can't be read.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let root = workspace
        .files
        .iter()
        .find(|file| file.path == "Cargo.toml");
    let root: Option<Table> = root.and_then(|file| file.text.parse().ok());
    let shared = root
        .as_ref()
        .and_then(|table| table.get("workspace")?.get("dependencies"));
    let manifests = workspace
        .files
        .iter()
        .filter(|file| is_manifest(&file.path));
    manifests
        .flat_map(|file| check_manifest(file, shared))
        .collect()
}

fn check_manifest(file: &TextFile, shared: Option<&Value>) -> Vec<Finding> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            let message = format!("cannot be read as TOML: {}", error.message());
            return vec![Finding::new(&file.path, 1, Rule::Dependency, message)];
        }
    };
    let home = file.path.strip_suffix("Cargo.toml").unwrap_or_default();
    let mut findings = Vec::new();
    for (name, package) in dependencies(&manifest, shared) {
        for ban in CRATES.iter().filter(|ban| ban.home == home) {
            if ban.packages.contains(&package.as_str()) {
                let line = line_of_key(&file.text, &name);
                let message = format!("may not depend on `{package}`: {}", ban.why);
                findings.push(Finding::new(&file.path, line, Rule::Dependency, message));
            }
        }
    }
    findings
}

/// The dependencies of all sections and targets: the key, and the package it stands for.
fn dependencies(manifest: &Table, shared: Option<&Value>) -> Vec<(String, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(targets) {
        for section in SECTIONS
            .iter()
            .filter_map(|name| table.get(*name)?.as_table())
        {
            for (key, value) in section {
                let renamed = value
                    .get("package")
                    .or_else(|| shared?.get(key)?.get("package"));
                let package = renamed.and_then(Value::as_str).unwrap_or(key);
                found.push((key.clone(), package.to_owned()));
            }
        }
    }
    found
}

/// The first line that declares `key`, or 1.
fn line_of_key(text: &str, key: &str) -> usize {
    let declares = |line: &str| {
        let rest = line.trim_start().trim_start_matches('"');
        let header = line.starts_with('[') && line.contains(&format!(".{key}]"));
        let after = rest.strip_prefix(key).and_then(|rest| rest.chars().next());
        header || after.is_some_and(|next| !(next.is_alphanumeric() || "-_".contains(next)))
    };
    text.lines().position(declares).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    #[test]
    fn dependencies_against_the_direction_are_found_in_every_section() {
        for (path, text) in [
            (
                "ledger/Cargo.toml",
                "\n[dependencies]\ntokio.workspace = true\n",
            ),
            (
                "ledger/Cargo.toml",
                "\n[dev-dependencies]\nprojections = { path = \"..\" }\n",
            ),
            (
                "ledger/Cargo.toml",
                "\n[build-dependencies]\nclap = \"4\"\n",
            ),
            (
                "projections/Cargo.toml",
                "\n[target.'cfg(unix)'.dependencies]\nnix = \"1\"\n",
            ),
            (
                "projections/Cargo.toml",
                "\n[dependencies]\nopsledger = { path = \"..\" }\n",
            ),
            (
                "projections/Cargo.toml",
                "\n\n[dependencies.rand]\nversion = \"1\"\n",
            ),
            ("Cargo.toml", "\n[dependencies]\nredb = \"4\"\n"),
            (
                "Cargo.toml",
                "\n[dependencies]\nengine = { package = \"redb\", version = \"4\" }\n",
            ),
        ] {
            let found = places(check, &[(path, text)]);
            assert_eq!(found, [format!("{path}:3: dependency")], "{text}");
        }
    }

    #[test]
    fn a_name_given_in_the_workspace_is_looked_through() {
        let files = [
            (
                "Cargo.toml",
                "[workspace.dependencies]\nrt = { package = \"tokio\" }\n",
            ),
            ("ledger/Cargo.toml", "[dependencies]\nrt.workspace = true\n"),
        ];
        assert_eq!(places(check, &files), ["ledger/Cargo.toml:2: dependency"]);
    }

    #[test]
    fn dependencies_in_the_direction_pass() {
        let files = [
            (
                "ledger/Cargo.toml",
                "[dependencies]\nredb = \"4\"\ntokio-free = \"1\"\n",
            ),
            (
                "projections/Cargo.toml",
                "[dependencies]\nledger-core = { path = \"\" }\n",
            ),
            (
                "Cargo.toml",
                "[dependencies]\ntokio = \"1\"\n[workspace.dependencies]\nredb = \"4\"\n",
            ),
            ("tools/bench/Cargo.toml", "[dependencies]\nredb = \"4\"\n"),
        ];
        assert_eq!(places(check, &files), Vec::<String>::new());
    }

    #[test]
    fn a_manifest_that_is_no_toml_is_a_finding() {
        assert_eq!(
            places(check, &[("x/Cargo.toml", "[[")]),
            ["x/Cargo.toml:1: dependency"]
        );
    }
}
