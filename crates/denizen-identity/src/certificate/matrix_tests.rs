//! Every form that `openssl` and `keytool` write, made while the test runs, and what is said of a file that cannot be
//! read. Both tools must be there: `./test` installs them.

use std::{fs, path::PathBuf, process::Command};

use base64::Engine;

use super::super::{CertificateError, SigningCertificate};

const PASSWORD: &str = "correct horse";

/// A folder with an RSA key, its certificate and the certificate of its issuer.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca");
        folder.openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out leaf.csr -subj /CN=leaf");
        folder.openssl("x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out leaf.crt");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &str) {
        let split = arguments.split(' ').map(|word| word.replace('+', " "));
        let output = Command::new(program).args(split).current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|e| panic!("{program}: {e}; ./test unit installs it"));
        assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn openssl(&self, arguments: &str) {
        self.run("openssl", arguments);
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }
}

fn thumbprint(folder: &Folder) -> String {
    let plain = [folder.text("key.pem"), folder.text("leaf.crt")].concat();
    SigningCertificate::read(plain.as_bytes(), None).map_err(|e| e.to_string()).unwrap().thumbprint()
}

#[test]
fn every_form_that_openssl_and_java_write_is_read() {
    let folder = Folder::new();
    let expected = thumbprint(&folder);
    let pass = format!("pass:{}", PASSWORD.replace(' ', "+"));
    let mut files: Vec<(String, Vec<u8>, Option<&str>)> = Vec::new();

    // Keys in PEM, in every encryption that openssl offers for them.
    let mut keys = vec![("PKCS#8".to_owned(), folder.text("key.pem"), None)];
    folder.openssl("rsa -in key.pem -traditional -out traditional.key");
    keys.push(("traditional".into(), folder.text("traditional.key"), None));
    for cipher in ["aes128", "aes192", "aes256", "des3"] {
        folder.openssl(&format!("rsa -in key.pem -traditional -{cipher} -passout {pass} -out out.key"));
        assert!(folder.text("out.key").contains("Proc-Type: 4,ENCRYPTED"));
        keys.push((format!("traditional {cipher}"), folder.text("out.key"), Some(PASSWORD)));
    }
    for v2 in [
        "-v2 aes-128-cbc",
        "-v2 aes-256-cbc -v2prf hmacWithSHA1",
        "-v2 aes-256-cbc -v2prf hmacWithSHA512",
        "-v2 des3",
        "-scrypt",
    ] {
        folder.openssl(&format!("pkcs8 -topk8 -in key.pem {v2} -passout {pass} -out out.key"));
        keys.push((format!("PKCS#8 {v2}"), folder.text("out.key"), Some(PASSWORD)));
    }
    let (leaf, ca) = (folder.text("leaf.crt"), folder.text("ca.crt"));
    for (name, key, password) in keys {
        for (order, text) in
            [("key first", [key.as_str(), &leaf, &ca].concat()), ("key last", [ca.as_str(), &leaf, &key].concat())]
        {
            let bags =
                text.replace("-----BEGIN", "Bag Attributes\n    friendlyName: Zertifikat für München\n-----BEGIN");
            let (crlf, escaped) = (text.replace('\n', "\r\n"), text.replace('\n', "\\n"));
            // An encrypted traditional key has header lines, which one line cannot hold.
            let one_line = if name.starts_with("traditional ") { None } else { Some(text.replace('\n', " ")) };
            let mut latin1 = bags.clone().into_bytes();
            if let Some(at) = latin1.iter().position(|byte| *byte == 0xc3) {
                latin1.splice(at..at + 2, [0xfc]);
            }
            let form = |what: &str| format!("{name}, {order}, {what}");
            files.push((form("as written"), text.clone().into_bytes(), password));
            files.push((form("with a byte order mark"), format!("\u{feff}{text}").into_bytes(), password));
            files.push((form("CRLF"), crlf.into_bytes(), password));
            files.push((form("\\n in two characters"), escaped.into_bytes(), password));
            files.push((form("\\r\\n in four characters"), text.replace('\n', "\\r\\n").into_bytes(), password));
            files.push((form("with bag attributes"), bags.into_bytes(), password));
            files.push((form("with bag attributes in Latin-1"), latin1, password));
            if let Some(one_line) = one_line {
                files.push((form("on one line"), one_line.into_bytes(), password));
            }
        }
    }

    // PKCS#12.
    for (name, options) in [
        ("OpenSSL 3", ""),
        ("OpenSSL 1.0 and Windows (RC2, 3DES)", " -legacy"),
        ("Windows (3DES)", " -legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1"),
        ("AES with SHA-512", " -keypbe AES-256-CBC -certpbe AES-256-CBC -macalg sha512"),
        ("certificates in the clear", " -certpbe NONE"),
        ("with a friendly name", " -name lefriendly"),
        ("with the chain", " -certfile ca.crt"),
    ] {
        let files = &mut files;
        let out = format!("pkcs12 -export -inkey key.pem -in leaf.crt{options} -out out.pfx -passout");
        folder.openssl(&format!("{out} {pass}"));
        files.push((format!("PKCS#12, {name}"), folder.bytes("out.pfx"), Some(PASSWORD)));
        folder.openssl(&format!("{out} pass:"));
        files.push((format!("PKCS#12, {name}, empty password"), folder.bytes("out.pfx"), None));
        files.push((format!("PKCS#12, {name}, empty password given"), folder.bytes("out.pfx"), Some("")));
        let base64 = super::STANDARD.encode(folder.bytes("out.pfx"));
        files.push((format!("PKCS#12, {name}, in base64 as Key Vault gives it"), base64.into_bytes(), None));
    }
    folder.openssl(&format!("pkcs12 -export -inkey key.pem -in leaf.crt -out for-java.pfx -passout {pass}"));
    folder.run(
        "keytool",
        &format!(
            "-importkeystore -noprompt -srckeystore for-java.pfx -srcstoretype PKCS12 -srcstorepass {p} -destkeystore java.p12 -deststoretype PKCS12 -deststorepass {p}",
            p = PASSWORD.replace(' ', "+")
        ),
    );
    files.push(("Java's keytool".into(), folder.bytes("java.p12"), Some(PASSWORD)));
    folder.run(
        "keytool",
        &format!(
            "-J-Dkeystore.pkcs12.legacy -importkeystore -noprompt -srckeystore for-java.pfx -srcstoretype PKCS12 -srcstorepass {p} -destkeystore java-legacy.p12 -deststoretype PKCS12 -deststorepass {p}",
            p = PASSWORD.replace(' ', "+")
        ),
    );
    files.push(("Java's keytool, as Java 8 wrote it".into(), folder.bytes("java-legacy.p12"), Some(PASSWORD)));

    for (name, bytes, password) in &files {
        match SigningCertificate::read(bytes, *password) {
            Ok(read) => assert_eq!(read.thumbprint(), expected, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
        // What is wrong is said.
        if password.is_some_and(|password| !password.is_empty()) {
            let why = |password| SigningCertificate::read(bytes, password).err();
            assert_eq!(why(Some("wrong")), Some(CertificateError::NotDecrypted), "{name}");
            assert_eq!(why(None), Some(CertificateError::PasswordNeeded), "{name}");
        }
    }
    assert!(files.len() > 150, "only {} files", files.len());
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new();
    let (key, leaf, ca) = (folder.text("key.pem"), folder.text("leaf.crt"), folder.text("ca.crt"));
    folder.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key");
    folder.openssl("ecparam -name prime256v1 -genkey -noout -out ec-traditional.key");
    folder.openssl("pkcs12 -export -inkey key.pem -in leaf.crt -out out.pfx -passout pass:");
    folder.openssl("pkcs12 -export -nokeys -in leaf.crt -out nokeys.pfx -passout pass:");
    folder.openssl(
        "pkcs8 -topk8 -in key.pem -v1 PBE-MD5-DES -provider legacy -provider default -passout pass:x -out pbes1.key",
    );
    folder.openssl("rsa -in key.pem -traditional -camellia256 -passout pass:x -out camellia.key");
    folder.openssl("x509 -in leaf.crt -outform DER -out leaf.der");
    folder.openssl("pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der");
    folder.openssl("rsa -in key.pem -traditional -outform DER -out traditional.der");
    folder.openssl("pkcs8 -topk8 -in key.pem -passout pass:x -outform DER -out encrypted.der");
    let mut damaged = folder.bytes("encrypted.der");
    *damaged.last_mut().unwrap() ^= 1;
    let damaged = super::STANDARD.encode(damaged);
    let damaged_encrypted =
        format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{damaged}\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let pfx = folder.bytes("out.pfx");
    let damaged_pfx = pfx.get(..pfx.len() / 2).unwrap().to_vec();
    let damaged_pem = key.replacen("MII", "M!I", 1);
    for (name, bytes, password, expected) in [
        ("no key", leaf.clone().into_bytes(), None, CertificateError::Missing("private key")),
        ("no certificate", key.clone().into_bytes(), None, CertificateError::Missing("certificate")),
        ("another's certificate", [key.as_str(), &ca].concat().into_bytes(), None, CertificateError::OtherKey),
        ("EC", [folder.text("ec.key"), leaf.clone()].concat().into_bytes(), None, CertificateError::EllipticCurve),
        (
            "traditional EC",
            [folder.text("ec-traditional.key"), leaf.clone()].concat().into_bytes(),
            None,
            CertificateError::EllipticCurve,
        ),
        ("PKCS#12 without a key", folder.bytes("nokeys.pfx"), None, CertificateError::Missing("private key")),
        ("half a PKCS#12", damaged_pfx, None, CertificateError::Damaged("PKCS#12 structure")),
        (
            "a bad character",
            [&damaged_pem, leaf.as_str()].concat().into_bytes(),
            None,
            CertificateError::Damaged("private key"),
        ),
        (
            "no end",
            key.replace("-----END PRIVATE KEY-----", "").into_bytes(),
            None,
            CertificateError::Damaged("PEM framing"),
        ),
        (
            "PBES1",
            [folder.text("pbes1.key"), leaf.clone()].concat().into_bytes(),
            Some("x"),
            CertificateError::Encryption("PBES1; write it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc"),
        ),
        (
            "Camellia",
            [folder.text("camellia.key"), leaf.clone()].concat().into_bytes(),
            Some("x"),
            CertificateError::Encryption("a cipher of traditional PEM other than AES and DES"),
        ),
        ("a certificate alone, in DER", folder.bytes("leaf.der"), None, CertificateError::CertificateAlone),
        ("a key alone, in DER", folder.bytes("key.der"), None, CertificateError::KeyAlone),
        ("a traditional key alone, in DER", folder.bytes("traditional.der"), None, CertificateError::KeyAlone),
        ("an encrypted key alone, in DER", folder.bytes("encrypted.der"), Some("x"), CertificateError::KeyAlone),
        (
            "a certificate alone, in base64",
            super::STANDARD.encode(folder.bytes("leaf.der")).into_bytes(),
            None,
            CertificateError::CertificateAlone,
        ),
        (
            "a damaged encrypted key",
            [damaged_encrypted.as_str(), &leaf].concat().into_bytes(),
            Some("x"),
            CertificateError::NotDecrypted,
        ),
        ("nothing", Vec::new(), None, CertificateError::Form),
        ("text", b"AZURE_CLIENT_CERTIFICATE".to_vec(), None, CertificateError::Form),
    ] {
        assert_eq!(SigningCertificate::read(&bytes, password).err(), Some(expected), "{name}");
    }
}

/// A marker planted anywhere in a file stands in no error's text.
#[test]
fn no_error_holds_a_byte_of_the_file() {
    const MARKER: &str = "TheMarker0123456789";
    let folder = Folder::new();
    let (key, leaf) = (folder.text("key.pem"), folder.text("leaf.crt"));
    folder.openssl("rsa -in key.pem -traditional -aes128 -passout pass:x -out encrypted.key");
    folder.openssl("pkcs8 -topk8 -in key.pem -passout pass:x -out pkcs8.key");
    let mut broken: Vec<Vec<u8>> = Vec::new();
    for file in [&key, &folder.text("encrypted.key"), &folder.text("pkcs8.key"), &leaf] {
        let lines: Vec<&str> = file.lines().collect();
        for at in 0..=lines.len() {
            for planted in [
                MARKER.to_owned(),
                format!("{MARKER}: x"),
                format!("-----BEGIN {MARKER}-----"),
                format!("\u{1}{MARKER}"),
            ] {
                for separator in ["\n", "\\n", " ", ""] {
                    let mut lines = lines.clone();
                    lines.insert(at, &planted);
                    broken.push([lines.join(separator), leaf.clone()].concat().into_bytes());
                }
            }
        }
        broken.push(file.replacen("-----BEGIN ", &format!("-----BEGIN {MARKER}"), 1).into_bytes());
        broken.push(file.replace("DEK-Info: AES-128-CBC", &format!("DEK-Info: {MARKER}")).into_bytes());
    }
    broken.push(MARKER.as_bytes().to_vec());
    let mut errors = 0;
    for bytes in &broken {
        for password in [None, Some("x"), Some(MARKER)] {
            let credential = crate::credential::ClientCertificateCredential::builder(
                "00000000-0000-0000-0000-00000000007e",
                "00000000-0000-0000-0000-0000000000a1",
                bytes.clone(),
            );
            let credential = match password {
                Some(password) => credential.password(password),
                None => credential,
            };
            let Err(error) = credential.build() else { continue };
            errors += 1;
            let mut shown = format!("{error} {error:?}");
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                shown.push_str(&format!(" {inner} {inner:?}"));
                source = inner.source();
            }
            assert!(!shown.contains("TheMarker"), "{shown}");
            // Nor is any line of the key itself there.
            assert!(!key.lines().filter(|line| !line.starts_with('-')).any(|line| shown.contains(line)), "{shown}");
            let codes: String = MARKER.bytes().take(4).map(|byte| format!("{byte}, ")).collect();
            assert!(!shown.contains(&codes), "{shown}");
        }
    }
    assert!(errors > 500, "only {errors} of {} files were refused", broken.len() * 3);
}
