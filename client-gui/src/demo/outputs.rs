//! What the programs of the demonstration print and bring back.

use common::{
    ByteSize, Digest,
    collected::{CollectedFile, Head},
    escape::RawText,
};

/// The three streams of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) compile: String,
    pub(super) files: Vec<u8>,
}

/// What the program of this name has printed.
pub(super) fn output(name: &str, last_line: &str) -> Output {
    let text = |stdout: String| Output { stdout, ..Output::default() };
    match name {
        "sort_students.py" => Output {
            stdout: "Reading students.csv\n18,220 rows\nSorting by name, then grade\npass 1 of 3 ... ok\npass 2 of 3 ... ok\n"
                .to_owned(),
            stderr: "Traceback (most recent call last):\n  File \"sort_students.py\", line 31, in <module>\n    table = build_index(rows, width=4096)\n  File \"sort_students.py\", line 12, in build_index\n    return [bytearray(width) for _ in rows]\nMemoryError\n"
                .to_owned(),
            ..Output::default()
        },
        "TriRapide.java" => Output {
            compile: "TriRapide.java:14: error: ';' expected\n        int pivot = values[high]\n                                ^\n1 error\n"
                .to_owned(),
            ..Output::default()
        },
        "render_frames.py" => text((1..=41).map(|frame| format!("frame {frame} of 100 written\n")).collect()),
        "matmul_bench.c" => {
            text((0..1_205).map(|step| format!("iteration {step}, residual {:.1e}\n", 1.0 / (1.0 + f64::from(step).powi(2)))).collect())
        }
        "long_simulation.sh" => text((0..=731).map(|step| format!("step {}\n", step * 10)).collect()),
        "plot.py" => Output { stdout: "wrote plot.png\n".to_owned(), files: files(), ..Output::default() },
        "hello.rs" => text("Hello from pc-03\n".to_owned()),
        _ if last_line.is_empty() => Output::default(),
        _ => text(format!("{last_line}\n")),
    }
}

/// What is brought back: a picture, a table, a script, and names that are not to be trusted.
pub(super) fn files() -> Vec<u8> {
    let picture: Vec<u8> = (0..61_440_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let table: String = (0..120_u32).map(|index| format!("{index},{}\n", index * index)).collect();
    let contents: [(&[u8], &[u8], bool); 5] = [
        (b"plot.png", &picture, false),
        (b"data/points.csv", table.as_bytes(), false),
        (b"data/again.sh", b"#!/bin/sh\npython3 plot.py\n", true),
        ("notes \u{202e}gpj.exe".as_bytes(), b"nothing\n", false),
        (b"\x1b[2Jcleared\n.txt", b"", false),
    ];
    let listed = contents.iter().map(|(path, bytes, executable)| CollectedFile {
        path: RawText(path.to_vec()),
        size: ByteSize(bytes.len() as u64),
        digest: Digest(*blake3::hash(bytes).as_bytes()),
        executable: *executable,
    });
    let head = Head {
        files: listed.collect(),
        left_out: vec!["data/latest.csv: a symbolic link".to_owned(), "data/socket: not a regular file".to_owned()],
    };
    let mut bytes = head.encode();
    for (_, content, _) in contents {
        bytes.extend_from_slice(content);
    }
    bytes
}
