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

/// A line before it is sealed.
fn about(n: usize, because: &str) -> String {
    let ctx = Ctx::new(TENANT, Actor::System("test"), UnixTime(0), Uuid::nil());
    audit::line_after(TAG, &ctx, &AuditEvent::allowed(&n.to_string(), "", because), None).unwrap()
}

fn key() -> MacKey {
    MacKey::new(&[6; 32])
}

/// A line as it stands in a file at this position.
fn sealed(at: u64, mut line: String) -> String {
    seal(&key(), at, &mut line);
    line
}

fn open(folder: &TempDir, shipped: u64) -> Spool {
    Spool::open(&folder.path().join("j"), Known { shipped, spooled: None }, &key()).unwrap()
}

/// As after a start that was not the first.
fn reopen(folder: &TempDir, shipped: u64, spooled: u64) -> Result<Spool, StoreError> {
    Spool::open(&folder.path().join("j"), Known { shipped, spooled: Some(spooled) }, &key())
}

fn write(spool: &Spool, numbers: std::ops::Range<usize>) {
    for n in numbers {
        spool.append(TENANT, line(n)).unwrap();
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
    assert_eq!(first.end, (first.text.len() + BATCH * TAG) as u64, "a position counts the bytes of the files");
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
    // Still JSON, with a tenant, and no record any more; its tag fits.
    let third = second + line(1).len();
    let nobodys = sealed(third as u64, line(2).replace("actor", "Actor"));
    bytes[third..third + nobodys.len()].copy_from_slice(nobodys.as_bytes());
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
    let nobodys = sealed(8, line(1).replace("tenant", "tenants"));
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
    assert!(matches!(spool.append(TENANT, line(2)), Err(StoreError::Spool { .. })));
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
        spool.append(TENANT, long.clone()).unwrap();
    }
    let whole = spool.position().1;
    assert!(whole > SEGMENT);
    // Half of it: a new segment is begun, and the old one is still needed.
    spool.shipped(whole / 2);
    spool.append(TENANT, line(1)).unwrap();
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
fn a_closed_spool_takes_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..3);
    spool.close();
    assert!(matches!(spool.append(TENANT, line(3)), Err(StoreError::Closed)));
    let (_, end) = taken(&spool);
    spool.shipped(end.unwrap());
    assert_eq!(files(&folder), [(name(end.unwrap()), 0)]);
}

fn found(spool: &Spool) -> Vec<(&'static str, u64, Option<u64>)> {
    spool.findings().into_iter().map(|Finding { what, from, to, .. }| (what, from, to)).collect()
}

#[test]
fn a_part_that_is_missing_is_found_and_an_honest_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    let long = about(0, &"x".repeat(64 * 1024));
    for _ in 0..130 {
        spool.append(TENANT, long.clone()).unwrap();
    }
    let half = spool.position().1;
    // A second segment, and a third.
    spool.shipped(0);
    for _ in 0..130 {
        spool.append(TENANT, long.clone()).unwrap();
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

/// The segments' bytes as they are, by name.
fn bytes_of(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    files(folder)
        .into_iter()
        .map(|(name, _)| (name.clone(), fs::read(folder.path().join("j").join(name)).unwrap()))
        .collect()
}

/// What who can write the folder, and has not the root key, can do to it.
#[test]
fn a_line_that_was_added_edited_moved_or_repeated_is_not_shipped() {
    let length = line(0).len();
    type Tamper = fn(Vec<String>, usize) -> Vec<String>;
    let forged = |n: usize| line(n).trim_start().to_owned();
    assert!(serde_json::from_str::<serde_json::Value>(&forged(9)).is_ok(), "what is forged is a record");
    let attacks: [(&str, Tamper, &[usize], usize); 9] = [
        ("nothing", |lines, _| lines, &[0, 1, 2, 3], 0),
        (
            "a record without a tag",
            |lines, _| [lines, vec![line(9).trim_start().to_owned()]].concat(),
            &[0, 1, 2, 3],
            1,
        ),
        ("one with spaces for it", |lines, _| [lines, vec![line(9)]].concat(), &[0, 1, 2, 3], 1),
        (
            "one under another key",
            |lines, length| {
                let mut line = line(9);
                seal(&MacKey::new(&[7; 32]), (4 * length) as u64, &mut line);
                [lines, vec![line]].concat()
            },
            &[0, 1, 2, 3],
            1,
        ),
        ("a repeated one", |lines, _| [lines.clone(), vec![lines[1].clone()]].concat(), &[0, 1, 2, 3], 1),
        (
            "an edited one",
            |mut lines, _| {
                lines[1] = lines[1].replace("allowed", "refused");
                lines
            },
            &[0, 2, 3],
            1,
        ),
        (
            "two that changed places",
            |mut lines, _| {
                lines.swap(1, 2);
                lines
            },
            &[0, 3],
            1,
        ),
        (
            "one taken away from the middle",
            |mut lines, _| {
                lines.remove(1);
                lines
            },
            &[0],
            2,
        ),
        (
            "one with another's tag",
            |mut lines, _| {
                lines[3] = format!("{}{}", &lines[2][..TAG], &lines[3][TAG..]);
                lines
            },
            &[0, 1, 2],
            1,
        ),
    ];
    for (attack, tamper, shipped, findings) in attacks {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(&folder, 0);
        write(&spool, 0..4);
        let end = spool.position().1;
        drop(spool);
        let path = folder.path().join("j").join(name(0));
        let lines = fs::read_to_string(&path).unwrap().split_inclusive('\n').map(str::to_owned).collect();
        fs::write(&path, tamper(lines, length).concat()).unwrap();
        let spool = reopen(&folder, 0, end).unwrap();
        let found = spool.findings();
        assert_eq!(found.len(), findings, "{attack}: {found:?}");
        assert!(found.iter().all(|it| it.file.as_deref() == Some(&*name(0))), "{attack}: {found:?}");
        assert_eq!(taken(&spool).0, shipped, "{attack}");
        // It works on.
        write(&spool, 7..8);
        assert_eq!(taken(&spool).0, [7], "{attack}");
    }
}

/// A second segment with lines that another segment has, at the positions they were written at.
#[test]
fn a_copy_of_a_segment_ships_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..4);
    let end = spool.position().1;
    drop(spool);
    let bytes = fs::read(folder.path().join("j").join(name(0))).unwrap();
    let second = line(0).len();
    fs::write(folder.path().join("j").join(name(second as u64)), &bytes[second..]).unwrap();
    // And one before it, which hides nothing of what comes after.
    let junk = vec![b'x'; second * 3 - 1];
    let spool = reopen(&folder, 0, end).unwrap();
    assert_eq!(taken(&spool).0, [0, 1, 2, 3]);
    drop(spool);
    fs::write(folder.path().join("j").join(name(0)), [&bytes[..second], &junk, b"\n"].concat()).unwrap();
    let spool = reopen(&folder, 0, end).unwrap();
    assert_eq!(taken(&spool).0, [0, 1, 2, 3]);
}

