//! Another machine on the link, with a route to this one's loopback addresses: it must not even get a connection.
//!
//! Two network namespaces and a cable between them. All listeners are bound to the loopback interface, so that the
//! neighbour's packets meet none; another program's is not, and shows that the packets do arrive.

use denizen_skip::skip;

use crate::sandbox::{Sandbox, User, ended, root};

/// Makes the neighbour and the cable, then starts `denizen dev` with the second script.
const LINK: &str = r#"
    set -e
    ip link set lo up
    ip addr add 169.254.169.254/32 dev lo
    unshare --net sleep 300 &
    neighbour=$!
    trap 'kill $neighbour' EXIT
    until [ "$(readlink /proc/$neighbour/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
    ip link add here type veth peer name there netns $neighbour
    ip addr add 10.9.8.1/24 dev here
    ip link set here up
    # As some container set-ups do.
    echo 1 > /proc/sys/net/ipv4/conf/here/route_localnet
    nsenter -t $neighbour -n sh -e -c '
        ip addr add 10.9.8.2/24 dev there
        ip link set there up
        ip route add 169.254.169.254/32 via 10.9.8.1
        ip route add 127.0.0.1/32 via 10.9.8.1
        echo 1 > /proc/sys/net/ipv4/conf/there/route_localnet'
    echo linked
    "$1" dev --data "$2" --listen 127.0.0.1:18443 --vault-listen 127.0.0.1:18444 --agent-listen 127.0.0.1:18342 \
        --metrics-listen 127.0.0.1:18345 --imds-listen 169.254.169.254:80 -- sh -c "$3" sh $neighbour
"#;

/// What curl says of each: the status and its exit code, 7 for a refused connection.
const ASK: &str = r#"
    ask() {
        what=$1
        shift
        status=$("$@" -s -m 5 -o /dev/null -w '%{http_code}' -H 'Metadata: true')
        echo "$what $status $?"
    }
    imds='http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net'
    arc='http://127.0.0.1:18342/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net'
    there="nsenter -t $1 -n"
    python3 -m http.server 18999 --bind 127.0.0.1 >/dev/null 2>&1 &
    other=$!
    until curl -s -o /dev/null http://127.0.0.1:18999/; do sleep 0.05; done
    ask arrives $there curl http://127.0.0.1:18999/
    kill $other
    ask control-there $there curl -k https://127.0.0.1:18443/healthz
    ask control-here curl -k https://127.0.0.1:18443/healthz
    ask vault-there $there curl -k https://127.0.0.1:18444/
    ask metrics-there $there curl http://127.0.0.1:18345/metrics
    ask imds-there $there curl "$imds"
    ask imds-here curl "$imds"
    ask arc-there $there curl "$arc"
    ask arc-here curl "$arc"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_neighbour_on_the_link_gets_no_connection_and_the_local_program_its_token() {
    let sandbox = Sandbox::new().await;
    if !root() {
        return skip("network namespaces with a link need root");
    }
    let mut command = sandbox.command(User::Ours, "unshare");
    command.args(["--net", "sh", "-c", LINK, "sh", &sandbox.program_path("denizen")]);
    command.arg(sandbox.home(User::Ours).join("data")).arg(ASK);
    let ended = ended(command).await;
    if !ended.out.starts_with("linked") {
        return skip(&format!("network namespaces with a link are not permitted: {}", ended.err));
    }
    let said = |what: &str| {
        let line = ended.out.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what}: {ended:?}")).trim().to_owned()
    };
    assert!(said("arrives").ends_with(" 0"), "the neighbour's packets do not arrive: {ended:?}");
    assert_eq!(said("imds-here"), "200 0");
    assert_eq!(said("imds-there"), "000 7");
    for there in ["control-there", "vault-there", "metrics-there", "arc-there"] {
        assert_eq!(said(there), "000 7", "{there}");
    }
    assert_eq!(said("control-here"), "200 0");
    // 404 where the sandbox has no mounts, and so no key directory for Arc.
    let arc = said("arc-here");
    assert!(arc == "401 0" || !sandbox.has_mounts(), "{arc}: {ended:?}");
}
