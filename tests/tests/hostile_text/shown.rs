//! B13: output, names, progress, compile errors and mistakes on a terminal.

use crate::{
    small_cluster,
    terminal::{on_terminal, watched},
};
use std::ffi::{OsStr, OsString};
use tests::{Cluster, cli::Cli, wait_until};

/// Each kind of text that a terminal obeys, and two that deceive a reader.
const HOSTILE: [&str; 16] = [
    "\x1b[2J",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGFybQ==\x07",
    "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP$q\"p\x1b\\",
    "\x1b[6n",
    "\x1b[?1049h",
    "\x1b[?1000h\x1b[?25l",
    "\x1b[8;1;1t",
    "\x1bc",
    "\u{9b}2J\u{9d}0;title\u{9c}",
    "\x07\x08\x7f\x0e\x0c",
    "a\rb",
    "\u{202e}live\u{202c}",
    "\u{2066}\u{200b}\u{feff}",
];

fn all() -> String {
    HOSTILE.concat()
}

/// Runs `ruche ARGS…` on a terminal; nothing in what it shows may be obeyed.
#[track_caller]
fn plain<S: AsRef<OsStr>>(cli: &Cli, args: impl IntoIterator<Item = S>, part: &str) {
    let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let shown = on_terminal(cli.command(&args));
    shown.is_plain();
    assert!(shown.text().contains(part), "{args:?} does not show {part:?}: {:?}", shown.text());
    // With our colours it is the same.
    let mut coloured = cli.command(&args);
    coloured.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    on_terminal(coloured).leaves_the_terminal_alone();
}

#[test]
fn b13_the_terminal_of_these_tests_notices_each_kind() {
    for text in HOSTILE.iter().take(13) {
        assert!(!watched(text.as_bytes()).is_empty() || text.contains('\x08'), "{text:?}");
    }
    assert!(watched("text\r\nand \x1b[32mgreen\x1b[0m\r\n".as_bytes()).is_empty());
    assert!(!watched(b"\x1b[32mgreen for ever").is_empty());
    assert!(!watched(b"\x1b]0;never closed").is_empty());
}

#[test]
fn b13_what_a_program_writes_is_shown_and_obeyed_only_when_asked() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let text = all();
    let script = cluster.file("text", &text);
    let program = [
        "--stdin",
        script.as_str(),
        "--",
        "python3",
        "-c",
        "import sys; t = sys.stdin.buffer.read(); \
         sys.stdout.buffer.write(t); sys.stdout.flush(); sys.stderr.buffer.write(t); sys.exit(3)",
    ];
    let run =
        |options: &[&str]| on_terminal(admin.command(["run"].iter().chain(options).chain(&program).map(OsStr::new)));
    let shown = run(&[]);
    shown.is_plain();
    assert_eq!(shown.code, Some(3));
    for part in ["\\x1b[2J", "\\x1b]0;title\\x07", "\\u{9b}2J", "a\\rb", "\\u{202e}live"] {
        assert_eq!(shown.text().matches(part).count(), 2, "{part}: {:?}", shown.text());
    }
    let raw = run(&["--raw"]);
    assert!(raw.bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{:?}", raw.text());

    let id = admin.list(&[])[0]["id"].as_str().unwrap().to_owned();
    plain(&admin, ["output", &id], "\\x1b]52;c;");
    plain(&admin, ["output", "--stderr", &id], "\\x1b]52;c;");
    let raw = on_terminal(admin.command(["output", "--raw", &id]));
    assert_eq!(raw.bytes, text.as_bytes());
    // Into a pipe or a file it goes as it is, whatever the options.
    assert_eq!(admin.run(["output", &id]).expect(0).stdout, text.as_bytes());
}

