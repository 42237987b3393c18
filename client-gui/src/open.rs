//! Opens the window, or says what this machine lacks for one.

use crate::{
    app::App,
    args::{Action, Arguments},
    backend::Backend,
    command::Session,
    command_handling,
    demo::Demo,
    describe::Describe,
    files::Portal,
    live::LiveBackend,
    settings::Settings,
    signs,
    state::AppState,
    theme,
};
use anyhow::Context as _;
use std::{
    panic::{self, AssertUnwindSafe},
    rc::Rc,
};

/// What a Debian machine needs for the window.
const APT_LINE: &str =
    "apt-get install -y --no-install-recommends libx11-6 libx11-xcb1 libxcursor1 libxi6 libxkbcommon-x11-0 libgl1";

/// Does what the command line says.
///
/// # Errors
/// What the machine lacks, with the line that installs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Some(Action::Completions { shell }) => {
            clap_complete::generate(*shell, &mut crate::command(), "ruche-gui", &mut std::io::stdout());
            Ok(())
        }
        Some(Action::Man) => clap_mangen::Man::new(crate::command())
            .render(&mut std::io::stdout())
            .context("the manual page cannot be written"),
        None => window(arguments),
    }
}

fn window(arguments: &Arguments) -> anyhow::Result<()> {
    let mut settings = match client::context::folder() {
        Ok(folder) if !arguments.demo => Settings::load(&folder),
        Ok(_) | Err(_) => Settings::default(),
    };
    if let Some(choice) = arguments.theme {
        settings.theme = choice;
        settings.save();
    }
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Ruche")
            .with_app_id("ruche")
            .with_inner_size([1_440.0, 860.0])
            .with_min_inner_size([480.0, 360.0])
            .with_icon(signs::window_icon()),
        renderer: eframe::Renderer::Glow,
        ..eframe::NativeOptions::default()
    };
    let arguments = arguments.clone();
    let opened = quietly(move || {
        eframe::run_native("ruche", options, Box::new(move |cc| Ok(Box::new(open(cc, &arguments, settings)?))))
            .map_err(|error| error.to_string())
    });
    match opened {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(anyhow::anyhow!(lacking(&error))),
    }
}

/// Runs `work`; a panic of a library that finds its system library missing becomes a sentence.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_missing_library(&info.to_string()) {
            usual(info);
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn is_missing_library(text: &str) -> bool {
    ["xkbcommon", "could not be loaded", "Library libX", "libGL"].iter().any(|word| text.contains(word))
}

/// Why there is no window, and what to do.
fn lacking(error: &str) -> String {
    // The toolkit names the line of its own source; people need what comes after it.
    let error = if error.contains(".rs:") { error.rsplit_once(": ").map_or(error, |(_, what)| what) } else { error };
    let shown = ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if shown {
        format!(
            "the window cannot be opened: {error}\nhint: install what it needs: {APT_LINE}\n      or use the terminal: ruche demo"
        )
    } else {
        "the window cannot be opened: there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)\n\
         hint: start it inside a desktop, or use the terminal: ruche demo"
            .to_owned()
    }
}

fn open(
    cc: &eframe::CreationContext<'_>,
    arguments: &Arguments,
    settings: Settings,
) -> Result<App, Box<dyn std::error::Error + Send + Sync>> {
    theme::install(&cc.egui_ctx, settings.theme);
    if let Some(describe) = Describe::from_environment() {
        cc.egui_ctx.add_plugin(describe);
    }
    cc.egui_ctx.set_zoom_factor(settings.zoom_percent as f32 / 100.0);
    let backend: Rc<dyn Backend> = if arguments.demo {
        Rc::new(Demo::new())
    } else {
        let ctx = cc.egui_ctx.clone();
        // The session's thread already wakes at most about twenty times a second.
        Rc::new(LiveBackend::new(move || ctx.request_repaint())?)
    };
    let mut app = App::new(Rc::clone(&backend), Box::new(Portal), AppState::new(settings));
    begin(&mut app, &cc.egui_ctx, arguments, &*backend);
    Ok(app)
}

fn begin(app: &mut App, ctx: &egui::Context, arguments: &Arguments, backend: &dyn Backend) {
    command_handling::open_first_pane(&mut app.state, &backend.mirror());
    if arguments.start {
        app.run(ctx, Session::StartHere);
        return;
    }
    let known = backend.known();
    match &arguments.connect {
        Some(address) => {
            let address = client::connection::with_port(address);
            app.state.connect.address.clone_from(&address);
            let user = arguments.user.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
            app.state.connect.user.clone_from(&user);
            let number =
                known.iter().position(|known| known.address == address && known.user == user && known.has_session);
            if let Some(number) = number {
                app.run(ctx, Session::Resume(number));
            }
        }
        None if !arguments.demo && known.first().is_some_and(|known| known.has_session) => {
            app.run(ctx, Session::Resume(0));
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_told_with_the_line_that_installs_it() {
        let error = quietly(|| panic!("Library libxkbcommon-x11.so could not be loaded.")).unwrap_err();
        assert!(error.contains("libxkbcommon-x11"));
        assert!(is_missing_library(&error));
        let said = lacking(&error);
        assert!(said.contains("hint:"), "{said}");
    }
}
