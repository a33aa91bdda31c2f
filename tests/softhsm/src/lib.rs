//! A PKCS#11 token of a test's own: SoftHSM's, in a folder that goes with it. The system's tokens are never touched.
//!
//! SoftHSM reads the place of its tokens from `SOFTHSM2_CONF`, in the environment of whoever loads the module: a process that a
//! test starts gets it by [`SoftHsm::conf`]; a test that loads the module itself runs again in a process of its own
//! ([`in_child`]).
//!
//! Touches that folder, and starts `softhsm2-util`. Tests: whoever uses it.

#![expect(clippy::expect_used, reason = "a test that cannot start its token fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Where the packages of distributions put the module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
];

/// The label of the token that [`SoftHsm::start`] makes.
pub const LABEL: &str = "denizen-test";
/// Its PIN.
pub const PIN: &str = "a-test-pin-8472";

/// A folder with one token.
pub struct SoftHsm {
    folder: TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// Makes a token. None where SoftHSM is not installed: the running test is counted as skipped, and must return.
    ///
    /// # Panics
    /// When SoftHSM is there and does not make a token.
    pub fn start() -> Option<Self> {
        let module = MODULES.iter().map(Path::new).find(|path| path.exists());
        let (Some(module), true) = (module, Command::new("softhsm2-util").arg("--version").output().is_ok()) else {
            denizen_skip::skip("needs softhsm2");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder for the token");
        fs::create_dir(folder.path().join("tokens")).expect("a folder for the token");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.path().join("tokens").display());
        fs::write(folder.path().join("softhsm2.conf"), text).expect("a configuration for SoftHSM");
        let hsm = Self { folder, module: module.to_owned() };
        hsm.make_token(LABEL);
        Some(hsm)
    }

    /// Makes one more token.
    ///
    /// # Panics
    /// When SoftHSM does not.
    pub fn make_token(&self, label: &str) {
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-pin-3391"])
            .env("SOFTHSM2_CONF", self.conf())
            .output()
            .expect("softhsm2-util runs");
        assert!(made.status.success(), "{made:?}");
    }

    /// The module, to be loaded.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// What `SOFTHSM2_CONF` is for a process that loads it.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// Takes the tokens away, as who pulls out a device.
    ///
    /// # Panics
    /// When they are away already.
    pub fn remove(&self) {
        fs::rename(self.folder.path().join("tokens"), self.folder.path().join("away")).expect("the tokens are there");
    }

    /// Puts them back.
    ///
    /// # Panics
    /// When they are there already.
    pub fn insert(&self) {
        fs::rename(self.folder.path().join("away"), self.folder.path().join("tokens")).expect("the tokens are away");
    }

    /// How many objects all tokens have.
    ///
    /// # Panics
    /// When the tokens are away.
    pub fn objects(&self) -> usize {
        objects(self.folder.path())
    }
}

fn objects(folder: &Path) -> usize {
    let tokens = fs::read_dir(folder.join("tokens")).expect("the tokens are there");
    let files = tokens.flat_map(|token| fs::read_dir(token.expect("a token").path()).expect("a token's folder"));
    let is_object = |name: &str| name.ends_with(".object") && name != "token.object";
    files.filter(|file| is_object(&file.as_ref().expect("a file").file_name().to_string_lossy())).count()
}

/// The variable by which a test knows that it runs in the process that was made for it.
const CHILD: &str = "DENIZEN_TEST_SOFTHSM";

/// Runs the test of this name again, in a process that has the token's configuration in its environment: that of this
/// process cannot be changed while other tests run in it. Gives the token in that process; none in this one, where the
/// test must return.
///
/// # Panics
/// When the test fails there.
#[expect(clippy::disallowed_methods, reason = "the environment is what makes the other process another")]
pub fn in_child(test: &str) -> Option<Child> {
    if let Some(folder) = env::var_os(CHILD) {
        let module = env::var_os("DENIZEN_TEST_SOFTHSM_MODULE").expect("the module is named");
        return Some(Child { folder: folder.into(), module: module.into() });
    }
    let hsm = SoftHsm::start()?;
    let this = env::current_exe().expect("this program has a path");
    let ran = Command::new(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", hsm.conf())
        .env(CHILD, hsm.folder.path())
        .env("DENIZEN_TEST_SOFTHSM_MODULE", hsm.module())
        .output()
        .expect("this program runs");
    let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && text.contains("1 passed"), "in its own process:\n{text}");
    None
}

/// The token, in the process that was made for a test.
pub struct Child {
    folder: PathBuf,
    module: PathBuf,
}

impl Child {
    /// The module, to be loaded.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// As [`SoftHsm::remove`].
    ///
    /// # Panics
    /// When the tokens are away already.
    pub fn remove(&self) {
        fs::rename(self.folder.join("tokens"), self.folder.join("away")).expect("the tokens are there");
    }

    /// As [`SoftHsm::insert`].
    ///
    /// # Panics
    /// When the tokens are there already.
    pub fn insert(&self) {
        fs::rename(self.folder.join("away"), self.folder.join("tokens")).expect("the tokens are away");
    }
    /// As [`SoftHsm::objects`].
    ///
    /// # Panics
    /// When the tokens are away.
    pub fn objects(&self) -> usize {
        objects(&self.folder)
    }
}
