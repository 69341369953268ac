//! Name look-ups: side by side, and shared by all shards that wait for the same name. A name server
//! that is silent about one exchange delays no other one.
//!
//! While a shard waits, a name that is not answered is looked up again beside the look-ups that are
//! still under way: the host's resolver repeats a lost question only after five seconds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, never, select, unbounded};

use crate::clock::{Clock, MonoNs};
use crate::cores::ops::workers::{self, Question};
use crate::messages::{OpsAnswer, OpsRequest};

/// Host and port.
pub(crate) type Name = (String, u16);

/// The addresses of a name, or why there are none.
pub(crate) type Found = Result<Vec<SocketAddr>, String>;

/// The result of a look-up.
type Outcome = (Name, Found);

/// Asks the host's resolver. May block for any time.
pub(crate) type LookUp = Arc<dyn Fn(&Name) -> Found + Send + Sync>;

/// The names that were asked for: at most as many as the configuration has hosts.
pub(crate) struct Names {
    look_up: LookUp,
    /// The longest time that a shard waits.
    patience: Duration,
    /// Pause between two look-ups of one name: [`LOOK_UP_PAUSE`].
    pause: Duration,
    clock: Clock,
    names: HashMap<Name, NameState>,
    found: (Sender<Outcome>, Receiver<Outcome>),
}

/// What is known of one name.
#[derive(Default)]
struct NameState {
    /// The shards that wait for it, once for each question, and until when.
    waiting: Vec<(usize, MonoNs)>,
    /// Look-ups that have not ended: at most [`LOOK_UPS_MAX`].
    under_way: usize,
    /// When the newest look-up began.
    asked_at: MonoNs,
    /// Whether the newest look-up that ended found nothing.
    has_failed: bool,
    /// The addresses that were found last.
    good: Option<Vec<SocketAddr>>,
}

impl NameState {
    /// When the next look-up begins; `None`: no shard waits, or enough are under way.
    fn next_look_up(&self, pause: Duration) -> Option<MonoNs> {
        let is_wanted = !self.waiting.is_empty() && self.under_way < LOOK_UPS_MAX;
        let is_first = self.under_way == 0 && !self.has_failed;
        let at = if is_first { MonoNs(0) } else { self.asked_at.after(pause) };
        is_wanted.then_some(at)
    }

    /// When something is due: a look-up, or the end of a shard's patience.
    fn deadline(&self, pause: Duration) -> Option<MonoNs> {
        let ends = self.waiting.iter().map(|&(_, until)| until);
        ends.chain(self.next_look_up(pause)).min()
    }
}

impl Names {
    pub(crate) fn new(look_up: LookUp, patience: Duration, clock: Clock) -> Self {
        let pause = LOOK_UP_PAUSE;
        Self { look_up, patience, pause, clock, names: HashMap::new(), found: unbounded() }
    }

    /// Answers `questions` until `stop` is disconnected.
    pub(crate) fn serve(
        &mut self,
        questions: &Receiver<Question>,
        stop: &Receiver<()>,
        answer: impl Fn(usize, OpsAnswer),
    ) {
        let found = self.found.1.clone();
        loop {
            self.give_up(&answer);
            self.begin_look_ups();
            let due = self.names.values().filter_map(|state| state.deadline(self.pause)).min();
            let now = self.clock.mono();
            let is_due = due.map_or_else(never, |due| after(due.since(now)));
            select! {
                recv(questions) -> question => match question {
                    Ok((shard, OpsRequest::Resolve { host, port })) => {
                        let until = self.clock.mono().after(self.patience);
                        self.names.entry((host, port)).or_default().waiting.push((shard, until));
                    }
                    Ok((shard, other)) => answer(shard, workers::misled(other)),
                    Err(_) => return,
                },
                recv(found) -> found => {
                    let Ok((name, found)) = found else { return };
                    self.take(&name, found, &answer);
                }
                recv(is_due) -> _ => {}
                recv(stop) -> _ => return,
            }
        }
    }

