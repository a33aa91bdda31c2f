//! The audit's trail and its anchor under the hands of who can write the database or its folder: before a start, and under
//! a running server.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    time::Duration,
};

use denizen_keys::hash;

use super::super::audit::anchor;
use super::{DataPlace, fixtures::*, writes::founded};
use crate::store::*;

/// A store with ten records: three changes, and reads.
pub(super) async fn lived(place: &impl DataPlace) -> Store {
    let store = founded(place).await;
    live(&store, 1).await;
    store
}

/// A change and four records of the spool, each in a row of its own.
pub(super) async fn live(store: &Store, n: u8) {
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, n)).await.unwrap();
    tx.commit(event("principal/create")).await.unwrap();
    for read in 0..4 {
        store.audit(&ctx(1), &event(&format!("read/{n}/{read}"))).unwrap();
        store.audit_tail(&ctx(1), 1).await.unwrap();
    }
}

pub(super) async fn try_open(place: &impl DataPlace) -> Result<Store, StoreError> {
    let opening = Store::open(place.engine(), StoreKeys::of_test());
    tokio::time::timeout(Duration::from_secs(10), opening).await.expect("it hangs")
}

/// Opens it where that must be refused; the error says how to go on.
pub(super) async fn refused(place: &impl DataPlace) -> TrailFault {
    let error = try_open(place).await.err().expect("it opens");
    assert!(error.to_string().contains("denizen audit accept`"), "{error}");
    let StoreError::Trail(fault) = error else { panic!("{error}") };
    fault
}

async fn accept(place: &impl DataPlace) -> Accepted {
    let accepted = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap().expect("nothing is wrong");
    assert_eq!(Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap(), None, "it is accepted once");
    accepted
}

/// After it was accepted the store works, the trail is whole, and it says what was accepted.
async fn goes_on(place: &impl DataPlace, accepted: &Accepted) -> Vec<AuditRecord> {
    let store = try_open(place).await.unwrap();
    let own = audit_ctx();
    let said = store.audit_tail(&own, 100).await.unwrap();
    let acceptance = said.iter().find(|record| record.seq == accepted.seq).unwrap();
    assert_eq!((acceptance.action.as_str(), &acceptance.because), ("audit/accept", &accepted.was));
    store.audit_verify().await.unwrap();
    live(&store, 77).await;
    store.audit_verify().await.unwrap();
    store.close().await;
    let store = try_open(place).await.unwrap();
    store.audit_verify().await.unwrap();
    store.close().await;
    said
}

/// Whose the audit's own records are.
pub(super) fn audit_ctx() -> crate::domain::Ctx {
    crate::domain::Ctx { tenant: denizen_wire::TenantId(uuid::Uuid::nil()), ..ctx(1) }
}

pub(super) async fn a_cut_tail_is_refused_and_can_be_accepted(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.sql("DELETE FROM audit WHERE seq > 4").await;
    let fault = refused(&place).await;
    assert_eq!(fault, TrailFault::Cut { records: 2, end: 4 });
    let accepted = accept(&place).await;
    assert_eq!((accepted.seq, accepted.given_up), (5, 0), "what is left is whole, and goes on");
    let said = goes_on(&place, &accepted).await;
    let detail = said[0].detail.as_ref().unwrap();
    assert_eq!((&detail["expected"]["seq"], &detail["found"]["seq"]), (&6.into(), &4.into()));
}

pub(super) async fn a_removed_trail_is_refused_and_can_be_accepted(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.sql("DELETE FROM audit").await;
    assert_eq!(refused(&place).await, TrailFault::Removed { records: 6 });
    // With the anchor made away with too.
    let anchor = fs::read(place.engine().anchor()).unwrap();
    fs::remove_file(place.engine().anchor()).unwrap();
    assert_eq!(refused(&place).await, TrailFault::Removed { records: 0 });
    place.sql("CREATE TABLE side.kept AS SELECT * FROM changes; DELETE FROM changes").await;
    assert_eq!(refused(&place).await, TrailFault::Removed { records: 0 }, "there is a directory");
    place.sql("INSERT INTO changes SELECT * FROM kept; DROP TABLE kept").await;
    fs::write(place.engine().anchor(), anchor).unwrap();
    let accepted = accept(&place).await;
    assert_eq!(accepted.seq, 7, "no place is given to two records");
    goes_on(&place, &accepted).await;
}

