"""Odd HTTP/3 requests: mutations(seed) gives the same ones for the same seed, without end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, StreamType

from probe import frames

# Where a step acts: on a new request stream, on a new unidirectional one, or on those that every
# connection has; CONNECTION means a new connection, whose control stream begins with the data.
REQUEST, UNI, CONTROL, ENCODER, DECODER, CONNECTION = range(6)
MOST = (1 << 62) - 1  # the largest number of QUIC
TEXT = b"abcdefghijklmnopqrstuvwxyz0123456789-_.~/%?&=:@!$'()*+,; "


@dataclass(frozen=True)
class Step:
    """One act: send data, and then perhaps end, reset or stop the stream."""

    where: int
    data: bytes = b""
    end: bool = False
    reset: int | None = None  # the code of RESET_STREAM
    stop: int | None = None  # the code of STOP_SENDING


@dataclass(frozen=True)
class Mutation:
    """Something odd, in steps; due says that the server owes an answer or a refusal."""

    kind: str
    steps: tuple[Step, ...]
    due: bool


Steps = list[Step]


def junk(random: Random, most: int) -> bytes:
    """Return up to so many bytes: any, text, or one byte over and over."""
    size = random.choice([0, 1, 2, random.randrange(most + 1), random.randrange(min(most, 64) + 1)])
    form = random.randrange(3)
    if form == 0:
        return random.randbytes(size)
    if form == 1:
        return bytes(random.choices(TEXT, k=size))
    return bytes([random.randrange(256)]) * size


def number(random: Random) -> int:
    """Return a number that QUIC can carry, often one at an edge."""
    return random.choice([0, 1, 63, 64, 16383, 16384, 1 << 30, MOST, random.randrange(1 << 16)])


def whole(*parts: bytes) -> Steps:
    """Return one request with its end."""
    return [Step(REQUEST, b"".join(parts), end=True)]


def methods(random: Random) -> Steps:
    known = [
        b"HEAD",
        b"OPTIONS",
        b"TRACE",
        b"PATCH",
        b"PUT",
        b"DELETE",
        b"PRI",
        b"get",
        b"G T",
        b"",
    ]
    method = random.choice([*known, junk(random, 300)])
    path = random.choice([b"/", b"*", b"/early", b"/upload"])
    body = frames.data(junk(random, 500)) if random.random() < 0.5 else b""
    return whole(frames.headers(frames.request(method=method, path=path)), body)


def paths(random: Random) -> Steps:
    known = [
        *(b"", b"*", b"?", b"#", b"//", b"/../../etc", b"/%", b"/%zz", b"/%00", b"/\x00", b"/ "),
        *(b"/a\r\nX: y", b"https://echo.test/", b"echo.test:443", b"/\xff\xfe", b"/%ff?%ff"),
        *(b"/caf\xc3\xa9", b"relative", b"/" + b"a" * 9000, b"/?" + b"b" * 20000, b"/;//x@y"),
    ]
    path = random.choice([*known, b"/" + junk(random, 2000), junk(random, 100)])
    return whole(frames.headers(frames.request(path=path)))


def fields(random: Random) -> Steps:
    """Names and values, of which the forbidden ones are rare: they end the connection."""
    good = [b"x", b"cookie", b"accept", b"x-forwarded-for", b"forwarded", b"range", b"priority"]
    bad = [b"X-Upper", b"", b"te", b"connection", b"x\r\ny", b":colon", junk(random, 60)]
    fine = [b"", b"x" * 5000, b"close", b"a=b; c", b"\xff" * 9, b"\xc3\xa9", b'"', b"1, 2"]
    worse = [b" pad ", b"a\x00b", b"a\r\nb: c", junk(random, 200)]
    lines = [
        (
            random.choice(good if random.random() < 0.96 else bad),
            random.choice(fine if random.random() < 0.96 else worse),
        )
        for _ in range(random.choice([1, 2, 5]))
    ]
    return whole(frames.headers(frames.request() + lines))


def many_fields(random: Random) -> Steps:
    count = random.choice([50, 100, 101, 300, 1000])
    size = random.choice([0, 10, 100]) if count < 1000 else 0
    lines = [(b"x-%d" % i, b"v" * size) for i in range(count)]
    return whole(frames.headers(frames.request() + lines))


def large_fields(random: Random) -> Steps:
    size = random.choice([4096, 8192, 16384, 32768, 65536, 100000])
    line = (b"x", b"v" * size) if random.random() < 0.5 else (b"n" * size, b"v")
    return whole(frames.headers([*frames.request(), line]))


def connection_fields(random: Random) -> Steps:
    lines = [
        *((b"connection", b"close"), (b"keep-alive", b"5"), (b"proxy-connection", b"x")),
        *((b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"upgrade", b"websocket")),
        *((b"te", b"gzip"), (b"te", b"trailers"), (b"expect", b"100-continue")),
        *((b"host", b"other.test"), (b"host", b""), (b"host", b"a b"), (b"http2-settings", b"AA")),
    ]
    chosen = random.sample(lines, random.randrange(1, 4))
    return whole(frames.headers(frames.request() + chosen))


def pseudo_fields(random: Random) -> Steps:
    lines = list(frames.REQUEST)
    for _ in range(random.randrange(1, 3)):
        act = random.randrange(6)
        at = random.randrange(len(lines)) if lines else 0
        if act == 0 and lines:
            del lines[at]
        elif act == 1 and lines:
            lines.append(lines[at])
        elif act == 2:
            lines.insert(0, (b"x-first", b"1"))
        elif act == 3:
            random.shuffle(lines)
        elif act == 4:
            unknown = [b":status", b":protocol", b":path", b":", b":x", b":Method"]
            lines.insert(at, (random.choice(unknown), random.choice([b"200", b"websocket", b""])))
        elif lines:
            lines[at] = (
                lines[at][0],
                random.choice([b"", b" ", b"http", b"\x00", junk(random, 50)]),
            )
    return whole(frames.headers(lines))


def connect(random: Random) -> Steps:
    lines: frames.Fields = [(b":method", b"CONNECT"), (b":authority", b"echo.test:443")]
    extras = [(b":scheme", b"https"), (b":path", b"/chat"), (b":protocol", b"websocket")]
    extras += [(b":protocol", b"connect-udp"), (b"sec-websocket-version", b"13")]
    lines += random.sample(extras, random.randrange(len(extras) + 1))
    lines.sort(key=lambda line: not line[0].startswith(b":"))
    body = frames.data(junk(random, 200)) if random.random() < 0.5 else b""
    return [Step(REQUEST, frames.headers(lines) + body, end=random.random() < 0.7)]


def lengths(random: Random) -> Steps:
    """A Content-Length that does not fit."""
    body = junk(random, 2000)
    odd = [b"0", b"-1", b"+5", b"1e3", b"0x10", b"", b" 5", b"5, 5", b"9" * 30, b"\xb2", b"1_0"]
    said = random.choice([*odd, b"%d" % (len(body) + 1), b"%d" % max(len(body) - 1, 0)])
    lines = [*frames.request(method=b"POST", path=b"/upload"), (b"content-length", said)]
    if random.random() < 0.2:
        lines.append((b"content-length", b"%d" % len(body)))
    return whole(frames.headers(lines), frames.data(body))


def trailers(random: Random) -> Steps:
    lines = random.choice(
        [
            [(b"x-trailer", b"1")],
            [(b":path", b"/again")],
            [(b"content-length", b"5")],
            [(b"X-Upper", b"1")],
            [],
            [(junk(random, 30), junk(random, 30))],
        ]
    )
    parts = [frames.headers(frames.request(method=b"POST", path=b"/upload"))]
    parts += [frames.data(junk(random, 300))] * random.randrange(3)
    parts += [frames.headers(lines)] * random.randrange(1, 3)
    if random.random() < 0.3:
        parts.append(frames.data(b"after the trailers"))
    return whole(*parts)


def bodies(random: Random) -> Steps:
    """Bodies in odd pieces, many for handlers that answer before they read."""
    path = random.choice([b"/early", b"/upload", b"/fuzz"])
    head = frames.headers(frames.request(method=b"POST", path=path))
    form = random.randrange(3)
    if form == 0:
        return whole(head, *[frames.data(b"")] * random.randrange(200))
    if form == 1:
        return whole(head, *[frames.data(b"x")] * random.randrange(200))
    return [Step(REQUEST, head), *whole(frames.data(bytes(random.choice([1, 5000, 60000]))))]


def resets(random: Random) -> Steps:
    """Requests that the client gives up, before, in or after them."""
    code = random.choice([ErrorCode.H3_REQUEST_CANCELLED, ErrorCode.H3_NO_ERROR, number(random)])
    path = random.choice(
        [b"/early", b"/upload", b"/events", b"/download?bytes=300000", b"/unread?seconds=1"]
    )
    head = frames.headers(frames.request(method=random.choice([b"GET", b"POST"]), path=path))
    begin = random.choice([b"", head[: random.randrange(len(head))], head])
    if begin == head and random.random() < 0.5:
        begin += frames.data(junk(random, 3000))
    acts: list[Steps] = [
        [Step(REQUEST, begin, reset=code)],
        [Step(REQUEST, begin, stop=code)],
        [Step(REQUEST, begin, reset=code, stop=code)],
        [Step(REQUEST, begin), Step(REQUEST, reset=code)],
        [Step(REQUEST, begin), Step(REQUEST, stop=code), Step(REQUEST, frames.data(b"more"))],
        [Step(REQUEST, begin, end=True, stop=code)],
    ]
    return random.choice(acts)


def misplaced(random: Random) -> Steps:
    """Frames where they do not belong, and such as nobody knows."""
    kinds = [kind.value for kind in FrameType] + [0x2, 0x6, 0x8, 0x9, 0x21, 0x40, MOST]
    kinds.remove(FrameType.WEBTRANSPORT_STREAM)
    odd = frames.frame(
        random.choice([*kinds, 0x1F * random.randrange(99) + 0x21]), junk(random, 90)
    )
    good = [frames.headers(frames.request(method=b"POST", path=b"/upload")), frames.data(b"x")]
    good.insert(random.randrange(3), odd)
    return whole(*good)


def web_transport(random: Random) -> Steps:
    """A frame after which aioquic takes all for WebTransport, so that no request ever ends."""
    odd = frames.frame(FrameType.WEBTRANSPORT_STREAM, junk(random, 90))
    good = [frames.headers(frames.request(method=b"POST", path=b"/upload")), frames.data(b"x")]
    good.insert(random.randrange(3), odd)
    return whole(*good)


def before_headers(random: Random) -> Steps:
    return whole(frames.data(junk(random, 100)), frames.headers(frames.request()))


def truncated(random: Random) -> Steps:
    """Frames that promise more than comes, or end within their head."""
    good = frames.headers(frames.request(method=b"POST")) + frames.data(junk(random, 300))
    if random.random() < 0.5:
        return whole(good[: random.randrange(len(good))])
    lie = frames.frame(random.choice([0, 1, 0x21]), junk(random, 100), length=number(random))
    return [Step(REQUEST, random.choice([b"", good]) + lie, end=random.random() < 0.7)]


def flipped(random: Random) -> Steps:
    """A good request with some bytes changed, left out or put in."""
    method, path = random.choice([(b"GET", b"/"), (b"POST", b"/upload"), (b"POST", b"/early")])
    lines = [*frames.request(method=method, path=path), (b"accept", b"*/*")]
    good = bytearray(frames.headers(lines) + frames.data(b"some bytes of a body"))
    for _ in range(random.choice([1, 1, 1, 2, 4, 8])):
        at = random.randrange(len(good))
        act = random.randrange(4)
        if act == 0:
            good[at] ^= 1 << random.randrange(8)
        elif act == 1:
            good[at] = random.randrange(256)
        elif act == 2 and len(good) > 1:
            del good[at]
        else:
            good.insert(at, random.randrange(256))
    return [Step(REQUEST, bytes(good), end=random.random() < 0.8)]


def field_sections(random: Random) -> Steps:
    """Field sections that point to what is not there, or are no field sections."""
    odd = [
        b"\x05\x00\x80",  # needs entries that were never inserted: blocked
        b"\x00\x00\xff\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # an index without end
        b"\x00\x00\xff\x24",  # a static entry that does not exist
        b"\x00\x00\x80",  # a dynamic entry where there is no table
        b"\x00\x00\x10",  # an entry after the base
        b"\x00\x80",  # a base below nothing
        b"\x00\x00\x2f\xff\xff\xff\xff\x7f",  # a name that is longer than the frame
        b"\x00\x00\x23abc\xff\xff",  # a value that is longer than the frame
        b"\x00\x00\x2b" + b"\xff" * 3,  # padding that is no Huffman code
        b"\x00",
        b"",
    ]
    section = random.choice([*odd, b"\x00\x00" + junk(random, 100), junk(random, 40)])
    good = frames.block(frames.request())
    section = random.choice([section, good + section[2:]])
    return [Step(REQUEST, frames.frame(FrameType.HEADERS, section), end=True)]


def qpack_streams(random: Random) -> Steps:
    """Instructions for tables and acknowledgements that nobody waits for."""
    encoder = [
        *(b"\x3f\xff\xff\xff\xff\x0f", b"\x3f\xe1\x1f", b"\x20"),  # capacities
        *(b"\xff\xff\xff\x7f\x01x", b"\x80\x01x", b"\x1f\xff\x7f", b"\x00"),  # no such entry
        b"\x43abc\x03def",
        b"\x3f\xe1\x1f" + b"\x43abc\x03def" * random.randrange(200),
    ]
    decoder = [
        *(b"\x00", b"\x01", b"\x3f\xff\x7f"),  # increments
        *(b"\x80", b"\x84", b"\xff\xff\x7f"),  # sections that nobody sent
        *(b"\x40", b"\x44", b"\x7f\xff\x7f"),  # streams that are cancelled
    ]
    where, known = random.choice([(ENCODER, encoder), (DECODER, decoder)])
    act = random.random()
    if act < 0.1:
        return [Step(where, end=True)]
    if act < 0.2:
        return [Step(where, reset=number(random))]
    return [Step(where, random.choice([*known, junk(random, 200)]))]


def control(random: Random) -> Steps:
    """Odd frames after good settings."""
    odd = [
        frames.settings([]),
        frames.frame(FrameType.GOAWAY, random.choice([b"", b"\x00", b"\x01", b"\x04", b"\xff"])),
        frames.frame(FrameType.MAX_PUSH_ID, random.choice([b"", b"\x00", b"\x08", b"\x00\x00"])),
        frames.frame(FrameType.CANCEL_PUSH, random.choice([b"", b"\x00", b"\x3f"])),
        frames.data(b"x"),
        frames.headers(frames.request()),
        frames.frame(number(random), junk(random, 100)),
        frames.frame(0x0F0700, b"u=1"),  # PRIORITY_UPDATE
        junk(random, 100),
    ]
    act = random.random()
    if act < 0.1:
        return [Step(CONTROL, end=True)]
    if act < 0.2:
        return [Step(CONTROL, reset=number(random))]
    return [Step(CONTROL, random.choice(odd))]


def beginnings(random: Random) -> Steps:
    """Connections whose control stream begins wrong, and then a request."""
    kind = encode_uint_var(StreamType.CONTROL)
    identifiers = [0x1, 0x6, 0x7, 0x8, 0x33, 0x2, 0x3, 0x4, 0x5, 0x21, 0xFFD277, 0x2B603742, MOST]
    odd = [
        b"",
        kind,
        kind + frames.settings([(random.choice(identifiers), number(random)) for _ in range(3)]),
        kind + frames.settings([(0x6, 1), (0x6, 1)]),
        kind + frames.settings([(0x1, MOST), (0x7, MOST)]),
        kind + frames.frame(FrameType.SETTINGS, junk(random, 60)),
        kind + frames.frame(FrameType.SETTINGS, b"\x01", length=number(random)),
        kind + frames.frame(random.choice([0x7, 0x0, 0x1, 0xD, 0x21]), b"\x00"),
        frames.CONTROL + frames.settings([]),
        junk(random, 60),
    ]
    return [Step(CONNECTION, random.choice(odd)), *whole(frames.headers(frames.request()))]


def one_way(random: Random) -> Steps:
    """Unidirectional streams of every kind, a second control stream among them."""
    kinds = [kind.value for kind in StreamType] + [0x21, 0x40, MOST]
    weights = [1] * len(StreamType) + [10, 10, 10]
    kind = encode_uint_var(random.choices(kinds, weights)[0])
    body = kind[: random.randrange(len(kind) + 1)] + random.choice([b"", junk(random, 200)])
    acts = [Step(UNI, body, end=True), Step(UNI, body, reset=number(random))]
    return [random.choice(acts)]


# How often each comes: those are rare that must end the connection, as a new one takes long.
KINDS: dict[Callable[[Random], Steps], int] = {
    methods: 10,
    paths: 10,
    fields: 10,
    many_fields: 2,
    large_fields: 2,
    connection_fields: 4,
    pseudo_fields: 4,
    connect: 4,
    lengths: 3,
    trailers: 3,
    bodies: 12,
    resets: 14,
    misplaced: 3,
    web_transport: 1,
    before_headers: 1,
    truncated: 3,
    flipped: 5,
    field_sections: 2,
    qpack_streams: 2,
    control: 2,
    beginnings: 1,
    one_way: 6,
}
# A section may wait for its table for ever, and no answer is owed where none can be: there a
# request is not ended, given up, or the connection's own streams are meant.
NEVER_DUE = {resets, web_transport, qpack_streams, control, one_way, field_sections}


def mutations(seed: int) -> Iterator[Mutation]:
    """Give odd things to do to a server, the same for the same seed."""
    random = Random(seed)
    kinds, weights = list(KINDS), list(KINDS.values())
    while True:
        make = random.choices(kinds, weights)[0]
        steps = tuple(make(random))
        due = make not in NEVER_DUE and steps[-1].end
        yield Mutation(make.__name__, steps, due)
