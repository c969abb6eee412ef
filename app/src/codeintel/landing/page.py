"""The HTML of the page, from the files beside this module."""

from html import escape
from importlib.resources import files

from codeintel.landing.clients import SIGN_IN, Auth, Client, Step, clients

_FILES = files(__package__)
STYLE = (_FILES / "style.css").read_text()
SCRIPT = (_FILES / "script.js").read_text()
_PAGE = (_FILES / "page.html").read_text()


def render(mcp_url: str, auth: Auth, *, ready: bool) -> str:
    """Return the page; it can be read and copied from without its script."""
    sign_in = SIGN_IN[auth]
    return _PAGE.format(
        style=STYLE,
        script=SCRIPT,
        state="ready" if ready else "unready",
        state_text="Ready" if ready else "Not ready",
        sign_in=escape(sign_in.name),
        intro=escape(sign_in.intro),
        endpoint=_snippet(mcp_url),
        clients="\n".join(map(_client, clients(mcp_url, auth))),
    )


def _client(client: Client) -> str:
    steps = "\n".join(f"<li>{_step(step)}</li>" for step in client.steps)
    return f"<details>\n<summary>{escape(client.name)}</summary>\n<ol>\n{steps}\n</ol>\n</details>"


def _step(step: Step) -> str:
    parts = [escape(step.text)]
    if step.link:
        label, address = step.link
        parts.append(f'<p><a href="{escape(address)}">{escape(label)}</a></p>')
    if step.snippet:
        parts.append(_snippet(step.snippet))
    return "\n".join(parts)


def _snippet(text: str) -> str:
    return f'<div class="copy"><pre><code>{escape(text)}</code></pre></div>'
