"""How a page looks to a browser: python -m probe.look URL [--flag=FLAG...] [--widths W...].

Prints what of it is read (by id), what the browser complains about, what does not fit into each
width, what its first button copies, and a screenshot of each width (PNG in base64).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from probe import chromium

READ = """
Object.fromEntries([...document.querySelectorAll("[id]")].map(
  e => [e.id, e.checkVisibility() ? e.innerText : null]
))
"""
OPEN = "for (const part of document.querySelectorAll('details')) part.open = {open}"
# What is wider than the window, or than the box that it is in, would have to be scrolled.
TOO_WIDE = """
[...document.querySelectorAll("html, body *")].filter(
  e => e.getBoundingClientRect().right > innerWidth + 0.5 || e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).display !== "inline"
).map(e => e.outerHTML.slice(0, 80))
"""
COPY = """
(async () => {
  const button = document.querySelector("button");
  if (!button) return null;
  const said = new Promise(seen => {
    new MutationObserver(() => seen(button.textContent)).observe(button, {childList: true});
  });
  button.click();
  return [await said, await navigator.clipboard.readText()];
})()
"""


async def look(url: str, flags: list[str], widths: list[int], root: str | None) -> dict[str, Any]:
    """Visit the page, and return what was seen."""
    async with chromium.page(*flags, root=root) as page:
        await page.visit(url)
        seen = {"read": await page.evaluate(READ), "too_wide": {}, "shots": {}}
        for width in widths:
            await resize(page, width, 900)
            await page.evaluate(OPEN.format(open="true"))
            seen["too_wide"][width] = await page.evaluate(TOO_WIDE)
            await page.evaluate(OPEN.format(open="false"))
            await resize(page, width, await page.evaluate("document.documentElement.scrollHeight"))
            shot = await page.call("Page.captureScreenshot", format="png")
            seen["shots"][width] = shot["data"]
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        await page.call("Browser.grantPermissions", permissions=allowed)
        seen["copied"] = await page.evaluate(COPY)
        seen["complaints"] = page.complaints()
        return seen


async def resize(page: chromium.Page, width: int, height: int) -> None:
    """Give the window another size; a narrow one is a phone's."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    await page.call("Emulation.setDeviceMetricsOverride", **size)


def main() -> None:
    """Print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument(
        "--flag", action="append", default=[], help="of Chromium's, again and again"
    )
    parser.add_argument("--widths", nargs="*", type=int, default=[320, 1280], help="in CSS pixels")
    parser.add_argument("--root", help="certificate to trust")
    options = parser.parse_args()
    seen = asyncio.run(look(options.url, options.flag, options.widths, options.root))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
