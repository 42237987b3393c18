//! What a program cannot do.

use crate::kit::{Slot, read, step, strongest, without_namespaces};
use launcher::protocol::{Guards, Namespaces, Status};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[test]
fn i17_calls_that_no_program_needs_are_refused() {
    for guards in [strongest(), without_namespaces()] {
        let mut slot = Slot::new(guards);
        assert_eq!(slot.problem, "");
        let script = "import ctypes, errno\nc = ctypes.CDLL(None, use_errno=True)\n\
            calls = dict(mount=165, unshare=272, setns=308, bpf=321, keyctl=250, perf=298, io_uring=425, ptrace=101,\
            kexec=246, userfaultfd=323, clone3=435, open_by_handle=304, fsopen=430, module=313, x32=0x40000000 + 39)\n\
            for name, number in calls.items():\n\
            \x20 r = c.syscall(number, 0, 0, 0, 0, 0)\n\
            \x20 print(name, r if r >= 0 else errno.errorcode[ctypes.get_errno()])\n\
            r = c.syscall(56, 0x10000000 | 17, 0, 0, 0, 0); print('clone', r, errno.errorcode[ctypes.get_errno()])\n\
            r = c.ioctl(0, 0x5412, b'x'); print('tiocsti', r, errno.errorcode[ctypes.get_errno()])\n";
        let told = slot.python(script).succeeded();
        let expected: String =
            ["mount", "unshare", "setns", "bpf", "keyctl", "perf", "io_uring", "ptrace", "kexec", "userfaultfd"]
                .map(|name| format!("{name} EPERM\n"))
                .concat();
        let rest = "clone3 ENOSYS\nopen_by_handle EPERM\nfsopen EPERM\nmodule EPERM\nx32 ENOSYS\nclone -1 EPERM\ntiocsti -1 EPERM\n";
        assert_eq!(told, expected + rest);
    }
}

#[test]
fn i17_what_lets_the_keeper_through_is_not_guessed() {
    for guards in [strongest(), without_namespaces()] {
        let mut slot = Slot::new(guards);
        // The calls that a keeper makes, as it makes them: with all registers that they do not use full of one number,
        // and of one bit.
        let script = "import ctypes, errno\nc = ctypes.CDLL(None, use_errno=True)\n\
            def told(number, *used):\n\
            \x20 found = set()\n\
            \x20 for guess in [0, 1, -1, 0x5555555555555555, 0x00000000ffffffff] + [1 << bit for bit in range(63)]:\n\
            \x20  registers = [ctypes.c_long(n) for n in used] + [ctypes.c_long(guess)] * (6 - len(used))\n\
            \x20  ctypes.set_errno(0); r = c.syscall(number, *registers)\n\
            \x20  found.add(errno.errorcode[ctypes.get_errno()] if r < 0 else 'done')\n\
            \x20 return ' '.join(sorted(found))\n\
            print('clone3', told(435, 0, 88))\n\
            for name, call in dict(mount=(165, 0, 0, 0, 32, 0), umount=(166, 0, 2), unshare=(272, 0x08000000), user=(272, 0x10000000),\
            setns=(308, 0, 0x40000000), open_tree=(428, -100, 0, 1), move_mount=(429, 0, 0, 0, 0, 0x44), fsopen=(430, 0, 1),\
            fsconfig=(431, 0, 6, 0, 0, 0), fsmount=(432, 0, 1, 0), mount_setattr=(442, 0, 0, 0, 0, 0), bpf=(321, 8, 0, 16)).items():\n\
            \x20 print(name, told(*call))\n\
            lines = open('/proc/self/status').read().split('\\n')\n\
            print(*[line.split()[1] for line in lines if line.startswith(('Seccomp', 'NoNewPrivs'))])\n";
        let names = ["mount", "umount", "unshare", "user", "setns", "open_tree", "move_mount", "fsopen", "fsconfig"];
        let refused: String =
            names.iter().chain(&["fsmount", "mount_setattr", "bpf"]).map(|name| format!("{name} EPERM\n")).collect();
        // Linux 5.9 and later tell how many filters there are: that of the keeper.
        let expected = format!("clone3 ENOSYS\n{refused}1 2");
        let found = slot.python(script).succeeded();
        assert!([format!("{expected}\n"), format!("{expected} 1\n")].contains(&found), "{found}");
    }
}

