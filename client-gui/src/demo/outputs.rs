//! What the programs of the demonstration print.

/// The three streams of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) compile: String,
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
            compile: String::new(),
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
        "hello.rs" => text("Hello from pc-03\n".to_owned()),
        _ if last_line.is_empty() => Output::default(),
        _ => text(format!("{last_line}\n")),
    }
}
