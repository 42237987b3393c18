//! A network of the test's own: one namespace a node, joined by a bridge in one more, so that nothing of the
//! machine's own network is touched. Each namespace lives as long as a small process that reads from this one:
//! when the test ends, in whatever way, they are gone.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::wait::wait_until;

/// A namespace, and the process that holds it.
pub struct Space {
    holder: Child,
}

impl Space {
    /// A new namespace of the kinds that `unshare` is told, after `commands` of the shell have run in it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(kinds: &[&str], commands: &str) -> Self {
        let script = format!("{commands}\necho ready; exec cat >/dev/null");
        let mut holder = Command::new("unshare")
            .args(kinds)
            .args(["--", "sh", "-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(holder.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert_eq!(line, "ready\n", "`unshare {}` does not work here", kinds.join(" "));
        Self { holder }
    }

    /// The file that stands for the namespace, such as `net`.
    #[must_use]
    pub fn file(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.holder.id()))
    }

    /// Words that run a command line in it. `ip netns exec` would hide the control groups.
    #[must_use]
    pub fn enter(&self, kind: &str) -> Vec<String> {
        let option = if kind == "mnt" { "mount" } else { kind };
        vec!["nsenter".to_owned(), format!("--{option}={}", self.file(kind).display())]
    }

    /// Runs a command in it.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, kind: &str, words: &[&str]) {
        let enter = self.enter(kind);
        let output = Command::new(&enter[0]).args(&enter[1..]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// One machine of the test's network.
pub struct Node {
    space: Space,
    /// Its address.
    pub address: String,
}

impl Node {
    /// Words that run a command line on it.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        self.space.enter("net")
    }

    /// Its network, as a file of /proc.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.space.file("net")
    }

    /// From now on drops what comes from `other`. The other direction stays open.
    pub fn refuse(&self, other: &Self) {
        let rule = format!("add rule inet test in ip saddr {} drop", other.address);
        self.space.run("net", &["nft", &rule]);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.space.run("net", &["nft", "flush chain inet test in"]);
    }
}

/// Nodes that reach each other.
pub struct Network {
    bridge: Space,
    nodes: u8,
}

impl Network {
    /// A network without nodes.
    ///
    /// # Panics
    /// When this machine cannot make one.
    #[must_use]
    pub fn new() -> Self {
        let commands = "ip link add bridge type bridge forward_delay 0; ip link set bridge up; ip link set lo up";
        Self { bridge: Space::new(&["--net"], commands), nodes: 0 }
    }

    /// Adds a node.
    ///
    /// # Panics
    /// When this machine cannot make one.
    #[must_use]
    pub fn node(&mut self) -> Node {
        self.nodes += 1;
        let address = format!("10.77.0.{}", self.nodes);
        let table = "nft 'add table inet test; add chain inet test in { type filter hook input priority 0; }'";
        let space = Space::new(&["--net"], &format!("ip link set lo up; {table}"));
        let (name, holder) = (format!("node{}", self.nodes), space.holder.id().to_string());
        self.bridge.run("net", &["ip", "link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &holder]);
        self.bridge.run("net", &["ip", "link", "set", &name, "master", "bridge", "up"]);
        space.run("net", &["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        space.run("net", &["ip", "link", "set", "eth0", "up"]);
        let state = format!("{}/ns/net", fs::canonicalize("/proc").unwrap().join(&holder).display());
        wait_until("the node's network is there", || fs::read_link(&state).ok());
        Node { space, address }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
