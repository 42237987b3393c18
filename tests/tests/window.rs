//! The window itself, on a display that nobody sees: found by the words on the screen, used with
//! pointer and keyboard.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tests::{
    Cli, Cluster, binaries,
    cluster::{PASSWORD, Process},
    wait_until,
};

/// The command of the package, and the package.
const TOOLS: [(&str, &str); 3] = [("Xvfb", "xvfb"), ("openbox", "openbox"), ("xdotool", "xdotool")];

/// Every window fills the screen and has no frame.
const OPENBOX: &str = "<openbox_config xmlns=\"http://openbox.org/3.4/rc\"><applications><application class=\"*\">\
                       <decor>no</decor><maximized>yes</maximized></application></applications></openbox_config>";

/// An X server that nobody sees, with a window manager.
struct Display {
    name: String,
    // Dropped in this order: the manager before its server.
    _manager: Process,
    _server: Process,
}

impl Display {
    fn start(folder: &Path, (width, height): (u32, u32)) -> Self {
        let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
        assert!(
            missing.is_empty(),
            "the tests of the window need packages that this machine lacks: {}; `make test` installs them",
            missing.join(", ")
        );
        let screen = format!("{width}x{height}x24");
        let mut server = Command::new("Xvfb");
        server.args(["-displayfd", "1", "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"]);
        let mut server = Process::start(&mut server, folder.join("xvfb.log"));
        let name = format!(":{}", server.line("").trim());
        let settings = folder.join("openbox.xml");
        fs::write(&settings, OPENBOX).unwrap();
        let mut manager = Command::new("openbox");
        manager.arg("--config-file").arg(&settings).env("DISPLAY", &name);
        let manager = Process::start(&mut manager, folder.join("openbox.log"));
        let display = Self { name, _manager: manager, _server: server };
        // A window that opens before its manager is ready would not be enlarged.
        wait_until("openbox manages the display", || display.xdotool(&["get_desktop"]));
        display
    }

    /// What `xdotool` prints; none when it fails.
    fn xdotool(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("xdotool");
        let ran = command.args(words).env("DISPLAY", &self.name).stdin(Stdio::null()).output().unwrap();
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
    }
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// One thing on the screen, as a screen reader would say it.
#[derive(Clone, Debug)]
struct Thing {
    role: String,
    /// Its label, or for plain text the text.
    label: String,
    value: String,
    /// Whether it has the keyboard.
    focused: bool,
    /// Its middle, in pixels of the window.
    middle: (f64, f64),
}

/// `ruche-gui` on a display of its own.
struct Window {
    described: PathBuf,
    id: String,
    _process: Process,
    display: Display,
}

impl Window {
    fn open(folder: &Path, size: (u32, u32), config: &Path, options: &[&str]) -> Self {
        let display = Display::start(folder, size);
        let described = folder.join("window.json");
        let mut command = Command::new(binaries::path("ruche-gui"));
        command
            .args(options)
            .env("DISPLAY", &display.name)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET")
            .env("WINIT_X11_SCALE_FACTOR", "1")
            .env("RUCHE_CONFIG_DIR", config)
            .env("RUCHE_GUI_DESCRIBE", &described);
        let mut process = Process::start(&mut command, folder.join("window.log"));
        let whole = format!("{}x{}", size.0, size.1);
        let id = wait_until("the window fills the screen", || {
            assert!(process.runs(), "the window ended:\n{}", process.log());
            let found = display.xdotool(&["search", "--onlyvisible", "--name", "^Ruche$"])?;
            let id = found.lines().last()?.to_owned();
            display.xdotool(&["getwindowgeometry", &id])?.contains(&whole).then_some(id)
        });
        let window = Self { described, id, _process: process, display };
        // What it described before it was enlarged is somewhere else now.
        let middle = (f64::from(size.0) / 2.0, f64::from(size.1) / 2.0);
        window.find_where("Window", "", |drawn| drawn.middle == middle);
        window.xdotool(&["windowfocus", "--sync", &window.id]);
        window
    }

    fn xdotool(&self, words: &[&str]) {
        assert!(self.display.xdotool(words).is_some(), "xdotool {words:?} failed");
    }

    /// Everything on the screen.
    fn things(&self) -> Vec<Thing> {
        let Ok(text) = fs::read(&self.described) else { return Vec::new() };
        let things: Vec<Value> = serde_json::from_slice(&text).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let read = |thing: &Value| {
            let edge = |index: usize| thing["bounds"][index].as_f64().unwrap();
            let (label, value) = (text(&thing["label"]), text(&thing["value"]));
            Thing {
                role: text(&thing["role"]),
                label: if label.is_empty() { value.clone() } else { label },
                value,
                focused: thing["focused"].as_bool().unwrap(),
                middle: (f64::midpoint(edge(0), edge(2)), f64::midpoint(edge(1), edge(3))),
            }
        };
        things.iter().map(read).collect()
    }

