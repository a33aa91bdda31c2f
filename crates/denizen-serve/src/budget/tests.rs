use super::*;

fn budget(connections: usize, reserved: usize, memory: usize) -> Arc<Budget> {
    Budget::new(Room { connections, reserved, memory })
}

fn gone(share: &Share) -> bool {
    share.0.connection.evicted.load(Ordering::Relaxed)
}

const A: Holder = Holder::User(1);
const B: Holder = Holder::User(2);
const C: Holder = Holder::User(3);
const ROOT: Holder = Holder::Reserved(0);

#[test]
fn d09_one_holder_cannot_keep_others_out() {
    let budget = budget(4, 0, 0);
    let many: Vec<_> = (0..4).map(|_| budget.admit(A)).collect();
    let other = budget.admit(B);
    assert!(gone(&many[0]) && !gone(&other), "the oldest of the holder that has most is ended");
    // It comes again and again, and takes its own.
    let again: Vec<_> = (0..100).map(|_| budget.admit(A)).collect();
    assert!(!gone(&other) && budget.connections() == 4);
    assert_eq!(again.iter().filter(|share| !gone(share)).count(), 3);
    assert_eq!(budget.evicted(), 101);
}

#[test]
fn many_holders_of_one_each_take_turns() {
    let budget = budget(3, 0, 0);
    let first = [budget.admit(A), budget.admit(B), budget.admit(C)];
    let fourth = budget.admit(Holder::User(4));
    assert_eq!([gone(&first[0]), gone(&first[1]), gone(&first[2]), gone(&fourth)], [true, false, false, false]);
}

#[test]
fn whoever_was_answered_stays_before_whoever_only_waits() {
    let budget = budget(3, 0, 0);
    let good = budget.admit(A);
    let held: Vec<_> = (0..2).map(|_| budget.admit(A)).collect();
    let mut later = Vec::new();
    for round in 0..50 {
        drop(good.working());
        later.push(budget.admit(A));
        assert!(!gone(&good), "round {round}");
    }
    assert!(held.iter().all(gone));
    // Without a request it is the next but a few.
    later.extend((0..3).map(|_| budget.admit(A)));
    assert!(gone(&good));
}

#[test]
fn a_request_that_is_worked_on_is_passed_over_and_one_that_waits_for_its_client_is_not() {
    let budget = budget(2, 0, 0);
    let busy = budget.admit(A);
    let _work = busy.working();
    let slow = budget.admit(A);
    let work_of_slow = slow.working();
    let waits = slow.waiting();
    let _third = budget.admit(A);
    assert!(!gone(&busy) && gone(&slow));
    drop((waits, work_of_slow));
    // When all are worked on, one must go all the same.
    let budget = budget_of_busy();
    let newcomer = budget.0.admit(B);
    assert!(!gone(&newcomer) && budget.1.iter().filter(|share| gone(share)).count() == 1);
}

fn budget_of_busy() -> (Arc<Budget>, Vec<Share>) {
    let budget = budget(2, 0, 0);
    let shares: Vec<_> = (0..2).map(|_| budget.admit(A)).collect();
    for share in &shares {
        std::mem::forget(share.working());
    }
    (budget, shares)
}

#[test]
fn reserved_places_are_for_their_holders_and_these_use_the_shared_ones_too() {
    let budget = budget(2, 2, 0);
    let shared: Vec<_> = [A, B, C].iter().map(|holder| budget.admit(*holder)).collect();
    assert!(gone(&shared[0]), "the reserved places are not for these");
    let roots: Vec<_> = (0..2).map(|_| budget.admit(ROOT)).collect();
    assert!(!gone(&shared[1]) && !gone(&shared[2]) && budget.connections() == 4);
    // Beyond them: it has most itself.
    let third = budget.admit(ROOT);
    assert!(gone(&roots[0]) && !gone(&third));
    drop(shared);
    let more = budget.admit(ROOT);
    assert!(!gone(&roots[1]) && !gone(&third) && !gone(&more));
    // Others get their part back from whoever has taken of it.
    let back: Vec<_> = [A, B].iter().map(|holder| budget.admit(*holder)).collect();
    assert!(back.iter().all(|share| !gone(share)) && budget.connections() == 4);
}

#[test]
fn a_place_is_given_back_once() {
    let budget = budget(1, 0, 100);
    let evicted = budget.admit(A);
    let held = evicted.hold(60).unwrap();
    let other = budget.admit(B);
    assert_eq!((budget.connections(), budget.memory.load(Ordering::Relaxed)), (1, 0));
    drop((held, evicted));
    assert_eq!((budget.connections(), budget.memory.load(Ordering::Relaxed)), (1, 0));
    let clone = other.clone();
    drop(other);
    assert_eq!(budget.connections(), 1);
    drop(clone);
    assert_eq!(budget.connections(), 0);
    assert!(budget.state().holders.is_empty());
}

#[test]
fn memory_is_taken_from_whoever_holds_most() {
    let budget = budget(8, 0, 100);
    let greedy: Vec<_> = (0..3).map(|_| budget.admit(A)).collect();
    let mut held: Vec<_> = greedy.iter().zip([20, 40, 30]).map(|(share, bytes)| share.hold(bytes).unwrap()).collect();
    let modest = budget.admit(B);
    let small = modest.hold(20).unwrap();
    assert!(gone(&greedy[1]) && !gone(&greedy[0]) && !gone(&greedy[2]), "its largest is ended");
    held.remove(1);
    assert_eq!(budget.memory.load(Ordering::Relaxed), 70);
    // The one that asks holds most itself: it is refused, and what it asked for is not counted.
    assert_eq!(greedy[2].hold(50).unwrap_err(), OverBudget);
    assert_eq!(budget.memory.load(Ordering::Relaxed), 70);
    drop((held, small));
    assert_eq!(budget.memory.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_task_of_an_evicted_connection_ends() {
    let budget = budget(1, 0, 0);
    let first = budget.admit(A);
    let task = tokio::spawn(std::future::pending::<()>());
    first.bind(task.abort_handle());
    let second = budget.admit(B);
    assert!(task.await.unwrap_err().is_cancelled());
    // Named too late.
    let _third = budget.admit(C);
    let late = tokio::spawn(std::future::pending::<()>());
    second.bind(late.abort_handle());
    assert!(late.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn whoever_comes_waits_until_those_that_were_ended_are_closed() {
    let budget = budget(1, 0, 0);
    let mut ended: Vec<_> = (0..MOST_ENDING + 2).map(|_| budget.admit(A)).collect();
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { budget.settled().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    ended.remove(0);
    waiting.await.unwrap();
    drop(ended);
    assert_eq!((budget.ending.load(Ordering::Relaxed), budget.connections()), (0, 0));
}

#[test]
fn a_network_of_ipv6_is_one_holder() {
    let at = |text: &str| Holder::at(text.parse().unwrap());
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
}
