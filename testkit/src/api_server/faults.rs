//! What a test scripts to go wrong, or to wait.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::{ApiServer, locked, path::Verb};

/// What happens instead of, or before, the answer.
#[derive(Clone)]
pub enum Effect {
    /// The call has no effect, and this status is answered.
    Answer(u16),
    /// The call has no effect, and the connection is closed.
    Close,
    /// The call takes effect, but its answer never arrives.
    LoseAnswer,
    /// Something else happens first.
    Run(Arc<dyn Fn(&ApiServer) + Send + Sync>),
    /// It waits until the gate is opened.
    Hold(Arc<GateState>),
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(code) => write!(f, "Answer({code})"),
            Self::Close => f.write_str("Close"),
            Self::LoseAnswer => f.write_str("LoseAnswer"),
            Self::Run(_) => f.write_str("Run"),
            Self::Hold(_) => f.write_str("Hold"),
        }
    }
}

/// How often a rule still counts.
#[derive(Debug, Clone, Copy)]
enum Count {
    Always,
    Times(usize),
}

#[derive(Debug)]
struct Rule {
    user: Option<String>,
    verb: Option<Verb>,
    prefix: String,
    left: Count,
    effect: Effect,
}

/// All that is scripted. The first rule that matches a call is used.
#[derive(Debug, Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// What is to happen to a call. A rule that has counted enough is forgotten.
    pub fn take(&mut self, user: &str, verb: Verb, path: &str) -> Option<Effect> {
        let place = self.0.iter().position(|rule| {
            rule.user.as_ref().is_none_or(|wanted| wanted == user)
                && rule.verb.is_none_or(|wanted| wanted == verb)
                && path.starts_with(&rule.prefix)
        })?;
        let rule = &mut self.0[place];
        let effect = rule.effect.clone();
        if let Count::Times(left) = &mut rule.left {
            *left -= 1;
            if *left == 0 {
                self.0.remove(place);
            }
        }
        Some(effect)
    }

    pub fn clear(&mut self) {
        for rule in self.0.drain(..) {
            if let Effect::Hold(gate) = rule.effect {
                gate.open.send_replace(true);
            }
        }
    }
}

/// A rule in the making; it starts to count with the last call, [`When::answer`] and so on.
#[derive(Debug)]
#[must_use = "it needs to be told what should happen"]
pub struct When {
    server: ApiServer,
    user: Option<String>,
    verb: Option<Verb>,
    prefix: String,
    count: Count,
}

impl When {
    pub(super) fn new(server: ApiServer, verb: Verb, prefix: &str) -> Self {
        Self {
            server,
            user: None,
            verb: Some(verb),
            prefix: prefix.to_owned(),
            count: Count::Times(1),
        }
    }

    /// Only the calls of one client count.
    pub fn from(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Every verb counts.
    pub fn or_any_verb(mut self) -> Self {
        self.verb = None;
        self
    }

    /// It happens so often, not once.
    pub fn times(mut self, times: usize) -> Self {
        self.count = Count::Times(times);
        self
    }

    /// It happens until [`ApiServer::clear_faults`].
    pub fn always(mut self) -> Self {
        self.count = Count::Always;
        self
    }

    /// The call has no effect, and this status is answered.
    pub fn answer(self, status: u16) {
        self.add(Effect::Answer(status));
    }

    /// The call has no effect, and the connection is closed.
    pub fn close(self) {
        self.add(Effect::Close);
    }

    /// The call takes effect, but the connection is closed before its answer.
    pub fn lose_answer(self) {
        self.add(Effect::LoseAnswer);
    }

    /// This happens before the call takes effect.
    pub fn run(self, act: impl Fn(&ApiServer) + Send + Sync + 'static) {
        self.add(Effect::Run(Arc::new(act)));
    }

    /// The call waits at a gate before it takes effect.
    pub fn hold(self) -> Gate {
        let state = Arc::new(GateState {
            waiting: watch::Sender::new(0),
            open: watch::Sender::new(false),
        });
        self.add(Effect::Hold(Arc::clone(&state)));
        Gate(state)
    }

    fn add(self, effect: Effect) {
        let rule = Rule {
            user: self.user,
            verb: self.verb,
            prefix: self.prefix,
            left: self.count,
            effect,
        };
        locked(&self.server.0.faults).0.push(rule);
    }
}

/// The two sides of a gate.
#[derive(Debug)]
pub struct GateState {
    waiting: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl GateState {
    /// Waits until the gate is open.
    pub async fn pass(&self) {
        self.waiting.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
    }
}

/// Where calls wait until the test lets them go on. A dropped gate is open.
#[derive(Debug)]
pub struct Gate(Arc<GateState>);

impl Gate {
    /// Waits until a call is there.
    pub async fn reached(&self) {
        let mut waiting = self.0.waiting.subscribe();
        waiting.wait_for(|count| *count > 0).await.unwrap();
    }

    /// Lets all calls go on, those to come too.
    pub fn open(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.open.send_replace(true);
    }
}
