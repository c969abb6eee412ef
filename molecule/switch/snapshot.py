"""Print what a host has that its packages did not bring, as JSON of sorted lines by kind.

Left out is what is each host's own: identity, keys, certificates, ACME's files, logs, caches. Its
domain, the first argument, and the serials of certificates stand in the lines as one word. Which of
the service's two instances runs is history, and so is what is noted of the other one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOTS = (
    *("/etc", "/usr/local", "/srv", "/var/www"),
    *("/var/lib/codeintel", "/var/lib/hypercorn_service"),
)
OWN = re.compile(
    r"/etc/(alternatives|ca-certificates|hostname|hosts|ld[.]so[.]cache|machine-id|mtab|resolv[.]conf|rc.?[.]d"
    r"|(passwd|group|shadow|gshadow|subuid|subgid)-?$|[.]updated|ssh/|ssl/"
    r"|letsencrypt/(accounts|archive|csr|keys|live)/|letsencrypt/[.]"
    r"|nginx/modules-enabled|nginx/quic_host[.]key|systemd/system/[^/]*[.]wants/)"
    r"|/srv/codeintel/releases/[^/]*/source/"  # a release is named by its content
    r"|.*/(__pycache__|venv|placeholder)(/|$)"
)
# Each instance has copies of what it runs from; those of the one that does not serve are history.
INSTANCE = r"(?<=^/var/lib/hypercorn_service/codeintel/){0}|(?<=^/etc/systemd/system/codeintel@){0}"
LAST = Path("/var/lib/hypercorn_service/codeintel/last").readlink()
HISTORY = re.compile(INSTANCE.format({"1": 2, "2": 1}[str(LAST)]))
WORDS = (
    (re.compile(r"\b[0-9A-F]{14,40}\b"), "SERIAL"),
    (re.compile(INSTANCE.format(LAST)), "INSTANCE"),
    (re.compile(r"(?<=/codeintel/last )(.* -> )[12]$"), r"\1INSTANCE"),
)
# certbot notes an account and times, which differ.
DIFFERS = re.compile(rb"^(account|renew_before_expiry|# renew_before_expiry) .*$", re.MULTILINE)

COMMANDS = {
    "units": "systemctl list-unit-files --state=enabled --no-legend --plain | awk '{print $1}'",
    "running": "systemctl list-units --type=service,socket,timer --state=active,failed --no-legend"
    " --plain | sed 's/^codeintel@[12]/codeintel:INSTANCE/'"
    " | awk '!/@|session|user/ {print $1, $3, $4}' | sort | uniq -c",
    "rules": "ip rule; ip -6 rule",
    "routes": "ip route show table 4430; ip -6 route show table 4430",
    "nftables": "nft --stateless list ruleset 2>/dev/null | grep -v elements",
    "listeners": "ss -Hlntup | sed 's/pid=[0-9]*,fd=[0-9]*//g' | awk '{print $1, $5, $7}' | uniq",
    "accounts": "getent passwd | cut -d: -f1,6,7",
    "run": "find /run/codeintel /run/mcp-edge* 2>/dev/null"
    " | sed 's,/instances/[12][.]sock$,/instances/INSTANCE.sock,'",
}


def run(command: str) -> list[str]:
    """Return the lines that a shell command prints, sorted, without repetitions."""
    output = subprocess.run(command, shell=True, text=True, capture_output=True, check=False).stdout
    return sorted({line.strip() for line in output.splitlines() if line.strip()})


def files(domain: str) -> Iterator[str]:
    """Yield path, mode, owner and digest of everything that no package owns unchanged."""
    packaged = set(run("cat /var/lib/dpkg/info/*.list"))
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            for path in (Path(folder, name) for name in folders + names):
                if OWN.match(str(path)) or HISTORY.search(str(path)):
                    continue
                status = path.lstat()
                content = ""
                if path.is_symlink():
                    content = f"-> {path.readlink()}"
                elif path.is_file() and path.suffix != ".pem":
                    text = DIFFERS.sub(b"", path.read_bytes().replace(domain.encode(), b"DOMAIN"))
                    if str(path) in packaged and b"codeintel.mcp_edge" not in text:
                        continue
                    content = hashlib.sha256(text).hexdigest()[:12]
                elif str(path) in packaged:
                    continue
                line = f"{path} {status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
                for pattern, word in WORDS:
                    line = pattern.sub(word, line)
                yield line


found = {kind: run(command) for kind, command in COMMANDS.items()}
found["files"] = sorted(set(files(sys.argv[1])))
print(json.dumps(found))
