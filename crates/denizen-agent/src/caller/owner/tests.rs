use std::time::Duration;

use super::*;

const PASSWD_TEXT: &str =
    "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";

fn table(subuid: &str) -> Table {
    Table::read(subuid, PASSWD_TEXT)
}

#[test]
fn a_subordinate_uid_belongs_to_the_user_by_name_or_by_number() {
    let table = table("alice:100000:65536\n1001:165536:65536\n4242:300000:10\nalice:400000:5\n");
    for (uid, owner) in [
        (0, 0),
        (1000, 1000),
        (99_999, 99_999),
        (100_000, 1000),
        (165_535, 1000),
        (165_536, 1001),
        (231_071, 1001),
        (231_072, 231_072),
        (300_009, 4242),
        (300_010, 300_010),
        (400_004, 1000),
        (u32::MAX, u32::MAX),
    ] {
        assert_eq!(table.owner_of(uid), Owner::User(owner), "{uid}");
    }
}

#[test]
fn ranges_of_root_and_of_unknown_names_take_nobodys_share() {
    let table = table("root:500000:1000\nroot:100:10\ncontainers:2147483647:2147483648\n0:900000:5\nroot:1001:1\n");
    assert_eq!(table.owner_of(500_999), Owner::Range(100), "all of a name's ranges are one owner");
    assert_eq!(table.owner_of(105), Owner::Range(100));
    assert_eq!(table.owner_of(2_147_483_647), Owner::Range(2_147_483_647));
    assert_eq!(table.owner_of(4_294_967_294), Owner::Range(2_147_483_647));
    assert_eq!(table.owner_of(900_004), Owner::Range(900_000));
    assert_eq!(table.owner_of(0), Owner::User(0));
    assert_eq!(table.owner_of(1001), Owner::User(1001), "a user of the machine is themselves, in a range or not");
}

#[test]
fn lines_that_cannot_be_understood_are_passed_over() {
    let table = table(
        "\n# alice:1:1\n:1:1\nalice\nalice:\nalice:x:10\nalice:-5:10\nalice:+5:10\nalice:5:\nalice:5:0\n\
         alice:99999999999:5\nalice:6:99999999999999999999999\nalice:7:1:2\n\u{fffd}\u{fffd}:8\nbob : 20 : 2 \r\n",
    );
    assert_eq!(table.ranges, [Range { first: 20, last: 21, owner: Owner::User(1001) }]);
    let broken = Table::read("alice:10:1\nbob:20:1\n", "alice:x:nobody\n+alice:x:5\nbob\nbob:x:1001:\nbob:x:7:\n");
    assert_eq!((broken.owner_of(10), broken.owner_of(20)), (Owner::Range(10), Owner::User(1001)));
}

#[test]
fn ranges_that_overlap_or_reach_past_the_last_uid_have_one_answer_each() {
    let table = table("bob:150:100\nalice:100:100\nalice:4294967290:4294967295\nbob:4294967291:2\nbob:120:5\n");
    assert_eq!(table.owner_of(120), Owner::User(1000));
    assert_eq!(table.owner_of(199), Owner::User(1000));
    assert_eq!(table.owner_of(200), Owner::User(1001));
    assert_eq!(table.owner_of(249), Owner::User(1001));
    assert_eq!(table.owner_of(u32::MAX), Owner::User(1000));
}

#[test]
fn ranges_within_ranges_lead_to_the_outermost_user_and_circles_end() {
    let nested = table("alice:100000:65536\n100001:300000:10\n");
    assert_eq!(nested.owner_of(300_003), Owner::User(1000));
    let circle = table("20:10:1\n10:20:1\n30:30:1\n");
    assert!(matches!(circle.owner_of(10), Owner::User(10 | 20)));
    assert_eq!(circle.owner_of(30), Owner::User(30));
}

#[test]
fn a_changed_file_is_read_again_within_a_second_and_not_sooner() {
    let temp = tempfile::tempdir().unwrap();
    let (subuid, passwd) = (temp.path().join("subuid"), temp.path().join("passwd"));
    let owners = Owners::of_files(&subuid, &passwd);
    let start = Instant::now();
    let at = |milliseconds, uid| owners.current(start + Duration::from_millis(milliseconds)).table.owner_of(uid);
    assert_eq!(at(0, 100_000), Owner::User(100_000), "neither file has to exist");
    std::fs::write(&passwd, PASSWD_TEXT).unwrap();
    std::fs::write(&subuid, "alice:100000:65536\n").unwrap();
    assert_eq!(at(999, 100_000), Owner::User(100_000));
    assert_eq!(at(1000, 100_000), Owner::User(1000));
    // As usermod does: a new file takes the name.
    std::fs::write(temp.path().join("subuid+"), "bob::100000:65536\nbob:100000:65536\n").unwrap();
    std::fs::rename(temp.path().join("subuid+"), &subuid).unwrap();
    assert_eq!(at(2000, 100_000), Owner::User(1001));
    std::fs::write(&passwd, "bob:x:1002:\n").unwrap();
    assert_eq!(at(3000, 100_000), Owner::User(1002));
    std::fs::remove_file(&subuid).unwrap();
    assert_eq!(at(4000, 100_000), Owner::User(100_000));
}

#[test]
fn a_fifo_in_the_files_place_stops_nobody_and_what_was_known_stays() {
    let temp = tempfile::tempdir().unwrap();
    let (subuid, passwd) = (temp.path().join("subuid"), temp.path().join("passwd"));
    std::fs::write(&subuid, "1000:100000:65536\n").unwrap();
    let owners = Owners::of_files(&subuid, &passwd);
    let start = Instant::now();
    assert_eq!(owners.current(start).table.owner_of(100_000), Owner::User(1000));
    std::fs::remove_file(&subuid).unwrap();
    nix::unistd::mkfifo(&subuid, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(owners.current(start + LOOK_EVERY).table.owner_of(100_000)));
    let told = waiting.recv_timeout(Duration::from_secs(10)).expect("it waits for a writer");
    assert_eq!(told, Owner::User(1000));
}

#[test]
fn no_more_of_a_file_is_read_than_the_limit_and_never_half_a_line() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("subuid");
    let line = "1000:100000:65536\n";
    let lines = usize::try_from(MAX_FILE).unwrap() / line.len() + 10;
    std::fs::write(&path, line.repeat(lines)).unwrap();
    let read = content(&path).unwrap();
    assert!(read.len() <= usize::try_from(MAX_FILE).unwrap() && read.ends_with("65536"), "{}", read.len());
}

#[test]
fn callers_nobody_knows_are_one_owner() {
    let temp = tempfile::tempdir().unwrap();
    let owners = Owners::of_files(&temp.path().join("none"), &temp.path().join("none"));
    let unknown = Caller::Unknown(super::super::UnknownReason::NoAnswer);
    assert_eq!(owners.of_caller(&unknown), Owner::Unknown);
}
