//! B8, B9, B12: what is outside the limits, or names what it must not, is refused by name before anything is stored.

use crate::{bytes_below, small_cluster};
use client::Target;
use common::{
    ByteSize, Digest, ErrorCode, ProgramSpec, Work,
    escape::RawText,
    limits,
    message::{Reply, Request},
    program::InputFile,
};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};
use tests::{
    Cluster,
    load::{
        User,
        user::{ids, tiny},
    },
};

async fn user(cluster: &Cluster) -> User {
    let target = Target { address: cluster.address().to_owned(), pin: cluster.pin().parse().unwrap() };
    User::login(&target, "admin").await.unwrap()
}

fn input(name: &[u8]) -> InputFile {
    InputFile { name: RawText(name.to_vec()), digest: Digest([7; 32]), size: ByteSize(1), executable: false }
}

fn source(file_name: &str, text: &[u8]) -> ProgramSpec {
    let work = Work::Source { language: "Python".into(), file_name: file_name.into(), text: text.into() };
    ProgramSpec::new("source", work)
}

fn with(change: impl FnOnce(&mut ProgramSpec)) -> ProgramSpec {
    let mut spec = tiny();
    change(&mut spec);
    spec
}

/// Submits each past the checks of the client; the master refuses it in a sentence with these words, and has nothing
/// of it afterwards.
async fn refused(cases: Vec<(ProgramSpec, &str)>) {
    let cluster = small_cluster();
    let user = user(&cluster).await;
    let before = bytes_below(&cluster.data());
    for (spec, part) in cases {
        let error = user.submit(&ids(1), &spec).await.expect_err(part);
        assert!(error.is(ErrorCode::SubmitInvalid), "{part}: {error}");
        assert!(error.sentence.contains(part), "{part}: {}", error.sentence);
        let shown = RawText::from(error.sentence.as_str()).to_string();
        assert_eq!(shown, error.sentence, "the sentence has nothing in it that is obeyed");
    }
    assert_eq!(cluster.admin().list(&[]).len(), 0);
    let grown = bytes_below(&cluster.data()).saturating_sub(before);
    assert!(grown < 256 << 10, "{grown} bytes were stored of what was refused");
    assert_eq!(cluster.admin().run(["run", "--", "echo", "fine"]).expect(0).out(), "fine\n");
}

#[tokio::test]
async fn b8_collections_and_sizes_beyond_their_limits_are_refused_before_they_are_stored() {
    let long = |bytes: usize| RawText(vec![b'x'; bytes]);
    refused(vec![
        (with(|spec| spec.arguments = vec!["x".into(); limits::ARGUMENTS_MAX + 1]), "number of arguments"),
        (with(|spec| spec.arguments = vec!["".into(); 1_000_000]), "number of arguments is 1000000"),
        (with(|spec| spec.arguments = vec![long(limits::ARGUMENTS_BYTES_MAX + 1)]), "size of all arguments"),
        (
            with(|spec| spec.environment = vec![("A".into(), "x".into()); limits::ENVIRONMENT_MAX + 1]),
            "number of variables",
        ),
        (
            with(|spec| spec.environment = vec![("A".into(), long(limits::ENVIRONMENT_BYTES_MAX))]),
            "size of all variables",
        ),
        (with(|spec| spec.environment = vec![("A".into(), long(10 << 20))]), "size of all variables"),
        (with(|spec| spec.stdin = Some(vec![0; limits::STDIN_BYTES_MAX + 1][..].into())), "standard input"),
        (with(|spec| spec.name = "x".repeat(limits::NAME_BYTES_MAX + 1)), "name's length"),
        (with(|spec| spec.work = Work::Command { command: long(4_097) }), "command's length"),
        (
            with(|spec| spec.inputs = (0..=limits::INPUT_FILES_MAX).map(|n| input(n.to_string().as_bytes())).collect()),
            "number of input files",
        ),
        (with(|spec| spec.collect = vec!["a".into(); limits::COLLECT_PATTERNS_MAX + 1]), "number of patterns"),
        (with(|spec| spec.collect = vec!["a".repeat(limits::COLLECT_PATTERN_BYTES_MAX + 1)]), "pattern has"),
        (source("a.py", &vec![b'x'; limits::SOURCE_BYTES_MAX + 1]), "source's size"),
    ])
    .await;
}

#[tokio::test]
async fn b8_a_frame_full_of_empty_items_ends_its_connection_alone() {
    let cluster = small_cluster();
    let (hostile, honest) = (user(&cluster).await, user(&cluster).await);
    let spec = with(|spec| spec.arguments = vec!["".into(); 4_000_000]);
    let error = hostile.submit(&ids(1), &spec).await.unwrap_err();
    assert!(error.is(ErrorCode::ProtocolError) || error.is(ErrorCode::ConnectionLost), "{error}");
    assert!(honest.client.request(Request::Summary).await.is_ok());
    assert_eq!(cluster.admin().list(&[]).len(), 0);
}

