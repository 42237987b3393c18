//! I17: calls that no program needs are refused, whoever asks.

use crate::world::{Level, World, source};

/// Refused also where a program may use the machine's files and network: what attacks on a kernel begin with.
const DANGEROUS: [&str; 28] = [
    "io_uring_setup",
    "unshare-user",
    "unshare-mount",
    "unshare-network",
    "unshare-user-of-many",
    "clone-user",
    "setns",
    "mount",
    "mount-bind",
    "umount",
    "pivot_root",
    "chroot",
    "fsopen",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "kexec_load",
    "init_module",
    "userfaultfd",
    "fanotify_init",
    "open_by_handle_at",
    "reboot",
    "swapon",
];

#[test]
fn i17_calls_that_no_program_needs_are_refused() {
    let world = World::shared();
    for level in world.levels() {
        let text = world.run(*level, source!("calls.c"), &[], &[]).expect(0).out();
        let answer = |call: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(call)?.strip_prefix(' '));
            found.unwrap_or_else(|| panic!("{level:?}: no `{call}` in {text}"))
        };
        for call in DANGEROUS {
            assert!(["EPERM", "ENOSYS"].contains(&answer(call)), "{level:?}: {call} {}", answer(call));
        }
        // Libraries fall back to clone where there is no clone3, whose flags nobody can look at from outside.
        assert_eq!(answer("clone3"), "ENOSYS", "{level:?}");
        for line in text.lines() {
            assert!(!line.ends_with("allowed"), "{level:?}: {line}");
        }
        assert!(
            ["ENXIO", "ENOENT", "EACCES", "EPERM"].contains(&answer("terminal")),
            "{level:?}: {}",
            answer("terminal")
        );
    }
}

#[test]
fn i17_a_program_of_another_architecture_gets_no_further() {
    let world = World::shared();
    // The same machine speaks to its kernel in a second tongue, whose numbers mean other calls.
    let source = crate::world::Source(
        "tongue.c",
        "int main(void) { long result; __asm__ volatile(\"int $0x80\" : \"=a\"(result) : \"a\"(20) : \"memory\"); \
         return result > 0 ? 66 : 0; }\n",
    );
    if cfg!(not(target_arch = "x86_64")) {
        crate::not_exercised("calls of a second architecture: this processor has none that is known here");
        return;
    }
    for level in [Level::Root, Level::User, Level::Fallback] {
        if world.has(level) {
            let ran = world.run(level, source, &[], &[]);
            assert_ne!(ran.code, 66, "{level:?}: the call was made");
        }
    }
}
