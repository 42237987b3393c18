//! How the binary is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // The unwinder comes into the binary: as a shared library it costs each start of a short command eight system
        // calls, and asks the processor for abilities that nobody needs, which is slow on a virtual machine.
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}
