//! The binary of `cargo xtask fuzz`: one target, chosen by `RUCHE_FUZZ_TARGET`, under libFuzzer. In an ordinary build
//! it runs a target on files: `ruche-fuzz TARGET FILE…`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: std::sync::LazyLock<&fuzz::Target> = std::sync::LazyLock::new(|| {
        let name = std::env::var("RUCHE_FUZZ_TARGET").unwrap_or_default();
        fuzz::target(&name)
            .unwrap_or_else(|| panic!("RUCHE_FUZZ_TARGET names no target; see `cargo xtask fuzz --list`"))
    });
    (TARGET.run)(data);
});

#[cfg(not(fuzzing))]
#[expect(clippy::print_stdout, reason = "it lists the targets")]
fn main() -> std::io::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let Some(name) = words.next() else {
        for target in fuzz::TARGETS {
            println!("{}\t{}\t{}", target.name, target.bytes_max, target.what);
        }
        return Ok(());
    };
    let target = fuzz::target(&name.to_string_lossy()).ok_or_else(|| std::io::Error::other("no such target"))?;
    for file in words {
        (target.run)(&std::fs::read(file)?);
    }
    Ok(())
}
