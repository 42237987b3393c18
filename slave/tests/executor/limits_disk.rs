//! The limits on disk and on open files, and those of the compile step, as people read them.

use crate::kit::{Kit, shell, source};
use common::{
    Limit, ResourceLimits,
    units::{ByteSize, Duration},
};

#[test]
fn i15_a_full_disk_limit_is_told_with_what_was_taken_and_the_slot_goes_on() {
    let mut kit = Kit::new();
    let mut spec = shell("head -c 100000000 /dev/zero > big; sleep 60");
    spec.limits.disk = ByteSize(20 << 20);
    let ran = kit.run(spec.clone());
    let detail = ran.assert_limit(Limit::Disk);
    assert!(detail.starts_with("Stopped by the disk limit. It filled ") && detail.contains(" of 20 MiB"), "{detail}");
    // What it took is given back, and the next one starts with nothing.
    spec.limits.disk = ByteSize(20 << 20);
    let mut next = shell("ls -A | wc -l; head -c 15000000 /dev/zero > fits");
    next.limits.disk = spec.limits.disk;
    let ran = kit.run(next);
    ran.assert_exit(0);
    assert_eq!(ran.text().trim(), "0");
}

#[test]
fn i16_a_program_that_fails_for_want_of_descriptors_is_told_so() {
    let mut kit = Kit::new();
    let text = "import time\nfiles = []\ntry:\n    while True: files.append(open('/dev/null'))\nexcept OSError as error:\n    time.sleep(0.5)\n    raise error\n";
    let mut spec = source("Python", "many.py", text);
    spec.limits.open_files = 64;
    let ran = kit.run(spec);
    let detail = ran.assert_limit(Limit::OpenFiles);
    assert!(detail.contains("64 of 64"), "{detail}");
    assert!(String::from_utf8_lossy(&ran.error).contains("Too many open files"), "{ran:?}");
}

#[test]
fn i18_the_compile_step_is_within_the_ceiling() {
    let ceiling =
        ResourceLimits { memory: ByteSize(64 << 20), wall_time: Duration::from_secs(2), ..ResourceLimits::MOST };
    let mut kit = Kit::under(ceiling);
    let fifo = kit.data.join("header.h");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    std::fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    // Nobody ever writes the header. Then one that never ends.
    for (header, limit, told) in
        [(fifo.to_str().unwrap(), Limit::WallTime, "of 2.0 s."), ("/dev/zero", Limit::Memory, "of 64 MiB after")]
    {
        let mut spec = source("C", "x.c", &format!("#include \"{header}\"\nint main(void) {{ return 0; }}\n"));
        (spec.limits.memory, spec.limits.wall_time) = (ceiling.memory, ceiling.wall_time);
        let detail = kit.run(spec).assert_limit(limit);
        assert!(detail.contains("The compile step") && detail.contains(told), "{detail}");
    }
}
