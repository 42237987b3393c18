//! The programs that are run, and the library that is put under a process of ours for one figure.

use crate::{Cluster, binaries};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// A program that ends well at once and needs no library: the loader costs nothing, so our own part shows.
const NOTHING: &str = if cfg!(target_arch = "x86_64") {
    ".globl _start\n_start: mov $60, %eax\n xor %edi, %edi\n syscall\n"
} else if cfg!(target_arch = "aarch64") {
    ".globl _start\n_start: mov x8, #93\n mov x0, #0\n svc #0\n"
} else {
    panic!("say how a program ends on this processor")
};

/// Builds the program without a library where the programs of this cluster may execute it.
///
/// # Panics
/// When there is no working `cc`.
#[must_use]
pub fn nothing(cluster: &Cluster) -> PathBuf {
    let source = cluster.file("nothing.s", NOTHING);
    let program = cluster.outside().join("nothing");
    compile(&["-nostdlib", "-static", "-o"], &program, Path::new(&source));
    program
}

/// The library of `tests/shim/bench.c`, compiled beside the programs of this build.
///
/// # Panics
/// When there is no working `cc`.
#[must_use]
pub fn shim() -> PathBuf {
    let library = binaries::path("bench-shim.so");
    compile(&["-shared", "-fPIC", "-O1", "-o"], &library, &binaries::workspace().join("tests/shim/bench.c"));
    library
}

/// Variables that put the library under a program and have it do one thing.
#[must_use]
pub fn with_shim(what: &str, value: &str) -> Vec<(String, OsString)> {
    vec![("LD_PRELOAD".to_owned(), shim().into()), (what.to_owned(), value.into())]
}

fn compile(words: &[&str], target: &Path, source: &Path) {
    let output = Command::new("cc").args(words).arg(target).arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
