//! Certificates from files.

use std::{fs, path::Path};

use slipway::{certificates::reload, tls::ServingCertificate};

use super::cluster::{DAY, HOST, installed, start, stored};

/// A temporary directory, removed when it is dropped.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("certificates-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn changed_files_are_served_unless_they_are_unusable() {
    let (one, leader) = installed().await;
    let (two, other) = installed().await;
    let directory = Directory::new("follow");
    let serving = ServingCertificate::default();
    let load = || reload(&directory.0, HOST, &serving, start());

    load();
    assert!(serving.problem().unwrap().contains("failed to read"));
    assert!(serving.not_ready_because().is_some());
    directory.write("tls.crt", stored(&one, "tls.crt"));
    directory.write("tls.key", stored(&one, "tls.key"));
    load();
    assert_eq!(serving.problem(), None);
    assert_eq!(serving.not_ready_because(), None);
    assert_eq!(serving.chain().unwrap()[0], leader.leaf());
    assert_eq!(serving.expires_at(), leader.serving.expires_at());

    for (file, bytes, says) in [
        ("tls.crt", stored(&two, "tls.crt"), "used together"),
        ("tls.crt", b"half".to_vec(), "a certificate in PEM"),
        ("tls.key", b"half".to_vec(), "a private key in PEM"),
        ("tls.key", stored(&two, "tls.key"), "used together"),
    ] {
        directory.write(file, bytes);
        load();
        let problem = serving.problem().unwrap();
        assert!(problem.contains(says), "{problem}");
        assert_eq!(serving.chain().unwrap()[0], leader.leaf());
        directory.write("tls.crt", stored(&one, "tls.crt"));
        directory.write("tls.key", stored(&one, "tls.key"));
        load();
        assert_eq!(serving.problem(), None);
    }

    directory.write("tls.crt", stored(&two, "tls.crt"));
    directory.write("tls.key", stored(&two, "tls.key"));
    load();
    assert_eq!(serving.chain().unwrap()[0], other.leaf());
}

#[tokio::test]
async fn an_expired_certificate_does_not_replace_a_valid_one() {
    let (old, _) = installed().await;
    let (new, mut leader) = installed().await;
    let later = start() + DAY * 91;
    leader.lead(later - DAY * 2).await.unwrap();
    let directory = Directory::new("expired");
    let serving = ServingCertificate::default();
    for (server, expired) in [(&new, false), (&old, true)] {
        directory.write("tls.crt", stored(server, "tls.crt"));
        directory.write("tls.key", stored(server, "tls.key"));
        reload(&directory.0, HOST, &serving, later);
        assert_eq!(serving.problem().is_some(), expired);
        assert_eq!(serving.chain().unwrap()[0], leader.leaf());
    }
}