    /// Begins the look-ups that are due, each on a thread of its own.
    fn begin_look_ups(&mut self) {
        let now = self.clock.mono();
        for (name, state) in &mut self.names {
            if state.next_look_up(self.pause).is_none_or(|at| at > now) {
                continue;
            }
            state.under_way += 1;
            state.asked_at = now;
            let (look_up, found, asked) =
                (Arc::clone(&self.look_up), self.found.0.clone(), name.clone());
            let started = thread::Builder::new().name("dns".to_owned()).spawn(move || {
                let result = look_up(&asked);
                // If the process ends, no thread takes the result any more.
                let _taken = found.send((asked, result));
            });
            if let Err(error) = started {
                let _queued = self.found.0.send((name.clone(), Err(error.to_string())));
            }
        }
    }

    /// A look-up has ended. A failure is the answer only if no other look-up of the name is under
    /// way. It may come from a question that was lost.
    fn take(&mut self, name: &Name, found: Found, answer: &impl Fn(usize, OpsAnswer)) {
        let Some(state) = self.names.get_mut(name) else { return };
        state.under_way -= 1;
        state.has_failed = found.is_err();
        if let Ok(addresses) = &found {
            state.good = Some(addresses.clone());
        } else if state.under_way > 0 {
            return;
        }
        for (shard, _) in std::mem::take(&mut state.waiting) {
            answer(shard, resolved(name, state, found.clone()));
        }
    }

    /// Shards that have waited for `patience` get the addresses that were found last.
    fn give_up(&mut self, answer: &impl Fn(usize, OpsAnswer)) {
        let now = self.clock.mono();
        for (name, state) in &mut self.names {
            let overdue: Vec<_> =
                state.waiting.extract_if(.., |(_, until)| *until <= now).collect();
            let why = format!("no name server answered within {:?}", self.patience);
            for (shard, _) in overdue {
                answer(shard, resolved(name, state, Err(why.clone())));
            }
        }
    }
}

/// The answer to a shard. If nothing was found now, it has the addresses that were found last.
fn resolved(name: &Name, state: &NameState, found: Found) -> OpsAnswer {
    let result = found.or_else(|why| state.good.clone().ok_or(why));
    OpsAnswer::Resolved { host: name.0.clone(), port: name.1, result }
}

/// Pause between two look-ups of a name that is not answered, or has no address. Source: the
/// exchange has to be back within 2 s after its name server answers again; glibc repeats a
/// question after 5 s.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(1_500);