#[test]
fn a_line_stands_in_the_file_with_its_tag_and_goes_on_without() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..2);
    let (first, second) = (sealed(0, line(0)), sealed(line(0).len() as u64, line(1)));
    assert_eq!(bytes_of(&folder), [(name(0), format!("{first}{second}").into_bytes())]);
    assert!(!first.starts_with(' ') && first.as_bytes()[TAG_TEXT] == b' ' && first.as_bytes()[TAG] == b'{');
    assert_eq!(spool.take().unwrap().text, format!("{}{}", line(0).trim_start(), line(1).trim_start()));
    assert_eq!(spool.position().1, (first.len() + second.len()) as u64);
}

/// A name that nobody could have given a segment costs nothing but itself.
#[test]
fn a_segment_at_a_position_that_cannot_be_is_moved_aside() {
    for stranger in [u64::MAX, u64::MAX - 5, u64::MAX - 615, FURTHEST, FURTHEST - 807, FURTHEST + 1, 200_000_000] {
        for content in ["{}\n", ""] {
            let folder = tempfile::tempdir().unwrap();
            let spool = open(&folder, 0);
            write(&spool, 0..3);
            let end = spool.position().1;
            drop(spool);
            let file = name(stranger);
            fs::write(folder.path().join("j").join(&file), content).unwrap();
            let spool = reopen(&folder, 0, end).unwrap();
            let findings = spool.findings();
            assert_eq!(findings.len(), 1, "{file}: {findings:?}");
            assert_eq!(findings[0].file.as_deref(), Some(file.as_str()));
            assert!(folder.path().join("j").join(file + FOREIGN).exists());
            assert_eq!((taken(&spool).0, spool.position().1), (vec![0, 1, 2], end));
            write(&spool, 3..4);
            spool.shipped(spool.position().1);
            let end = spool.position().1;
            drop(spool);
            let again = reopen(&folder, end, end).unwrap();
            assert_eq!((found(&again), again.position()), (vec![], (end, end)), "it is found once");
        }
    }
}

/// Near the end of what a position can be, records are refused and nothing overflows.
#[test]
fn positions_end_where_the_database_could_hold_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let near = FURTHEST - line(0).len() as u64;
    let spool = open(&folder, near);
    write(&spool, 0..1);
    assert!(matches!(spool.append(TENANT, line(1)), Err(StoreError::AuditFull)));
    drop(spool);
    fs::write(folder.path().join("j").join(name(FURTHEST)), "x\n").unwrap();
    let spool = reopen(&folder, near, near).unwrap();
    assert_eq!(taken(&spool).0, [0]);
}

/// What is appended to a segment beyond all measure is not read into memory.
#[test]
fn a_segment_that_is_longer_than_can_be_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder, 0);
    write(&spool, 0..3);
    let end = spool.position().1;
    drop(spool);
    // With holes: it takes no room on the disk.
    let path = folder.path().join("j").join(name(0));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let spool = reopen(&folder, 0, end).unwrap();
    assert!(found(&spool).iter().any(|(what, ..)| what.contains("longer than it can be")));
    assert_eq!((taken(&spool).0, fs::metadata(&path).unwrap().len()), (vec![0, 1, 2], end));
}
