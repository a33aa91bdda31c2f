//! Agents that come back after an outage of their token service, event by event.
//!
//! ```text
//!  agent: asks -> SYN ----> accept queue ----> places (budget) ----> run queue ----> agent: has a token, or asks again
//!                 dropped: sent again after   128 a turn; none      handshake, then
//!                 1 s and 2 s more, until     free: the oldest      request, each when a
//!                 the connect time-out        is ended              core is free, in order
//! ```
//!
//! What agents do is taken from `denizen-agent`: when a token is renewed and when it ends (its own function), how long
//! it waits for a connection and for an answer, and when it asks again after a failure. What the server does is taken
//! from `denizen-server`: its places, and what is ended when there is none. What the kernel and the runtime do is what
//! they are known for: an accept queue of 1,024, SYNs sent again after 1 s and 3 s, at most 128 accepts a turn.
//!
//! Touches nothing: no clock, no randomness but the seed's. Tests: `simulation/tests.rs`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use denizen_agent::{
    agent::MAINTENANCE_INTERVAL,
    cache::{RETRY_AFTER, RETRY_EMPTY_AFTER, lifetime},
    upstream::https::{REQUEST_TIMEOUT, connect_timeout},
};
use denizen_server::http::listen::HEAD_TIMEOUT;
use denizen_wire::UnixTime;

#[cfg(test)]
mod tests;

/// Microseconds: every time in here.
type Time = u64;

const SECOND: Time = 1_000_000;
/// Connections that the kernel keeps for the server to accept; tokio's own number.
const ACCEPT_QUEUE: usize = 1024;
/// What a task of tokio does at a time before others have their turn.
const ACCEPTS_A_TURN: usize = 128;
/// After how long a SYN without an answer is sent again, each from the one before (RFC 6298, Linux).
const SYN_AGAIN: [Time; 2] = [SECOND, 2 * SECOND];
/// A run of the simulation ends here, whatever is still waiting.
const LONGEST: Time = 3600 * SECOND;

/// What the server is and costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    /// Cores.
    pub(crate) cores: usize,
    /// CPU seconds of a connection with its TLS handshake.
    pub(crate) handshake: f64,
    /// CPU seconds of a token.
    pub(crate) token: f64,
    /// Connections it has place for.
    pub(crate) places: usize,
}

/// What happened before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    /// The service was away for so many seconds; the agents kept what they had. Tokens live for `life` seconds.
    Away {
        /// How long.
        seconds: u32,
        /// Seconds.
        life: i64,
    },
    /// The agents were started again as well, and have nothing.
    AllStarted {
        /// Of the tokens that they get, seconds.
        life: i64,
    },
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// How many agents.
    pub(crate) agents: u32,
    /// What happened.
    pub(crate) outage: Outage,
    /// What they come back to.
    pub(crate) capacity: Capacity,
    /// Between an agent and the server and back, seconds.
    pub(crate) round_trip: f64,
    /// Whatever is random follows from it.
    pub(crate) seed: u64,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Of each agent whose token ran out, or that had none: how long it waited after the server was back, seconds; sorted.
    pub(crate) waits: Vec<f64>,
    /// From the server's return until nobody waited and whatever was due then was renewed, seconds.
    pub(crate) settled: f64,
    /// The most connections that were tried in one second: SYNs, those sent again among them.
    pub(crate) peak: u64,
    /// Tries that failed: no connection in time, no answer in time, or ended for another.
    pub(crate) failed: u64,
    /// Of those, how many the server ended to make room.
    pub(crate) ended: u64,
    /// The most tokens that will be asked for in one second when those given here are renewed.
    pub(crate) next_peak: u64,
    /// Agents that have no token when the simulation ends.
    pub(crate) without: u64,
}

