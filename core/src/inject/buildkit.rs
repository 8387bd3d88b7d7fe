//! The build client: the variables that it reads, and its local cache.

use super::{builder::Builder, local_cache};
use crate::{
    dockerd::{Image, Setting},
    reason::Reason,
};

/// The variable that makes `docker build` use BuildKit. A client of version 23 or later without buildx then fails;
/// without the variable it falls back to the old builder.
const DOCKER_BUILDKIT: &str = "DOCKER_BUILDKIT";

/// Configures docker's client and BuildKit's clients in the containers in which jobs run.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let env = &builder.plan.profile.buildkit.env;
    for (name, value) in env.variables() {
        if name == DOCKER_BUILDKIT && !env.is_named() {
            docker_buildkit(builder, value);
        } else {
            builder.client_env(name, value);
        }
    }
    local_cache::inject(builder);
}

/// Sets `DOCKER_BUILDKIT` in clients that are known to build with it.
fn docker_buildkit<'a>(builder: &mut Builder<'_, 'a>, value: &'a str) {
    let plan = builder.plan;
    for at in &plan.clients {
        let Some(client) = builder.container(*at) else {
            continue;
        };
        let image = Image::parse(client.image.as_deref().unwrap_or_default());
        if image.builds_with_buildkit() || client.env_var(DOCKER_BUILDKIT).is_some() {
            builder.env(*at, DOCKER_BUILDKIT, value);
        } else {
            let variable = Setting::Variable(DOCKER_BUILDKIT.to_owned());
            builder.note(Reason::BuildxUnknown(variable));
        }
    }
}
