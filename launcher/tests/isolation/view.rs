//! What a program sees.

use crate::kit::{Slot, strongest};
use launcher::protocol::{Guards, Namespaces};

/// The folder of the slots, in that of the test.
const WORK: &str = "work";

#[test]
fn i1_a_program_is_nobody_and_can_gain_nothing() {
    let mut slot = Slot::new(strongest());
    assert_eq!(slot.problem, "");
    let status = slot.run(&["/bin/cat", "/proc/self/status"]).succeeded();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    if let Some(user) = slot.config.user {
        assert_eq!(field("Uid:"), [user.uid; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Gid:"), [user.gid; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Groups:"), "");
    }
}

#[test]
fn i3_a_program_sees_the_system_its_folder_and_nothing_else() {
    let mut slot = Slot::new(strongest());
    let root = slot.shell("ls -A /").succeeded();
    let allowed = ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr", "var"];
    for name in root.lines() {
        assert!(allowed.contains(&name), "{name} is seen");
    }
    let data = slot.data.path().display().to_string();
    let seen = slot.shell(&format!("ls -A {data}; ls -A {data}/work; cat {data}/key; ls -A /var /var/tmp")).output;
    let name = slot.data.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(seen, format!("work\nslot-0\n/var:\ntmp\n\n/var/tmp:\n{name}\n"));
    assert!(
        slot.shell("pwd; /bin/pwd").succeeded().lines().all(|line| line.starts_with(&format!("{data}/{WORK}/slot-0/")))
    );
    let written = slot.shell("echo a >/usr/x; echo b >/etc/x; echo c >/x; echo d >../x; echo e >here && cat here");
    assert_eq!(written.output, "e\n");
}

#[test]
fn i4_only_three_descriptors_are_inherited() {
    // One that a careless library, or whoever started the slave, left open.
    let root = std::fs::File::open("/").unwrap();
    nix::fcntl::fcntl(&root, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut slot = Slot::new(strongest());
    drop(root);
    // The third is the folder that `ls` reads.
    let listed = slot.run(&["/bin/ls", "/proc/self/fd"]).succeeded();
    assert_eq!(listed, "0\n1\n2\n3\n");
}

#[test]
fn i4_no_way_up_from_the_working_folder_leads_out_of_the_view() {
    let mut slot = Slot::new(strongest());
    let script = "import os\nfor i in range(40): os.chdir('..')\nprint(os.getcwd(), sorted(os.listdir('.')))\n\
                  print(sorted(os.listdir('/proc/self/cwd/../../../../../../..')))";
    let told = slot.python(script).succeeded();
    assert!(told.starts_with("/ ["), "{told}");
    assert!(!told.contains("root") && !told.contains("'home'") && !told.contains("'sys'"), "{told}");
}

#[test]
fn i6_what_a_program_leaves_in_tmp_the_next_one_does_not_find() {
    let mut slot = Slot::new(strongest());
    assert_eq!(slot.shell("ls -A /tmp; touch /tmp/a; mkdir -p /dev/shm/b/c; ls -A /tmp").succeeded(), "a\nb\n");
    assert_eq!(slot.shell("ls -A /tmp; stat -c %a /tmp").succeeded(), "1777\n");
    let changed = slot.shell("chmod 0 /tmp; true").succeeded();
    assert_eq!(changed, "");
    assert_eq!(slot.shell("ls -A /tmp; stat -c %a /tmp").succeeded(), "1777\n");
    for _ in 0..3 {
        assert_eq!(slot.shell("ls -A /tmp; echo x >/tmp/a && mkdir /dev/shm/b && ls -A /tmp").succeeded(), "a\nb\n");
    }
}

#[test]
fn i6_a_slot_below_tmp_stays_when_tmp_is_made_anew() {
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let shared = outside.path().display().to_string();
    let guards = Guards { writable: vec![outside.path().to_owned()], ..strongest() };
    let mut slot = Slot::in_folder(tempfile::tempdir_in("/tmp").unwrap(), guards);
    assert_eq!(slot.problem, "");
    let data = slot.data.path().display().to_string();
    for run in 1..4 {
        let script = format!("find /tmp -type f; echo x >/tmp/left; echo y >here; echo {run} >>{shared}/kept; pwd");
        let told = slot.shell(&script).succeeded();
        let kept = if run == 1 { String::new() } else { format!("{shared}/kept\n") };
        let mut lines: Vec<&str> = told.lines().collect();
        lines.retain(|line| !line.contains("/slot-0/run-") || line.ends_with(&run.to_string()));
        assert_eq!(lines.concat(), format!("{}{data}/{WORK}/slot-0/run-{run}", kept.trim_end()), "{told}");
        assert!(std::fs::exists(slot.config.guards.work.join(format!("run-{run}/here"))).unwrap());
    }
    assert_eq!(std::fs::read_to_string(outside.path().join("kept")).unwrap(), "1\n2\n3\n");
}

#[test]
fn i15_the_private_tmp_has_a_size() {
    let mut slot = Slot::new(strongest());
    let script = "head -c 100M /dev/zero >/tmp/large; stat -c %s /tmp/large";
    // The disk limit of the kit.
    assert_eq!(slot.shell(script).output, format!("{}\n", 64 << 20));
}

#[test]
fn i6_a_program_sees_its_own_processes_alone() {
    let mut slot = Slot::new(strongest());
    assert_eq!(slot.processes_seen(), "1\n");
    assert_eq!(slot.shell("cat /proc/1/environ; ls /proc/1 2>/dev/null; kill -9 1; echo $?").output, "1\n");
}

#[test]
fn i7_a_program_has_no_network_but_its_own_loopback() {
    let mut slot = Slot::new(strongest());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "import socket, errno\n\
         def reach(family, address):\n\
         \x20 s = socket.socket(family, socket.SOCK_STREAM)\n\
         \x20 try: s.connect(address); return 'reached'\n\
         \x20 except OSError as e: return errno.errorcode[e.errno]\n\
         print(reach(socket.AF_INET, ('127.0.0.1', {port})))\n\
         print(reach(socket.AF_INET, ('169.254.169.254', 80)))\n\
         print(reach(socket.AF_INET, ('192.0.2.1', 80)))\n\
         server = socket.create_server(('127.0.0.1', 8080))\n\
         print(reach(socket.AF_INET, ('127.0.0.1', 8080)))\n\
         for kind in [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 0), (40, 1, 0)]:\n\
         \x20 try: socket.socket(*kind); print('made')\n\
         \x20 except OSError as e: print(errno.errorcode[e.errno])\n"
    );
    for _ in 0..2 {
        let told = slot.python(&script).succeeded();
        assert_eq!(told, "ECONNREFUSED\nENETUNREACH\nENETUNREACH\nreached\nEACCES\nEACCES\nEACCES\n");
    }
}