/// By who does not have the root key, with everything else done right.
pub(super) async fn a_rewritten_chain_is_refused(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.sql("UPDATE audit SET hash = 'x' WHERE seq = 6").await;
    assert_eq!(refused(&place).await, TrailFault::EndForged { seq: 6 });
    place.sql("DELETE FROM audit WHERE seq = 6; UPDATE audit SET last = 6 WHERE seq = 5").await;
    assert_eq!(refused(&place).await, TrailFault::EndForged { seq: 6 });
    let accepted = accept(&place).await;
    assert_eq!((accepted.seq, accepted.given_up), (7, 5), "five are there, whatever the last of them says");
    goes_on(&place, &accepted).await;
    place
        .sql(
            "INSERT INTO audit_start (chain, seq, hash, total, why, tag) \
             SELECT chain, 3, '', 0, 'pruned', tag FROM audit WHERE seq = 1 ON CONFLICT (chain) DO UPDATE SET seq = 3",
        )
        .await;
    assert_eq!(refused(&place).await, TrailFault::StartForged);
}

/// A row of the chain, as an intruder reads it.
struct Raw {
    seq: u64,
    last: u64,
    spool: u64,
    tenant: String,
    lines: String,
    chain: String,
}

async fn raw(store: &Store) -> Vec<Raw> {
    let rows = store.rows("SELECT seq, last, spool, tenant, lines, chain FROM audit ORDER BY seq", &[]).await.unwrap();
    rows.iter()
        .map(|row| Raw {
            seq: row.count(0).unwrap(),
            last: row.count(1).unwrap(),
            spool: row.count(2).unwrap(),
            tenant: row.text(3).unwrap(),
            lines: row.text(4).unwrap(),
            chain: row.text(5).unwrap(),
        })
        .collect()
}

/// The statements that write these rows over the ones that are there, with the hashes that belong to them.
fn rewrite(rows: &[Raw]) -> &'static str {
    let (mut hash, mut sql) = (String::new(), String::new());
    for Raw { seq, last, spool, tenant, lines, chain } in rows {
        hash = hash::hex(&hash::sha256(format!("{hash}{chain} {seq} {last} {spool} {tenant}\n{lines}").as_bytes()));
        sql += &format!("UPDATE audit SET lines = '{lines}', tenant = '{tenant}', hash = '{hash}' WHERE seq = {seq};");
    }
    sql.leak()
}

pub(super) async fn a_record_rewritten_with_all_hashes_after_it_is_found(place: impl DataPlace) {
    let store = lived(&place).await;
    let mut rows = raw(&store).await;
    place.sql(rewrite(&rows)).await;
    assert_eq!(store.audit_verify().await.unwrap(), 6, "an intruder who changes nothing is not found");
    rows[3].lines = rows[3].lines.replace("read/1/1", "read/9/9");
    place.sql(rewrite(&rows)).await;
    let broken = store.audit_verify().await.unwrap_err();
    assert!(broken.at == 4 && broken.why.contains("root key"), "{broken}");
    // Nor does the server go on from it.
    let error = store.begin(&ctx(1)).await.unwrap().commit(event("x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Trail(TrailFault::ChangedByAnother { seq: 6 })), "{error}");
    store.close().await;
    assert_eq!(refused(&place).await, TrailFault::EndForged { seq: 6 });
}

pub(super) async fn rows_that_changed_places_are_found(place: impl DataPlace) {
    let store = lived(&place).await;
    // Whole rows, tags and all.
    place.sql("UPDATE audit SET seq = 100, last = 100 WHERE seq = 3; UPDATE audit SET seq = 3, last = 3 WHERE seq = 4; UPDATE audit SET seq = 4, last = 4 WHERE seq = 100").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 3);
    place.sql("UPDATE audit SET seq = 100, last = 100 WHERE seq = 3; UPDATE audit SET seq = 3, last = 3 WHERE seq = 4; UPDATE audit SET seq = 4, last = 4 WHERE seq = 100").await;
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    // Their contents alone, with hashes that fit.
    let mut rows = raw(&store).await;
    let moved = rows[2].lines.clone();
    rows[2].lines = rows[3].lines.clone();
    rows[3].lines = moved;
    place.sql(rewrite(&rows)).await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 3);
}

