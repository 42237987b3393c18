//! Programs that ask for the network, and what they do not reach there.

use crate::kit::{Slot, is_root, step, strongest};
use launcher::{
    cgroup::Base,
    protocol::{Guards, NetworkGuard, StartStep, Step},
};
use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Says what is not exercised here; None when programs can have the network.
fn groups() -> Option<Base> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let groups = Base::prepare(&format!("ruche-network-{}-{number}", std::process::id()));
    if is_root() && groups.slot(0).identity.is_some() {
        return Some(groups);
    }
    #[expect(clippy::print_stderr, reason = "whoever reads the test's output shall know")]
    {
        eprintln!("not exercised: the network on request needs root and cgroup v2");
    }
    None
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

const REACH: &str = "import socket, errno\n\
    def reach(kind, *address):\n\
    \x20 family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET\n\
    \x20 s = socket.socket(family, kind)\n\
    \x20 s.settimeout(5)\n\
    \x20 try:\n\
    \x20  if kind == socket.SOCK_STREAM: s.connect(address)\n\
    \x20  else: s.sendto(b'x', address)\n\
    \x20  return 'reached'\n\
    \x20 except OSError as e: return errno.errorcode.get(e.errno, str(e))\n\
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM\n";

#[test]
fn i7_a_program_with_network_reaches_neither_the_master_nor_loopback_nor_what_clouds_tell() {
    let Some(groups) = groups() else { return };
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let master = TcpListener::bind("0.0.0.0:0").unwrap();
    let (port, masters) = (listener.local_addr().unwrap().port(), master.local_addr().unwrap().port());
    let guards = Guards { network: Some(NetworkGuard { ports: vec![masters] }), ..strongest() };
    let mut slot = Slot::with(tempfile::tempdir_in("/var/tmp").unwrap(), guards, groups.slot(0));
    assert_eq!(slot.problem, "");
    let mut script = REACH.to_owned();
    for (address, port) in [
        ("127.0.0.1", port),
        ("127.1.2.3", port),
        ("0.0.0.0", port),
        ("::1", port),
        ("::", port),
        ("::ffff:127.0.0.1", port),
        ("::ffff:169.254.169.254", 80),
        ("64:ff9b::7f00:1", port),
        ("169.254.169.254", 80),
        ("fe80::1", 80),
        ("224.0.0.251", 5_353),
        ("192.0.2.1", masters),
        ("::ffff:192.0.2.1", masters),
        ("2001:db8::1", masters),
        ("fd00:ec2::254", 80),
        ("fd20:ce::254", 80),
        ("168.63.129.16", 80),
        ("::ffff:168.63.129.16", 32_526),
        ("100.100.100.200", 80),
    ] {
        script += &format!("print('{address}', reach(tcp, '{address}', {port}), reach(udp, '{address}', {port}))\n");
    }
    script += "try: socket.create_server(('0.0.0.0', 18080)); print('served')\nexcept OSError as e: print(e.errno)\n";
    script += "print(reach(udp, '127.0.0.53', 53))\n";
    for _ in 0..2 {
        let told = slot.python_with_network(&script).succeeded();
        let lines: Vec<&str> = told.lines().collect();
        for line in &lines[..19] {
            assert!(line.ends_with(" EPERM EPERM"), "{told}");
        }
        assert_eq!(lines[19..], ["1", "reached"], "{told}");
    }
    // The other addresses of the machine are not told from any other's.
    if let Some(address) = own_address() {
        let script = format!("{REACH}print(reach(tcp, '{address}', {port}), reach(tcp, '{address}', {masters}))");
        assert_eq!(slot.python_with_network(&script).succeeded(), "reached EPERM\n");
    }
    // The next one asks for nothing, and its own loopback is not in the way of it.
    let own = "s = socket.create_server(('127.0.0.1', 0)); print(reach(tcp, '127.0.0.1', s.getsockname()[1]))";
    assert_eq!(slot.python(&format!("{REACH}{own}")).succeeded(), "reached\n");
    drop(slot);
    groups.remove();
}

#[test]
fn i7_a_program_with_network_finds_no_socket_of_the_machine_without_a_file() {
    let Some(groups) = groups() else { return };
    let guards = Guards { network: Some(NetworkGuard::default()), ..strongest() };
    let mut slot = Slot::with(tempfile::tempdir_in("/var/tmp").unwrap(), guards, groups.slot(0));
    let name = format!("ruche-test-{}", std::process::id());
    let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address.unwrap()).unwrap();
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect('\\0{name}'); print('reached')\n\
         except OSError as e: print(e.errno)"
    );
    assert_eq!(slot.python_with_network(&script).succeeded(), "1\n");
    drop(slot);
    groups.remove();
}

#[test]
fn i7_where_the_network_is_not_allowed_a_program_that_asks_is_not_started() {
    let mut slot = Slot::new(strongest());
    let asks = Step { network: true, ..step(&["/bin/true"]) };
    assert_eq!(slot.try_run(&asks).unwrap_err().step, StartStep::Network);
}
