//! The names by which clients may reach the metrics port.
//!
//! A web page can have its own name resolve to a pod's address (DNS rebinding), and the browser of someone
//! inside the cluster's network then reads the status page for it. Such a request names the page's host,
//! so the port answers only to names that are its own.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header::HOST, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::{
    App,
    body::{discard, plain},
};

/// The cluster domain of most clusters.
const USUAL_DOMAIN: &str = "cluster.local";

/// Host names, in lower case. IP addresses and `localhost` are always among them.
#[derive(Debug, Clone, Default)]
pub struct Hosts(BTreeSet<String>);

impl Hosts {
    /// Returns these names.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| canonical(&name)).collect())
    }

    /// Adds the names by which pods of the cluster reach a Service. `resolv_conf` is the text of
    /// `/etc/resolv.conf`, in which the kubelet names the cluster domain.
    #[must_use]
    pub fn with_service(mut self, service: &str, namespace: &str, resolv_conf: &str) -> Self {
        let within_cluster = format!("{service}.{namespace}.svc");
        let domains = cluster_domains(resolv_conf).chain([USUAL_DOMAIN]);
        let qualified = domains.map(|domain| format!("{within_cluster}.{domain}"));
        let names = [service.to_owned(), format!("{service}.{namespace}")];
        self.0
            .extend(qualified.chain(names).map(|name| canonical(&name)));
        self.0.insert(canonical(&within_cluster));
        self
    }

    /// Returns whether `authority`, a host with or without a port, is one of these.
    fn include(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority).map(canonical) else {
            return false;
        };
        is_address(&host) || host == "localhost" || self.0.contains(&host)
    }

    /// Returns whether all hosts that a request names are among these. A request may name none, over
    /// HTTP/1.0: no browser sends that.
    fn accept(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let target = uri.authority().map(Authority::as_str);
        let named = headers.get_all(HOST).iter();
        let named = named.map(|host| host.to_str().unwrap_or_default());
        target
            .into_iter()
            .chain(named)
            .all(|host| self.include(host))
    }
}

/// Answers a request that names another host with 421, and passes on all others.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.hosts.accept(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    discard(request.into_body()).await;
    plain(
        StatusCode::MISDIRECTED_REQUEST,
        "this port answers to IP addresses, localhost and its Service's names; --metrics-host adds others",
    )
}

/// Returns the host without its port; `None` if the text has another form.
fn host_of(authority: &str) -> Option<&str> {
    let is_port = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    match authority.rsplit_once(':') {
        // The last colon of an IPv6 address is within its brackets.
        Some((host, port)) if !port.ends_with(']') => is_port(port).then_some(host),
        _ => Some(authority),
    }
}

fn is_address(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Returns a name in lower case, without the dot that marks it as complete.
fn canonical(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// Returns the domains `D` for which the resolver searches `svc.D`.
fn cluster_domains(resolv_conf: &str) -> impl Iterator<Item = &str> {
    let searched = resolv_conf
        .lines()
        .filter_map(|line| line.strip_prefix("search"));
    let domains = searched.flat_map(str::split_whitespace);
    domains.filter_map(|domain| domain.strip_prefix("svc."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLV_CONF: &str = "\
search slipway-system.svc.corp.example svc.corp.example corp.example
nameserver 10.96.0.10
options ndots:5
";

    #[test]
    fn addresses_localhost_and_the_services_names_are_accepted() {
        let hosts = Hosts::new(["Slipway.Corp.Example".to_owned()]);
        let hosts = hosts.with_service("slipway", "slipway-system", RESOLV_CONF);
        for host in [
            "10.0.0.7",
            "10.0.0.7:8080",
            "[::1]:8080",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:8080",
            "slipway",
            "slipway:8080",
            "slipway.slipway-system",
            "slipway.slipway-system.svc",
            "slipway.slipway-system.svc.cluster.local",
            "slipway.slipway-system.svc.corp.example.:8080",
            "slipway.corp.example",
        ] {
            assert!(hosts.include(host), "{host} is refused");
        }
        for host in [
            "",
            ":8080",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "10.0.0.7.evil.example",
            "[::1].evil.example",
            "[evil.example]",
            "localhost:1@evil.example",
            "localhost:8080:evil.example",
            "slipway.other.svc",
            "slipway.slipway-system.svc.evil.example",
            "slipway.slipway-system.svc.cluster.local.evil.example",
        ] {
            assert!(!hosts.include(host), "{host:?} is accepted");
        }
    }

    #[test]
    fn every_host_of_a_request_counts() {
        let hosts = Hosts::default();
        let accepts = |uri: &str, named: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in named {
                headers.append(HOST, host.parse().unwrap());
            }
            hosts.accept(&uri.parse().unwrap(), &headers)
        };
        assert!(accepts("/status", &["localhost"]));
        assert!(accepts("/status", &[]), "HTTP/1.0");
        assert!(accepts("http://localhost/status", &[]), "HTTP/2");
        assert!(!accepts("http://evil.example/status", &[]));
        assert!(!accepts("http://localhost/status", &["evil.example"]));
        assert!(!accepts("http://evil.example/status", &["localhost"]));
        assert!(!accepts("/status", &["localhost", "evil.example"]));
    }
}