/// Its hash and its tag are left as they are: only who computes the hash sees it.
pub(super) async fn a_last_record_that_was_edited_is_refused_at_start(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.sql("UPDATE audit SET lines = replace(lines, 'read/1/3', 'read/9/9') WHERE seq = 6").await;
    assert_eq!(refused(&place).await, TrailFault::Rewritten { seq: 6 });
    place.sql("UPDATE audit SET lines = replace(lines, 'read/9/9', 'read/1/3') WHERE seq = 6").await;
    try_open(&place).await.unwrap().close().await;
    place.sql("UPDATE audit SET lines = lines || lines WHERE seq = 6").await;
    assert_eq!(refused(&place).await, TrailFault::Rewritten { seq: 6 });
    let accepted = accept(&place).await;
    assert_eq!(accepted.seq, 7);
    goes_on(&place, &accepted).await;
    // The first after an accepted start, which follows from what is not a row.
    let place = place.another();
    lived(&place).await.close().await;
    place.sql("DELETE FROM audit").await;
    Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap().unwrap();
    place.sql("UPDATE audit SET lines = replace(lines, 'removed', 'REMOVED')").await;
    assert_eq!(refused(&place).await, TrailFault::Rewritten { seq: 7 });
}

/// Numbers that no server wrote: none of them makes a directory unusable for good, and none is taken for another.
pub(super) async fn a_last_row_with_impossible_numbers_is_refused_and_can_be_accepted<P: DataPlace>(place: P) {
    let edits = [
        "UPDATE audit SET seq = 9223372036854775807, last = 9223372036854775807 WHERE seq = 6",
        "UPDATE audit SET seq = 9223372036854775806, last = 5 WHERE seq = 6",
        "UPDATE audit SET seq = -9, last = 6 WHERE seq < 7 AND seq = 1",
        "UPDATE audit SET last = 9223372036854775807 WHERE seq = 6",
        "UPDATE audit SET last = -1 WHERE seq = 6",
        "UPDATE audit SET spool = -1 WHERE seq = 6",
        "UPDATE audit SET spool = 9223372036854775807 WHERE seq = 6",
        "UPDATE audit SET total = 9223372036854775807 WHERE seq = 6",
        "UPDATE audit SET total = -1, revision = -1 WHERE seq = 6",
        "UPDATE audit SET revision = 9223372036854775807 WHERE seq = 6",
        "UPDATE audit SET seq = -seq, last = -last",
    ];
    async fn attack<P: DataPlace>(place: P, edit: &'static str) {
        lived(&place).await.close().await;
        place.sql(edit).await;
        if edit.contains("-9") {
            // At the front, where a start does not look; verifying does.
            try_open(&place).await.unwrap().close().await;
        } else {
            let fault = refused(&place).await;
            assert!(matches!(fault, TrailFault::EndForged { .. }), "{edit}: {fault}");
        }
        let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
        let mut exported = 0;
        let count = |_: &str| {
            exported += 1;
            Ok::<(), StoreError>(())
        };
        let left_out: u64 = trail.export(1, count).await.unwrap().iter().map(|it| it.rows).sum();
        // Whoever changed a row has it left out, and the one that followed it may be too.
        assert!(left_out >= 1 && exported + left_out == 6, "{edit}: {exported} and {left_out}");
        let accepted = accept(&place).await;
        assert_eq!(accepted.seq, 7, "{edit}");
        goes_on(&place, &accepted).await;
    }
    for edit in edits.iter().chain(P::ends_of_other_types()) {
        attack(place.another(), edit).await;
    }
}

