//! What the system gives out of its local ports, and for how many connections.

use crate::support::barrage::home;
use crate::support::report::whole;
use crate::support::{network, plan, skip};

/// 500 ports in `TIME_WAIT` for a minute after one connection each, but that the system may use them again for the same target.
const SCRIPT: &str = "\
    echo '40000 40499' > /proc/sys/net/ipv4/ip_local_port_range
    echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse
    \"$0\" target --listen 127.0.0.1:8080 > target.txt & target=$!
    while ! \"$0\" health --url http://127.0.0.1:8080/health; do sleep 0.1; done
    \"$0\" run plan.yaml --threads 1 --format json --quiet; code=$?
    kill $target; exit $code";

#[test]
fn a_source_address_has_its_ports_again() {
    let test = "a_source_address_has_its_ports_again";
    let home = home();
    plan::write(
        &home,
        "name: ports\n\
         target: http://127.0.0.1:8080\n\
         load: { rate: 300/s, for: 4s }\n\
         steps: [get: /health]\n\
         network: { source_addresses: [127.0.0.3], reuse: never }\n",
    );
    let ended = match network::alone(&home, SCRIPT) {
        Ok(ended) => ended,
        Err(reason) => return skip::skipped(test, reason),
    };
    let report = ended.json();
    assert_eq!(whole(&report, "steps_total.sent"), 1_200, "{}", ended.stderr);
    assert_eq!(whole(&report, "steps_total.ok"), 1_200, "{}", report["steps_total"]);
}