impl Outcome {
    /// The wait that `percent` of those who waited did not exceed; zero when nobody did.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.waits.len().saturating_sub(1);
        self.waits.get(last * percent.min(100) / 100).copied().unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The program on an agent's machine asks, or the agent's own schedule does.
    Ask(u32),
    /// An agent's token ends.
    Ends(u32),
    /// A SYN of an agent's try arrives; which of them.
    Syn { agent: u32, flight: u32, number: u8 },
    /// A try of an agent has no connection by now, or fails.
    NotConnected { agent: u32, flight: u32 },
    /// A try of an agent has no answer by now, or fails.
    NotAnswered { agent: u32, flight: u32 },
    /// A core is free again.
    CoreFree,
    /// A client's part of the handshake and its request are there.
    Request(u32),
    /// A connection that was answered says nothing more.
    Idle(u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Agent {
    /// When its token ends; zero without one.
    ends: Time,
    /// Since when it has none, as far as that counts: not from before the server's return.
    without_since: Option<Time>,
    /// When its try began.
    began: Time,
    /// How long it waits for a connection.
    patience: Time,
    /// Counts its tries, so that what belongs to an earlier one is known.
    flight: u32,
    is_flying: bool,
    is_connected: bool,
    /// Whether it is one whose token was due when the server came back.
    was_due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the accept queue, or about to be worked on for the first time.
    Hello,
    Request,
    Answered,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    agent: u32,
    flight: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Accept,
    Connection(u32),
}

struct World {
    now: Time,
    case: Case,
    random: Random,
    events: Events,
    /// Of events: those of one moment happen in the order in which they were thought of.
    number: u64,
    agents: Vec<Agent>,
    connections: Vec<Connection>,
    accept_queue: VecDeque<u32>,
    is_accepting: bool,
    run_queue: VecDeque<Work>,
    idle_cores: usize,
    /// Admitted connections, the oldest first; some are gone already.
    places: VecDeque<u32>,
    taken: usize,
    open_cases: u64,
    outcome: Outcome,
    second: (u64, u64),
    renewals: Vec<u32>,
}

/// What will happen, by time: what is soon in order, the rest in parts of [`Events::PART`] each, so that a million that wait
/// make the order of the next few no slower. What comes after [`LONGEST`] is not kept.
struct Events {
    soon: BinaryHeap<Reverse<(Time, u64, Event)>>,
    part: usize,
    later: Vec<Vec<(Time, u64, Event)>>,
}

impl Events {
    const PART: Time = 5000;

    fn new() -> Self {
        let parts = usize::try_from(LONGEST / Self::PART).unwrap_or(0) + 1;
        Self { soon: BinaryHeap::new(), part: 0, later: vec![Vec::new(); parts] }
    }

    fn push(&mut self, event: (Time, u64, Event)) {
        let part = usize::try_from(event.0 / Self::PART).unwrap_or(usize::MAX);
        if part <= self.part {
            self.soon.push(Reverse(event));
        } else if let Some(later) = self.later.get_mut(part) {
            later.push(event);
        }
    }

    fn pop(&mut self) -> Option<(Time, Event)> {
        while self.soon.is_empty() {
            self.part += 1;
            let next = std::mem::take(self.later.get_mut(self.part)?);
            self.soon = next.into_iter().map(Reverse).collect();
        }
        self.soon.pop().map(|Reverse((time, _, event))| (time, event))
    }
}

/// Runs a case.
pub(crate) fn run(case: Case) -> Outcome {
    let mut world = World::new(case);
    world.populate();
    while world.open_cases > 0 && world.now < LONGEST {
        let Some((at, event)) = world.events.pop() else { break };
        world.now = at;
        world.happens(event);
    }
    world.finish()
}

impl World {
    fn new(case: Case) -> Self {
        Self {
            now: 0,
            case,
            random: Random(case.seed | 1),
            events: Events::new(),
            number: 0,
            agents: vec![Agent::default(); case.agents as usize],
            connections: Vec::new(),
            accept_queue: VecDeque::new(),
            is_accepting: false,
            run_queue: VecDeque::new(),
            idle_cores: case.capacity.cores,
            places: VecDeque::new(),
            taken: 0,
            open_cases: 0,
            outcome: Outcome::default(),
            second: (0, 0),
            renewals: Vec::new(),
        }
    }

    /// Who has what at the server's return, which is the time zero.
    fn populate(&mut self) {
        let tick = micros(MAINTENANCE_INTERVAL.as_secs_f64());
        for number in 0..self.case.agents {
            let patience = micros(connect_timeout(self.random.u16()).as_secs_f64());
            if let Some(agent) = self.agent(number) {
                agent.patience = patience;
            }
            match self.case.outage {
                Outage::AllStarted { .. } => self.starts_without(number),
                Outage::Away { seconds, life } => {
                    // Somewhere between two renewals when the service went away.
                    let of = lifetime(UnixTime(0), life, self.random.u16());
                    let age = self.random.below(seconds_of(of.refresh_at().0) + tick);
                    let since = age + u64::from(seconds) * SECOND;
                    let (refresh_at, ends) = (seconds_of(of.refresh_at().0), seconds_of(of.ends().0));
                    if ends <= since {
                        self.starts_without(number);
                        continue;
                    }
                    let left = ends - since;
                    if let Some(agent) = self.agent(number) {
                        agent.ends = left;
                    }
                    self.at(left, Event::Ends(number));
                    if refresh_at <= since {
                        // It has tried in vain at every second look of its schedule.
                        let again = self.random.below(self.retry());
                        self.at(again, Event::Ask(number));
                        self.open_cases += 1;
                        if let Some(agent) = self.agent(number) {
                            agent.was_due = true;
                        }
                    } else {
                        let look = self.random.below(tick);
                        self.at(refresh_at - since + look, Event::Ask(number));
                    }
                }
            }
        }
    }

    fn starts_without(&mut self, number: u32) {
        if let Some(agent) = self.agent(number) {
            agent.without_since = Some(0);
        }
        self.open_cases += 1;
        let again = self.random.below(ask_again());
        self.at(again, Event::Ask(number));
    }

    /// From one try of the agent's schedule to the next: a look comes too early, or it does not.
    fn retry(&self) -> Time {
        let tick = micros(MAINTENANCE_INTERVAL.as_secs_f64());
        seconds_of(RETRY_AFTER).div_ceil(tick) * tick
    }

    fn at(&mut self, time: Time, event: Event) {
        self.number += 1;
        self.events.push((time, self.number, event));
    }

    fn after(&mut self, time: Time, event: Event) {
        self.at(self.now + time, event);
    }

    fn agent(&mut self, number: u32) -> Option<&mut Agent> {
        self.agents.get_mut(number as usize)
    }

    fn half_trip(&self) -> Time {
        micros(self.case.round_trip / 2.0)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ask(agent) => self.asks(agent),
            Event::Ends(number) => self.ends(number),
            Event::Syn { agent, flight, number } => self.syn(agent, flight, number),
            Event::NotConnected { agent, flight } => {
                if self.agent(agent).is_some_and(|it| it.is_flying && it.flight == flight && !it.is_connected) {
                    self.fails(agent);
                }
            }
            Event::NotAnswered { agent, flight } => {
                if self.agent(agent).is_some_and(|it| it.is_flying && it.flight == flight) {
                    self.fails(agent);
                }
            }
            Event::CoreFree => {
                self.idle_cores += 1;
                self.work();
            }
            Event::Request(connection) => {
                if let Some(it) = self.connections.get_mut(connection as usize)
                    && it.stage == Stage::Hello
                {
                    it.stage = Stage::Request;
                    self.runnable(connection);
                }
            }
            Event::Idle(connection) => self.close(connection),
        }
    }

    fn asks(&mut self, number: u32) {
        let now = self.now;
        let Some(agent) = self.agent(number) else { return };
        if agent.is_flying {
            return;
        }
        agent.flight += 1;
        (agent.is_flying, agent.is_connected, agent.began) = (true, false, now);
        let (flight, patience) = (agent.flight, agent.patience);
        let trip = self.half_trip();
        self.at(now + trip, Event::Syn { agent: number, flight, number: 0 });
        self.after(patience, Event::NotConnected { agent: number, flight });
    }

    /// A token runs out: from now on the program waits.
    fn ends(&mut self, number: u32) {
        let now = self.now;
        let Some(agent) = self.agent(number) else { return };
        if agent.ends != now {
            return;
        }
        agent.ends = 0;
        agent.without_since = Some(now);
        let (was_due, is_flying) = (std::mem::replace(&mut agent.was_due, true), agent.is_flying);
        self.open_cases += u64::from(!was_due);
        if !is_flying {
            let again = self.random.below(ask_again());
            self.after(again, Event::Ask(number));
        }
    }

    fn syn(&mut self, number: u32, flight: u32, count: u8) {
        let is_on = self.agent(number).is_some_and(|it| it.is_flying && it.flight == flight && !it.is_connected);
        if !is_on {
            return;
        }
        let second = self.now / SECOND;
        self.second = if second == self.second.0 { (second, self.second.1 + 1) } else { (second, 1) };
        self.outcome.peak = self.outcome.peak.max(self.second.1);
        if self.accept_queue.len() >= ACCEPT_QUEUE {
            if let Some(again) = SYN_AGAIN.get(usize::from(count)) {
                self.after(*again, Event::Syn { agent: number, flight, number: count + 1 });
            }
            return;
        }
        let Some(agent) = self.agent(number) else { return };
        agent.is_connected = true;
        let last = agent.began + micros(REQUEST_TIMEOUT.as_secs_f64());
        self.at(last, Event::NotAnswered { agent: number, flight });
        let connection = Connection { agent: number, flight, stage: Stage::Hello };
        // Never used again for another: what is on its way to it must find it as it was left.
        let place = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        self.connections.push(connection);
        self.accept_queue.push_back(place);
        if !self.is_accepting {
            self.is_accepting = true;
            self.run_queue.push_back(Work::Accept);
            self.work();
        }
    }

    fn fails(&mut self, number: u32) {
        let retry = self.retry();
        self.outcome.failed += 1;
        let Some(agent) = self.agent(number) else { return };
        agent.is_flying = false;
        let again = if agent.without_since.is_some() { ask_again() } else { retry };
        self.after(again, Event::Ask(number));
    }

    /// A connection is ready to be worked on, in its turn.
    fn runnable(&mut self, connection: u32) {
        self.run_queue.push_back(Work::Connection(connection));
        self.work();
    }

    /// Gives free cores what is first in the queue.
    fn work(&mut self) {
        while self.idle_cores > 0 {
            let Some(work) = self.run_queue.pop_front() else { return };
            match work {
                // Taken to cost nothing beside the handshake that it is measured with.
                Work::Accept => self.accept(),
                Work::Connection(connection) => {
                    if let Some(cost) = self.begin(connection) {
                        self.idle_cores -= 1;
                        self.after(cost, Event::CoreFree);
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(connection) = self.accept_queue.pop_front() else { break };
            if self.taken >= self.case.capacity.places {
                self.make_room();
            }
            self.taken += 1;
            self.places.push_back(connection);
            // What the client says first is there half a round trip after the kernel answered it, and mostly by now.
            self.run_queue.push_back(Work::Connection(connection));
        }
        self.is_accepting = !self.accept_queue.is_empty();
        if self.is_accepting {
            self.run_queue.push_back(Work::Accept);
        }
    }

    /// Ends the oldest connection: each client has one, so none has more than another.
    fn make_room(&mut self) {
        while let Some(connection) = self.places.pop_front() {
            let Some(it) = self.connections.get(connection as usize).copied() else { continue };
            if it.stage == Stage::Gone {
                continue;
            }
            if it.stage != Stage::Answered {
                self.outcome.ended += 1;
                let is_on = self.agent(it.agent).is_some_and(|agent| agent.is_flying && agent.flight == it.flight);
                if is_on {
                    self.fails(it.agent);
                }
            }
            self.close(connection);
            return;
        }
    }

    /// Works on a connection: what that costs, or none when it is there no more. The outcome is sent when it is done.
    fn begin(&mut self, connection: u32) -> Option<Time> {
        let it = self.connections.get(connection as usize).copied()?;
        let is_on = self.agent(it.agent).is_some_and(|agent| agent.is_flying && agent.flight == it.flight);
        let Capacity { handshake, token, .. } = self.case.capacity;
        let round_trip = 2 * self.half_trip();
        match it.stage {
            Stage::Hello => {
                // A client that has gone away is noticed when what was made for it cannot be sent.
                let cost = micros(handshake);
                if is_on {
                    self.after(cost + round_trip, Event::Request(connection));
                } else {
                    self.close(connection);
                }
                Some(cost)
            }
            Stage::Request => {
                let cost = micros(token);
                if is_on {
                    self.granted(it.agent, cost + round_trip / 2);
                    if let Some(it) = self.connections.get_mut(connection as usize) {
                        it.stage = Stage::Answered;
                    }
                    // The server lets go of one that says nothing for so long.
                    self.after(cost + micros(HEAD_TIMEOUT.as_secs_f64()), Event::Idle(connection));
                } else {
                    self.close(connection);
                }
                Some(cost)
            }
            Stage::Answered | Stage::Gone => None,
        }
    }

    fn granted(&mut self, number: u32, after: Time) {
        let (Outage::Away { life, .. } | Outage::AllStarted { life }) = self.case.outage;
        let (then, began, random) = (self.now + after, self.agent(number).map_or(0, |it| it.began), self.random.u16());
        let of = lifetime(UnixTime(0), life, random);
        let tick = micros(MAINTENANCE_INTERVAL.as_secs_f64());
        let renewal = (began + seconds_of(of.refresh_at().0) + self.random.below(tick)) / SECOND;
        let Some(agent) = self.agent(number) else { return };
        agent.is_flying = false;
        let (without_since, was_due) = (agent.without_since.take(), std::mem::take(&mut agent.was_due));
        agent.ends = began + seconds_of(of.ends().0);
        if let Some(since) = without_since {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of some hours")]
            self.outcome.waits.push(then.saturating_sub(since) as f64 / 1e6);
        }
        if without_since.is_some() || was_due {
            self.open_cases = self.open_cases.saturating_sub(1);
            #[expect(clippy::cast_precision_loss, reason = "microseconds of some hours")]
            let settled = then as f64 / 1e6;
            self.outcome.settled = self.outcome.settled.max(settled);
            if let Ok(at) = usize::try_from(renewal) {
                if self.renewals.len() <= at {
                    self.renewals.resize(at + 1, 0);
                }
                if let Some(count) = self.renewals.get_mut(at) {
                    *count += 1;
                }
            }
        }
    }

    fn close(&mut self, connection: u32) {
        let Some(it) = self.connections.get_mut(connection as usize) else { return };
        if it.stage == Stage::Gone {
            return;
        }
        it.stage = Stage::Gone;
        self.taken = self.taken.saturating_sub(1);
    }

    fn finish(mut self) -> Outcome {
        self.outcome.waits.sort_by(f64::total_cmp);
        self.outcome.without = self.agents.iter().filter(|agent| agent.without_since.is_some()).count() as u64;
        self.outcome.next_peak = self.renewals.iter().copied().max().unwrap_or_default().into();
        self.outcome
    }
}

/// Between two asks of a program whose machine's agent has no token: as soon as the agent would try again.
fn ask_again() -> Time {
    seconds_of(RETRY_EMPTY_AFTER)
}

fn seconds_of(seconds: i64) -> Time {
    u64::try_from(seconds).unwrap_or(0) * SECOND
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds, and never below zero")]
fn micros(seconds: f64) -> Time {
    (seconds * 1e6).round() as Time
}

/// Numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.next() >> 48).unwrap_or(u16::MAX)
    }
}