pub(super) async fn another_root_key_accepts_nothing(place: impl DataPlace) {
    lived(&place).await.close().await;
    let theirs = StoreKeys::of_test_with(50);
    let anchor = fs::read(place.engine().anchor()).unwrap();
    for with_anchor in [true, false] {
        if !with_anchor {
            fs::remove_file(place.engine().anchor()).unwrap();
        }
        let before = place.content().await;
        let error = Trail::accept(&place.engine(), &theirs, NOW).await.unwrap_err();
        assert!(matches!(error, StoreError::OtherRootKey), "{error}");
        assert!(before == place.content().await, "something was written");
        assert_eq!(fs::read(place.engine().anchor()).ok(), with_anchor.then(|| anchor.clone()));
    }
    // With nothing left of the audit but who has the key.
    place.sql("DELETE FROM audit").await;
    assert!(matches!(Trail::accept(&place.engine(), &theirs, NOW).await, Err(StoreError::OtherRootKey)));
    let accepted = accept(&place).await;
    assert_eq!(accepted.seq, 1);
    goes_on(&place, &accepted).await;
    // Nor with nothing left at all but the anchor.
    place.remove_data();
    assert!(matches!(Trail::accept(&place.engine(), &theirs, NOW).await, Err(StoreError::OtherRootKey)));
    // And who has it has nothing to go on from.
    let gone = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await;
    assert!(matches!(gone, Err(StoreError::NothingLeft)), "{gone:?}");
    assert!(place.is_empty().await, "an empty one was put in its place");
    place.put_nothing();
    let gone = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await;
    assert!(matches!(gone, Err(StoreError::NothingLeft)), "{gone:?}");
}

/// What is accepted is the trail; a row that was changed is not.
pub(super) async fn what_would_still_be_refused_is_not_said_to_be_accepted(place: impl DataPlace) {
    lived(&place).await.close().await;
    place
        .sql("DELETE FROM audit WHERE seq > 4; UPDATE service_principals SET body = replace(body, ' ', '') || ' '")
        .await;
    for accepted in [true, false] {
        let error = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap_err();
        assert_eq!(matches!(error, StoreError::StillRefused(_)), accepted, "{error}");
        assert!(denizen_wire::Causes(&error).to_string().contains("does not carry its tag"), "{error}");
        assert!(try_open(&place).await.is_err());
    }
    // A folder in the place of the anchor is told before anything is written.
    let place = place.another();
    lived(&place).await.close().await;
    let path = place.engine().anchor();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap_err().to_string();
    assert!(error.contains("remove the folder"), "{error}");
    fs::remove_dir(&path).unwrap();
    assert_eq!(accept(&place).await.seq, 7);
}

/// Whoever keeps what is exported keeps it as evidence.
pub(super) async fn an_export_has_no_row_that_somebody_else_wrote(place: impl DataPlace) {
    let store = lived(&place).await;
    let chain = store.core.chain.id.to_string();
    store.close().await;
    let export = async |from: u64| {
        let mut seqs = Vec::new();
        let each = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["chain"], chain.as_str(), "{line}");
            assert!(!line.contains("refused") && !line.contains("forged"), "{line}");
            seqs.push(record["seq"].as_u64().unwrap());
            Ok::<(), StoreError>(())
        };
        let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
        let left_out = trail.export(from, each).await.unwrap();
        (seqs, left_out)
    };
    let all: Vec<u64> = (1..=6).collect();
    for from in 1..=7 {
        assert_eq!(export(from).await, (all.iter().copied().filter(|seq| *seq >= from).collect(), vec![]), "{from}");
    }
    let bad = |rows, first| vec![LeftOut { chain: chain.clone(), rows, first }];
    place.sql("CREATE TABLE side.kept AS SELECT * FROM audit").await;
    // The first two attacks leave the tag as it was: it speaks of the hash, and that of the lines.
    for (attack, seqs, left_out) in [
        ("UPDATE audit SET lines = replace(lines, 'allowed', 'refused') WHERE seq = 3", vec![1, 2, 4, 5, 6], bad(1, 3)),
        ("UPDATE audit SET lines = '' WHERE seq = 6", vec![1, 2, 3, 4, 5], bad(1, 6)),
        ("UPDATE audit SET tag = zeroblob(32) WHERE seq IN (2, 3)", vec![1, 4, 5, 6], bad(2, 2)),
        // What follows a row that is missing is nobody's word.
        ("DELETE FROM audit WHERE seq = 4", vec![1, 2, 3, 6], bad(1, 5)),
        (
            "INSERT INTO audit SELECT chain, seq + 6, last + 6, tenant, at, revision, total, spool, state, hash, tag, \
             replace(lines, 'x', 'forged') FROM audit WHERE seq = 6",
            all.clone(),
            bad(1, 12),
        ),
    ] {
        place.sql(attack).await;
        assert_eq!(export(1).await, (seqs, left_out), "{attack}");
        place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    }
    // A whole chain, copied row by row.
    place
        .sql(
            "INSERT INTO audit SELECT 'theirs', seq, last, tenant, at, revision, total, spool, state, hash, tag, lines \
             FROM audit",
        )
        .await;
    let theirs = LeftOut { chain: "theirs".to_owned(), rows: 6, first: 1 };
    assert_eq!(export(1).await, (all.clone(), vec![theirs]));
    place.sql("DELETE FROM audit WHERE chain = 'theirs'").await;
    // What was given up and is as it was written stays evidence, and so does what came after.
    place.sql("UPDATE audit SET lines = replace(lines, 'allowed', 'refused') WHERE seq = 3").await;
    let accepted = accept(&place).await;
    assert_eq!((accepted.seq, export(1).await), (7, (vec![1, 2, 4, 5, 6, 7], bad(1, 3))));
}

