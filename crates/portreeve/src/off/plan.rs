//! The steps that stop something, each with what undoes it. Pure: from what is to what is to be done.

use serde_json::{Value, json};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A program with its arguments, and the one that undoes it; an empty one: nothing does.
    Run {
        /// What is run.
        run: Vec<String>,
        /// What undoes it.
        undo: Vec<String>,
    },
    /// A file's text is replaced.
    Edit {
        /// The file.
        file: String,
        /// Its text before.
        before: String,
        /// And after.
        after: String,
    },
    /// The links by which init starts a script, as they were: the names in /etc, and where they led. Only undoing does something: the
    /// step before it changes them.
    Links {
        /// The script's name.
        name: String,
        /// `rc2.d/S01x` and `../init.d/x`.
        links: Vec<(String, String)>,
    },
    /// This process reads its configuration again; doing and undoing are the same.
    Hangup {
        /// Its short name (comm).
        name: String,
    },
}

/// A unit as systemd tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its own name, no alias.
    pub id: String,
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `enabled`, `disabled`, `static`, …
    pub file: String,
    /// `active`, `inactive`, …
    pub active: String,
    /// The units that start it, and that it starts.
    pub triggers: Vec<String>,
}

/// The answer of `systemctl show -p Id,LoadState,UnitFileState,ActiveState,TriggeredBy,Triggers`.
pub fn unit(text: &str) -> Unit {
    let mut unit = Unit::default();
    for line in text.lines() {
        match line.split_once('=') {
            Some(("Id", value)) => value.clone_into(&mut unit.id),
            Some(("LoadState", value)) => value.clone_into(&mut unit.load),
            Some(("UnitFileState", value)) => value.clone_into(&mut unit.file),
            Some(("ActiveState", value)) => value.clone_into(&mut unit.active),
            Some(("TriggeredBy" | "Triggers", value)) => {
                unit.triggers.extend(value.split_whitespace().map(str::to_owned));
            }
            _ => {}
        }
    }
    unit
}

/// What stops these units, which belong together: none starts at the next boot, and none runs.
pub fn of_units(systemctl: &str, units: &[Unit]) -> Vec<Step> {
    let call = |verb: &[&str], units: &[&Unit]| -> Vec<String> {
        let names = units.iter().map(|unit| unit.id.clone());
        [systemctl].iter().chain(verb).map(|word| (*word).to_owned()).chain(names).collect()
    };
    let mut steps = Vec::new();
    let mut step = |verb: &[&str], back: &[&str], chosen: Vec<&Unit>| {
        if !chosen.is_empty() {
            steps.push(Step::Run { run: call(verb, &chosen), undo: call(back, &chosen) });
        }
    };
    let with = |states: &[&str]| {
        units.iter().filter(|unit| states.contains(&unit.file.as_str())).collect::<Vec<_>>()
    };
    step(&["disable"], &["enable"], with(&["enabled", "alias", "linked"]));
    step(&["disable", "--runtime"], &["enable", "--runtime"], with(&["enabled-runtime", "linked-runtime"]));
    // What is not enabled by itself comes back with whom it belongs to: unless it is one that another of these starts.
    let started =
        |unit: &&Unit| units.iter().any(|other| other.id != unit.id && other.id.ends_with(".socket"));
    let fixed = with(&["static", "indirect", "generated"]);
    step(&["mask"], &["unmask"], fixed.into_iter().filter(|unit| !started(unit)).collect());
    let running = |unit: &&Unit| ["active", "activating", "reloading"].contains(&unit.active.as_str());
    step(&["stop"], &["start"], units.iter().filter(running).collect());
    steps
}

/// What stops an init script.
pub fn of_script(name: &str, tool: Option<&str>, links: Vec<(String, String)>, runs: bool) -> Vec<Step> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut steps = Vec::new();
    let starts =
        links.iter().any(|(name, _)| name.rsplit('/').next().is_some_and(|file| file.starts_with('S')));
    if let (true, Some(tool)) = (starts, tool) {
        let run = if tool.ends_with("chkconfig") { [tool, name, "off"] } else { [tool, name, "disable"] };
        steps.push(Step::Links { name: name.to_owned(), links });
        steps.push(Step::Run { run: words(&run), undo: Vec::new() });
    }
    if runs {
        let script = format!("/etc/init.d/{name}");
        steps.push(Step::Run { run: words(&[&script, "stop"]), undo: words(&[&script, "start"]) });
    }
    steps
}

