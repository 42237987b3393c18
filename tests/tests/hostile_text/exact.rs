//! B9, B19: whatever bytes a person or a program chose arrive as they are, and no shell ever looks at them.

use crate::{small_cluster, terminal::on_terminal};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

/// Prints each argument, or each variable that begins with `X`, after its length.
const TELL: &str = "import os, sys
w = sys.stdout.buffer.write
for b in map(os.fsencode, sys.argv[1:]): w(len(b).to_bytes(4, 'big') + b)
for k, v in sorted(os.environb.items()):
    if k.startswith(b'X'): w(len(k + v).to_bytes(4, 'big') + k + v)
";

fn told(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat()).collect()
}

#[test]
fn b19_arguments_and_variables_arrive_bit_exact() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let every: Vec<u8> = (1..=255).collect();
    let arguments: Vec<Vec<u8>> = [
        &every[..],
        b"\xff\xfe",
        b"",
        b" ",
        b"--",
        b"-x",
        b"A=B",
        b"$(touch evil)`id`;|&><*?~!{a,b}\"'\\",
        b"line\nfeed\r\n",
        "\u{202e}é".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let mut line: Vec<OsString> = ["run", "--", "python3", "-c", TELL].map(OsString::from).to_vec();
    line.extend(arguments.iter().map(|argument| OsString::from_vec(argument.clone())));
    assert_eq!(admin.run(&line).expect(0).stdout, told(&arguments));

    let variables: [&[u8]; 5] = [b"X1\xff=\xfe\x01=x", b"X2=", b"X3=a  b\n\t", b"X4==", b"X5=$(id)`id`"];
    let mut line: Vec<OsString> = vec!["run".into()];
    for variable in variables {
        line.extend(["--env".into(), OsStr::from_bytes(variable).to_owned()]);
    }
    line.extend(["--", "python3", "-c", TELL].map(OsString::from));
    let expected: Vec<Vec<u8>> = variables
        .iter()
        .map(|variable| {
            let place = variable.iter().position(|byte| *byte == b'=').unwrap();
            [&variable[..place], &variable[place + 1..]].concat()
        })
        .collect();
    assert_eq!(admin.run(&line).expect(0).stdout, told(&expected));
}

#[test]
fn b19_input_and_both_outputs_are_bit_exact() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    // No period that a buffer could hide.
    let mut state = 0x9e37_79b9_u32;
    let bytes: Vec<u8> = (0..1_000_003)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let input = cluster.file("bytes", &bytes);
    let ran = admin.run(["run", "--stdin", &input, "--", "sh", "-c", "cat > all; cat all; cat all >&2"]).expect(0);
    assert!(ran.stdout == bytes, "standard output differs");
    assert!(ran.stderr == bytes, "standard error differs");
    let id = admin.list(&[])[0]["id"].as_str().unwrap().to_owned();
    assert!(admin.run(["output", &id]).expect(0).stdout == bytes, "what is kept differs");
    assert!(admin.run(["output", "--stderr", &id]).expect(0).stdout == bytes, "what is kept differs");
    let source =
        [b"# coding: latin-1\nimport sys\nsys.stdout.buffer.write(open(sys.argv[0], 'rb').read())\n# ", &bytes[..1]]
            .concat();
    let source = [&source[..], &(128..=255).collect::<Vec<u8>>()].concat();
    let path = cluster.file("latin.py", &source);
    assert!(admin.run(["run", &path]).expect(0).stdout == source, "the source differs");
}

#[test]
fn b19_bytes_that_are_no_text_are_shown_each_as_what_it_is() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let command = OsStr::from_bytes(b"./not-\xff\xfethere");
    let mut line: Vec<OsString> = vec!["run".into(), "--".into(), command.into()];
    line.push(OsStr::from_bytes(b"\xc3").to_owned());
    let ran = on_terminal(admin.command(&line));
    ran.is_plain();
    assert_eq!(ran.code, Some(127), "{}", ran.text());
    assert!(ran.text().contains("not-\\xff\\xfethere"), "{}", ran.text());
    let id = admin.list(&[])[0]["id"].as_str().unwrap().to_owned();
    for args in [&["list"][..], &["show", &id], &["why", &id]] {
        let shown = on_terminal(admin.command(args));
        shown.is_plain();
        assert!(shown.text().contains("\\xff\\xfe"), "{args:?}: {}", shown.text());
    }
    // A person's own words must be text: said, and nothing is guessed.
    let refused = admin.run([OsStr::new("run"), OsStr::new("--name"), OsStr::from_bytes(b"\xff"), OsStr::new("x")]);
    assert!(refused.code == 125 && refused.err().contains("UTF-8"), "{refused:?}");
}

#[test]
fn b9_loader_and_path_tricks_change_the_program_and_nothing_else() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let evil = cluster.file("evil.so", b"not a library");
    let preload = format!("LD_PRELOAD={evil}");
    for _ in 0..3 {
        let ran = admin.run([
            "run",
            "--env",
            &preload,
            "--env",
            "LD_LIBRARY_PATH=/nowhere",
            "--",
            "sh",
            "-c",
            "echo \"$LD_PRELOAD\"",
        ]);
        assert_eq!(ran.expect(0).out(), format!("{evil}\n"));
    }
    let shells = cluster.outside();
    std::fs::write(shells.join("sh"), "#!/bin/true\n").unwrap();
    std::fs::set_permissions(shells.join("sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("PATH={}", shells.display());
    // The slave looks for the command, in its own folders.
    let ran = admin.run(["run", "--env", &path, "--", "sh", "-c", "echo \"found by the slave\""]).expect(0);
    assert_eq!(ran.out(), "found by the slave\n");
    let ran = admin.run([
        "run",
        "--env",
        "IFS=/",
        "--env",
        "ENV=/etc/passwd",
        "--env",
        "BASH_ENV=/etc/passwd",
        "--",
        "sh",
        "-c",
        "echo fine",
    ]);
    assert_eq!(ran.expect(0).out(), "fine\n");
    assert_eq!(admin.slaves()[0]["state"], "connected");
}
