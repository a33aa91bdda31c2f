//! The audit's spool under the hands of who can write its folder: before a start, and under a running server.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::super::audit::anchor;
use super::{
    DataPlace,
    attacks::{audit_ctx, live, lived, try_open, until},
    fixtures::*,
    writes::founded,
};
use crate::store::*;

/// The records that say what was found missing.
async fn gaps(store: &Store) -> Vec<String> {
    store.record_findings(NOW).unwrap();
    let own = store.audit_tail(&audit_ctx(), 100).await.unwrap();
    own.into_iter().filter(|record| record.action == "audit/gap").map(|record| record.because).collect()
}

/// Killed with records in its spool that the chain does not have, and the spool tampered with before the next start.
async fn killed_and<P: DataPlace>(place: &P, tamper: impl FnOnce(&Path)) -> (Store, P) {
    let store = founded(place).await;
    let tx = store.begin(&ctx(1)).await.unwrap();
    for n in 0..3 {
        store.audit(&ctx(1), &event(&format!("read/{n}"))).unwrap();
    }
    // The anchor hears of them.
    let spooled = store.core.spool.position().1;
    until("the anchor says how far the spool is", async || {
        let line = fs::read_to_string(place.engine().anchor()).unwrap();
        line.contains(&format!("\"spooled\":{spooled},"))
    })
    .await;
    let found = place.after_a_kill();
    drop(tx);
    tamper(&found.engine().spool());
    let again = try_open(&found).await.unwrap();
    // It works on.
    live(&again, 9).await;
    (again, found)
}

fn segment(spool: &Path) -> PathBuf {
    let segments = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    segments.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).max().unwrap()
}

pub(super) async fn what_is_missing_of_the_spool_is_recorded(place: impl DataPlace) {
    let (whole, _place) = killed_and(&place, |_| {}).await;
    assert_eq!(gaps(&whole).await, Vec::<String>::new());
    type Tamper = fn(&Path);
    let cases: [(Tamper, &str); 4] = [
        (|spool| fs::remove_dir_all(spool).unwrap(), "folder of the audit's spool is missing"),
        (|spool| fs::remove_file(segment(spool)).unwrap(), "all segments"),
        (|spool| fs::write(segment(spool), "").unwrap(), "ends before"),
        (
            |spool| {
                let path = segment(spool);
                let text = fs::read_to_string(&path).unwrap();
                let kept = text.lines().next().unwrap().len() + 1;
                fs::write(path, &text[..kept]).unwrap();
            },
            "ends before",
        ),
    ];
    for (tamper, says) in cases {
        let place = place.another();
        let (store, _found) = killed_and(&place, tamper).await;
        let found = gaps(&store).await;
        assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:?}");
        assert_eq!(gaps(&store).await.len(), 1, "it is recorded once");
        assert_eq!(store.audit_health().spool_faults, 1);
        store.audit_verify().await.unwrap();
    }
    // A damaged one.
    let other = place.another();
    let (store, _found) = killed_and(&other, |spool| {
        let path = segment(spool);
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen("\"tenant\"", "\"nobody\"", 1)).unwrap();
    })
    .await;
    let found = gaps(&store).await;
    assert!(found.len() == 1 && found[0].contains("damaged"), "{found:?}");
}

/// By who can write the folder and does not have the root key, while no server runs.
pub(super) async fn what_is_put_into_the_spool_is_not_shipped(place: impl DataPlace) {
    type Tamper = fn(&Path);
    let cases: [(Tamper, &[&str]); 3] = [
        (
            // A record of the right form without a tag, and a true one once more.
            |spool| {
                let path = segment(spool);
                let text = fs::read_to_string(&path).unwrap();
                let first = text.split_inclusive('\n').next().unwrap();
                let forged = first[first.find('{').unwrap()..].replace("read/0", "forged");
                fs::write(&path, format!("{text}{forged}{first}")).unwrap();
            },
            &["read/0", "read/1", "read/2"],
        ),
        (
            |spool| {
                let path = segment(spool);
                fs::write(&path, fs::read_to_string(&path).unwrap().replace("read/1", "read/9")).unwrap();
            },
            &["read/0", "read/2"],
        ),
        (
            |spool| {
                for name in
                    ["09223372036854775807", "18446744073709551610", "18446744073709551615", "00000000000999999999"]
                {
                    fs::write(spool.join(name).with_extension("jsonl"), "{}\n").unwrap();
                }
            },
            &["read/0", "read/1", "read/2"],
        ),
    ];
    for (tamper, expected) in cases {
        let place = place.another();
        let (store, found) = killed_and(&place, tamper).await;
        let findings = gaps(&store).await;
        assert!(!findings.is_empty());
        let shipped = store.audit_tail(&ctx(1), 100).await.unwrap();
        let actions = shipped.iter().map(|record| record.action.as_str());
        // Those of before the kill: what came after has three parts.
        let shipped: Vec<_> = actions.filter(|it| *it == "forged" || it.matches('/').count() == 1).collect();
        let shipped: Vec<_> = shipped.into_iter().filter(|it| !it.ends_with("/create")).collect();
        assert_eq!(shipped, *expected, "{findings:?}");
        store.audit_verify().await.unwrap();
        store.close().await;
        let again = try_open(&found).await.unwrap();
        assert_eq!(gaps(&again).await.len(), findings.len(), "it is found once");
        live(&again, 21).await;
        again.audit_verify().await.unwrap();
    }
}

