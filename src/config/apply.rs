//! Setting what a text says: a section of the file, or one rule, for who asks what would be if it were
//! different.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use super::{Config, Fault, Found, Located, SECTIONS, toml_table, unknown};

impl Config {
    /// Sets what a section says; what of it can't be used is found.
    pub(super) fn section(
        &mut self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        found: &mut Found,
    ) {
        let known = || SECTIONS.iter().map(|s| s.name).chain(["jobs", "job"]);
        let Some(section) = SECTIONS
            .iter()
            .find(|section| section.name == name.get_ref().as_ref())
        else {
            return found.add(unknown("section", name, known()));
        };
        let DeValue::Table(keys) = value.get_ref() else {
            let problem = format!(
                "is a section; write [{}] on a line of its own",
                section.name
            );
            return found.add(Located::value(value.span(), section.name, problem));
        };
        for (key, value) in keys {
            match (section.tables, value.get_ref()) {
                (Some(set), DeValue::Table(table)) => {
                    set(self, key, table, found);
                    continue;
                }
                (Some(_), _) if section.keys.is_empty() => {
                    let path = format!("{}.{}", section.name, key.get_ref());
                    let problem = format!("is a table; write [{path}] on a line of its own");
                    found.add(Located::value(value.span(), &path, problem));
                    continue;
                }
                (Some(_) | None, _) => {}
            }
            let Some((full, set)) = section
                .keys
                .iter()
                .find(|(known, _)| *known == key.get_ref().as_ref())
            else {
                found.add(unknown("key", key, section.keys.iter().map(|(k, _)| *k)));
                continue;
            };
            if let Err(problem) = set(self, value.get_ref()) {
                let full = format!("{}.{full}", section.name);
                found.add(Located::value(value.span(), &full, problem));
            }
        }
    }

    /// Changes one rule of dispatch: `KEY=VALUE`, with a key of `[scheduler]` as it would stand there
    /// (`max_running`, `background.boost_after`), or of `rate.NAME` or `concurrency.NAME`. Text needs no
    /// quotes.
    ///
    /// # Errors
    /// [`Fault`] if there is no such key, or it can't have that value.
    pub fn change(&mut self, change: &str) -> Result<(), Fault> {
        let wrong = |problem: &str| Fault::Value {
            key: change.chars().take(80).collect(),
            problem: problem.to_owned(),
        };
        let (key, value) = change
            .split_once('=')
            .ok_or_else(|| wrong("is no KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if key.is_empty() || !key.chars().all(plain) {
            return Err(wrong("is no KEY=VALUE"));
        }
        if value
            .chars()
            .any(|c| matches!(c, '"' | '\\') || c.is_control())
        {
            return Err(wrong("has a value that no key can have"));
        }
        let own = ["scheduler.", "rate.", "concurrency."];
        let of = match own.iter().any(|own| key.starts_with(own)) {
            true => "",
            false => "scheduler.",
        };
        let text = match value.parse::<u64>() {
            Ok(number) => format!("{of}{key} = {number}"),
            Err(_) => format!("{of}{key} = \"{value}\""),
        };
        let table = toml_table(&text).map_err(|_| wrong("has a value that no key can have"))?;
        let mut found = Found::default();
        for (name, value) in table.get_ref() {
            self.section(name, value, &mut found);
        }
        found.into_first().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::time::Millis;

    use super::*;

    #[test]
    fn a_change_is_made_to_what_is_there() {
        let mut config = Config::default();
        config.change("max_running = 7").unwrap();
        config.change("background.boost_after=30s").unwrap();
        config
            .change("scheduler.standard.boost_after=none")
            .unwrap();
        config.change("concurrency.repo.max_running=3").unwrap();
        let policy = config.policy();
        assert_eq!(policy.max_running, 7);
        assert_eq!(policy.queues[2].boost_after, Some(Millis(30_000)));
        assert_eq!(policy.queues[1].boost_after, None);
        assert_eq!(policy.concurrency["repo"], 3);
    }

    #[test]
    fn what_is_no_rule_is_refused_and_changes_nothing_else() {
        for (change, told) in [
            ("max_running", "`max_running` is no KEY=VALUE"),
            ("=3", "`=3` is no KEY=VALUE"),
            (
                "max_running=x",
                "`scheduler.max_running` must be a whole number",
            ),
            (
                "max_running=0",
                "`scheduler.max_running` must be a whole number",
            ),
            (
                "max_runing=3",
                "there is no key `max_runing`; did you mean `max_running`?",
            ),
            (
                "backgroud.quantum=3s",
                "there is no key `backgroud`; did you mean `background`?",
            ),
            ("quantum]=3", "`quantum]=3` is no KEY=VALUE"),
            (
                "backoff_cap=\"3s\"",
                "`backoff_cap=\"3s\"` has a value that no key can have",
            ),
            (
                "backoff_cap=3s\nx=1",
                "`backoff_cap=3s\nx=1` has a value that no key can have",
            ),
            ("node.name=x", "there is no key `node`"),
        ] {
            let mut config = Config::default();
            let fault = config.change(change).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{change}: {fault}");
            assert_eq!(config, Config::default(), "{change}");
        }
    }
}
