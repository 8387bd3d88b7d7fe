//! Watches: streams of changes since a revision.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Response,
    body::{Bytes, Frame},
    header::CONTENT_TYPE,
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    ApiServer,
    answer::{Asked, Body},
    object,
    path::Route,
    problem::Problem,
    selector::Selector,
    store::Event,
    verbs::number,
};

/// The real server's timeout, if the client names none.
const LONGEST: Duration = Duration::from_secs(1800);

struct Watch {
    server: ApiServer,
    route: Route,
    selector: Selector,
    bookmarks: bool,
    /// The revision up to which events have been sent.
    seen: u64,
    /// Lines that are still to be sent.
    waiting: VecDeque<Value>,
    ended: bool,
    until: Instant,
    changed: watch::Receiver<u64>,
    bookmark: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
}

/// Starts a watch. Without a version it begins with all existing objects.
///
/// # Errors
/// 400 for invalid queries.
pub fn open(server: &ApiServer, asked: &Asked) -> Result<Response<Body>, Problem> {
    let query = &asked.query;
    let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
    let asks_for_all = query.is("sendInitialEvents");
    if asks_for_all && query.get("resourceVersionMatch") != "NotOlderThan" {
        return Err(Problem::invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires NotOlderThan",
        ));
    }
    let from = match query.get("resourceVersion") {
        "" | "0" => None,
        _ if asks_for_all => None,
        version => Some(number(version)?),
    };
    let limit = match query.get("timeoutSeconds") {
        "" => LONGEST,
        seconds => Duration::from_secs(number(seconds)?),
    };
    let signals = &server.0.signals;
    let mut watch = Watch {
        server: server.clone(),
        route: asked.route.clone(),
        selector,
        bookmarks: query.is("allowWatchBookmarks"),
        seen: from.unwrap_or_default(),
        waiting: VecDeque::new(),
        ended: false,
        until: Instant::now() + limit,
        // Subscribes before the first read of the store, so that no change is missed.
        changed: signals.changed.subscribe(),
        bookmark: signals.bookmark.subscribe(),
        cut: signals.cut.subscribe(),
    };
    if from.is_none() {
        watch.begin_with_all(asks_for_all)?;
    }
    let body = StreamBody::new(stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next().await {
            Ok(Some(line)) => {
                let bytes = Bytes::from(format!("{line}\n"));
                Some((Ok(Frame::data(bytes)), Some(watch)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }));
    Ok(Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(body.boxed_unsync())
        .unwrap())
}

impl Watch {
    fn begin_with_all(&mut self, mark_the_end: bool) -> Result<(), Problem> {
        let (revision, lines) = self.server.store(|store| {
            let revision = store.revision();
            let all = store.list(&self.route, revision)?;
            let selected = all.into_iter().filter(|(_, o)| self.selector.selects(o));
            let lines: Vec<Value> = selected.map(|(_, o)| line("ADDED", o)).collect();
            Ok((revision, lines))
        })?;
        self.waiting.extend(lines);
        self.seen = revision;
        if mark_the_end {
            let mut end = self.bookmark_line();
            end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.waiting.push_back(end);
        }
        Ok(())
    }

    /// Returns the next line, or `None` at the regular end.
    ///
    /// # Errors
    /// If the test breaks off the watch.
    async fn next(&mut self) -> io::Result<Option<Value>> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.catch_up();
            if !self.waiting.is_empty() || self.ended {
                continue;
            }
            tokio::select! {
                biased;
                _ = self.cut.changed() => return Err(io::Error::other("cut by the test")),
                _ = self.changed.changed() => {}
                _ = self.bookmark.changed() => {
                    if self.bookmarks {
                        self.catch_up();
                        let line = self.bookmark_line();
                        self.waiting.push_back(line);
                    }
                }
                () = tokio::time::sleep_until(self.until) => self.ended = true,
            }
        }
    }

    /// Queues the changes since the last read.
    fn catch_up(&mut self) {
        match self.server.store(|store| store.since(self.seen)) {
            Ok(events) => {
                for event in events {
                    self.seen = event.revision;
                    self.waiting.extend(self.shown(event));
                }
            }
            Err(problem) => {
                self.waiting.push_back(line("ERROR", &problem.to_status()));
                self.ended = true;
            }
        }
    }

    /// Returns an event as this watch sees it: an object that leaves the selection is deleted for it.
    fn shown(&self, event: Event) -> Option<Value> {
        if !self.route.covers(&event.key) {
            return None;
        }
        let selected = |object: &Option<Value>| {
            object
                .as_ref()
                .is_some_and(|object| self.selector.selects(object))
        };
        let (before, after) = (selected(&event.before), selected(&event.after));
        let kind = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        let mut object = if after { event.after? } else { event.before? };
        object["metadata"]["resourceVersion"] = event.revision.to_string().into();
        Some(line(kind, &object))
    }

    fn bookmark_line(&self) -> Value {
        let collection = &self.route.collection;
        let bookmark = json!({
            "kind": object::kind_of(&collection.plural),
            "apiVersion": collection.api_version,
            "metadata": {
                "resourceVersion": self.seen.to_string(),
                "creationTimestamp": null,
            },
        });
        line("BOOKMARK", &bookmark)
    }
}

fn line(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}
