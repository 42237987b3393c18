//! How programs end.

use crate::kit::{Kit, command, shell, source};
use common::outcome::Outcome;

#[test]
fn e5_first_slice() {
    let mut kit = Kit::new();
    let ran = kit.run(command("echo", &["hello"]));
    ran.assert_exit(0);
    assert_eq!(ran.text(), "hello\n");
    assert_eq!(ran.end.last_line, "hello");
    let ran = kit.run(source("Python", "hello.py", "print('ruche', 6 * 7)\n"));
    ran.assert_exit(0);
    assert_eq!(ran.text(), "ruche 42\n");
}

#[test]
fn i20_every_exit_code_is_told() {
    let mut kit = Kit::new();
    for code in 0..=255 {
        kit.run(shell(&format!("exit {code}"))).assert_exit(code);
    }
}

#[test]
fn i20_signals_are_told() {
    let mut kit = Kit::new();
    for signal in [1, 2, 3, 6, 8, 9, 11, 13, 15, 24, 25, 31, 34, 64] {
        let ran = kit.run(shell(&format!("kill -{signal} $$; sleep 5")));
        // That of the file size limit as well, where no file is at the limit.
        assert_eq!(ran.end.outcome, Outcome::Signalled { signal });
    }
}
