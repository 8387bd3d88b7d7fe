//! The build client: the variables that it reads, and its local cache.

use super::{builder::Builder, local_cache};

/// Configures docker's client and BuildKit's clients in the containers in which jobs run.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    for (name, value) in &builder.plan.profile.buildkit.env {
        builder.client_env(name, value);
    }
    local_cache::inject(builder);
}
