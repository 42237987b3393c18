//! The pictures of the README: the real window on an invisible display, with made-up data.

use crate::{
    man,
    workspace::{binaries, command, output, root, run as run_command},
};
use anyhow::{Context, bail, ensure};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Size of the window and of the pictures, in pixels.
const SIZE: (u32, u32) = (1440, 860);

/// How long the window may take to show and to come to rest.
const SHOW_MAX: Duration = Duration::from_secs(30);

/// Where the pointer rests, so that no tooltip is in the picture.
const REST: (u32, u32) = (260, 22);

/// What a person does before a picture.
enum Act {
    Key(&'static str),
    DoubleClick(u32, u32),
}

/// What each picture is called, and what leads there from the one before.
const PICTURES: [(&str, &[Act]); 4] = [
    // A program that failed, with its output and verdict beside the list.
    ("history", &[Act::Key("ctrl+2"), Act::DoubleClick(300, 186)]),
    ("submit", &[Act::Key("ctrl+1")]),
    ("slaves", &[Act::Key("ctrl+3")]),
    ("clients", &[Act::Key("ctrl+4")]),
];

/// Writes `docs/images/NAME-dark.png` and `NAME-light.png` for each picture.
///
/// # Errors
/// When a display tool is missing or the window does not show.
pub fn run() -> anyhow::Result<()> {
    for (tool, package) in [("Xvfb", "xvfb"), ("openbox", "openbox"), ("xdotool", "xdotool"), ("scrot", "scrot")] {
        let there = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()));
        ensure!(there, "{tool} is missing; install the package {package} or run `scripts/setup test`");
    }
    // The same packages as `make run` builds, so that nothing is compiled twice; the tests build one by one.
    let in_pictures = |package: &str| profile() != "dev" || package == "client-gui";
    let packages = man::BINARIES.iter().map(|(_, package)| *package).filter(|package| in_pictures(package));
    let packages = packages.flat_map(|package| ["-p", package]);
    run_command(command(&["cargo", "build", "--locked", "--profile", &profile()]).args(packages))?;
    let folder = root().join("docs/images");
    fs::create_dir_all(&folder)?;
    let own = Own::new()?;
    let display = Display::start(&own.0)?;
    for theme in ["dark", "light"] {
        let window = Window::start(&display, &own.0, theme)?;
        // The window must have been drawn once before it understands where it is clicked.
        display.take_picture(&own.0.join("first.png"))?;
        for (name, acts) in PICTURES {
            for act in acts {
                window.act(act)?;
            }
            let file = folder.join(format!("{name}-{theme}.png"));
            display.take_picture(&file)?;
            println!("docs/images/{name}-{theme}.png");
        }
    }
    Ok(())
}

/// As for `make run`, `PROFILE=dev` takes the binaries of the tests.
fn profile() -> String {
    std::env::var("PROFILE").unwrap_or_else(|_| "ci-release".to_owned())
}

/// A folder of our own, gone with the run.
struct Own(PathBuf);

impl Own {
    fn new() -> anyhow::Result<Self> {
        let path = binaries("dev").with_file_name(format!("screenshots-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A child process that ends, politely first, when it is dropped. Only what was started here is ended.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        // Xvfb leaves a lock file behind when it is killed outright.
        drop(Command::new("kill").arg(self.0.id().to_string()).status());
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An X server that nobody sees, with a window manager that fills the screen with each window.
struct Display {
    name: String,
    // Dropped in this order: the manager before its server.
    _manager: Running,
    _server: Running,
}

impl Display {
    fn start(own: &Path) -> anyhow::Result<Self> {
        let (width, height) = SIZE;
        let mut server = Running::start(
            Command::new("Xvfb")
                .args([
                    "-displayfd",
                    "1",
                    "-screen",
                    "0",
                    &format!("{width}x{height}x24"),
                    "-nolisten",
                    "tcp",
                    "-noreset",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let pipe = server.0.stdout.take().context("Xvfb has no standard output")?;
        let mut number = String::new();
        BufReader::new(pipe).read_line(&mut number)?;
        let number = number.trim();
        ensure!(!number.is_empty(), "Xvfb did not start");
        let name = format!(":{number}");
        let settings = own.join("openbox.xml");
        fs::write(
            &settings,
            "<openbox_config xmlns=\"http://openbox.org/3.4/rc\"><applications><application class=\"*\">\
             <decor>no</decor><maximized>yes</maximized></application></applications></openbox_config>",
        )?;
        let manager = Running::start(
            Command::new("openbox").arg("--config-file").arg(&settings).env("DISPLAY", &name).stderr(Stdio::null()),
        )?;
        Ok(Self { name, _manager: manager, _server: server })
    }

    /// Takes pictures until two in a row are the same, and keeps the last.
    fn take_picture(&self, file: &Path) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(6);
        let mut before = Vec::new();
        loop {
            std::thread::sleep(Duration::from_millis(700));
            run_command(Command::new("scrot").arg("--overwrite").arg(file).env("DISPLAY", &self.name))?;
            let now = fs::read(file)?;
            // What moves by design, such as a running mark, must not keep us for ever.
            if now == before || Instant::now() > end {
                return Ok(());
            }
            before = now;
        }
    }
}

/// The window under the camera.
struct Window {
    id: String,
    display: String,
    _process: Running,
}

impl Window {
    fn start(display: &Display, own: &Path, theme: &str) -> anyhow::Result<Self> {
        let mut process = Running::start(
            Command::new(binaries(&profile()).join("ruche-gui"))
                .args(["--demo", "--theme", theme])
                .env("DISPLAY", &display.name)
                .env_remove("WAYLAND_DISPLAY")
                .env("RUCHE_CONFIG_DIR", own.join(theme))
                .env("WINIT_X11_SCALE_FACTOR", "1"),
        )?;
        let end = Instant::now() + SHOW_MAX;
        loop {
            let search = output(
                Command::new("xdotool")
                    .args(["search", "--onlyvisible", "--name", "Ruche"])
                    .env("DISPLAY", &display.name),
            );
            if let Some(id) = search.unwrap_or_default().lines().last() {
                return Ok(Self { id: id.to_owned(), display: display.name.clone(), _process: process });
            }
            if let Some(status) = process.0.try_wait()? {
                bail!("the window ended with {status} before it showed");
            }
            ensure!(Instant::now() < end, "the window did not show within {} s", SHOW_MAX.as_secs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn act(&self, act: &Act) -> anyhow::Result<()> {
        match act {
            Act::Key(key) => self.xdotool(&["windowfocus", "--sync", &self.id, "key", "--clearmodifiers", key])?,
            Act::DoubleClick(x, y) => {
                self.point_at(*x, *y)?;
                self.xdotool(&["click", "--repeat", "2", "--delay", "80", "1"])?;
            }
        }
        self.point_at(REST.0, REST.1)
    }

    fn point_at(&self, x: u32, y: u32) -> anyhow::Result<()> {
        self.xdotool(&["mousemove", "--window", &self.id, &x.to_string(), &y.to_string()])?;
        // The pointer rests on what it shall press for a frame or two.
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    }

    fn xdotool(&self, words: &[&str]) -> anyhow::Result<()> {
        run_command(Command::new("xdotool").args(words).env("DISPLAY", &self.display))
    }
}
