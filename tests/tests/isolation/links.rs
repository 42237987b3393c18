//! I9: nobody outside is tricked through the working folder.

use crate::world::{Canary, Level, SECRET, World, source};
use std::{fs, path::Path};
use tests::soak;

/// Everything below a folder, links not followed.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn i9_names_that_are_swapped_for_links_lead_nobody_outside() {
    let world = World::shared();
    let rounds = if soak() { "200000" } else { "2000" };
    for level in world.levels() {
        let canary = Canary::of(*level);
        let options = ["--wall-time", "10m", "--disk", "64M", "--file-size", "8M"];
        let patterns = ["--collect", "**", "--collect", "out/*", "--collect", "*.txt"];
        let options: Vec<_> = options.into_iter().chain(patterns).collect();
        let id = world.submit(*level, source!("swap.c"), &options, &[canary.path(), rounds]);
        let shown = world.end_of(&id);
        assert_eq!(
            (&shown["outcome"]["kind"], &shown["outcome"]["exit_code"]),
            (&"exited".into(), &0.into()),
            "{shown}"
        );
        assert_eq!(world.output(&id), format!("swapped {rounds}\n"), "{level:?}");
        let target = tempfile::tempdir().unwrap();
        let place = target.path().to_str().unwrap();
        let fetched = world.admin().run(["fetch", &id, "--to", place]);
        let files = files_below(target.path());
        for file in &files {
            let data = fs::symlink_metadata(file).unwrap();
            assert!(data.is_file(), "{level:?}: {} is no file", file.display());
            let bytes = fs::read(file).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(SECRET), "{level:?}: {} has the secret", file.display());
        }
        let plain = fs::read(target.path().join("plain.txt")).unwrap_or_default();
        assert_eq!(plain, b"an honest file\n", "{level:?}: {} {}: {files:?}", fetched.out(), fetched.err());
        // The links themselves, pipes and folders of others are left out, not followed and not waited for.
        for name in ["to-the-secret", "to-the-folder", "pipe", "pipe.txt", "result.txt"] {
            assert!(fs::symlink_metadata(target.path().join(name)).is_err(), "{level:?}: {name} was collected");
        }
        canary.assert_untouched();
        world.works(*level);
    }
}

#[test]
fn i9_a_working_folder_that_is_replaced_is_not_followed() {
    let world = World::shared();
    for level in world.levels() {
        let canary = Canary::of(*level);
        // Where the slot's folder is the program's to write, it tries the names that come next as well.
        let script = format!(
            "cd ..; for name in $(ls -A) $(seq 0 200); do mv $name moved-$name 2>/dev/null; ln -s {0} $name 2>/dev/null; done; \
             rm -rf \"$HOME\" 2>/dev/null; ln -s {0} \"$HOME\" 2>/dev/null; mkfifo \"$HOME.fifo\" 2>/dev/null; exit 0",
            canary.path()
        );
        for _ in 0..3 {
            world.shell(*level, &["--collect", "**"], &script);
        }
        // Every slot has had one, and goes on.
        for _ in 0..8 {
            world.works(*level);
        }
        canary.assert_untouched();
    }
}

#[test]
fn i9_progress_and_source_that_are_links_are_not_read() {
    let world = World::shared();
    for level in world.levels() {
        let canary = Canary::of(*level);
        fs::write(format!("{}/open", canary.path()), "99 the secret of somebody else").unwrap();
        let script =
            format!("rm -f $RUCHE_PROGRESS; ln -s {}/open $RUCHE_PROGRESS; echo linked; exec sleep 600", canary.path());
        let id = world.submit_shell(*level, &[], &script);
        world.printed(&id, "linked");
        // Others tell their progress meanwhile: the slave has looked.
        let other = world.submit_shell(*level, &[], "echo '50 half' >$RUCHE_PROGRESS; exec sleep 600");
        tests::wait_until("the progress of another is shown", || {
            (world.admin().show(&other)["progress_percent"].as_f64() == Some(50.0)).then_some(())
        });
        let shown = world.admin().show(&id);
        assert!(shown["progress_percent"].is_null(), "{level:?}: a link was read: {shown}");
        world.admin().run(["cancel", &id, &other]).expect(0);
    }
}

#[test]
fn i9_links_to_files_of_others_cannot_be_made_hard() {
    let world = World::shared();
    for level in [Level::Root, Level::User, Level::Fallback] {
        if !world.has(level) {
            continue;
        }
        let canary = Canary::of(level);
        let script = format!(
            "for file in {0}/open {0}/secret /etc/passwd /usr/bin/id; do ln $file hard 2>/dev/null && echo linked $file; done; exit 0",
            canary.path()
        );
        assert_eq!(world.shell(level, &[], &script).expect(0).out(), "", "{level:?}");
        canary.assert_untouched();
    }
}
