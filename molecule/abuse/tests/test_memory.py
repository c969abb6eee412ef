"""100,000 clients leave nginx and the app as they were, but for tables of a fixed size."""

from __future__ import annotations

from lab import unit_pid, until
from testinfra.host import Host

CLIENTS = 100_000
NGINX = 32 << 20  # bytes; of the three zones of 10 MiB
APP = 16 << 20  # bytes; the table of the limiter has 4 MiB
LOG = "/var/log/nginx/codeintel.log"
# One connection stands for all of them: nginx believes it about the address, and passes that on.
BELIEVE = "set_real_ip_from fd53:203::/32; set_real_ip_from 10.203.0.0/16; real_ip_header X-Test;"
SCRIPT = """
local i = 0
wrk.headers["User-Agent"] = "wrk"
request = function()
    i = i + 1
    wrk.headers["X-Test"] = string.format("2001:db8:%x:%x::1", math.floor(i / 65536), i % 65536)
    return wrk.format("GET", "/")
end
"""
WORKERS = "$(cat /proc/$(cat /run/nginx.pid)/task/*/children)"


def memory(host: Host, pids: str) -> int:
    """Return the bytes of some processes, what they share divided among them."""
    shares = host.run(f"for p in {pids}; do grep ^Pss: /proc/$p/smaps_rollup; done").stdout
    return sum(int(line.split()[1]) for line in shares.splitlines()) << 10


def test_100000_addresses_do_not_grow_anything(target: Host, client: Host) -> None:
    believe = "/etc/nginx/conf.d/zz-test.conf"
    client.run(f"cat > /tmp/addresses.lua <<'EOF'\n{SCRIPT}\nEOF")
    wrk = "wrk --threads 1 --connections 16 --script /tmp/addresses.lua"
    seen = f'$(grep -o \'"status":"200","address":"2001:db8:[^"]*"\' {LOG} | sort -u | wc -l)'
    target.run(f"echo '{BELIEVE}' > {believe} && nginx -s reload")
    try:
        # Thousands of requests come first, so that nothing grows for their number alone.
        assert client.run(f"{wrk} --duration 5 https://mcp.test").rc == 0
        app = unit_pid(target, "codeintel")
        before = memory(target, WORKERS), memory(target, app)
        load = f"systemd-run --collect --unit=load {wrk} --duration 240 https://mcp.test"
        assert client.run(load).rc == 0
        assert until(target, f"sleep 5; test {seen} -ge {CLIENTS}", 240)
        after = memory(target, WORKERS), memory(target, app)
        assert unit_pid(target, "codeintel") == app
    finally:
        client.run("systemctl stop load")
        target.run(f"rm {believe}; nginx -s reload")
    print("nginx", before[0] >> 20, after[0] >> 20, "app", before[1] >> 20, after[1] >> 20)
    assert after[0] - before[0] < NGINX
    assert after[1] - before[1] < APP
