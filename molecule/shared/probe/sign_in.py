"""The owner lets a client in, with a browser: python -m probe.sign_in URL PASSWORD.

Prints the address that the browser is sent back to, what of the page does not fit into the width of
a phone, and what the browser complains about.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from probe import chromium, look

PHONE = 320  # CSS pixels
# As a person does: what the form may not do, a script that submits it could.
ALLOW = """
document.querySelector("input[type=password]").value = {password};
document.querySelector("button[value=allow]").click();
"""


async def sign_in(url: str, password: str, flags: list[str], root: str | None) -> dict[str, Any]:
    """Visit the page, give the password, and return where that leads."""
    async with chromium.page(*flags, root=root) as page:
        await look.resize(page, PHONE, 900)
        await page.visit(url)
        too_wide = await page.evaluate(look.TOO_WIDE)
        await page.evaluate(ALLOW.format(password=json.dumps(password)))
        back = await page.happened("Page.frameRequestedNavigation", reason="metaTagRefresh")
        return {"too_wide": too_wide, "back": back["url"], "complaints": page.complaints()}


def main() -> None:
    """Print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("password")
    parser.add_argument("--flag", action="append", default=[], help="of Chromium's")
    parser.add_argument("--root", help="certificate to trust")
    options = parser.parse_args()
    seen = asyncio.run(sign_in(options.url, options.password, options.flag, options.root))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
