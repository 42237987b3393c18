//! A terminal that a command runs on, and what came of it there.

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::Read as _,
    num::NonZeroU16,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

const ROWS: u16 = 50;
const COLUMNS: u16 = 200;
/// So many that nothing scrolls away.
const ROWS_WATCHED: u16 = 2_000;

/// What a command wrote on its terminal, and its exit code.
pub(crate) struct Shown {
    /// Byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// The exit code.
    pub(crate) code: Option<i32>,
}

/// Runs a command with standard output and error on a terminal, to its end.
pub(crate) fn on_terminal(mut command: Command) -> Shown {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inner = File::options().read(true).write(true).open(std::ffi::OsStr::from_bytes(name.as_bytes())).unwrap();
    tcsetwinsize(&inner, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    command.stdin(Stdio::null()).stdout(inner.try_clone().unwrap()).stderr(inner);
    let mut child = command.spawn().unwrap();
    // It holds the other end as well.
    drop(command);
    let mut bytes = Vec::new();
    let (mut terminal, mut piece) = (File::from(terminal), vec![0; 64 << 10]);
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = terminal.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
    }
    Shown { bytes, code: child.wait().unwrap().code() }
}

impl Shown {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Nothing in it is obeyed: it is text and line ends.
    #[track_caller]
    pub(crate) fn is_plain(&self) {
        let text = std::str::from_utf8(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()));
        let bad = text.chars().find(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t') || is_direction(*c));
        assert!(bad.is_none(), "{bad:?} reached the terminal: {text:?}");
        self.leaves_the_terminal_alone();
    }

    /// Colours of ours may be in it, and they end; nothing else changes the terminal.
    #[track_caller]
    pub(crate) fn leaves_the_terminal_alone(&self) {
        let done = watched(&self.bytes);
        assert!(done.is_empty(), "{done:?}: {:?}", self.text());
    }
}

fn is_direction(c: char) -> bool {
    matches!(c as u32, 0x200b..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069 | 0xfeff)
}

/// What the bytes do to a terminal, other than to put text on it.
pub(crate) fn watched(bytes: &[u8]) -> Vec<String> {
    let size = |number| NonZeroU16::new(number).unwrap();
    let mut parser = vt100::Parser::new_with_callbacks(size(ROWS_WATCHED), size(COLUMNS), 0, Watch::default());
    parser.process(b"first line\r\n");
    parser.process(bytes);
    let mut done = std::mem::take(&mut parser.callbacks_mut().0);
    let screen = parser.screen();
    let modes = [
        ("another screen", screen.alternate_screen()),
        ("keypad", screen.application_keypad()),
        ("cursor keys", screen.application_cursor()),
        ("hidden cursor", screen.hide_cursor()),
        ("bracketed paste", screen.bracketed_paste()),
        ("mouse", screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None),
        ("colour", screen.fgcolor() != vt100::Color::Default || screen.bgcolor() != vt100::Color::Default),
        ("style", screen.bold() || screen.dim() || screen.italic() || screen.underline() || screen.inverse()),
    ];
    if !screen.contents().starts_with("first line\n") {
        done.push("what was there is gone".to_owned());
    }
    done.extend(modes.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()));
    // What is still open swallows what comes next.
    parser.process(b"\r\nnext line");
    let column = parser.screen().cursor_position().1;
    if usize::from(column) != "next line".len() {
        done.push(format!("what follows begins elsewhere and ends in column {column}"));
    }
    done
}

#[derive(Default)]
struct Watch(Vec<String>);

impl vt100::Callbacks for Watch {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.0.push("bell".into());
    }
    fn visual_bell(&mut self, _: &mut vt100::Screen) {
        self.0.push("visual bell".into());
    }
    fn resize(&mut self, _: &mut vt100::Screen, size: (u16, u16)) {
        self.0.push(format!("resize {size:?}"));
    }
    fn set_window_icon_name(&mut self, _: &mut vt100::Screen, name: &[u8]) {
        self.0.push(format!("icon {}", name.escape_ascii()));
    }
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.0.push(format!("title {}", title.escape_ascii()));
    }
    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _: &[u8], data: &[u8]) {
        self.0.push(format!("copy {}", data.escape_ascii()));
    }
    fn paste_from_clipboard(&mut self, _: &mut vt100::Screen, _: &[u8]) {
        self.0.push("paste".into());
    }
    fn unhandled_char(&mut self, _: &mut vt100::Screen, c: char) {
        self.0.push(format!("character {c:?}"));
    }
    fn unhandled_control(&mut self, _: &mut vt100::Screen, byte: u8) {
        self.0.push(format!("control {byte:#x}"));
    }
    fn unhandled_escape(&mut self, _: &mut vt100::Screen, _: Option<u8>, _: Option<u8>, byte: u8) {
        self.0.push(format!("escape {byte:#x}"));
    }
    fn unhandled_csi(&mut self, _: &mut vt100::Screen, _: Option<u8>, _: Option<u8>, params: &[&[u16]], c: char) {
        self.0.push(format!("CSI {params:?} {c}"));
    }
    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        self.0.push(format!("OSC of {} parts", params.len()));
    }
}