pub(super) async fn verifying_says_what_was_accepted_and_when(place: impl DataPlace) {
    lived(&place).await.close().await;
    let trail = async || Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let early = trail().await.head().await.unwrap();
    // The end is lost, and the chain goes on.
    place.sql("DELETE FROM audit WHERE seq > 4").await;
    let cut = accept(&place).await;
    let said = Acceptance { seq: 5, at: NOW, why: cut.was.clone(), given_up: Some((5, 6)), restored: false };
    let verified = trail().await.verify(None).await.unwrap().verified;
    assert_eq!((verified.first, &verified.accepted), (1, &vec![said.clone()]));
    let lost = trail().await.verify(Some(&early)).await.unwrap_err().to_string();
    assert!(lost.contains("accepted as lost, which ends at record 6") && lost.contains(&cut.was), "{lost}");
    let store = try_open(&place).await.unwrap();
    live(&store, 2).await;
    store.close().await;
    let lost = trail().await.verify(Some(&early)).await.unwrap_err().to_string();
    assert!(lost.contains("accepted as lost"), "{lost}");
    let later = trail().await.head().await.unwrap();
    let end = later.seq;
    // A record in the middle is edited, and the chain starts anew.
    place.sql("UPDATE audit SET lines = replace(lines, 'read/2/0', 'read/9/9')").await;
    let edited = accept(&place).await;
    let verified = trail().await.verify(None).await.unwrap().verified;
    let said = Acceptance { seq: end + 1, at: NOW, why: edited.was.clone(), given_up: Some((1, end)), restored: false };
    assert_eq!((verified.first, verified.records, verified.given_up), (end + 1, 1, end));
    assert_eq!(verified.accepted, [said]);
    for head in [&early, &later] {
        let lost = trail().await.verify(Some(head)).await.unwrap_err().to_string();
        assert!(
            lost.contains(&format!("accepted as lost, which ends at record {end}:")) && lost.contains(&edited.was),
            "{lost}"
        );
    }
    // Without its anchor the chain is verified all the same, and it is said.
    fs::remove_file(place.engine().anchor()).unwrap();
    let checked = trail().await.verify(None).await.unwrap();
    let missing = TrailFault::AnchorMissing { path: place.engine().anchor() };
    assert_eq!((checked.verified.records, checked.unanchored), (1, Some(missing)));
    place.sql("UPDATE audit SET lines = replace(lines, 'given_up', 'given-up')").await;
    assert!(trail().await.verify(None).await.is_err());
}

pub(super) async fn an_old_database_is_refused_and_can_be_accepted(place: impl DataPlace) {
    let store = lived(&place).await;
    store.close().await;
    let old = place.backup();
    let store = try_open(&place).await.unwrap();
    live(&store, 2).await;
    store.close().await;
    place.put_back(&old);
    let fault = refused(&place).await;
    assert_eq!(fault, TrailFault::Older { records: 5, revisions: 1 });
    assert!(fault.to_string().contains("backup"), "{fault}");
    assert_eq!(refused(&place).await, fault, "it is not refused once");
    let accepted = accept(&place).await;
    assert_eq!(accepted.seq, 7);
    goes_on(&place, &accepted).await;
    // And the copy once more, now that the trail has gone another way.
    place.put_back(&old);
    assert!(matches!(refused(&place).await, TrailFault::Older { .. } | TrailFault::Cut { .. }));
}