#[test]
fn i7_a_port_is_free_for_the_next_program() {
    let mut slot = Slot::new(strongest());
    // Who closes first keeps the connection in mind.
    let script = "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 8080)); s.listen()\n\
                  c = socket.create_connection(('127.0.0.1', 8080)); a, _ = s.accept(); a.close()\n\
                  print(c.recv(1)); c.close()";
    for _ in 0..2 {
        assert_eq!(slot.python(script).succeeded(), "b''\n");
    }
}

#[test]
fn i6_messages_of_one_program_are_gone_for_the_next() {
    let mut slot = Slot::new(strongest());
    let script = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n\
                  print(c.shmget(77, 4096, 0), c.semget(77, 1, 0), c.msgget(77, 0), c.mq_open(b'/q', 0))\n\
                  print(min(c.shmget(77, 4096, 0o1600), c.semget(77, 1, 0o1600), c.msgget(77, 0o1600)) >= 0)";
    for _ in 0..2 {
        assert_eq!(slot.python(script).succeeded(), "-1 -1 -1 -1\nTrue\n");
    }
}

#[test]
fn i19_a_guard_that_cannot_be_built_refuses_programs() {
    // The slave's own files would be seen.
    let data = tempfile::tempdir_in("/var/tmp").unwrap();
    let guards = strongest();
    assert_ne!(guards.namespaces, Namespaces::None);
    let guards = Guards { system: vec!["/usr".into(), data.path().to_owned()], ..guards };
    let mut slot = Slot::in_folder(data, guards);
    assert!(slot.problem.contains("would be seen whole"), "{}", slot.problem);
    let refused = slot.try_run(&crate::kit::step(&["/bin/true"])).unwrap_err();
    assert_eq!(refused.step, launcher::protocol::StartStep::Private);
}
