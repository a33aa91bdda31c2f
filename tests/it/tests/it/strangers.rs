//! What strangers leave behind: numbers, a few lines of log, and not a byte on the disk.

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
};

use denizen_wire::node::ENROL_PATH;

use crate::{dev::Dev, sandbox::Sandbox};

/// The lines that the reasons tried below may log in a period: five each.
const MOST_LINES: u64 = 5 * 6;
/// The period, seconds.
const PERIOD: u64 = 10;

/// The size of everything the server keeps, but for the audit's head: one line, written anew while the server works.
fn size(data: &Path) -> u64 {
    let head = |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().contains(".head");
    let below = crate::start::below(data);
    let kept = below.iter().filter(|path| !head(path));
    // A file may go while it is looked at.
    kept.filter_map(|path| path.metadata().ok()).filter(Metadata::is_file).map(|file| file.len()).sum()
}

async fn metric(dev: &Dev<'_>, name: &str) -> u64 {
    let text = dev.wire.get(dev.fact("/metrics_url"), &[]).await.expect(200).body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_that_prove_nothing_fills_no_disk() {
    const FLOOD: u64 = 300;
    const AT_ONCE: u64 = 50;
    let sandbox = Sandbox::new().await;
    let dev = Dev::start(&sandbox).await;
    let token_url = dev.token_url("/v2.0");
    let enrol_url = format!("{}{ENROL_PATH}", dev.fact("/authority"));
    let secret_url = format!("{}/secrets/hello?api-version=7.6", dev.fact("/vault_url"));
    let enrolment = serde_json::json!({
        "joinToken": format!("dzj.{}.guess", dev.fact("/tenant_id").replace('-', "")),
        "machineName": "m", "certificate": "", "proof": "",
    });
    let enrolment = enrolment.to_string();
    let fields = |client, secret| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", "x/.default"),
        ]
    };
    let unknown = uuid::Uuid::from_u128(7).to_string();
    let mut by_us = fields(dev.fact("/admin/client_id"), dev.fact("/admin/client_secret"));
    by_us[3].1 = "https://vault.azure.net/.default";
    let round = async || {
        // What is over the limits is held back: the requests of one round do not wait for each other.
        let [nothing, nobody, wrong] =
            [vec![], fields(&unknown, "abc").to_vec(), fields(dev.fact("/admin/client_id"), "abc").to_vec()];
        let (nothing, nobody, wrong) = tokio::join!(
            dev.wire.form(&token_url, &nothing),
            dev.wire.form(&token_url, &nobody),
            dev.wire.form(&token_url, &wrong),
        );
        for (answer, refused) in [(nothing, 400), (nobody, 400), (wrong, 401)] {
            assert!([refused, 429].contains(&answer.status), "{answer:?}");
            let retry_after = answer.header("retry-after").map(|text| text.parse::<u64>().unwrap());
            assert_eq!(retry_after.is_some(), answer.status == 429, "{answer:?}");
            if answer.status == 429 {
                assert_eq!(answer.text("/error"), "temporarily_unavailable");
                assert_eq!(answer.json()["error_codes"], serde_json::json!([90_055]));
            }
        }
        dev.wire.send("POST", &enrol_url, &[], Some(&enrolment)).await.unwrap().expect(403);
        dev.wire.get(&secret_url, &[("Authorization", "Bearer nonsense")]).await.expect(401);
    };
    let began = std::time::Instant::now();
    round().await;
    let (events, bytes) = (metric(&dev, "denizen_audit_events_total ").await, size(&dev.data));
    for _ in 0..FLOOD / AT_ONCE {
        futures_util::future::join_all((0..AT_ONCE).map(|_| round())).await;
    }
    assert_eq!(metric(&dev, "denizen_audit_events_total ").await, events);
    assert_eq!(size(&dev.data), bytes);
    let counted = async |api, reason| {
        metric(&dev, &format!(r#"denizen_stranger_refusals_total{{api="{api}",reason="{reason}"}} "#)).await
    };
    for (api, reason) in [("node", "unknown join token"), ("vault", "bad token")] {
        assert_eq!(counted(api, reason).await, FLOOD + 1, "{api} {reason}");
    }
    let mut refused = 0;
    for reason in ["malformed request", "unknown client", "wrong secret", "over the limit"] {
        let count = counted("token service", reason).await;
        assert!(count > 0, "{reason}");
        refused += count;
    }
    assert_eq!(refused, 3 * (FLOOD + 1), "each is counted once");
    dev.wire.form(&token_url, &by_us).await.expect(200);
    let log = dev.stderr();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("proved nothing")).collect();
    let most = (began.elapsed().as_secs() / PERIOD + 2) * MOST_LINES;
    assert!((5..=most).contains(&(lines.len() as u64)), "{} lines, and {most} may be: {log}", lines.len());
    assert!(lines.iter().any(|line| line.contains(dev.fact("/admin/client_id"))), "who is attacked is named: {log}");
}
