//! Manual pages: what each binary prints for `man`, kept under `packaging/man`.

use crate::workspace::{binaries, command, output, root, run as run_command};
use anyhow::Context;

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
        let path = binaries("dev").join(binary);
        let page = output(command(&[&path.to_string_lossy()]).arg("man"))?;
        std::fs::write(folder.join(format!("{binary}.1")), page)?;
        println!("packaging/man/{binary}.1");
    }
    Ok(())
}
