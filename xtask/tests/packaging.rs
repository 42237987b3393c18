//! What is shipped beside the binaries: scripts that any shell reads, units that start what exists.

use std::{fs, path::PathBuf, process::Command};
use xtask::{man, workspace};

fn read(path: &str) -> String {
    fs::read_to_string(workspace::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn m5_each_service_starts_a_binary_of_ours_and_keeps_its_rights_few() {
    for name in ["ruche-master", "ruche-slave"] {
        let unit = read(&format!("packaging/systemd/{name}.service"));
        assert!(unit.contains(&format!("ExecStart=@PREFIX@/bin/{name} ")), "{name} starts something else");
        for setting in ["NoNewPrivileges=yes", "ProtectHome=yes", "Restart=always", "WantedBy=multi-user.target"] {
            assert!(unit.contains(setting), "{name} lacks {setting}");
        }
    }
}

#[test]
fn m5_the_scripts_are_read_by_a_plain_shell() {
    for script in ["scripts/setup", "scripts/run", "packaging/install.sh"] {
        let path: PathBuf = workspace::root().join(script);
        let read = Command::new("sh").arg("-n").arg(&path).output().expect("sh can be started");
        assert!(read.status.success(), "{script}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

#[test]
fn s12_each_program_has_a_manual_page_with_its_commands_and_refers_to_no_other() {
    for (binary, _) in man::BINARIES {
        let page = read(&format!("packaging/man/{binary}.1"));
        for part in [&format!(".TH {binary} 1"), ".SH NAME", ".SH SYNOPSIS"] {
            assert!(page.contains(part), "{binary}: no `{part}`; run `cargo xtask man`");
        }
        assert!(!page.contains(&format!("{}\\-run(1)", binary.replace('-', "\\-"))), "{binary} refers to no page");
        if binary != "ruche-gui" {
            assert!(page.contains(".SH RUCHE"), "{binary}: its commands have no section; run `cargo xtask man`");
        }
    }
}
