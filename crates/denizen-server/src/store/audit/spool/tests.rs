use std::fs::{self, OpenOptions};

use denizen_wire::UnixTime;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{Actor, Ctx},
    store::AuditEvent,
};

const TENANT: TenantId = TenantId(Uuid::from_u128(7));

fn line(n: usize) -> String {
    about(n, "")
}

fn about(n: usize, because: &str) -> String {
    let ctx = Ctx::new(TENANT, Actor::System("test"), UnixTime(0), Uuid::nil());
    audit::line(&ctx, &AuditEvent::allowed(&n.to_string(), "", because), None).unwrap()
}

fn open(folder: &TempDir, shipped: u64) -> Spool {
    Spool::open(&folder.path().join("j"), Known { shipped, spooled: None }).unwrap()
}

/// As after a start that was not the first.
fn reopen(folder: &TempDir, shipped: u64, spooled: u64) -> Result<Spool, StoreError> {
    Spool::open(&folder.path().join("j"), Known { shipped, spooled: Some(spooled) })
}

fn write(spool: &Spool, numbers: std::ops::Range<usize>) {
    for n in numbers {
        spool.append(TENANT, &line(n)).unwrap();
    }
}

/// Takes everything; gives the numbers, and the end of the last batch.
fn taken(spool: &Spool) -> (Vec<usize>, Option<u64>) {
    let (mut numbers, mut end) = (Vec::new(), None);
    while let Some(batch) = spool.take() {
        assert_eq!(batch.marks.iter().map(|mark| mark.length).sum::<usize>(), batch.text.len());
        assert!(batch.marks.iter().all(|mark| mark.tenant == TENANT));
        end = Some(batch.end);
        for line in batch.text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            numbers.push(value["action"].as_str().unwrap().parse().unwrap());
        }
    }
    (numbers, end)
}

fn files(folder: &TempDir) -> Vec<(String, u64)> {
    let mut found: Vec<_> = fs::read_dir(folder.path().join("j"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect();
    found.sort();
    found
}

#[test]
fn what_was_not_carried_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..5);
    let first = spool.take().unwrap().end;
    write(&spool, 5..8);
    drop(spool);
    // The process died: of what it took, nothing was shipped; or it was.
    let spool = open(&folder, 0);
    assert_eq!(taken(&spool).0, [0, 1, 2, 3, 4, 5, 6, 7]);
    drop(spool);
    let spool = open(&folder, first);
    assert_eq!(taken(&spool).0, [5, 6, 7]);
    // And it goes on where it ended.
    write(&spool, 8..9);
    let (numbers, end) = taken(&spool);
    assert_eq!((numbers, end), (vec![8], Some(spool.position().1)));
    drop(spool);
    assert_eq!(taken(&open(&folder, first)).0, [5, 6, 7, 8]);
}

#[test]
fn a_batch_ends_where_its_last_record_ends() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..BATCH + 10);
    let first = spool.take().unwrap();
    assert_eq!((first.marks.len(), spool.waiting()), (BATCH, 10));
    assert_eq!(first.end, first.text.len() as u64);
    write(&spool, BATCH + 10..BATCH + 11);
    let second = spool.take().unwrap();
    assert_eq!((second.marks.len(), second.end), (11, spool.position().1));
    drop(spool);
    assert_eq!(taken(&open(&folder, first.end)).0, (BATCH..BATCH + 11).collect::<Vec<_>>());
}

#[test]
fn half_a_record_at_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..2);
    let end = spool.position().1;
    drop(spool);
    let path = folder.path().join("j").join(name(0));
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(&line(2).as_bytes()[..20]).unwrap();
    let spool = open(&folder, 0);
    assert_eq!(taken(&spool), (vec![0, 1], Some(end)));
    write(&spool, 3..4);
    drop(spool);
    assert_eq!(taken(&open(&folder, 0)).0, [0, 1, 3]);
}

#[test]
fn a_damaged_record_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..BATCH + 3);
    drop(spool);
    let path = folder.path().join("j").join(name(0));
    let mut bytes = fs::read(&path).unwrap();
    let second = line(0).len();
    bytes[second..second + 5].fill(0);
    // Still JSON, with a tenant, and no record any more.
    let third = second + line(1).len();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let at = third + text[third..].find("actor").unwrap();
    bytes[at] = b'A';
    fs::write(&path, &bytes).unwrap();
    let spool = open(&folder, 0);
    let kept = folder.path().join("j").join(name(0) + DAMAGED);
    assert_eq!(fs::read(&kept).unwrap(), bytes, "what is damaged is kept for whoever can read it");
    let first = spool.take().unwrap();
    assert_eq!(taken(&spool).0, [BATCH + 2]);
    drop(spool);
    // What follows the first batch is what follows it, though fewer bytes were taken than lie before it.
    assert_eq!(taken(&open(&folder, first.end)).0, [BATCH + 2]);
}

