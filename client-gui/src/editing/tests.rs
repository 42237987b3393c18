//! What is typed becomes the program that is submitted.

use super::*;
use common::Duration;

#[test]
fn e1_a_tab_becomes_the_program_that_it_shows() {
    let mut state = SubmitState::default();
    let tab = state.tab_mut().unwrap();
    tab.arguments = "1000 'two words'".to_owned();
    tab.stdin = Stdin::Text("in\n".to_owned());
    (tab.wall_time, tab.cpu_time, tab.memory) = ("2 min 10 s".into(), "30s".into(), "256 MiB".into());
    (tab.copies, tab.retry, tab.priority) = ("3".into(), "2".into(), "70".into());
    tab.slave = Some("pc-03".to_owned());
    (tab.output, tab.file_size) = ("1 MiB".into(), "2 GiB".into());
    (tab.disk, tab.open_files, tab.network) = ("512 MiB".into(), "256".into(), true);
    tab.collect = "out/*.csv 'my report.pdf'".into();
    tab.environment = "GREETING='hi there'\nEMPTY=\n\"LINES=a\nb\"".to_owned();
    let (spec, copies) = tab.spec().unwrap();
    assert_eq!((spec.name.as_str(), spec.language(), copies), ("primes.py", Some("Python"), 3));
    assert_eq!(spec.arguments, [RawText::from("1000"), RawText::from("two words")]);
    assert_eq!(spec.limits.wall_time, Duration::from_secs(130));
    assert_eq!(spec.limits.cpu_time, Some(Duration::from_secs(30)));
    assert_eq!(spec.limits.memory, ByteSize(256 << 20));
    assert_eq!((spec.limits.output, spec.limits.file_size), (ByteSize(1 << 20), ByteSize(2 << 30)));
    assert_eq!((spec.limits.disk, spec.limits.open_files, spec.network), (ByteSize(512 << 20), 256, true));
    assert_eq!(spec.collect, ["out/*.csv", "my report.pdf"]);
    let variables = [("GREETING", "hi there"), ("EMPTY", ""), ("LINES", "a\nb")];
    assert_eq!(spec.environment, variables.map(|(name, value)| (name.into(), value.into())));
    assert_eq!((spec.retry, spec.priority, spec.slave.as_deref()), (2, 70, Some("pc-03")));
    state.add_spec(&spec);
    let (again, _) = state.tab().unwrap().spec().unwrap();
    assert_eq!(again, spec, "what is edited and not changed is the same program");
}

#[test]
fn e1_a_command_is_split_as_a_shell_would() {
    let mut tab = EditorTab::new("x".into(), "echo 'a b' c\n".into(), COMMAND.into());
    let (spec, _) = tab.spec().unwrap();
    assert_eq!(spec.work, Work::Command { command: "echo".into() });
    assert_eq!(spec.arguments, [RawText::from("a b"), RawText::from("c")]);
    assert_eq!(EditorTab::from_spec(&spec).spec().unwrap().0.arguments, spec.arguments);
    tab.text = "echo 'a".into();
    assert!(tab.spec().unwrap_err().sentence.contains("not closed"));
}

#[test]
fn e9_a_wrong_field_is_named() {
    for (name, change) in [
        ("wall time", (|tab: &mut EditorTab| tab.wall_time = "soon".into()) as fn(&mut EditorTab)),
        ("CPU time", |tab| tab.cpu_time = "x".into()),
        ("memory", |tab| tab.memory = "much".into()),
        ("processes", |tab| tab.processes = "-1".into()),
        ("priority", |tab| tab.priority = "300".into()),
        ("copies", |tab| tab.copies = "0".into()),
        ("output limit", |tab| tab.output = "lots".into()),
        ("file size limit", |tab| tab.file_size = String::new()),
        ("environment", |tab| tab.environment = "NAME=two words".into()),
        ("disk limit", |tab| tab.disk = "all".into()),
        ("open files", |tab| tab.open_files = "many".into()),
        ("bring back", |tab| tab.collect = "../x".into()),
        ("environment", |tab| tab.environment = "=x".into()),
        ("arguments", |tab| tab.arguments = "\"".into()),
    ] {
        let mut tab = EditorTab::new("a.py".into(), "print(1)".into(), "Python".into());
        change(&mut tab);
        let error = tab.spec().unwrap_err();
        assert!(error.is(ErrorCode::SubmitInvalid) && error.sentence.contains(name), "{name}: {error}");
    }
}

#[test]
fn e1_another_language_renames_the_file() {
    let mut tab = EditorTab::new("primes.py".into(), String::new(), "Python".into());
    tab.set_language("C++");
    assert_eq!(tab.file_name, "primes.cpp");
    tab.set_language(COMMAND);
    assert_eq!((tab.file_name.as_str(), tab.language()), ("primes.cpp", None));
}

#[test]
fn e5_input_while_it_runs_is_asked_for_in_place_of_a_text() {
    let mut state = SubmitState::default();
    let tab = state.tab_mut().unwrap();
    tab.stdin = Stdin::Live;
    let (spec, _) = tab.spec().unwrap();
    assert_eq!((spec.live, spec.stdin.as_ref()), (Some(LiveInput { terminal: None }), None));
    state.add_spec(&spec);
    assert_eq!(state.tab().unwrap().stdin, Stdin::Live);
}

#[test]
fn e11_files_of_before_stay_with_a_program_that_is_edited() {
    let mut spec = SubmitState::default().tab().unwrap().spec().unwrap().0;
    spec.inputs = vec![common::program::InputFile {
        name: RawText(b"data\xff.csv".to_vec()),
        digest: common::Digest([7; 32]),
        size: ByteSize(9),
        executable: false,
    }];
    let tab = EditorTab::from_spec(&spec);
    assert_eq!(tab.spec().unwrap().0, spec);
    assert_eq!((tab.inputs[0].name().as_str(), tab.inputs[0].about().as_str()), ("data\\xff.csv", "9 B, as before"));
}
