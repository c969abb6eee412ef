"""A run as a picture: an SVG with a lane for each protocol and kind, over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from steady.plan import Plan
from steady.record import GET, KINDS, Log, Sample

WIDTH = 1200
LEFT, RIGHT, TOP = 150, 24, 74
LANE, BAR, SPACE = 64, 9, 12
FAST, SLOW = 1e-3, 10.0  # seconds at the bottom and the top of a lane
FEW_TICKS = 16
NAMES = {GET: "GET"} | {kind: f"call {kind}" for kind in KINDS if kind != GET}
BLUE, ORANGE, RED, GREY = "#1f6fb2", "#e08a00", "#c8102e", "#666"
COLOURS = {"ended": ORANGE, "broken": RED, "failed": RED}


class _Axis:
    """Where times are on the paper."""

    def __init__(self, log: Log) -> None:
        self.begin, self.end = log.begin, log.end
        self.zero = log.zero

    def x(self, when: float) -> float:
        share = (min(max(when, self.begin), self.end) - self.begin) / (self.end - self.begin)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> Iterator[float]:
        """Give round offsets, from the beginning to the end."""
        steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
        step = next((s for s in steps if (self.end - self.begin) / s <= FEW_TICKS), steps[-1])
        offset = math.ceil((self.begin - self.zero) / step) * step
        while offset <= self.end - self.zero:
            yield offset
            offset += step


def draw(plan: Plan, log: Log, command: Sequence[str]) -> str:
    """Return the SVG."""
    axis = _Axis(log)
    body: list[str] = []
    y = float(TOP)
    for protocol in plan.protocols:
        for kind in KINDS:
            samples = [s for s in log.samples if (s.protocol, s.kind) == (protocol, kind)]
            if samples:
                body += _lane(axis, y, f"{protocol} {NAMES[kind]}", samples)
                y += LANE + SPACE
    for protocol in plan.protocols:
        lines = list(_streams(axis, y, protocol, log))
        if lines:
            body += lines
            y += plan.streams * BAR + SPACE
    back = list(_background(axis, y, log))
    height = y + 40
    words = " ".join(command) or "no command"
    title = f"{plan.target.url} while: {words}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
            f'viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{height:g}" fill="white"/>',
            _text(LEFT, 24, title if len(title) < WIDTH / 9 else f"{title[: WIDTH // 9]}…", 15),
            *_legend(),
            *back,
            *body,
            "</svg>\n",
        ]
    )


def _lane(axis: _Axis, y: float, name: str, samples: list[Sample]) -> Iterator[str]:
    width = WIDTH - LEFT - RIGHT
    yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{LANE}" fill="none" stroke="#ccc"/>'
    yield _text(LEFT - 40, y + LANE / 2, name, anchor="end")
    for seconds, label in ((0.01, "10 ms"), (0.1, "100 ms"), (1, "1 s")):
        level = _level(y, seconds)
        yield f'<path d="M{LEFT} {level:.1f}h{width}" stroke="#eee"/>'
        yield _text(LEFT - 3, level + 3, label, 8, "end")
    for sample in samples:
        x = axis.x(sample.due)
        at = _level(y, sample.seconds)
        took = f"{sample.due - axis.zero:+.2f} s, {sample.seconds * 1000:.0f} ms"
        tip = f"<title>{took} {escape(sample.error)}</title>"
        if sample.failure:
            yield (
                f'<path d="M{x - 4:.1f} {y + 3}l8 8m0 -8l-8 8" stroke="{RED}" stroke-width="2">'
                f"{tip}</path>"
            )
        else:
            colour = ORANGE if sample.renewed or sample.repeated else BLUE
            fill = "white" if sample.fresh else colour
            yield (
                f'<circle cx="{x:.1f}" cy="{at:.1f}" r="2.6" fill="{fill}" stroke="{colour}">'
                f"{tip}</circle>"
            )


def _streams(axis: _Axis, y: float, protocol: str, log: Log) -> Iterator[str]:
    lives = [life for life in log.lives if life.protocol == protocol]
    if lives:
        slots = 1 + max(life.slot for life in lives)
        yield _text(LEFT - 40, y + slots * BAR / 2 + 3, f"{protocol} streams", anchor="end")
    for life in lives:
        top = y + life.slot * BAR
        end = axis.x(life.over)
        tip = f"<title>{life.over - axis.zero:+.2f} s {life.ending} {escape(life.error)}</title>"
        if life.arrivals:
            begin = axis.x(life.begun)
            yield (
                f'<rect x="{begin:.1f}" y="{top}" width="{max(1, end - begin):.1f}" '
                f'height="{BAR - 3}" fill="#9cc3e6">{tip}</rect>'
            )
        if life.ending in COLOURS:
            yield (
                f'<rect x="{end - 1.5:.1f}" y="{top - 1}" width="3" height="{BAR - 1}" '
                f'fill="{COLOURS[life.ending]}">{tip}</rect>'
            )


def _background(axis: _Axis, bottom: float, log: Log) -> Iterator[str]:
    if log.command_begin is not None and log.command_end is not None:
        begin, end = axis.x(log.command_begin), axis.x(log.command_end)
        yield (
            f'<rect x="{begin:.1f}" y="{TOP - 6}" width="{max(2, end - begin):.1f}" '
            f'height="{bottom - TOP + 2:.1f}" fill="#fff3d6"/>'
        )
    for offset in axis.ticks():
        x = axis.x(axis.zero + offset)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom - 4}" stroke="#e4e4e4"/>'
        yield _text(x, bottom + 10, f"{offset:g}", anchor="middle")
    since = "the load began" if log.command_begin is None else "the command began"
    yield _text((LEFT + WIDTH - RIGHT) / 2, bottom + 27, f"seconds since {since}", anchor="middle")


def _legend() -> Iterator[str]:
    x, y = float(LEFT), 48
    marks = (
        (f'<circle cx="0" cy="-4" r="3" fill="{BLUE}" stroke="{BLUE}"/>', "kept connection"),
        (f'<circle cx="0" cy="-4" r="3" fill="white" stroke="{BLUE}"/>', "fresh connection"),
        (
            f'<circle cx="0" cy="-4" r="3" fill="{ORANGE}" stroke="{ORANGE}"/>',
            "asked again: session gone, or not taken",
        ),
        (f'<path d="M-4 -8l8 8m0 -8l-8 8" stroke="{RED}" stroke-width="2"/>', "failed"),
        ('<rect x="-8" y="-8" width="16" height="6" fill="#9cc3e6"/>', "event stream"),
        (f'<rect x="-1" y="-9" width="3" height="8" fill="{ORANGE}"/>', "ended"),
        (f'<rect x="-1" y="-9" width="3" height="8" fill="{RED}"/>', "broken, or not opened"),
        ('<rect x="-8" y="-10" width="16" height="12" fill="#fff3d6"/>', "the command runs"),
    )
    for mark, label in marks:
        yield f'<g transform="translate({x + 8:g} {y})">{mark}</g>{_text(x + 20, y, label)}'
        x += 44 + 6 * len(label)


def _level(y: float, seconds: float) -> float:
    """Return where a time is in its lane, on a scale of logarithms."""
    share = math.log(min(max(seconds, FAST), SLOW) / FAST) / math.log(SLOW / FAST)
    return y + LANE * (1 - share)


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{GREY}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