pub(super) async fn a_removed_database_is_refused(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.remove_data();
    assert_eq!(refused(&place).await, TrailFault::Removed { records: 6 });
    assert!(place.is_empty().await, "an empty one was put in its place");
}

pub(super) async fn a_cut_change_log_decides_nothing(place: impl DataPlace) {
    lived(&place).await.close().await;
    place.sql("DELETE FROM changes WHERE revision = 2").await;
    try_open(&place).await.unwrap().close().await;
    place.sql("UPDATE changes SET revision = revision + 100000").await;
    try_open(&place).await.unwrap().close().await;
}

pub(super) async fn an_anchor_that_is_not_the_one_written_is_refused(place: impl DataPlace) {
    lived(&place).await.close().await;
    let path = place.engine().anchor();
    let good = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let unreadable = async |say: &str| {
        let fault = refused(&place).await;
        assert!(matches!(&fault, TrailFault::AnchorUnreadable { why, .. } if why.contains(say)), "{fault}");
    };
    fs::remove_file(&path).unwrap();
    assert_eq!(refused(&place).await, TrailFault::AnchorMissing { path: place.engine().anchor() });
    for cut in [0, 1, good.len() / 2] {
        fs::write(&path, &good[..cut]).unwrap();
        unreadable("not a head").await;
    }
    fs::write(&path, good.replace("\"seq\":6", "\"seq\":5")).unwrap();
    unreadable("tag").await;
    let theirs = Head::parse(&good, &StoreKeys::of_test()).unwrap();
    let theirs = theirs.under(&denizen_keys::mac::MacKey::new(&[99; 32])).line().unwrap();
    fs::write(&path, theirs).unwrap();
    unreadable("another deployment").await;
    // A copy of the good one, by a link: what it names is not ours to trust, or to write.
    let elsewhere = path.with_extension("elsewhere");
    fs::write(&elsewhere, &good).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    unreadable("link").await;
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    unreadable("regular file").await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good).unwrap();
    try_open(&place).await.unwrap().close().await;
    fs::remove_file(&path).unwrap();
    let accepted = accept(&place).await;
    assert_eq!(accepted.seq, 7);
    goes_on(&place, &accepted).await;
}

pub(super) async fn an_anchor_removed_under_a_running_server_is_written_anew(place: impl DataPlace) {
    let store = lived(&place).await;
    let path = place.engine().anchor();
    let is_good = async || {
        fs::symlink_metadata(&path).is_ok_and(|it| it.is_file())
            && anchor::read(&path, &StoreKeys::of_test()).is_ok_and(|head| head.is_some_and(|head| head.seq == 6))
    };
    until("it is written", is_good).await;
    fs::remove_file(&path).unwrap();
    until("removed, it is written anew", is_good).await;
    fs::write(&path, "{}").unwrap();
    until("overwritten, it is written anew", is_good).await;
    let theirs = path.with_extension("theirs");
    fs::write(&theirs, "theirs").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&theirs, &path).unwrap();
    until("a link's place is taken", is_good).await;
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs", "the link was followed");
    // What cannot be replaced is counted and told, and the server goes on.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), "").unwrap();
    until("it is counted", async || store.audit_health().anchor_failures > 1).await;
    live(&store, 2).await;
    fs::remove_dir_all(&path).unwrap();
    store.close().await;
    try_open(&place).await.unwrap().close().await;
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to pass: {what}");
}

