//! HTTP/2 frames that a well-behaved client never sends.

use futures_util::future::join_all;
use slipway_testkit::{client::PATIENCE, served::serve};

use super::{
    attacks::{
        http2::{
            self as attacks, CONTINUATION, DATA, END_HEADERS, HEADERS, REQUEST, SETTINGS,
            WINDOW_UPDATE, flood, frame,
        },
        requests,
    },
    neighbour::{self, beside},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    let served = serve(|_| {});
    let code = beside(&served, attacks::rapid_resets(&served)).await;
    assert_eq!(code, Some(11), "ENHANCE_YOUR_CALM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_endless_continuations_ends_the_connection() {
    let served = serve(|_| {});
    let code = beside(&served, attacks::endless_continuations(&served)).await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_pings_settings_and_empty_frames_affect_no_other_client() {
    let served = serve(|_| {});
    beside(&served, attacks::floods(&served)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forbidden_frames_end_the_connection() {
    let served = serve(|_| {});
    beside(&served, async {
        for (name, frames) in [
            (
                "a request on stream 0",
                frame(HEADERS, END_HEADERS, 0, REQUEST),
            ),
            (
                "a stream number of the server",
                frame(HEADERS, END_HEADERS, 2, REQUEST),
            ),
            ("data without a request", frame(DATA, 0, 7, b"x")),
            (
                "a continuation without a head",
                frame(CONTINUATION, 0, 1, REQUEST),
            ),
            ("bad HPACK", frame(HEADERS, END_HEADERS, 1, &[0xff; 64])),
            (
                "a window that is too large",
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ),
            (
                "a frame that is too large",
                frame(DATA, 0, 1, &vec![0; 1 << 20]),
            ),
            ("half a setting", frame(SETTINGS, 0, 0, &[0, 1, 0])),
        ] {
            let code = flood(&served, 1, |_| frames.clone()).await;
            assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
        }
    })
    .await;
}

/// These are more than are answered at once: those that wait must not fill the window that the bodies
/// of the others need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_at_once_over_one_connection_are_all_answered() {
    let served = serve(|config| config.request_timeout = PATIENCE);
    let client = served.client().http2().await;
    join_all((0..100).map(|_| {
        let mut client = client.clone();
        async move { neighbour::review(&mut client).await }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_at_full_speed_block_no_other_client() {
    let served = serve(|_| {});
    beside(&served, requests::reviews(&served)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masses_of_probes_block_no_other_client() {
    let served = serve(|_| {});
    let attacks = (0..10).map(|_| attacks::probes(&served));
    beside(&served, join_all(attacks)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_reviews_block_no_other_client() {
    let served = serve(|_| {});
    beside(&served, requests::largest_reviews(&served)).await;
}
