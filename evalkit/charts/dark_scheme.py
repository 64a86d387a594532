"""Charts that follow the reader's colour scheme: an SVG image whose colours are others on a dark screen."""

from __future__ import annotations

import re

from evalkit.charts.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, RULE, VERMILION

# as bright on the dark paper of a report as the others are on white; series colours keep their hue
_DARK = {
    INK: "#e9e9ea", FAINT: "#a9adb3", RULE: "#3d4147", PAPER: "#17181a", BLUE: "#3f9fe0", ORANGE: "#e69f00",
    GREEN: "#1fbf92", VERMILION: "#ff8b4d",
}  # fmt: skip
_NAMES = {light.lower().encode(): f"--c{number}".encode() for number, light in enumerate(_DARK)}
_TAG = re.compile(rb"<[a-z][^>]*>")  # text has no < or >: they are escaped
_COLOUR = re.compile(rb"(fill|stroke): (#[0-9a-f]{6})")
_STYLE = b'<style type="text/css">'


def following(svg: bytes) -> bytes:
    """The SVG image of a chart, in dark colours where the reader's scheme is dark."""
    dark = ";".join(f"--c{number}:{colour}" for number, colour in enumerate(_DARK.values()))
    rule = f"@media (prefers-color-scheme:dark){{svg{{{dark}}}}}".encode()
    return _TAG.sub(_with_names, svg).replace(_STYLE, _STYLE + rule, 1)


def _with_names(tag: re.Match[bytes]) -> bytes:
    return _COLOUR.sub(_named, tag[0])


def _named(found: re.Match[bytes]) -> bytes:
    name = _NAMES.get(found[2])
    return found[0] if name is None else b"%s: var(%s,%s)" % (found[1], name, found[2])