pub(super) async fn a_trail_removed_under_a_running_server_refuses_writes_and_says_why(place: impl DataPlace) {
    let store = lived(&place).await;
    for (removal, last) in [("DELETE FROM audit", 6), ("DELETE FROM audit WHERE seq = 7", 7)] {
        place.sql("CREATE TABLE side.kept AS SELECT * FROM audit").await;
        let before = store.audit_health().disagreements;
        place.sql(removal).await;
        for _ in 0..3 {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            tx.insert(&principal(1, 50)).await.unwrap();
            let error = tx.commit(event("x")).await.unwrap_err();
            assert!(matches!(error, StoreError::Trail(TrailFault::ChangedByAnother { seq }) if seq == last), "{error}");
            let said = error.to_string();
            assert!(said.contains("somebody else") && said.contains("denizen audit accept`"), "{said}");
        }
        assert!(store.snapshot().principal(tenant_id(1), principal_id(50)).is_none());
        // What is spooled stays in the spool.
        store.audit(&ctx(1), &event("read/later")).unwrap();
        assert!(matches!(store.audit_tail(&ctx(1), 1).await, Err(StoreError::Trail(_))));
        assert!(store.audit_behind() > 0);
        assert!(store.audit_health().disagreements >= before + 4);
        assert_eq!(store.barred(), Some("somebody else has changed the audit's trail"));
        // Put right, it goes on.
        place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept").await;
        until("it is ready again", async || store.barred().is_none()).await;
        until("it goes on", async || store.audit_tail(&ctx(1), 1).await.is_ok()).await;
    }
    assert_eq!(store.audit_verify().await.unwrap(), 8);
    // Removed again, and the server stopped and started: not for ever, and not without saying why.
    place.sql("DELETE FROM audit").await;
    assert!(store.begin(&ctx(1)).await.unwrap().commit(event("x")).await.is_err());
    store.close().await;
    assert_eq!(refused(&place).await, TrailFault::Removed { records: 8 });
    let accepted = accept(&place).await;
    goes_on(&place, &accepted).await;
}