/// Most look-ups of one name at the same time. At the bound, the next one waits until one has
/// ended. Source: glibc gives a name server up after 10 s, in which seven begin.
const LOOK_UPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crossbeam_channel::bounded;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn question(host: &str) -> OpsRequest {
        OpsRequest::Resolve { host: host.to_owned(), port: 443 }
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 443))
    }

    /// Names served by `look_up`, and what becomes of questions.
    fn served(
        look_up: LookUp,
        patience: Duration,
        pause: Duration,
    ) -> (Sender<Question>, Receiver<(usize, OpsAnswer)>) {
        let (ask, questions) = unbounded();
        let (answers, answered) = unbounded();
        thread::spawn(move || {
            let (_alive, stop) = bounded::<()>(0);
            let names = Names::new(look_up, patience, Clock::new());
            let mut names = Names { pause, ..names };
            names.serve(&questions, &stop, |shard, answer| {
                let _taken = answers.send((shard, answer));
            });
        });
        (ask, answered)
    }

    fn resolved(host: &str, result: Found) -> OpsAnswer {
        OpsAnswer::Resolved { host: host.to_owned(), port: 443, result }
    }

    #[test]
    fn a_name_that_nobody_answers_keeps_no_other_one_waiting_and_has_an_end() {
        let (_silent, never) = bounded::<()>(0);
        let look_up: LookUp = Arc::new(move |(host, _)| {
            if host == "silent" {
                let _ends_never = never.recv();
            }
            Ok(vec![address()])
        });
        let (ask, answered) = served(look_up, Duration::from_millis(300), PATIENCE);
        for (shard, host) in [(0, "silent"), (1, "other"), (2, "silent")] {
            ask.send((shard, question(host))).unwrap();
        }
        let first = answered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(first, (1, resolved("other", Ok(vec![address()]))));
        for shard in [0, 2] {
            let (to, answer) = answered.recv_timeout(PATIENCE).unwrap();
            let OpsAnswer::Resolved { host, result: Err(why), .. } = answer else { panic!() };
            assert_eq!((to, &*host), (shard, "silent"));
            assert!(why.contains("no name server answered"), "{why}");
        }
    }

    #[test]
    fn all_who_ask_at_once_share_one_look_up_and_what_was_found_last_is_kept() {
        let (release, held) = unbounded::<Found>();
        let look_up: LookUp = Arc::new(move |_| held.recv().unwrap());
        let (ask, answered) = served(look_up, PATIENCE, PATIENCE);
        for shard in 0..3 {
            ask.send((shard, question("one"))).unwrap();
        }
        // All three have asked before the look-up ends.
        while !ask.is_empty() {
            thread::yield_now();
        }
        release.send(Ok(vec![address()])).unwrap();
        for shard in 0..3 {
            let answer = answered.recv_timeout(PATIENCE).unwrap();
            assert_eq!(answer, (shard, resolved("one", Ok(vec![address()]))));
        }
        ask.send((0, question("one"))).unwrap();
        release.send(Err("no".to_owned())).unwrap();
        let answer = answered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(answer, (0, resolved("one", Ok(vec![address()]))), "found before");
        ask.send((0, question("other"))).unwrap();
        release.send(Err("no".to_owned())).unwrap();
        let answer = answered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(answer, (0, resolved("other", Err("no".to_owned()))));
    }

    #[test]
    fn a_question_that_was_lost_is_asked_again_while_a_shard_waits() {
        let (asked, look_ups) = unbounded();
        let (_silent, never) = bounded::<()>(0);
        let is_silent = Arc::new(AtomicBool::new(true));
        let answers = Arc::clone(&is_silent);
        let look_up: LookUp = Arc::new(move |_| {
            let is_silent = answers.load(Ordering::SeqCst);
            asked.send(()).unwrap();
            if is_silent {
                let _ends_never = never.recv();
            }
            Ok(vec![address()])
        });
        let (ask, answered) = served(look_up, PATIENCE, Duration::from_millis(1));
        ask.send((0, question("one"))).unwrap();
        look_ups.recv_timeout(PATIENCE).unwrap();
        is_silent.store(false, Ordering::SeqCst);
        let (_, answer) = answered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(answer, resolved("one", Ok(vec![address()])));
        look_ups.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn look_ups_of_a_name_keep_their_pause_and_their_bound() {
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        let mut state = NameState { asked_at: at(500), ..NameState::default() };
        assert_eq!(state.next_look_up(LOOK_UP_PAUSE), None, "no shard waits");
        state.waiting.push((0, at(5_500)));
        assert_eq!(state.next_look_up(LOOK_UP_PAUSE), Some(at(0)), "the name was good");
        state.has_failed = true;
        assert_eq!(state.next_look_up(LOOK_UP_PAUSE), Some(at(2_000)));
        state.under_way = LOOK_UPS_MAX - 1;
        assert_eq!(state.deadline(LOOK_UP_PAUSE), Some(at(2_000)));
        state.under_way = LOOK_UPS_MAX;
        assert_eq!(state.next_look_up(LOOK_UP_PAUSE), None);
        assert_eq!(state.deadline(LOOK_UP_PAUSE), Some(at(5_500)), "enough are under way");
    }

    #[test]
    fn a_late_failure_is_no_answer_while_a_newer_look_up_is_under_way() {
        let (answers, answered) = unbounded();
        let look_up: LookUp = Arc::new(|_| Err("unused".to_owned()));
        let mut names = Names::new(look_up, PATIENCE, Clock::new());
        let name = ("one".to_owned(), 443);
        let waiting = vec![(3, MonoNs(u64::MAX))];
        let state = NameState { waiting, under_way: 2, ..NameState::default() };
        names.names.insert(name.clone(), state);
        let answer = |shard, answer| answers.send((shard, answer)).unwrap();
        names.take(&name, Err("timed out".to_owned()), &answer);
        assert!(answered.is_empty());
        names.take(&name, Ok(vec![address()]), &answer);
        assert_eq!(answered.recv().unwrap(), (3, resolved("one", Ok(vec![address()]))));
    }
}
