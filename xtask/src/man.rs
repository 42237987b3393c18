//! Manual pages: what each binary prints for `man` and for the help of its commands, kept under `packaging/man`.

use crate::workspace::{binaries, command, output, root, run as run_command};
use anyhow::Context;
use std::path::Path;

/// The binaries and the packages that build them.
pub const BINARIES: [(&str, &str); 4] =
    [("ruche-master", "master"), ("ruche-slave", "slave"), ("ruche", "client-cli"), ("ruche-gui", "client-gui")];

/// Builds the binaries and writes `packaging/man/*.1`.
///
/// # Errors
/// When a binary cannot be built or prints no page.
pub fn run() -> anyhow::Result<()> {
    let folder = root().join("packaging/man");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let packages = BINARIES.iter().flat_map(|(_, package)| ["-p", package]);
    run_command(command(&["cargo", "build", "--locked"]).args(packages))?;
    for (binary, _) in BINARIES {
        let page = page(&binaries("dev").join(binary), binary)?;
        std::fs::write(folder.join(format!("{binary}.1")), page)?;
        println!("packaging/man/{binary}.1");
    }
    Ok(())
}

/// The whole page of a binary: its own, and a section for each of its commands.
///
/// # Errors
/// When the binary prints no page or no help.
pub fn page(path: &Path, binary: &str) -> anyhow::Result<String> {
    let own = output(command(&[&path.to_string_lossy()]).arg("man"))?;
    let (page, names) = without_references(&own, binary);
    let mut sections = String::new();
    // The last is the next: commands stand in the order of the page, each with its own commands behind it.
    let mut left: Vec<String> = names.into_iter().rev().collect();
    while let Some(name) = left.pop() {
        let mut call = command(&[&path.to_string_lossy()]);
        for (variable, _) in
            std::env::vars_os().filter(|(variable, _)| variable.to_string_lossy().starts_with("RUCHE_"))
        {
            // The help shows their values.
            call.env_remove(variable);
        }
        // The width is fixed, so that the page is the same wherever it is made.
        let call = call.args(name.split(' ')).arg("--help").env("COLUMNS", "78").env("NO_COLOR", "1");
        let help = output(call)?;
        left.extend(commands_of(&help).iter().rev().map(|inner| format!("{name} {inner}")));
        sections.push_str(&section(binary, &name, &help));
    }
    Ok(match page.find(".SH EXTRA") {
        Some(place) => format!("{}{sections}.SH EXAMPLES\n.nf{}", &page[..place], &page[place + ".SH EXTRA".len()..])
            .replace("\n.SH VERSION", "\n.fi\n.SH VERSION"),
        None => page + &sections,
    })
}

/// `ruche\-run(1)` is no page of its own: the same with `ruche run`, and the names of these commands.
fn without_references(page: &str, binary: &str) -> (String, Vec<String>) {
    let start = format!("{}\\-", binary.replace('-', "\\-"));
    let mut names = Vec::new();
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        match line.strip_prefix(&start).and_then(|rest| rest.strip_suffix("(1)")) {
            Some(name) => {
                text.push_str(&format!("{} {name}\n", binary.replace('-', "\\-")));
                if name != "help" {
                    names.push(name.replace("\\-", "-"));
                }
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    (text, names)
}

/// The commands that a help lists, but for `help` itself.
fn commands_of(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

fn section(binary: &str, name: &str, help: &str) -> String {
    let mut text = format!(".SH {}\n.nf\n", format!("{binary} {name}").to_uppercase().replace('-', "\\-"));
    for line in help.trim_end().lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins with a dot or an apostrophe would be a request to the formatter.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        text.push_str(&format!("{guard}{line}\n"));
    }
    text + ".fi\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_a_command_is_a_section_and_not_a_page_that_does_not_exist() {
        let (page, names) =
            without_references(".TP\nruche\\-gui\\-run(1)\nRuns\n.TP\nruche\\-gui\\-help(1)\nHelps\n", "ruche-gui");
        assert_eq!(page, ".TP\nruche\\-gui run\nRuns\n.TP\nruche\\-gui help\nHelps\n");
        assert_eq!(names, ["run"]);
        assert_eq!(
            commands_of("Users\n\nCommands:\n  add   Adds\n        more\n  help  Prints\n\nOptions:\n"),
            ["add"]
        );
        assert_eq!(section("ruche", "run", ".x --y\\z\n"), ".SH RUCHE RUN\n.nf\n\\&.x \\-\\-y\\ez\n.fi\n");
    }
}
