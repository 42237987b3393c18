//! Every sample of `examples/` ends as its table says, as far as its language is here.

use crate::kit::{Kit, source};
use common::{language, outcome::Outcome, program::Work};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    example: Vec<Example>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    file: String,
    language: String,
    outcome: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    limit: Option<String>,
    output: Option<String>,
    error: Option<String>,
    #[serde(default)]
    limits: BTreeMap<String, String>,
}

#[test]
fn e12_examples_end_as_their_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let table: Table = toml::from_str(&std::fs::read_to_string(folder.join("expectations.toml")).unwrap()).unwrap();
    let mut kit = Kit::new();
    let mut wrong = Vec::new();
    for example in &table.example {
        let name = Path::new(&example.file).file_name().unwrap().to_str().unwrap();
        assert_eq!(language::by_file_name(language::built_in(), name).unwrap().name, example.language);
        let text = std::fs::read_to_string(folder.join(&example.file)).unwrap();
        let mut spec = source(&example.language, name, &text);
        assert!(matches!(spec.work, Work::Source { .. }));
        for (limit, value) in &example.limits {
            match limit.as_str() {
                "wall_time" => spec.limits.wall_time = value.parse().unwrap(),
                "cpu_time" => spec.limits.cpu_time = Some(value.parse().unwrap()),
                "memory" => spec.limits.memory = value.parse().unwrap(),
                other => panic!("{other}"),
            }
        }
        let ran = kit.run(spec);
        let found = match &ran.end.outcome {
            Outcome::NotSupported { .. } => continue,
            Outcome::Exited { code } => format!("exited {code}"),
            Outcome::Signalled { signal } => format!("signalled {signal}"),
            Outcome::Limit { limit, .. } => format!("limit {limit}"),
            other => other.kind().to_owned(),
        };
        let expected = match (example.exit_code, example.signal, &example.limit) {
            (Some(code), ..) => format!("{} {code}", example.outcome),
            (_, Some(signal), _) => format!("{} {signal}", example.outcome),
            (.., Some(limit)) => format!("{} {limit}", example.outcome),
            _ => example.outcome.clone(),
        };
        let output_differs = example.output.as_ref().is_some_and(|output| *output != ran.text());
        let error_differs = match (&example.error, &ran.end.outcome) {
            (Some(part), Outcome::CompileError { detail }) => !detail.contains(part.as_str()),
            _ => false,
        };
        if found != expected || output_differs || error_differs {
            wrong.push(format!(
                "{}: expected {expected}, found {found}: {:?} {:?} {:?}",
                example.file,
                ran.end.outcome,
                ran.text(),
                String::from_utf8_lossy(&ran.error)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
