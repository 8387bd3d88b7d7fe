//! The promises of cache pools in a model of a cluster, whatever happens in whatever order.

use proptest::prelude::*;

use super::world::{Act, KEYS, World};

/// Generates things that happen.
fn acts() -> impl Strategy<Value = Act> {
    let two = 0..2_usize;
    let pod = 0..64_usize;
    prop_oneof![
        6 => (two.clone(), 0..KEYS.len()).prop_map(|(replica, key)| Act::Admit { replica, key }),
        4 => two.clone().prop_map(|replica| Act::Sync { replica }),
        4 => pod.clone().prop_map(|pod| Act::Arrive { pod }),
        1 => pod.clone().prop_map(|pod| Act::Lose { pod }),
        2 => pod.clone().prop_map(|pod| Act::End { pod }),
        2 => pod.prop_map(|pod| Act::Delete { pod }),
        4 => two.clone().prop_map(|leader| Act::SyncClaims { leader }),
        3 => two.clone().prop_map(|leader| Act::SyncPods { leader }),
        4 => two.clone().prop_map(|leader| Act::Check { leader }),
        4 => two.clone().prop_map(|leader| Act::Write { leader }),
        3 => two.clone().prop_map(|leader| Act::Upkeep { leader }),
        1 => (two.clone(), 0..1_000_000_u64).prop_map(|(leader, offset)| Act::Crash { leader, offset }),
        4 => prop_oneof![1..15_u64, 40..60_u64].prop_map(|seconds| Act::Wait { seconds }),
        10 => (two.clone(), any::<bool>()).prop_map(|(leader, pods)| Act::Pass { leader, pods }),
        8 => (two.clone(), 0..KEYS.len())
            .prop_map(|(replica, key)| Act::AdmitKnowing { replica, key }),
        1 => Just(Act::Wait { seconds: 3_600 }),
    ]
}

/// Creates a cluster whose claims exist and are known to all replicas.
fn prepared(strict: bool) -> World {
    let mut world = World::new(strict);
    for _ in 0..2 {
        world.act(&Act::SyncClaims { leader: 0 });
        world.act(&Act::Upkeep { leader: 0 });
    }
    world.act(&Act::Sync { replica: 0 });
    world.act(&Act::Sync { replica: 1 });
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_claim_ever_has_two_pods(
        strict in any::<bool>(),
        acts in prop::collection::vec(acts(), 1..150),
    ) {
        let mut world = prepared(strict);
        for (i, act) in acts.iter().enumerate() {
            world.act(act);
            let twice = world.holders().into_iter().find(|(_, count)| *count > 1);
            prop_assert!(twice.is_none(), "{twice:?} after {:?}", &acts[..=i]);
        }
    }

    #[test]
    fn no_lease_outlasts_its_pod_by_more_than_documented(
        acts in prop::collection::vec(acts(), 1..100),
    ) {
        let mut world = prepared(false);
        for act in &acts {
            world.act(act);
        }
        world.pods.clear();
        // At worst, the leader is new and its clock is slow. It checks the claims twice.
        world.act(&Act::Crash { leader: 1, offset: 0 });
        for seconds in [0, 85] {
            world.act(&Act::Wait { seconds });
            world.act(&Act::SyncClaims { leader: 1 });
            world.act(&Act::SyncPods { leader: 1 });
            world.act(&Act::Check { leader: 1 });
            world.act(&Act::Write { leader: 1 });
        }
        let truth = world.truth();
        let leased: Vec<_> = truth.iter().filter(|claim| !claim.is_free()).collect();
        prop_assert!(leased.is_empty(), "{leased:?}");
    }
}

#[test]
fn the_model_leases_claims_and_releases_them() {
    let mut world = prepared(true);
    assert_eq!(
        world.claims.len(),
        2,
        "minFree claims are created in advance"
    );
    for _ in 0..3 {
        world.act(&Act::Admit { replica: 0, key: 0 });
        world.act(&Act::Sync { replica: 0 });
    }
    assert_eq!(world.pods.len(), 2, "no claim is left for the third pod");
    for pod in 0..2 {
        world.act(&Act::Arrive { pod });
    }
    for leader in [0, 1] {
        world.act(&Act::SyncClaims { leader });
        world.act(&Act::SyncPods { leader });
        world.act(&Act::Check { leader });
    }
    assert!(
        world.leaders[0].releases.is_empty(),
        "the pods are still live"
    );
    world.act(&Act::End { pod: 0 });
    world.act(&Act::SyncPods { leader: 0 });
    world.act(&Act::Check { leader: 0 });
    world.act(&Act::Write { leader: 0 });
    let free = world.truth();
    let free: Vec<_> = free.iter().filter(|claim| claim.is_free()).collect();
    assert_eq!(free.len(), 1);
    assert!(free[0].serves("a"));
}