    /// Waits until something of this role shows whose label begins so.
    #[track_caller]
    fn find(&self, role: &str, label: &str) -> Thing {
        self.find_where(role, label, |_| true)
    }

    /// The same, when the thing is right otherwise too.
    #[track_caller]
    fn find_where(&self, role: &str, label: &str, fits: impl Fn(&Thing) -> bool) -> Thing {
        let found = |thing: &Thing| thing.role == role && thing.label.starts_with(label) && fits(thing);
        wait_until(&format!("the window shows a {role} `{label}`"), || self.things().into_iter().find(found))
    }

    fn click(&self, thing: &Thing, times: u32) {
        let (x, y) = (thing.middle.0.round().to_string(), thing.middle.1.round().to_string());
        self.xdotool(&["mousemove", "--window", &self.id, "--sync", &x, &y]);
        self.xdotool(&["click", "--repeat", &times.to_string(), "--delay", "40", "1"]);
    }

    /// Gives the field of this name the keyboard.
    fn enter(&self, role: &str, label: &str) {
        self.click(&self.find(role, label), 1);
        self.find_where(role, label, |field| field.focused);
    }

    fn key(&self, key: &str) {
        self.xdotool(&["key", "--clearmodifiers", key]);
    }

    fn type_text(&self, text: &str) {
        self.xdotool(&["type", "--clearmodifiers", "--delay", "2", text]);
    }

    /// Writes `text` into an empty tab.
    fn write_program(&self, text: &str) {
        self.key("ctrl+t");
        self.find_where("MultilineTextInput", "Source", |editor| editor.value.is_empty() && editor.focused);
        self.type_text(text);
        self.find_where("MultilineTextInput", "Source", |editor| editor.value == text);
    }

    /// Double clicks the history's row that begins so.
    fn open_from_history(&self, row: &str) {
        self.key("ctrl+2");
        let row = self.find("Row", row);
        self.click(&row, 2);
    }
}

/// The program that `cli`'s user submitted last.
fn newest(cli: &Cli) -> Value {
    cli.show(cli.list(&[])[0]["id"].as_str().unwrap())
}

#[test]
fn e7_a_person_logs_in_runs_a_program_and_double_clicks_it_to_see_output_and_slave() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let config = cluster.path().join("config").join("window");
    // So narrow that one click only selects: what opens was opened by the double click.
    let options = ["--connect", cluster.address(), "--user", "alice"];
    let window = Window::open(cluster.path(), (780, 640), &config, &options);

    window.enter("PasswordInput", "Password");
    window.type_text(PASSWORD);
    window.key("Return");
    window.find("Label", "Is this your master?");
    window.find("Label", &cluster.pin());
    window.click(&window.find("Button", "Yes, log in"), 1);

    window.find("MultilineTextInput", "Source");
    window.write_program("print('from the window', 6 * 7)");
    window.key("ctrl+Return");
    window.find("Status", "Done");

    window.open_from_history("Done, untitled.py, Python");
    window.find("Heading", "Done untitled.py");
    let output = window.find_where("Document", "Output, 1 lines", |output| !output.value.is_empty());
    assert_eq!(output.value, "from the window 42\n");
    let shown = newest(&alice);
    assert_eq!(alice.run(["output", shown["id"].as_str().unwrap()]).expect(0).out(), output.value);
    let slave = window.find("Label", "Slave: pc-01");
    assert_eq!(slave.label, format!("Slave: pc-01 {}", shown["slave_id"].as_str().unwrap()));
}

#[test]
fn e9_a_person_reads_why_a_program_was_stopped() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    // `ruche login` was here: the window goes on with that session.
    let window = Window::open(cluster.path(), (1_280, 800), alice.config(), &[]);

    window.find("MultilineTextInput", "Source");
    window.write_program("while True: pass");
    window.enter("TextInput", "Wall time");
    window.key("ctrl+a");
    window.type_text("1 s");
    window.find_where("TextInput", "Wall time", |field| field.value == "1 s");
    window.click(&window.find("Button", "Run"), 1);
    window.find("Status", "Failed");

    window.open_from_history("Failed, untitled.py, Python");
    window.find("Heading", "Failed untitled.py");
    let shown = newest(&alice);
    assert_eq!((&shown["state"], &shown["outcome"]["kind"]), (&"failed".into(), &"limit".into()));
    let verdict = window.find("Label", "Stopped by the time limit.");
    assert_eq!(verdict.label, shown["outcome"]["detail"].as_str().unwrap());
}