#[test]
fn i5_a_program_changes_nothing_of_its_keeper() {
    for guards in [strongest(), without_namespaces()] {
        let mut slot = Slot::new(guards);
        let script = "import ctypes, errno, os, resource\nc = ctypes.CDLL(None, use_errno=True)\n\
            def told(r): return r if r >= 0 else errno.errorcode[ctypes.get_errno()]\n\
            print(told(c.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(0, 0), None)))\n\
            print(told(c.setpriority(0, 1, 19)), told(c.setpriority(2, os.getuid(), 19)))\n\
            print(told(c.sched_setaffinity(1, 8, (ctypes.c_ulong * 1)(1))))\n\
            print(told(c.setpriority(0, 0, 19)), told(c.prlimit(0, resource.RLIMIT_NOFILE, None, None)))\n";
        assert_eq!(slot.python(script).succeeded(), "EPERM\nEPERM EPERM\nEPERM\n0 0\n");
    }
}

#[test]
fn i20_codes_and_signals_are_told_as_they_are() {
    let mut slot = Slot::new(strongest());
    for code in [0, 1, 42, 126, 127, 255] {
        assert_eq!(slot.shell(&format!("exit {code}")).ended.status, Status::Exited(code));
    }
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15, 10, 12] {
        let told = slot.shell(&format!("kill -{signal} $$"));
        assert_eq!(told.ended.status, Status::Signalled(signal));
    }
    let missing = slot.try_run(&step(&["/usr/bin/no-such-program"])).unwrap_err();
    assert_eq!((missing.step, missing.errno), (launcher::protocol::StartStep::Execute, libc::ENOENT));
}

#[test]
fn i3_without_namespaces_the_rules_of_landlock_hold() {
    let mut slot = Slot::new(without_namespaces());
    assert_eq!(slot.problem, "");
    let data = slot.data.path().display().to_string();
    let told =
        slot.shell(&format!("cat {data}/key; ls / /root {data}; echo x >/var/tmp/x; echo own >file && cat file"));
    assert_eq!(told.output, "own\n", "{told:?}");
    let told = slot.shell("echo 5 >/proc/self/oom_score_adj; cat /proc/self/comm");
    assert!(told.errors.contains("ermission denied"), "{told:?}");
    assert_eq!(told.output, "cat\n");
    let script = "import socket\ntry: socket.socket()\nexcept OSError as e: print(e.errno)";
    assert_eq!(slot.python(script).succeeded(), "13\n");
}

