//! What a screen reader would read, written to a file: how tests of the real window find things to
//! press and read what is shown, without knowing where anything is drawn.

use egui::accesskit::Node;
use serde::Serialize;
use std::path::PathBuf;

/// Names the file; unset in normal use.
pub const VARIABLE: &str = "RUCHE_GUI_DESCRIBE";

/// One thing on the screen.
#[derive(Serialize)]
struct Thing {
    role: String,
    label: String,
    value: String,
    disabled: bool,
    /// Whether it has the keyboard.
    focused: bool,
    /// Left, top, right, bottom in points of the window.
    bounds: [f64; 4],
}

/// Writes the accessible tree of each frame to a file.
pub struct Describe {
    path: PathBuf,
    last: Vec<u8>,
}

impl Describe {
    /// The plugin, when [`VARIABLE`] names a file.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        std::env::var_os(VARIABLE).map(|path| Self { path: path.into(), last: Vec::new() })
    }
}

impl egui::Plugin for Describe {
    fn debug_name(&self) -> &'static str {
        "describe"
    }

    fn setup(&mut self, ctx: &egui::Context) {
        ctx.enable_accesskit();
    }

    fn output_hook(&mut self, ctx: &egui::Context, output: &mut egui::FullOutput) {
        let Some(update) = &output.platform_output.accesskit_update else { return };
        let things: Vec<_> = update
            .nodes
            .iter()
            .filter_map(|(id, node)| describe(node, *id == update.focus))
            .chain([whole(ctx.content_rect())])
            .collect();
        let Ok(text) = serde_json::to_vec(&things) else { return };
        ctx.enable_accesskit();
        if text == self.last {
            return;
        }
        // Written beside and renamed, so that a reader never sees half of it.
        let beside = self.path.with_extension("new");
        if std::fs::write(&beside, &text).and_then(|()| std::fs::rename(&beside, &self.path)).is_ok() {
            self.last = text;
        }
    }
}

/// The window itself: how large the picture is that the others belong to.
fn whole(rect: egui::Rect) -> Thing {
    Thing {
        role: "Window".to_owned(),
        label: String::new(),
        value: String::new(),
        disabled: false,
        focused: false,
        bounds: [rect.left(), rect.top(), rect.right(), rect.bottom()].map(f64::from),
    }
}

fn describe(node: &Node, focused: bool) -> Option<Thing> {
    let bounds = node.bounds()?;
    Some(Thing {
        role: format!("{:?}", node.role()),
        label: node.label().unwrap_or_default().to_owned(),
        value: node.value().unwrap_or_default().to_owned(),
        disabled: node.is_disabled(),
        focused,
        bounds: [bounds.x0, bounds.y0, bounds.x1, bounds.y1],
    })
}
