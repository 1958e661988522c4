use super::*;

/// A folder of one test, which is gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("lanpeer-identity-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(name)
            .map(|name| name.into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

#[test]
fn it_is_created_once_and_kept() {
    let folder = Folder::new("kept");
    let path = folder.0.join("me.key");
    let identity = Identity::load_or_create(&path).unwrap();
    assert_eq!(folder.names(), ["me.key"], "nothing else is left");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
    let again = Identity::load_or_create(&path).unwrap();
    assert_eq!(again.private(), identity.private());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&format!("# The public key: {}\n", identity.public_key())));
    let shown = format!("{identity:?} {identity:#?}");
    let private = text.trim_end().rsplit(' ').next().unwrap();
    assert!(!shown.contains(&private[..8]), "{shown}");
}

#[test]
#[cfg(unix)]
fn one_that_others_can_read_is_refused() {
    let folder = Folder::new("exposed");
    let path = folder.0.join("me.key");
    let identity = Identity::load_or_create(&path).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o666] {
        set_mode(&path, mode);
        let error = Identity::load_or_create(&path).unwrap_err();
        let shown = error.to_string();
        assert!(
            matches!(error, IdentityError::Exposed { mode: told, .. } if told == mode),
            "{mode:o}: {error:?}"
        );
        assert!(
            shown.contains("me.key") && shown.contains("chmod 600"),
            "{shown}"
        );
    }
    set_mode(&path, 0o400);
    let again = Identity::load_or_create(&path).unwrap();
    assert_eq!(again.public_key(), identity.public_key());
}

#[test]
fn what_holds_none_is_refused_and_left_as_it_is() {
    let folder = Folder::new("content");
    let path = folder.0.join("me.key");
    let digits = "0123456789abcdef".repeat(4);
    let line = format!("{MARK} {digits}");
    let long = format!("{line}\n{}", "#\n".repeat(4096));
    for content in [
        "",
        "# nothing\n",
        &digits,
        &format!("{MARK}{digits}"),
        &line[..line.len() - 1],
        &format!("{line}0"),
        &format!("{line}\n{line}\n"),
        &line.replace("-1", "-2"),
        &line.replace("0123", "012x"),
        &long,
    ] {
        fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(
            matches!(error, IdentityError::Content { .. }),
            "{content}: {error:?}"
        );
        assert!(!format!("{error:?} {error}").contains("0123"));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    fs::write(&path, [0xff; 8]).unwrap();
    set_mode(&path, 0o600);
    let error = Identity::load_or_create(&path).unwrap_err();
    assert!(matches!(error, IdentityError::Content { .. }), "{error:?}");
    // With comments and in either case it is one.
    fs::write(
        &path,
        format!("\n# of the lab\n  {MARK} {}  \n\n", digits.to_uppercase()),
    )
    .unwrap();
    set_mode(&path, 0o600);
    Identity::load_or_create(&path).unwrap();
    for path in [folder.0.clone(), folder.0.join("nowhere/me.key")] {
        let error = Identity::load_or_create(path).unwrap_err();
        assert!(matches!(error, IdentityError::File { .. }), "{error:?}");
    }
}

/// The numbers of RFC 7748, section 6.1.
#[test]
fn the_public_key_is_that_of_x25519() {
    let line = format!("{MARK} 77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let identity = Identity::of(parse(&line).unwrap());
    assert_eq!(
        identity.public_key().to_string(),
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    );
}