#[test]
fn nobody_waits_for_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, 0));
    fs::write(folder.path().join("j").join(name(0)), "garbage\n").unwrap();
    let nobodys = line(1).replace("tenant", "tenants");
    fs::write(folder.path().join("j").join(name(8)), &nobodys).unwrap();
    let spool = open(&folder, 0);
    let end = 8 + nobodys.len() as u64;
    assert_eq!((spool.waiting(), spool.position()), (0, (end, end)));
    write(&spool, 2..3);
    spool.shipped(spool.position().1);
    let left: Vec<_> = files(&folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [name(0) + DAMAGED, name(8) + DAMAGED, name(end)]);
}

#[test]
fn what_is_no_segment_is_let_be() {
    let folder = tempfile::tempdir().unwrap();
    write(&open(&folder, 0), 0..1);
    for stranger in ["5.jsonl", "+5.jsonl", "notes.txt", ".jsonl"] {
        fs::write(folder.path().join("j").join(stranger), "x").unwrap();
    }
    let spool = open(&folder, 0);
    spool.sync().unwrap();
    assert_eq!(taken(&spool).0, [0]);
    spool.shipped(spool.position().1);
    assert!(folder.path().join("j/5.jsonl").exists());
}

#[test]
fn a_record_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..2);
    let (end, written) = (spool.position().1, spool.written());
    spool.fill_the_disk();
    assert!(matches!(spool.append(TENANT, &line(2)), Err(StoreError::Spool { .. })));
    assert_eq!((spool.position().1, spool.written(), spool.waiting()), (end, written, 2));
    // The disk has room again; half of the record that failed had reached it.
    let path = folder.path().join("j").join(name(0));
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(&line(2).as_bytes()[..20]).unwrap();
    spool.state().active = file;
    write(&spool, 3..4);
    drop(spool);
    assert_eq!(taken(&open(&folder, 0)).0, [0, 1, 3]);
}

#[test]
fn segments_go_when_they_are_carried() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    let long = about(0, &"x".repeat(64 * 1024));
    for _ in 0..130 {
        spool.append(TENANT, &long).unwrap();
    }
    let whole = spool.position().1;
    assert!(whole > SEGMENT);
    // Half of it: a new segment is begun, and the old one is still needed.
    spool.shipped(whole / 2);
    spool.append(TENANT, &line(1)).unwrap();
    assert_eq!(files(&folder), [(name(0), whole), (name(whole), line(1).len() as u64)]);
    drop(spool);
    // A restart begins one of its own.
    let spool = open(&folder, whole);
    let end = spool.position().1;
    assert_eq!(taken(&spool), (vec![1], Some(end)));
    spool.shipped(whole);
    assert_eq!(files(&folder), [(name(whole), line(1).len() as u64), (name(end), 0)]);
    spool.shipped(end);
    assert_eq!(files(&folder), [(name(end), 0)]);
    drop(spool);
    let spool = open(&folder, end);
    assert_eq!((spool.position().1, files(&folder)), (end, vec![(name(end), 0)]));
}

#[test]
fn a_trail_that_is_ahead_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    // The power went: the chain was on the disk and the spool was not.
    let spool = open(&folder, 5000);
    assert_eq!((spool.position().1, taken(&spool).0), (5000, vec![]));
    write(&spool, 0..1);
    drop(spool);
    assert_eq!(taken(&open(&folder, 5000)).0, [0]);
}

#[test]
fn a_closed_journal_takes_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..3);
    spool.close();
    assert!(matches!(spool.append(TENANT, &line(3)), Err(StoreError::Closed)));
    let (_, end) = taken(&spool);
    spool.shipped(end.unwrap());
    assert_eq!(files(&folder), [(name(end.unwrap()), 0)]);
}

fn found(spool: &Spool) -> Vec<(&'static str, u64, Option<u64>)> {
    spool.findings().into_iter().map(|Finding { what, from, to }| (what, from, to)).collect()
}

#[test]
fn a_part_that_is_missing_is_found_and_an_honest_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    let long = about(0, &"x".repeat(64 * 1024));
    for _ in 0..130 {
        spool.append(TENANT, &long).unwrap();
    }
    let half = spool.position().1;
    // A second segment, and a third.
    spool.shipped(0);
    for _ in 0..130 {
        spool.append(TENANT, &long).unwrap();
    }
    spool.shipped(0);
    write(&spool, 1..2);
    let end = spool.position().1;
    drop(spool);
    let again = reopen(&folder, 0, end).unwrap();
    assert_eq!(found(&again), [], "it ends where it ended");
    drop(again);
    fs::remove_file(folder.path().join("j").join(name(half))).unwrap();
    let again = reopen(&folder, 0, end).unwrap();
    assert_eq!(found(&again), [("a part of the audit's spool is missing", half, Some(end - line(1).len() as u64))]);
    assert_eq!(found(&again), [], "it is told once");
    drop(again);
    // What the chain has is not missed.
    let again = reopen(&folder, end, end).unwrap();
    assert_eq!(found(&again), []);
    again.close();
    again.shipped(end);
    drop(again);
    let again = reopen(&folder, end, end).unwrap();
    assert_eq!((found(&again), again.position()), (vec![], (end, end)));
}
