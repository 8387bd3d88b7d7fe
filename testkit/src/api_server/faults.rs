//! Faults and delays that a test scripts.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::{ApiServer, locked, path::Verb};

/// What happens instead of the answer, or before it.
#[derive(Clone)]
pub enum Effect {
    /// The call has no effect and is answered with this status.
    Answer(u16),
    /// The call has no effect, and the connection is closed.
    Close,
    /// The call takes effect, but its answer never arrives.
    LoseAnswer,
    /// This happens first.
    Run(Arc<dyn Fn(&ApiServer) + Send + Sync>),
    /// The call waits until the gate is opened.
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

/// How often a rule still applies.
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

/// The rules. The first one that matches a call applies.
#[derive(Debug, Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// Returns what happens to a call. A rule that has applied often enough is removed.
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

/// A rule that is being built; [`When::answer`] and the like add it.
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

    /// Limits the rule to the calls of one client.
    pub fn from(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Applies the rule to every verb.
    pub fn or_any_verb(mut self) -> Self {
        self.verb = None;
        self
    }

    /// Applies the rule this many times, not once.
    pub fn times(mut self, times: usize) -> Self {
        self.count = Count::Times(times);
        self
    }

    /// Applies the rule until [`ApiServer::clear_faults`].
    pub fn always(mut self) -> Self {
        self.count = Count::Always;
        self
    }

    /// The call has no effect and is answered with this status.
    pub fn answer(self, status: u16) {
        self.add(Effect::Answer(status));
    }

    /// The call has no effect, and the connection is closed.
    pub fn close(self) {
        self.add(Effect::Close);
    }

    /// The call takes effect, but the connection is closed before the answer.
    pub fn lose_answer(self) {
        self.add(Effect::LoseAnswer);
    }

    /// This happens before the call takes effect.
    pub fn run(self, act: impl Fn(&ApiServer) + Send + Sync + 'static) {
        self.add(Effect::Run(Arc::new(act)));
    }

    /// Holds the call at a gate before it takes effect.
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

/// A gate at which calls wait until the test opens it. Dropping it opens it.
#[derive(Debug)]
pub struct Gate(Arc<GateState>);

impl Gate {
    /// Waits until a call is held.
    pub async fn reached(&self) {
        let mut waiting = self.0.waiting.subscribe();
        waiting.wait_for(|count| *count > 0).await.unwrap();
    }

    /// Opens the gate for all calls, including later ones.
    pub fn open(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.open.send_replace(true);
    }
}
