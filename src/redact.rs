//! Secrets are taken out before anything is encoded: what is in an append-only log stays there.
//!
//! One list of forms that are secrets by their looks. Free text and application data are redacted
//! ([`text`], [`json`]); a submission that carries one is refused ([`secret_in_payload`]), because
//! a command with a hole in it is not the command that was meant.
//!
//! The forms are the ones that issuers document for their own tokens, so that a match is no guess;
//! plus `Authorization` headers, passwords in URLs and `password=…`. What has no form can't be
//! found: secrets belong in files, not in commands.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use ledger_core::event::Payload;
use regex::{Captures, Regex};

/// Name and form. A form matches nothing that could end a JSON string, so that replacing a match
/// in JSON text leaves JSON.
const FORMS: [(&str, &str); 12] = [
    ("aws-key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("github-token", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    ("github-token", r"\bgithub_pat_[A-Za-z0-9_]{22,}\b"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("slack-token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("api-key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("google-key", r"\bAIza[0-9A-Za-z_-]{35}"),
    (
        "jwt",
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    ),
    (
        "private-key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\,:-]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    ),
    (
        "authorization",
        r"(?i)\bauthorization\s*[:=]\s*(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}",
    ),
    ("url-password", r"://[^/\s:@\x22\\]+:[^/\s:@\x22\\]+@"),
    (
        "password",
        r"(?i)\b(?:password|passwd|secret_key|api_?key|access_token)=[^\s\x22\\&']{4,}",
    ),
];

/// Names of variables that hold secrets.
const SECRET_NAME: &str =
    r"(?i)(?:^|_)(?:password|passwd|secret|token|api_?key|private_key|access_key)$";

static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let all: Vec<String> = FORMS
        .iter()
        .enumerate()
        .map(|(i, (_, form))| format!("(?P<f{i}>{form})"))
        .collect();
    Regex::new(&all.join("|")).expect("the forms are constants, and a test compiles them")
});
static NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(SECRET_NAME).expect("a constant that a test compiles"));

fn name_of(captures: &Captures<'_>) -> &'static str {
    FORMS
        .iter()
        .enumerate()
        .find(|(i, _)| captures.name(&format!("f{i}")).is_some())
        .map_or("secret", |(_, (name, _))| name)
}

/// The text without its secrets: each is replaced by `[redacted:NAME]`.
pub fn text(text: &str) -> Cow<'_, str> {
    ANY.replace_all(text, |captures: &Captures<'_>| {
        format!("[redacted:{}]", name_of(captures))
    })
}

/// Minified JSON without its secrets, still JSON.
pub fn json(json: &str) -> Cow<'_, str> {
    text(json)
}

/// A place in a payload: names it, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The argument of this number; 0 is the program.
    Argument(usize),
    /// The environment variable of this name.
    Variable(String),
    /// What it reads.
    Stdin,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(n) => write!(f, "argument {n}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// Where a payload holds a secret, if it does.
pub fn secret_in_payload(payload: &Payload) -> Option<Place> {
    let exec = match payload {
        Payload::Exec(exec) => exec,
        Payload::Builtin(_) => return None,
    };
    let found = |text: &str| ANY.is_match(text);
    if let Some(i) = exec.argv.iter().position(|arg| found(arg)) {
        return Some(Place::Argument(i));
    }
    let named = |name: &str, value: &str| {
        !value.is_empty() && !value.starts_with('/') && NAME.is_match(name)
    };
    if let Some((name, _)) = exec
        .env
        .iter()
        .find(|(name, value)| named(name, value) || found(value))
    {
        return Some(Place::Variable(name.clone()));
    }
    exec.stdin
        .as_deref()
        .filter(|stdin| found(stdin))
        .map(|_| Place::Stdin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::event::Exec;

    /// Made up here, and put together at run time so that no scanner takes them for real.
    fn samples() -> Vec<(&'static str, String)> {
        vec![
            ("aws-key", format!("AKIA{}", "A1B2".repeat(4))),
            ("github-token", format!("ghp_{}", "a".repeat(36))),
            ("github-token", format!("github_pat_{}", "a".repeat(30))),
            ("gitlab-token", format!("glpat-{}", "a".repeat(20))),
            ("slack-token", format!("xoxb-{}", "1".repeat(12))),
            ("api-key", format!("sk-{}", "a".repeat(30))),
            ("google-key", format!("AIza{}", "a".repeat(35))),
            ("jwt", format!("eyJ{0}.eyJ{0}.{0}", "a".repeat(12))),
            (
                "private-key",
                "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----".into(),
            ),
            ("authorization", "Authorization: Bearer abcdefgh12".into()),
            ("url-password", "://user:hunter2@".into()),
            ("password", "password=hunter22".into()),
        ]
    }

    #[test]
    fn every_form_is_found_and_replaced() {
        for (name, secret) in samples() {
            let line = format!("before {secret} after");
            let redacted = text(&line);
            assert!(
                redacted.contains(&format!("[redacted:{name}]")),
                "{name}: {redacted}"
            );
            assert!(
                redacted.starts_with("before ") && redacted.ends_with(" after"),
                "{redacted}"
            );
            assert!(
                !redacted.contains("hunter2") && !redacted.contains("aaaa"),
                "{redacted}"
            );
        }
        for harmless in [
            "",
            "sk-short",
            "AKIA",
            "http://host/path",
            "tokenizer=fast",
            "task-1",
        ] {
            assert_eq!(text(harmless), harmless);
        }
    }

    #[test]
    fn json_stays_json() {
        for (_, secret) in samples() {
            let value = serde_json::json!({"a": secret, "b": [1, format!("x {secret}\" y")]});
            let redacted = json(&value.to_string()).into_owned();
            assert!(
                serde_json::from_str::<serde_json::Value>(&redacted).is_ok(),
                "{redacted}"
            );
            assert!(redacted.contains("[redacted:"), "{redacted}");
        }
    }

    #[test]
    fn a_payload_names_the_field_and_not_the_value() {
        let exec = |argv: &[&str], env: &[(&str, &str)]| {
            Payload::Exec(Exec {
                argv: argv.iter().map(ToString::to_string).collect(),
                env: env
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                cwd: None,
                stdin: None,
            })
        };
        let found = secret_in_payload(&exec(&["curl", "--data", "password=hunter22"], &[]));
        assert_eq!(found, Some(Place::Argument(2)));
        let found = secret_in_payload(&exec(&["x"], &[("DB_PASSWORD", "hunter2")]));
        assert_eq!(found, Some(Place::Variable("DB_PASSWORD".to_owned())));
        let fine = exec(
            &["x"],
            &[
                ("TOKENIZERS", "1"),
                ("SSH_TOKEN", "/run/token"),
                ("TOKEN", ""),
            ],
        );
        assert_eq!(secret_in_payload(&fine), None);
    }
}