#[test]
fn b8_nesting_of_ten_thousand_is_an_error_and_not_a_crash() {
    let cluster = small_cluster();
    for open in ["[", "{\"UserAdd\":", "{\"a\":["] {
        let mut socket = UnixStream::connect(control_socket(&cluster)).unwrap();
        socket.write_all(format!("{}\n", open.repeat(10_000)).as_bytes()).unwrap();
        let mut answer = String::new();
        // What is too long is not read to its end, which resets the connection.
        drop(socket.read_to_string(&mut answer));
        assert!(answer.contains("E-REQUEST-INVALID") || answer.is_empty(), "{answer}");
    }
    for open in ["a = ", "languages = ", "[a.", "name = {a = "] {
        let nested = match open {
            "[a." => format!("[{}a]\n", "a.".repeat(10_000)),
            "name = {a = " => format!("name = {}1{}", "{a = ".repeat(10_000), "}".repeat(10_000)),
            other => format!("{other}{}{}\n", "[".repeat(10_000), "]".repeat(10_000)),
        };
        let file = cluster.file("nested.toml", nested);
        let mut slave = cluster.slave_command("pc-09", &["--config", &file]);
        let ended = tests::cli::finish(&mut slave, b"");
        assert!(ended.code < 128 && ended.code != 0 && ended.err().contains("E-CONFIG-INVALID"), "{}", ended.err());
        let ended = cluster.administer(&["serve", "--listen", "127.0.0.1:0", "--config", &file], "");
        assert!(ended.code < 128 && ended.code != 0 && ended.err().contains("E-CONFIG-INVALID"), "{}", ended.err());
    }
    assert_eq!(cluster.admin().run(["run", "--", "echo", "fine"]).expect(0).out(), "fine\n");
}

fn control_socket(cluster: &Cluster) -> std::path::PathBuf {
    let folder = std::fs::read_dir(cluster.data()).unwrap().flatten();
    let is_socket = |entry: &std::fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| std::os::unix::fs::FileTypeExt::is_socket(&kind))
    };
    folder.into_iter().find(is_socket).unwrap().path()
}

#[tokio::test]
async fn b9_what_no_program_can_be_given_is_refused() {
    let variable = |name: &[u8], value: &[u8]| {
        let pair = (RawText(name.to_vec()), RawText(value.to_vec()));
        with(|spec| spec.environment = vec![pair])
    };
    refused(vec![
        (with(|spec| spec.arguments = vec![RawText(b"a\0b".to_vec())]), "NUL"),
        (with(|spec| spec.work = Work::Command { command: RawText(b"/bin/true\0x".to_vec()) }), "NUL"),
        (with(|spec| spec.work = Work::Command { command: "".into() }), "empty"),
        (variable(b"A\0", b""), "NUL"),
        (variable(b"A", b"\0"), "NUL"),
        (variable(b"", b"x"), "name of a variable"),
        (variable(b"A=B", b"x"), "name of a variable"),
        (variable(b"RUCHE_FENCE", b"9"), "RUCHE_"),
        (variable(b"=\x1b[2J", b"x"), "\\x1b[2J"),
    ])
    .await;
}

#[tokio::test]
async fn b9_more_arguments_than_the_system_takes_are_a_clean_end() {
    let cluster = small_cluster();
    let user = user(&cluster).await;
    // One longer than Linux takes, and all together as long as is accepted.
    let one = with(|spec| spec.arguments = vec![RawText(vec![b'x'; 200 << 10])]);
    let many = with(|spec| spec.arguments = vec![RawText(vec![b'x'; 64 << 10]); 32]);
    for spec in [one, many] {
        let program = ids(1);
        user.submit(&program, &spec).await.unwrap();
        let ended = user.client.request(Request::Wait { ids: program.clone() }).await;
        let Ok(Reply::Ended { programs, .. }) = ended else { panic!("{ended:?}") };
        let sentence = programs[0].1.sentence();
        let row = cluster.admin().show(&program[0].to_string());
        let told = sentence.contains("rgument") || row["state"] == "done";
        assert!(told, "{sentence}: {row}");
    }
    assert_eq!(cluster.admin().run(["run", "--", "echo", "fine"]).expect(0).out(), "fine\n");
    assert_eq!(cluster.admin().slaves()[0]["state"], "connected");
}

#[tokio::test]
async fn b12_no_field_names_a_file_outside_the_working_folder() {
    let long = "x".repeat(300);
    let outside = ["..", ".", "", "/etc/passwd", "../x", "a/../b", "a/b", "a//b", "/proc/self/fd/3", "./a", &long];
    let mut cases = Vec::new();
    for name in outside.iter().chain(&[".hidden", "-rf", " a", "a ", "a\nb", "a\x1b[2J", "a\0b"]) {
        cases.push((source(name, b"print(1)"), "cannot be the name of a source file"));
    }
    for name in outside.iter().chain(&["a\0b", ".ruche-progress"]) {
        let file = input(name.as_bytes());
        cases.push((with(|spec| spec.inputs = vec![file]), "cannot be the name of an input file"));
    }
    cases.push((with(|spec| spec.inputs = vec![input(b"a"), input(b"a")]), "two files"));
    for pattern in
        ["..", ".", "", "/etc/passwd", "../x", "a/../b", "a//b", "/proc/self/fd/3", "./a", "a/", "**/..", &long]
    {
        cases.push((with(|spec| spec.collect = vec![pattern.into()]), "within the working folder"));
    }
    refused(cases).await;
}
