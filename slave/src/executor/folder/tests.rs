use super::*;

#[test]
fn i9_removal_follows_no_link_and_reaches_any_depth() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"keep").unwrap();
    let root = WorkRoot { path: folder.path().join("work"), user_base: None, moved: String::new() };
    make_folder(&root.path).unwrap();
    let mut slot = root.slot(0, None).unwrap();
    let work = slot.make().unwrap();
    std::os::unix::fs::symlink(&outside, work.path.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.path.join("file-link")).unwrap();
    let mut deep = rustix::io::dup(&work.fd).unwrap();
    for _ in 0..500 {
        rustix::fs::mkdirat(&deep, "d", Mode::RWXU).unwrap();
        deep = open_folder(deep.as_fd(), OsStr::new("d")).unwrap();
    }
    rustix::fs::openat(&deep, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    fs::create_dir(work.path.join("closed")).unwrap();
    fs::create_dir(work.path.join("closed/inner")).unwrap();
    fs::set_permissions(work.path.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let path = work.path.clone();
    slot.take_back(work).unwrap().run();
    assert!(!path.exists());
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"keep");
}

#[test]
fn e5_a_program_that_removed_its_own_folder_leaves_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = WorkRoot { path: folder.path().join("work"), user_base: None, moved: String::new() };
    make_folder(&root.path).unwrap();
    let mut slot = root.slot(3, None).unwrap();
    let work = slot.make().unwrap();
    fs::remove_dir(&work.path).unwrap();
    assert!(slot.take_back(work).is_none());
}

#[test]
fn e5_a_link_in_place_of_the_work_root_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("work")).unwrap();
    assert!(make_folder(&folder.path().join("work")).is_err());
}

/// A folder whose changes would show.
fn traced(slot: &mut SlotFolder) -> WorkFolder {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let work = slot.make().unwrap();
        if work.traced {
            return work;
        }
        assert!(slot.take_back(work).is_none());
        assert!(std::time::Instant::now() < deadline, "the clock for files stands still");
    }
}

#[test]
fn i9_only_a_folder_that_was_left_as_it_was_is_used_again() {
    type Touch = fn(&Path);
    let folder = tempfile::tempdir().unwrap();
    let root = WorkRoot { path: folder.path().join("work"), user_base: None, moved: String::new() };
    make_folder(&root.path).unwrap();
    let mut slot = root.slot(0, None).unwrap();
    let touches: [(&str, Touch); 7] = [
        ("leaves a file", |path| fs::write(path.join("x"), b"").unwrap()),
        ("leaves a folder", |path| fs::create_dir(path.join("x")).unwrap()),
        ("leaves nothing of a file", |path| {
            fs::write(path.join("x"), b"").unwrap();
            fs::remove_file(path.join("x")).unwrap();
        }),
        ("opens it to others", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap()),
        ("sets its mode to what it was", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("removes it", |path| fs::remove_dir(path).unwrap()),
        ("moves it", |path| fs::rename(path, path.with_extension("moved")).unwrap()),
    ];
    for (what, touch) in touches {
        let work = traced(&mut slot);
        let path = work.path.clone();
        assert!(slot.take_back(work).is_none());
        let work = slot.make().unwrap();
        assert_eq!(work.path, path, "what nobody touched is used again");
        touch(&path);
        if let Some(remover) = slot.take_back(work) {
            remover.run();
        }
        assert!(!path.exists(), "a program that {what}");
        let next = slot.make().unwrap();
        assert_ne!(next.path, path, "a program that {what}");
        assert!(slot.take_back(next).is_none());
    }
    slot.strays().iter().for_each(Remover::run);
    slot.remove_spare();
    assert_eq!(fs::read_dir(root.path.join("slot-0")).unwrap().count(), 0);
}

#[test]
fn i18_no_name_leads_out_of_the_working_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = WorkRoot { path: folder.path().join("work"), user_base: None, moved: String::new() };
    make_folder(&root.path).unwrap();
    let work = root.slot(0, None).unwrap().make().unwrap();
    let outside = folder.path().join("outside");
    std::os::unix::fs::symlink(folder.path(), work.path.join("link")).unwrap();
    for name in [outside.to_str().unwrap(), "../outside", "../../../outside", "link/outside"] {
        assert!(work.write(name, b"x").is_err(), "{name}");
        fs::write(&outside, b"keep").unwrap();
        work.remove_file(name);
        assert!(outside.exists(), "{name}");
        fs::remove_file(&outside).unwrap();
    }
    assert_eq!(fs::read_dir(root.path.join("slot-0")).unwrap().count(), 2);
    work.write("inside", b"x").unwrap();
    work.remove_file("inside");
}
