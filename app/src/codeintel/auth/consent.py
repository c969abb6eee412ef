"""The page on which the owner lets a client in, or does not."""

import asyncio
import base64
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from html import escape

from cryptography.fernet import Fernet, InvalidToken
from limits import RateLimitItemPerMinute
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from codeintel.auth.passwords import is_password
from codeintel.auth.redirects import is_loopback, target_of
from codeintel.limiter import Limiter, RateLimitError
from codeintel.peer import client_key, network_key

PATH = "/consent"

SECONDS_TO_DECIDE = 600

ATTEMPTS = RateLimitItemPerMinute(10, 10)
"""Passwords that one address may try; others go on, among them the owner's."""

MAX_WAITING = 100
"""Passwords that may wait for their turn: one is hashed at a time, which takes 0.1 s and 32 MiB."""

MAX_NEIGHBOURS = 2
"""How many of them may be of one network, so that the owner's, from elsewhere, gets a turn."""

logger = logging.getLogger(__name__)

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1.1rem/1.6 system-ui, sans-serif; }
body { max-width: 26rem; margin: 8vh auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; line-height: 1.3; overflow-wrap: anywhere; }
p { overflow-wrap: anywhere; }
label, input { display: block; width: 100%; box-sizing: border-box; }
input { font: inherit; padding: .6em; margin: .3em 0 1em; }
button { font: inherit; padding: .6em 1.2em; margin: 0 .5em .5em 0; cursor: pointer; }
.wrong { border-left: .3em solid #c00; padding-left: .8em; }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""
_FORM = """<h1>Let {name} read the code here?</h1>
<p>It calls itself <strong>{name}</strong>, which anybody can{site}. You will be sent back to
<strong>{target}</strong>{here}. Allow it only if you have just asked for this.</p>
{wrong}<form method="post" action="/consent">
<input type="hidden" name="request" value="{request}">
<input type="hidden" name="proof" value="{proof}">
<label for="password">The owner's password</label>
<input id="password" name="password" type="password" autocomplete="current-password" autofocus>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny" formnovalidate>Deny</button>
</form>
</body>
</html>
"""
# Not a redirect: browsers apply form-action to all that the answer of a form leads to, and nobody
# knows where a client's callback leads on to.
_BACK = """<meta http-equiv="refresh" content="0;url={url}">
<h1>{title}</h1>
<p><a href="{url}">Go back to {target}</a>, if nothing happens by itself.</p>
</body>
</html>
"""
_NOTE = """<h1>{title}</h1>
<p>{text}</p>
</body>
</html>
"""


class ConsentRequest(BaseModel):
    """What a client has asked for; travels with the browser, which cannot read it."""

    client_id: str
    client: OAuthClientInformationFull | None = None  # as registered; others may crowd it out
    site: str = ""  # of the document that describes it
    name: str
    redirect_uri: str
    explicit: bool
    state: str | None = None
    scopes: list[str]
    challenge: str
    resource: str | None = None


class Consent:
    """Asks the owner. What is asked about travels with the browser, sealed; nothing is kept."""

    def __init__(
        self,
        key: bytes,
        public_url: str,
        password_hash: str,
        admit: Callable[[ConsentRequest], str],
        deny: Callable[[ConsentRequest], str],
    ) -> None:
        """Ask at `public_url`; `admit` and `deny` return where to send the browser."""
        self._key = key
        self._seal = Fernet(base64.urlsafe_b64encode(key))
        self._public_url = public_url
        self._password_hash = password_hash
        self._admit = admit
        self._deny = deny
        self._attempts = Limiter(ATTEMPTS, "password", name="password")
        self._turn = asyncio.Semaphore(1)
        self._waiting = Counter[str | None]()
        secure = public_url.startswith("https:")
        self._cookie = "__Host-codeintel-consent" if secure else "codeintel-consent"
        self._secure = secure

    def url(self, request: ConsentRequest) -> str:
        """Return the address of the page that asks about `request`."""
        sealed = self._seal.encrypt(request.model_dump_json(exclude_none=True).encode())
        return f"{self._public_url}{PATH}?request={sealed.decode()}"

    async def page(self, request: Request) -> Response:
        """Show who asks for what (GET)."""
        asked = self._unseal(request.query_params.get("request", ""))
        if asked is None:
            return _over()
        sealed = request.query_params["request"]
        browser = secrets.token_urlsafe(24)
        response = self._form(asked, sealed, browser)
        response.set_cookie(
            self._cookie,
            browser,
            max_age=SECONDS_TO_DECIDE,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    async def decide(self, request: Request) -> Response:
        """Do what the owner says (POST); only of the browser that was shown the page."""
        form = await request.form()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        sealed = fields.get("request", "")
        asked = self._unseal(sealed)
        browser = request.cookies.get(self._cookie, "")
        proof = self._proof(browser, sealed).encode()
        if asked is None or not hmac.compare_digest(fields.get("proof", "").encode(), proof):
            return _over()
        if fields.get("decision") != "allow":
            return _back("Not let in", asked, self._deny(asked))
        try:
            right = await self._is_right(fields.get("password", ""), request.scope)
        except RateLimitError as excess:
            response = _note("Too many passwords", f"Wait {excess.wait} seconds.", 429)
            response.headers["Retry-After"] = str(excess.wait)
            return response
        if not right:
            logger.warning("wrong password of the owner, for %s", asked.client_id)
            return self._form(asked, sealed, browser, wrong=True)
        logger.info("the owner let in %s, back to %s", asked.client_id, asked.redirect_uri)
        return _back("Let in", asked, self._admit(asked))

    async def _is_right(self, password: str, scope: Scope) -> bool:
        network = network_key(scope)
        if self._waiting[network] >= MAX_NEIGHBOURS or self._waiting.total() >= MAX_WAITING:
            raise RateLimitError("too many passwords at a time", 5)
        self._waiting[network] += 1
        try:
            async with self._turn:
                # Only now: who was turned away has not tried.
                if (client := client_key(scope)) is not None:
                    await self._attempts.count(client)
                return await asyncio.to_thread(is_password, password[:1000], self._password_hash)
        finally:
            self._waiting -= Counter([network])  # which drops what has come to nothing

    def _form(
        self, asked: ConsentRequest, sealed: str, browser: str, *, wrong: bool = False
    ) -> HTMLResponse:
        here = ", a program on the device that you use" if is_loopback(asked.redirect_uri) else ""
        site = f"; the document that says so is from <strong>{escape(asked.site)}</strong>"
        html = _FORM.format(
            name=escape(asked.name),
            site=site if asked.site else "",
            target=escape(target_of(asked.redirect_uri)),
            here=here,
            request=escape(sealed),
            proof=escape(self._proof(browser, sealed)),
            wrong='<p class="wrong" role="alert">That is not the password.</p>\n' if wrong else "",
        )
        return _html("Let a client in?", html, 403 if wrong else 200)

    def _proof(self, browser: str, sealed: str) -> str:
        return hmac.new(self._key, f"browser {browser} {sealed}".encode(), sha256).hexdigest()

    def _unseal(self, sealed: str) -> ConsentRequest | None:
        """Return what was sealed; None for what was not, by this release, or is over."""
        try:
            asked = self._seal.decrypt(sealed, SECONDS_TO_DECIDE)
            return ConsentRequest.model_validate_json(asked)
        except (InvalidToken, ValueError):
            return None


def _over() -> HTMLResponse:
    return _note(
        "This request is over",
        "It is too old, or was not begun in this browser. Start again in your client.",
        400,
    )


def _note(title: str, text: str, status: int) -> HTMLResponse:
    return _html(title, _NOTE.format(title=escape(title), text=escape(text)), status)


def _html(title: str, body: str, status: int) -> HTMLResponse:
    head = _HEAD.format(title=escape(title), style=_STYLE)
    headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # With no-referrer a browser says that a form is from null, which the guard refuses.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(head + body, status, headers=headers)


def _back(title: str, asked: ConsentRequest, url: str) -> HTMLResponse:
    target = escape(target_of(asked.redirect_uri))
    return _html(title, _BACK.format(title=title, url=escape(url), target=target), 200)
