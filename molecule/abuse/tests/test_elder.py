"""fail2ban alone, as Debian 12 has it, without a syslog daemon, in front of any server."""

from __future__ import annotations

from collections.abc import Callable

from lab import ADDRESSES, until
from testinfra.host import Host

LINE = '{"time":"%s","status":"403","address":"IP","net":"IP","protocol":"HTTP/2.0","uri":"/"}'


def test_debian_12_bans_without_rsyslog(
    elder: Host, attacker: Host, strangers: Callable[[], str]
) -> None:
    assert elder.run("grep -q bookworm /etc/os-release && ! test -e /var/log/auth.log").rc == 0
    elder.run("systemd-run --collect --unit=server python3 -m http.server 80")
    stranger, neighbour = strangers(), strangers()
    asked = f"curl -s -o /dev/null --max-time 2 http://{ADDRESSES['elder']}/ --interface"
    try:
        assert until(attacker, f"{asked} {stranger}")
        lines = f"echo '{LINE.replace('IP', stranger)}' | sed \"s/%s/$(date -Is)/\""
        elder.run(f"for i in $(seq 10); do {lines}; done >> /var/log/notes/access.log")
        assert until(attacker, f"! {asked} {stranger}", 10)
        assert attacker.run(f"{asked} {neighbour}").rc == 0
    finally:
        elder.run("systemctl stop server")
