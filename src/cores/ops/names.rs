//! Name look-ups: side by side, shared by all who ask for the same name, and with a deadline of
//! their own. A name server that is silent about one exchange keeps nobody from another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, never, select, unbounded};

use crate::clock::{Clock, MonoNs};
use crate::messages::{OpsAnswer, OpsRequest};

use crate::cores::ops::workers;
use crate::cores::ops::workers::Question;

/// Host and port.
pub(crate) type Name = (String, u16);

/// The addresses of a name, or why there are none.
pub(crate) type Found = Result<Vec<SocketAddr>, String>;

/// What came of a look-up.
type Outcome = (Name, Found);

/// Asks the host's resolver. May block for as long as that likes.
pub(crate) type LookUp = Arc<dyn Fn(&Name) -> Found + Send + Sync>;

/// What is asked, what is known.
pub(crate) struct Names {
    look_up: LookUp,
    patience: Duration,
    clock: Clock,
    /// The names that are being looked up.
    under_way: Vec<Name>,
    /// The shards that wait for a name, once for each question, and until when.
    waiting: HashMap<Name, Vec<(usize, MonoNs)>>,
    /// The addresses that were found last.
    good: HashMap<Name, Vec<SocketAddr>>,
    found: (Sender<Outcome>, Receiver<Outcome>),
}

impl Names {
    pub(crate) fn new(look_up: LookUp, patience: Duration, clock: Clock) -> Self {
        Self {
            look_up,
            patience,
            clock,
            under_way: Vec::new(),
            waiting: HashMap::new(),
            good: HashMap::new(),
            found: unbounded(),
        }
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
            let now = self.clock.mono();
            let due = self.waiting.values().flatten().map(|&(_, until)| until).min();
            let overdue = due.map_or_else(never, |due| after(due.since(now)));
            select! {
                recv(questions) -> question => match question {
                    Ok((shard, OpsRequest::Resolve { host, port })) => {
                        self.ask(shard, (host, port), now);
                    }
                    Ok((shard, other)) => answer(shard, workers::misled(other)),
                    Err(_) => return,
                },
                recv(found) -> found => {
                    let Ok((name, found)) = found else { return };
                    self.take(&name, found, &answer);
                }
                recv(overdue) -> _ => self.give_up(&answer),
                recv(stop) -> _ => return,
            }
        }
    }

    fn ask(&mut self, shard: usize, name: Name, now: MonoNs) {
        self.waiting.entry(name.clone()).or_default().push((shard, now.after(self.patience)));
        if self.under_way.contains(&name) {
            return;
        }
        self.under_way.push(name.clone());
        let (look_up, found, asked) =
            (Arc::clone(&self.look_up), self.found.0.clone(), name.clone());
        let started = thread::Builder::new().name("dns".to_owned()).spawn(move || {
            let result = look_up(&asked);
            let _heard = found.send((asked, result));
        });
        if let Err(error) = started {
            let _queued = self.found.0.send((name, Err(error.to_string())));
        }
    }

    fn take(&mut self, name: &Name, found: Found, answer: &impl Fn(usize, OpsAnswer)) {
        self.under_way.retain(|other| other != name);
        if let Ok(addresses) = &found {
            self.good.insert(name.clone(), addresses.clone());
        }
        for (shard, _) in self.waiting.remove(name).unwrap_or_default() {
            answer(shard, self.resolved(name, found.clone()));
        }
    }

    /// Those who have waited for long enough get what was found last.
    fn give_up(&mut self, answer: &impl Fn(usize, OpsAnswer)) {
        let now = self.clock.mono();
        let names: Vec<Name> = self.waiting.keys().cloned().collect();
        for name in names {
            let Some(waiting) = self.waiting.get_mut(&name) else { continue };
            let overdue: Vec<usize> = waiting
                .extract_if(.., |(_, until)| *until <= now)
                .map(|(shard, _)| shard)
                .collect();
            if waiting.is_empty() {
                self.waiting.remove(&name);
            }
            let why = format!("no name server answered within {:?}", self.patience);
            for shard in overdue {
                answer(shard, self.resolved(&name, Err(why.clone())));
            }
        }
    }

    /// What is answered: where nothing was found now, the addresses that were found last.
    fn resolved(&self, name: &Name, found: Found) -> OpsAnswer {
        let result = found.or_else(|why| self.good.get(name).cloned().ok_or(why));
        OpsAnswer::Resolved { host: name.0.clone(), port: name.1, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    ) -> (Sender<Question>, Receiver<(usize, OpsAnswer)>) {
        let (ask, questions) = unbounded();
        let (answers, answered) = unbounded();
        thread::spawn(move || {
            let (_alive, stop) = bounded::<()>(0);
            let mut names = Names::new(look_up, patience, Clock::new());
            names.serve(&questions, &stop, |shard, answer| {
                let _heard = answers.send((shard, answer));
            });
        });
        (ask, answered)
    }

    fn resolved(host: &str, result: Found) -> OpsAnswer {
        OpsAnswer::Resolved { host: host.to_owned(), port: 443, result }
    }

    #[test]
    fn a_name_that_nobody_answers_keeps_no_other_one_waiting_and_has_an_end() {
        let (_silent, never_told) = bounded::<()>(0);
        let look_up: LookUp = Arc::new(move |(host, _)| {
            if host == "silent" {
                let _ends_never = never_told.recv();
            }
            Ok(vec![address()])
        });
        let (ask, answered) = served(look_up, Duration::from_millis(300));
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
        let (ask, answered) = served(look_up, PATIENCE);
        for shard in 0..3 {
            ask.send((shard, question("one"))).unwrap();
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
}
