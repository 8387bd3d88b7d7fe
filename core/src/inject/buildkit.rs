//! The build client: its variables and its cache directory.

use super::{builder::Builder, cache};

/// What the docker client and BuildKit's clients read, on the containers in which jobs run.
pub(super) fn client(builder: &mut Builder<'_>) {
    for (name, value) in &builder.plan.profile.buildkit.env {
        builder.client_env(name, value);
    }
    cache::local(builder);
}