#[test]
fn i5_without_namespaces_no_socket_of_the_slaves_user_is_reached() {
    let mut slot = Slot::of_keepers_user(without_namespaces());
    assert_eq!(slot.problem, "");
    // As the launcher's own, and as services of the machine listen.
    let path = slot.data.path().join("launcher.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let datagrams = slot.data.path().join("datagrams.sock");
    let receiver = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
    let script = format!(
        "import socket as s\n\
         def told(what):\n\
         \x20 try: what(); return 'done'\n\
         \x20 except OSError as e: return e.errno\n\
         print(told(lambda: s.socket(s.AF_UNIX).connect('{}')))\n\
         print(told(lambda: s.socket(s.AF_UNIX, s.SOCK_SEQPACKET)))\n\
         print(told(lambda: s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)[0].sendto(b'x', '{}')))\n\
         print(told(lambda: s.socketpair(s.AF_UNIX, s.SOCK_RAW)[0].sendto(b'x', '{}')))\n\
         print(told(lambda: s.socketpair()[0].connect('{}')))\n\
         a, b = s.socketpair(); a.send(b'x'); print(b.recv(1))\n",
        path.display(),
        datagrams.display(),
        datagrams.display(),
        path.display()
    );
    // EISCONN for the pair that is connected.
    assert_eq!(slot.python(&script).succeeded(), "13\n13\n13\n13\n106\nb'x'\n");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    receiver.set_nonblocking(true).unwrap();
    assert_eq!(receiver.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn i12_what_outlives_the_main_process_is_gone_with_it() {
    let mut slot = Slot::new(strongest());
    let script = "(setsid sh -c 'trap \"\" TERM HUP; sleep 60' >/dev/null 2>&1 &) ; echo done";
    assert_eq!(slot.shell(script).succeeded(), "done\n");
    assert_eq!(slot.processes_seen(), "1\n");
}

#[test]
fn i16_open_files_and_locked_memory_are_bounded() {
    let mut slot = Slot::new(strongest());
    assert_eq!(slot.shell("ulimit -n; ulimit -Hn; ulimit -c").succeeded(), "256\n256\n0\n");
    let script = "import os\ntry:\n while True: os.open('/dev/null', 0)\nexcept OSError as e: print(e.errno)";
    assert_eq!(slot.python(script).succeeded(), "24\n");
}

#[test]
fn i17_signals_of_a_program_do_not_end_its_keeper() {
    // With each guard, and with nothing left in the way of a signal.
    let bare = Guards { namespaces: Namespaces::OfUser, landlock: false, seccomp: false, ..strongest() };
    for mut slot in [Slot::new(strongest()), Slot::of_keepers_user(bare)] {
        assert_eq!(slot.problem, "");
        for signal in ["KILL", "TERM", "USR1", "USR2", "HUP", "STOP"] {
            slot.shell(&format!("kill -{signal} 1; kill -{signal} -1; true"));
        }
        // As if it came from outside: a signal that tells a number of its own as the sender.
        let script = "import ctypes\nc = ctypes.CDLL(None)\ninfo = (ctypes.c_int * 32)(10, 0, -1, 0, 0)\n\
                      for signal in (10, 12): c.syscall(129, 1, signal, info)";
        slot.python(script);
        assert_eq!(slot.shell("echo still").succeeded(), "still\n");
    }
}

#[test]
fn i5_a_program_keeps_no_signal_of_the_launcher_from_its_keeper() {
    // With the keeper's own user, and no rule of Landlock in the way.
    let mut slot = Slot::of_keepers_user(Guards { namespaces: Namespaces::OfUser, landlock: false, ..strongest() });
    assert_eq!(slot.problem, "");
    let script = "import ctypes, errno, fcntl, os\nc = ctypes.CDLL(None, use_errno=True)\n\
        def told(name, *numbers):\n\
        \x20 r = c.syscall(*numbers); print(name, errno.errorcode[ctypes.get_errno()] if r < 0 else 'done')\n\
        info = (ctypes.c_int * 32)(10, 0, -1, 0, 0)\n\
        for signal in (10, 12):\n\
        \x20 told('kill', 62, 1, signal); told('tkill', 200, 1, signal); told('tgkill', 234, 1, 1, signal)\n\
        \x20 told('queue', 129, 1, signal, info); told('queue to thread', 297, 1, 1, signal, info)\n\
        \x20 told('of a file', 72, 0, 10, signal)\n\
        told('pidfd', 434, 1, 0); told('group', 109, 0, 1)\n\
        os.setpgid(0, 0); os.kill(os.getpid(), 0); fcntl.fcntl(0, 10, 34); os.close(os.pidfd_open(os.getpid()))\n\
        print('usual')";
    let each = ["kill", "tkill", "tgkill", "queue", "queue to thread", "of a file"];
    let lines = each.iter().chain(&each).chain(&["pidfd", "group"]).map(|name| format!("{name} EPERM\n"));
    assert_eq!(slot.python(script).succeeded(), lines.collect::<String>() + "usual\n");
}

#[test]
fn i12_a_program_that_stops_all_of_its_user_is_ended() {
    // Without groups and namespaces its processes are told by their user alone, and root alone gives them one.
    if !crate::kit::is_root() {
        return eprintln!("not exercised: programs with users of their own need root");
    }
    let mut slot = Slot::new(Guards { landlock: false, ..without_namespaces() });
    let script = "import os, signal\nmain = os.getpid()\nif os.fork():\n print('there', flush=True); os._exit(0)\n\
                  while os.getppid() == main: pass\nwhile True: os.kill(-1, signal.SIGSTOP)";
    for _ in 0..100 {
        assert_eq!(slot.python(script).succeeded(), "there\n");
    }
}

/// Programs that would go on: one in a session of its own that minds no signal.
const STAYING: &str =
    "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo there; sleep 20; echo late' & sleep 20; echo late";

#[test]
fn i12_nothing_outlives_its_keeper() {
    let mut slot = Slot::new(strongest());
    let (mut output, first) = slot.begin(STAYING);
    assert_eq!(first, "there");
    kill(Pid::from_raw(slot.keeper_process()), Signal::SIGKILL).unwrap();
    // Its end comes when nobody has the pipe any more.
    assert_eq!(read(&mut output), "");
}

#[test]
fn i12_nothing_outlives_the_launcher() {
    for guards in [strongest(), without_namespaces()] {
        let mut slot = Slot::new(guards);
        let (mut output, first) = slot.begin(STAYING);
        assert_eq!(first, "there");
        let launcher = slot.launcher.process_id().unwrap().cast_signed();
        kill(Pid::from_raw(launcher), Signal::SIGKILL).unwrap();
        assert_eq!(read(&mut output), "");
    }
}