pub(super) async fn what_is_no_spool_is_refused(place: impl DataPlace) {
    lived(&place).await.close().await;
    let (spool, away) = (place.engine().spool(), place.engine().spool().with_extension("away"));
    fs::rename(&spool, &away).unwrap();
    fs::set_permissions(&away, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&away, &spool).unwrap();
    let error = try_open(&place).await.err().unwrap().to_string();
    assert!(error.contains(spool.to_str().unwrap()) && error.contains("link"), "{error}");
    assert_eq!(fs::metadata(&away).unwrap().permissions().mode() & 0o777, 0o755, "what the link names was changed");
    fs::remove_file(&spool).unwrap();
    fs::write(&spool, "").unwrap();
    assert!(try_open(&place).await.is_err(), "a file for a folder");
    fs::remove_file(&spool).unwrap();
    fs::rename(&away, &spool).unwrap();
    let (path, kept) = (segment(&spool), spool.join("kept"));
    fs::rename(&path, &kept).unwrap();
    for kind in ["link", "fifo", "folder"] {
        put_no_file(kind, &path, &kept);
        let error = try_open(&place).await.err().unwrap().to_string();
        assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{kind}: {error}");
        if kind == "folder" { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    fs::rename(&kept, &path).unwrap();
    try_open(&place).await.unwrap().close().await;
}

pub(super) async fn a_spool_removed_under_a_running_server_is_begun_anew(place: impl DataPlace) {
    type Tamper = fn(&Path);
    let tampers: [Tamper; 3] = [
        |spool| fs::remove_dir_all(spool).unwrap(),
        |spool| fs::remove_file(segment(spool)).unwrap(),
        |spool| {
            let path = segment(spool);
            fs::remove_file(&path).unwrap();
            fs::write(path, "").unwrap();
        },
    ];
    for tamper in tampers {
        let place = place.another();
        let store = lived(&place).await;
        let spool = place.engine().spool();
        // With records that the chain does not have.
        let tx = store.begin(&ctx(1)).await.unwrap();
        store.audit(&ctx(1), &event("read/before")).unwrap();
        tamper(&spool);
        until("it is noticed", async || !store.core.spool.peek_findings().is_empty()).await;
        store.audit(&ctx(1), &event("read/after")).unwrap();
        // Killed now, what was written since the new beginning is there.
        let killed = place.after_a_kill();
        drop(tx);
        let found = gaps(&store).await;
        assert!(found.len() == 1 && found[0].contains("while the server ran"), "{found:?}");
        let actions: Vec<_> =
            store.audit_tail(&ctx(1), 2).await.unwrap().into_iter().map(|record| record.action).collect();
        assert_eq!(actions, ["read/before", "read/after"]);
        store.audit_verify().await.unwrap();
        store.close().await;
        try_open(&place).await.unwrap().close().await;
        let again = try_open(&killed).await.unwrap();
        assert_eq!(again.audit_tail(&ctx(1), 1).await.unwrap()[0].action, "read/after");
        assert!(!gaps(&again).await.is_empty(), "what was removed is not there");
    }
}

pub(super) async fn a_spool_replaced_under_a_running_server_refuses(place: impl DataPlace) {
    let store = lived(&place).await;
    let (spool, away) = (place.engine().spool(), place.engine().spool().with_extension("away"));
    fs::rename(&spool, &away).unwrap();
    fs::create_dir(spool.with_extension("trap")).unwrap();
    symlink(spool.with_extension("trap"), &spool).unwrap();
    until("nothing more is recorded", async || store.audit(&ctx(1), &event("read")).is_err()).await;
    let error = store.audit(&ctx(1), &event("read")).unwrap_err();
    assert!(matches!(error, StoreError::Spool { .. }) && error.to_string().contains("link"), "{error}");
    assert_eq!(fs::read_dir(spool.with_extension("trap")).unwrap().count(), 0, "the link was followed");
    fs::remove_file(&spool).unwrap();
    until("it goes on", async || store.audit(&ctx(1), &event("read")).is_ok()).await;
    store.audit_verify().await.unwrap();
    assert_eq!(gaps(&store).await.len(), 1);
    assert!(anchor::read(&place.engine().anchor(), &StoreKeys::of_test()).unwrap().is_some());
}