impl Step {
    /// For people.
    pub fn words(&self) -> String {
        match self {
            Step::Run { run, .. } => run.join(" "),
            Step::Edit { file, .. } => format!("write {file}"),
            Step::Links { name, links } => format!("note the {} links of {name} in /etc/rc?.d", links.len()),
            Step::Hangup { name } => format!("HUP to {name}"),
        }
    }

    /// What undoes it, for people.
    pub fn undo_words(&self) -> String {
        match self {
            Step::Run { undo, .. } => undo.join(" "),
            Step::Edit { file, .. } => format!("write {file} as it was"),
            Step::Links { name, links } => format!("put back the {} links of {name}", links.len()),
            Step::Hangup { .. } => self.words(),
        }
    }

    /// For the journal and for machines.
    pub fn json(&self) -> Value {
        match self {
            Step::Run { run, undo } => json!({"run": run, "undo": undo}),
            Step::Edit { file, before, after } => json!({"edit": file, "before": before, "after": after}),
            Step::Links { name, links } => json!({"links": name, "were": links}),
            Step::Hangup { name } => json!({"hangup": name}),
        }
    }

    /// From the journal.
    pub fn read(value: &Value) -> Option<Step> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let words = |value: &Value| {
            value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        if let Some(run) = value.get("run") {
            return Some(Step::Run { run: words(run)?, undo: words(value.get("undo")?)? });
        }
        if let Some(file) = text("edit") {
            return Some(Step::Edit { file, before: text("before")?, after: text("after")? });
        }
        if let Some(name) = text("links") {
            let pairs = value.get("were")?.as_array()?.iter().map(|pair| match words(pair)?.as_slice() {
                [link, target] => Some((link.clone(), target.clone())),
                _ => None,
            });
            return Some(Step::Links { name, links: pairs.collect::<Option<_>>()? });
        }
        Some(Step::Hangup { name: text("hangup")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, file: &str, active: &str) -> Unit {
        Unit {
            id: id.to_owned(),
            load: "loaded".to_owned(),
            file: file.to_owned(),
            active: active.to_owned(),
            triggers: Vec::new(),
        }
    }

    fn words(units: &[Unit]) -> Vec<(String, String)> {
        of_units("systemctl", units).iter().map(|step| (step.words(), step.undo_words())).collect()
    }

    #[test]
    fn what_was_is_what_comes_back() {
        let pair = |a: &str, b: &str| (format!("systemctl {a}"), format!("systemctl {b}"));
        assert_eq!(
            words(&[one("x.socket", "enabled", "active"), one("x.service", "static", "active")]),
            [
                pair("disable x.socket", "enable x.socket"),
                pair("stop x.socket x.service", "start x.socket x.service")
            ]
        );
        assert_eq!(
            words(&[one("y.service", "disabled", "active")]),
            [pair("stop y.service", "start y.service")]
        );
        assert_eq!(
            words(&[one("y.service", "enabled", "failed")]),
            [pair("disable y.service", "enable y.service")]
        );
        assert_eq!(
            words(&[one("z.service", "static", "inactive")]),
            [pair("mask z.service", "unmask z.service")]
        );
        assert_eq!(words(&[one("z.service", "disabled", "inactive")]), []);
    }

    #[test]
    fn the_journal_is_read_as_it_was_written() {
        let steps = [
            Step::Run { run: vec!["a".to_owned(), "b c".to_owned()], undo: Vec::new() },
            Step::Edit { file: "/etc/x".to_owned(), before: "a\n".to_owned(), after: String::new() },
            Step::Links {
                name: "x".to_owned(),
                links: vec![("rc2.d/S01x".to_owned(), "../init.d/x".to_owned())],
            },
            Step::Hangup { name: "inetd".to_owned() },
        ];
        for step in steps {
            assert_eq!(Step::read(&step.json()), Some(step));
        }
        assert_eq!(Step::read(&json!({"run": [1]})), None);
    }

    #[test]
    fn systemds_answer_is_read() {
        let text = "Id=ssh.service\nLoadState=loaded\nUnitFileState=enabled\nActiveState=active\nTriggeredBy=ssh.socket a.timer\nTriggers=\n";
        let unit = unit(text);
        assert_eq!(
            (unit.id.as_str(), unit.file.as_str(), unit.triggers.len()),
            ("ssh.service", "enabled", 2)
        );
    }
}