pub(super) async fn a_trail_added_to_under_a_running_server_refuses_writes_and_says_why(place: impl DataPlace) {
    let store = lived(&place).await;
    place
        .sql(
            "INSERT INTO audit (chain, seq, last, tenant, at, revision, total, spool, state, hash, tag, lines) \
             SELECT chain, 7, 7, tenant, at, revision, total, spool, state, 'x', tag, lines FROM audit WHERE seq = 6",
        )
        .await;
    let error = store.begin(&ctx(1)).await.unwrap().commit(event("x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Trail(TrailFault::ChangedByAnother { seq: 6 })), "{error}");
    store.audit(&ctx(1), &event("read/later")).unwrap();
    assert!(matches!(store.audit_tail(&ctx(1), 1).await, Err(StoreError::Trail(_))));
    store.close().await;
    assert_eq!(refused(&place).await, TrailFault::EndForged { seq: 7 });
}

/// A commit of unknown outcome makes the server read the end again: an intruder's moment.
pub(super) async fn an_end_forged_while_it_is_read_again_is_refused(place: impl DataPlace) {
    let store = lived(&place).await;
    let forget = async || {
        let mut writer = store.core.writer.lock().await;
        let lost = super::super::ends::LogHead { hash: "lost".to_owned(), ..Default::default() };
        assert!(writer.settle(&store.core.statements, lost, StoreError::Closed).await.is_err());
    };
    place.sql("CREATE TABLE side.kept AS SELECT * FROM audit; DELETE FROM audit WHERE seq > 4").await;
    forget().await;
    let error = store.begin(&ctx(1)).await.err().unwrap();
    assert!(matches!(error, StoreError::Trail(TrailFault::ChangedByAnother { seq: 6 })), "{error}");
    place.sql("DELETE FROM audit").await;
    assert!(matches!(store.begin(&ctx(1)).await.err(), Some(StoreError::Trail(_))));
    place.sql("INSERT INTO audit SELECT * FROM kept; UPDATE audit SET total = 0 WHERE seq = 6").await;
    let error = store.begin(&ctx(1)).await.err().unwrap();
    assert!(matches!(error, StoreError::Trail(TrailFault::EndForged { seq: 6 })), "{error}");
    place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    store.begin(&ctx(1)).await.unwrap().commit(event("x")).await.unwrap();
    assert_eq!(store.audit_verify().await.unwrap(), 7);
}

/// Killed, or cut from power, at many moments while the anchor moves.
pub(super) async fn an_honest_crash_leaves_the_anchor_behind(place: impl DataPlace) {
    let store = founded(&place).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let busy = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut n = 0u8;
            while !*stopped.borrow() {
                n = n.wrapping_add(1);
                let mut tx = store.begin(&ctx(1)).await.unwrap();
                tx.put(&principal(1, n)).await.unwrap();
                tx.commit(event("x")).await.unwrap();
                for _ in 0..20 {
                    store.audit(&ctx(1), &event("read")).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let anchored =
        || Head::parse(&fs::read_to_string(place.engine().anchor()).unwrap(), &StoreKeys::of_test()).unwrap();
    let mut anchors = std::collections::BTreeSet::new();
    for round in 0.. {
        anchors.insert(anchored().seq);
        assert!(round < 60, "the anchor does not move: {anchors:?}");
        if round >= 4 && anchors.len() > 2 {
            break;
        }
        for found in [place.after_a_power_cut(), place.after_a_kill()] {
            let again = try_open(&found).await.unwrap();
            assert!(again.audit_verify().await.unwrap() >= anchors.last().copied().unwrap());
            again.close().await;
        }
    }
    stop.send(true).unwrap();
    busy.await.unwrap();
    store.close().await;
    let store = try_open(&place).await.unwrap();
    assert_eq!(store.audit_verify().await.unwrap(), anchored().seq, "closed, the anchor is where the trail ends");
}

pub(super) async fn a_head_kept_elsewhere_is_in_the_trail_or_not(place: impl DataPlace) {
    let store = lived(&place).await;
    store.close().await;
    let trail = async || Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let kept = trail().await.head().await.unwrap();
    assert_eq!(kept.seq, 6);
    let (old, old_anchor) = (place.backup(), fs::read(place.engine().anchor()).unwrap());
    let store = try_open(&place).await.unwrap();
    live(&store, 2).await;
    store.close().await;
    let Checked { verified, head: later, .. } = trail().await.verify(Some(&kept)).await.unwrap();
    assert_eq!((verified.records, verified.first, later.seq), (11, 1, 11));
    // Both the database and its anchor are rolled back: nothing here can tell, and the head kept elsewhere does.
    place.put_back(&old);
    fs::write(place.engine().anchor(), old_anchor).unwrap();
    let store = try_open(&place).await.unwrap();
    store.close().await;
    assert!(trail().await.verify(Some(&kept)).await.is_ok());
    let error = trail().await.verify(Some(&later)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Broken(AuditBroken { at: 7, .. })), "{error}");
    // Gone on from there, another record is where it was.
    let store = try_open(&place).await.unwrap();
    live(&store, 3).await;
    live(&store, 4).await;
    store.close().await;
    let error = trail().await.verify(Some(&later)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Broken(AuditBroken { at: 11, why }) if why.contains("given")), "{error}");
}

pub(super) async fn a_trail_is_read_beside_its_server(place: impl DataPlace) {
    let store = lived(&place).await;
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let Checked { verified, head, .. } = trail.verify(None).await.unwrap();
    assert_eq!((verified.records, head.seq), (6, 6));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let busy = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut stopped = stopped;
            for n in 0..u64::MAX {
                if stopped.try_recv() != Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                    return n;
                }
                store.begin(&ctx(1)).await.unwrap().commit(event(&format!("busy/{n}"))).await.unwrap();
            }
            0
        })
    };
    let mut last = head;
    for _ in 0..20 {
        let head = trail.verify(Some(&last)).await.unwrap().head;
        assert!(head.seq >= last.seq);
        last = head;
    }
    stop.send(()).unwrap();
    let wrote = busy.await.unwrap();
    let mut lines = Vec::new();
    trail
        .export::<StoreError>(4, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(lines.len() as u64, wrote + 3);
    let first: AuditRecord = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((first.seq, first.action.as_str()), (4, "read/1/1"));
    assert!(Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.is_err(), "a server has it");
    store.close().await;
    // And of one that nobody serves.
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    assert_eq!(trail.verify(Some(&last)).await.unwrap().verified.records, 6 + wrote);
}

pub(super) async fn nothing_wrong_is_nothing_to_accept(place: impl DataPlace) {
    let accept = async || Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap();
    assert_eq!(accept().await, None, "a new one");
    lived(&place).await.close().await;
    assert_eq!(accept().await, None);
    try_open(&place).await.unwrap().close().await;
}
