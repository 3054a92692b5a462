"""How tables, figures and sections become one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from html import escape
from io import StringIO

import numpy as np

from ._common import import_pyplot

__all__ = [
    "as_svg",
    "embed_figure",
    "embed_svg",
    "folded",
    "frame",
    "page",
    "paragraphs",
    "section",
    "table",
]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --paper: #ffffff; --mark: #9a4a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d;
  --paper: #14181d; --mark: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .5rem 0; }
.soft { color: var(--soft); font-size: .92em; }
.warn { border-left: 4px solid var(--mark); padding: .1rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; max-width: 26rem; }
th { font-weight: 600; color: var(--soft); overflow-wrap: normal; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.changed td { color: var(--mark); font-weight: 600; }
figure { margin: .8rem 0; break-inside: avoid; }
figure > div { background: #ffffff; border: 1px solid var(--line); border-radius: 6px;
  padding: .4rem; display: inline-block; max-width: 100%; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .92em; max-width: 46rem; margin-top: .3rem; }
circle.trial { fill: transparent; stroke: none; }
circle.trial:hover { stroke: #000000; stroke-width: 1.5; }
details > summary { cursor: pointer; color: var(--soft); }
@media print { :root { --ink: #000000; --soft: #444444; --line: #bbbbbb; --paper: #ffffff;
  --mark: #7a3a00; } body { font-size: 10pt; }
  main { padding: 0; max-width: none; } h2 { break-after: avoid; }
  tr, figure { break-inside: avoid; } }
"""


def page(title, body):
    """Make a whole page; the title is escaped, the body is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(str(title))}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def frame(html):
    """Embed a page in another one, so that neither affects the style of the other."""
    return (
        f'<iframe srcdoc="{escape(html)}" style="width: 100%; height: 40rem; border: 0" '
        'title="report of a fit"></iframe>'
    )


def section(title, *parts):
    """Make a section: a heading and the parts that are not empty."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *(part for part in parts if part)])


def paragraphs(*texts, kind=""):
    """Escape texts and make them paragraphs."""
    style = f' class="{kind}"' if kind else ""
    return "\n".join(f"<p{style}>{escape(text)}</p>" for text in texts if text)


def folded(summary, *parts):
    """Fold parts away under a line that opens them."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def table(head, rows, changed=()):
    """Make a table with columns of numbers aligned at the right and `changed` rows highlighted.

    Texts are escaped; floats have three decimals.
    """
    numbers = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(head))]
    style = ['class="number"' if number else "" for number in numbers]

    def line(cells, tag, mark=""):
        cells = (f"<{f'{tag} {s}'.strip()}>{c}</{tag}>" for c, s in zip(cells, style, strict=True))
        return f"<tr{mark}>{''.join(cells)}</tr>"

    body = [
        line(map(_cell, row), "td", ' class="changed"' if i in changed else "")
        for i, row in enumerate(rows)
    ]
    top = line(map(escape, head), "th") if any(head) else ""
    return f'<div class="wide"><table>\n{top}\n' + "\n".join(body) + "\n</table></div>"


def _cell(value):
    if isinstance(value, float):
        return "&ndash;" if np.isnan(value) else f"{value:.3f}"
    return escape(str(value))


def embed_figure(figure, caption, alt):
    """Embed a matplotlib figure as an image in the page, and close the figure."""
    data = base64.b64encode(as_svg(figure).encode()).decode()
    image = f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'
    return _figure(image, caption)


def embed_svg(svg, caption, alt):
    """Embed an SVG drawing that responds to the mouse pointer."""
    return _figure(
        svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1), caption
    )


def _figure(content, caption):
    return f"<figure><div>{content}</div><figcaption>{escape(caption)}</figcaption></figure>"


def as_svg(figure, points=(), texts=()):
    """Convert a figure to SVG and close it; letters become outlines, which need no font.

    Parameters
    ----------
    figure : matplotlib Figure
    points : array-like of shape (n, 2)
        Positions that show a text under the mouse pointer, in pixels from the lower left of the
        figure at 72 pixels per inch.
    texts : sequence of str of length n
        Text of each position.
    """
    plt = import_pyplot()
    text = StringIO()
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": "jedi"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]  # without the link to a DTD
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    height = 72 * figure.get_size_inches()[1]
    spots = [
        f'<circle class="trial" cx="{x:.2f}" cy="{height - y:.2f}" r="4.5" fill="transparent">'
        f"<title>{escape(what)}</title></circle>"
        for (x, y), what in zip(points, texts, strict=True)
    ]
    return svg.replace("</svg>", "\n".join([*spots, "</svg>"]))