#[test]
fn b13_names_last_lines_and_mistakes_are_shown_and_not_obeyed() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let text = all();
    // A name is one line of at most 256 bytes.
    let ran = admin.run([
        "run",
        "--name",
        &text,
        "--env",
        &format!("A={text}"),
        "--",
        "sh",
        "-c",
        "printf '%s' \"$A\"; exit 4",
    ]);
    assert_eq!(ran.expect(4).stdout, text.as_bytes());
    let id = admin.list(&[])[0]["id"].as_str().unwrap().to_owned();
    plain(&admin, ["list"], "\\x1b[2J");
    plain(&admin, ["show", &id], "\\x1b[2J");
    plain(&admin, ["list", "--json"], "\\u001b[2J");
    plain(&admin, ["show", "--json", &id], "\\u001b[2J");
    plain(&admin, ["why", &id], "");
    plain(&admin, ["wait", &id], "");
    plain(&admin, ["cancel", &id], "");
    plain(&admin, ["list", "--search", &text], "\\x1b[2J");
    plain(&admin, ["slaves"], "pc-01");
    plain(&admin, ["clients"], "admin");
    plain(&admin, ["languages"], "");

    let missing = format!("no-such-{text}");
    plain(&admin, ["run", "--", &missing], "no-such-\\x1b[2J");
    plain(&admin, ["run", &format!("{missing}.py")], "no-such-\\x1b[2J");
    plain(&admin, ["run", "--stdin", &missing, "--", "true"], "no-such-\\x1b[2J");
    plain(&admin, ["submit", "--slave", "a\x1b]0;x\x07", "--", "true"], "a\\x1b]0;x");
    plain(&admin, ["run", "--language", "a\x1b[2J", "--", "true"], "a\\x1b[2J");
    plain(&admin, ["run", &cluster.file("a.b\x1b[2J", "x")], "a.b\\x1b[2J");
    for args in [
        &["show", &text][..],
        &["output", &text],
        &["wait", &text],
        &["list", "--state", &text],
        &["run", "--memory", &text, "--", "true"],
        &["run", "--wall-time", &text, "--", "true"],
        &["run", &format!("--{text}"), "x"],
        &[&text],
        &["login", &text, "--user", "x", "--password-stdin"],
        &["login", cluster.address(), "--user", "x", "--pin", &text],
        &["run", "--env", &format!("={text}"), "--", "true"],
    ] {
        let shown = on_terminal(cluster.cli("nobody").command(args));
        shown.is_plain();
        assert_ne!(shown.code, Some(0), "{args:?}");
        let mut coloured = admin.command(args);
        coloured.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        on_terminal(coloured).leaves_the_terminal_alone();
        let shown = on_terminal(admin.command(args));
        shown.is_plain();
        assert!(shown.code != Some(0) && !shown.bytes.is_empty(), "{args:?}: {:?}", shown.text());
    }
}

#[test]
fn b13_compile_errors_and_progress_are_shown_and_not_obeyed() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let text = all().replace('\r', "");
    let broken = cluster.file("broken.py", format!("x = 1\ny = '{text}' +\n"));
    plain(&admin, ["run", &broken], "broken.py");
    let broken = cluster.file("broken.c", format!("#error {text}\nint main(void) {{ return 0; }}\n"));
    plain(&admin, ["run", &broken], "#error");
    let id = admin.list(&[])[0]["id"].as_str().unwrap().to_owned();
    plain(&admin, ["output", "--compile", &id], "#error");
    plain(&admin, ["why", &id], "#error");
    plain(&admin, ["show", &id], "");
    assert!(admin.run(["output", "--compile", &id]).expect(0).out().contains('\x1b'), "in a pipe it is as it was");

    let id = progressing(&cluster, &admin);
    plain(&admin, ["list"], "40");
    plain(&admin, ["show", &id], "\\x1b]0;title");
    admin.run(["cancel", &id]).expect(0);
}

/// A program that runs and says how far it is.
fn progressing(cluster: &Cluster, admin: &Cli) -> String {
    let said = cluster.file("progress", format!("40 {}", all().replace('\r', "")));
    let id = admin.submit(["--stdin", &said, "--", "sh", "-c", "cat > \"$RUCHE_PROGRESS\"; sleep 600"]);
    wait_until("the program says how far it is", || {
        (admin.show(&id)["progress_percent"].as_f64() == Some(40.0)).then_some(())
    });
    id
}

#[test]
fn b13_a_slave_with_a_hostile_name_is_refused_in_plain_text() {
    let cluster = small_cluster();
    let mut slave = std::process::Command::new(tests::binaries::path("ruche-slave"));
    slave.args(["run", "--name", "a\x1b]0;title\x07", "--join", &cluster.join_string(), "--data"]);
    slave.arg(cluster.path().join("pc-02"));
    let shown = on_terminal(slave);
    shown.is_plain();
    assert!(shown.text().contains("a\\x1b]0;title\\x07") && shown.code != Some(0), "{:?}", shown.text());
    let mut master = std::process::Command::new(tests::binaries::path("ruche-master"));
    master
        .args(["user", "add", "a\x1b]0;title\x07", "--role", "admin", "--password-stdin", "--data"])
        .arg(cluster.data());
    let shown = on_terminal(master);
    shown.is_plain();
    assert_ne!(shown.code, Some(0), "{:?}", shown.text());
    let mistake = cluster.file("mistake.toml", "name = \"a\x1b]0;title\x07\"\n");
    for (program, words) in [
        ("ruche-slave", &["run", "--data", "x", "--config", mistake.as_str()][..]),
        ("ruche-master", &["serve", "--data", "x", "--config", mistake.as_str()]),
        ("ruche-slave", &["run", "--data", "x", "--slots", "\x1b]0;title\x07"]),
        ("ruche-slave", &["\x1b]0;title\x07"]),
        ("ruche-master", &["serve", "--\x1b]0;title\x07"]),
        ("ruche-master", &["\x1b[2J"]),
        ("ruche", &["list", "--limit", "\x1b[2J"]),
    ] {
        let mut command = std::process::Command::new(tests::binaries::path(program));
        command.args(words).current_dir(cluster.path());
        let shown = on_terminal(command);
        // The colours of a mistake in the arguments are ours.
        shown.leaves_the_terminal_alone();
        assert!(!shown.text().contains("\x1b]") && shown.text().contains("\\x1b"), "{words:?}: {:?}", shown.text());
    }
}
