"""Pieces of a self-contained HTML page: colours, style, tables, bars and pictures.

Whatever is text is escaped here; arguments named `*_html` are HTML already.
"""

from __future__ import annotations

import base64
import html
import pathlib
import string
from typing import Any, Iterable, Optional, Sequence, Tuple

# Contrast by WCAG 2.1, against `page` and `panel` alike: text at least 7 to 1, `muted`
# and `accent` 4.5, what charts are drawn in 3 (tests/test_report.py).
LIGHT = {
    "page": "#ffffff",
    "panel": "#f4f6f8",
    "line": "#d8dde3",
    "text": "#16191d",
    "muted": "#525b66",
    "accent": "#1a5694",
    "first": "#1a5694",
    "second": "#b45309",
    "third": "#2b7a3d",
    "grey": "#78828d",
    "warning": "#fff4de",
}
DARK = {
    "page": "#14171b",
    "panel": "#1d2227",
    "line": "#39414a",
    "text": "#e9ecef",
    "muted": "#a9b3bd",
    "accent": "#84bdf3",
    "first": "#84bdf3",
    "second": "#f0a55c",
    "third": "#83cf93",
    "grey": "#8a949f",
    "warning": "#332a17",
}

_STYLE = """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.shell{max-width:1500px;margin:0 auto;padding:0 clamp(16px,3vw,48px) 64px}
header{padding:40px 0 8px}
.eyebrow{margin:0;color:var(--muted);font-size:14px}
h1{margin:4px 0 8px;font-size:clamp(26px,3.2vw,38px);line-height:1.15;
 letter-spacing:-.015em;overflow-wrap:anywhere}
h2{margin:56px 0 12px;font-size:22px;line-height:1.25;letter-spacing:-.01em;
 scroll-margin-top:16px}
h3{margin:28px 0 8px;font-size:16px}
p{margin:8px 0;max-width:72ch}
a{color:var(--accent)}
.lead{color:var(--muted);max-width:72ch}
nav{overflow-x:auto;border-bottom:1px solid var(--line);margin:16px 0 0}
nav ul{display:flex;gap:20px;list-style:none;margin:0;padding:8px 0}
nav a{white-space:nowrap;text-decoration:none;font-size:14px}
nav a:hover,nav a:focus{text-decoration:underline}
.notes{background:var(--warning);border-radius:8px;padding:12px 18px;margin:20px 0}
.notes ul{margin:0;padding-left:1.1em}
.notes li{margin:4px 0;max-width:90ch}
.cards{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));
 margin:24px 0}
.card{background:var(--panel);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:28px;line-height:1.2;font-weight:600;
 font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.card span{display:block;font-size:14px}
.card small{display:block;color:var(--muted);font-size:13px;line-height:1.4}
.scroll{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:7px 18px 7px 0;text-align:right;border-bottom:1px solid var(--line);
 vertical-align:top;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
.left,tr.group th{text-align:left;white-space:normal}
.left{min-width:min(150px,36vw);overflow-wrap:break-word}
thead th{color:var(--muted);font-weight:500;vertical-align:bottom;white-space:normal}
tr.own td{font-weight:600}
tr.group th{padding-top:18px;color:var(--muted);font-weight:500}
.bars{display:grid;gap:8px;margin:16px 0;max-width:900px}
.bar{display:grid;grid-template-columns:minmax(180px,34%) 1fr 4.5em;gap:12px;
 align-items:center;font-size:14px}
.bar .value{text-align:right;font-variant-numeric:tabular-nums}
.track{height:14px;position:relative}
.fill{position:absolute;inset:0 auto 0 0;border-radius:0 3px 3px 0;
 background:var(--grey)}
.own .fill{background:var(--first)}
.own{font-weight:600}
.quoted .fill{background:none;border:1.5px solid var(--grey);border-left:0}
.dots .track{height:22px;background:linear-gradient(var(--line),var(--line))
 center/100% 1px no-repeat}
.dots .bar{grid-template-columns:minmax(110px,22%) 1fr 15em}
.dot{position:absolute;top:50%;width:13px;height:13px;border-radius:50%;
 transform:translate(-50%,-50%)}
.dot.first{background:var(--first)}
.dot.second{background:none;border:3px solid var(--second)}
.tick{position:absolute;top:0;bottom:0;width:3px;transform:translateX(-50%);
 background:var(--text)}
.key{display:flex;flex-wrap:wrap;gap:6px 20px;font-size:14px;color:var(--muted);
 margin:8px 0}
.key i{display:inline-block;position:relative;width:16px;height:16px;margin-right:6px;
 vertical-align:-3px}
.key i>*{left:50%}
figure{margin:20px 0}
figcaption{font-size:14px;color:var(--muted);max-width:84ch;margin-top:8px}
figcaption b{color:var(--text)}
.picture{background:#fff;border-radius:10px;padding:8px;overflow-x:auto;
 width:fit-content;max-width:100%;
 border:1px solid var(--line)}
.picture img{display:block;width:100%;min-width:min(var(--least),var(--own));
 max-width:var(--own);height:auto}
.charts{display:grid;gap:24px 32px;margin:16px 0;
 grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr))}
.charts figure{margin:0;max-width:460px}
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",
 Roboto,"Noto Sans",sans-serif;fill:var(--muted)}
svg .title{fill:var(--text);font-size:13px;font-weight:600}
svg .grid{stroke:var(--line)}
svg .zero{stroke:var(--grey)}
svg .level{stroke:var(--muted);stroke-dasharray:4 4}
svg .series{fill:none;stroke-width:2;stroke-linejoin:round}
svg .first{stroke:var(--first)}
svg .second{stroke:var(--second)}
svg .third{stroke:var(--third)}
svg .solid{fill:var(--first)}
svg .gap{fill:var(--second)}
svg .ideal{stroke:var(--text);stroke-width:1.5;stroke-dasharray:4 4}
dl{display:grid;grid-template-columns:minmax(120px,200px) 1fr;gap:6px 20px;
 font-size:15px;margin:12px 0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--panel);border-radius:8px;padding:12px 16px;
 white-space:pre-wrap;overflow-wrap:anywhere;
 font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
details{border-top:1px solid var(--line);padding:8px 0}
details:last-of-type{border-bottom:1px solid var(--line)}
summary{cursor:pointer;font-weight:500}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
footer{margin-top:56px;padding-top:12px;border-top:1px solid var(--line);
 color:var(--muted);font-size:14px}
@media (max-width:640px){
 svg{font-size:14px}
 svg .title{font-size:15px}
 .bar,.dots .bar{grid-template-columns:1fr auto;gap:2px 12px}
 .bar .track{grid-row:2;grid-column:1/-1}
 .dots .value{font-size:13px}
 .cards{grid-template-columns:1fr 1fr}
 .card b{font-size:24px}
 dl{grid-template-columns:1fr;gap:0}
 dd{margin-bottom:10px}
 h2{margin-top:44px}
}
@media (min-width:1280px){
 .body{display:grid;grid-template-columns:190px minmax(0,1fr);gap:48px}
 nav{border:0;margin:0;overflow:visible}
 nav ul{position:sticky;top:24px;flex-direction:column;gap:4px;padding:24px 0}
 main>section:first-child h2{margin-top:20px}
}
@media print{
 body{font-size:11pt}
 nav{display:none}
 .body{display:block}
 .shell{padding:0;max-width:none}
 figure,.card,.bar,tr,pre{break-inside:avoid}
 h2,h3{break-after:avoid}
 .picture{padding:0;border:0}
 .picture img{min-width:0}
 .scroll{overflow:visible}
 *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""

_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root{$light}
@media screen and (prefers-color-scheme:dark){:root{$dark}}
$style</style>
</head>
<body>
<div class="shell">
<header>
<p class="eyebrow">$eyebrow</p>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
<div class="body">
<nav aria-label="Sections"><ul>$links</ul></nav>
<main>
$sections
</main>
</div>
<footer>$footer</footer>
</div>
</body>
</html>
""")

Section = Tuple[str, str, str]


def text(value: Any) -> str:
    """Returns a value as escaped text."""
    return html.escape(str(value), quote=True)


def page(
    *, title: str, eyebrow: str, lead: str, footer: str, sections: Sequence[Section]
) -> str:
    """Returns the whole page.

    Args:
      title: its heading.
      eyebrow: the line above it.
      lead: the sentence below it.
      footer: its last line.
      sections: (anchor, heading, HTML) in order.
    """

    def variables(colors):
        return "".join(f"--{name}:{value};" for name, value in colors.items())

    links = "".join(
        f'<li><a href="#{anchor}">{text(heading)}</a></li>'
        for anchor, heading, _ in sections
    )
    bodies = "\n".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{text(heading)}</h2>'
        f"\n{body_html}</section>"
        for anchor, heading, body_html in sections
    )
    return _PAGE.substitute(
        title=text(title),
        eyebrow=text(eyebrow),
        lead=text(lead),
        footer=text(footer),
        light=variables(LIGHT),
        dark=variables(DARK),
        style=_STYLE.lstrip(),
        links=links,
        sections=bodies,
    )


def paragraph(words: str, kind: str = "") -> str:
    """Returns a paragraph, of a style's class where one is named."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{text(words)}</p>\n"


def notes(sentences: Iterable[str]) -> str:
    """Returns a box of what a reader must know; nothing where there is nothing."""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f'<div class="notes" role="note"><ul>{items}</ul></div>\n' if items else ""


def cards(items: Iterable[Tuple[str, str, str]]) -> str:
    """Returns headline figures: (value, name, what to compare it with)."""
    inner = "".join(
        f'<div class="card"><span>{text(name)}</span><b>{text(value)}</b>'
        f"<small>{text(words)}</small></div>"
        for value, name, words in items
    )
    return f'<div class="cards">{inner}</div>\n'


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    own: Sequence[int] = (),
    num_left: int = 1,
) -> str:
    """Returns a table that scrolls where the page is narrower.

    Args:
      heads: of the columns.
      rows: cells; a row of one cell is the heading of those below it.
      own: rows that stand out.
      num_left: how many columns of words there are, before those of numbers.
    """

    def cells(tag: str, values: Sequence[Any]) -> str:
        return "".join(
            f"<{tag}{' class=left' if index < num_left else ''}>{text(value)}"
            f"</{tag.split()[0]}>"
            for index, value in enumerate(values)
        )

    body = ""
    for index, row in enumerate(rows):
        if len(row) == 1 and len(heads) > 1:
            body += f'<tr class="group"><th colspan="{len(heads)}">{text(row[0])}</th>'
        else:
            body += '<tr class="own">' if index in own else "<tr>"
            body += cells("td", row)
        body += "</tr>"
    head = cells('th scope="col"', heads)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def bars(items: Sequence[Tuple[str, float, str]], kind_words: str) -> str:
    """Returns horizontal bars on one scale from 0.

    Args:
      items: (name, value, kind): `own`, `quoted` or anything else.
      kind_words: says what the lengths are.
    """
    longest = max((value for _, value, _ in items), default=0.0) or 1.0
    inner = "".join(
        f'<div class="bar {text(kind)}"><span>{text(name)}</span>'
        f'<span class="track"><span class="fill" '
        f'style="width:{100 * max(value, 0) / longest:.2f}%"></span></span>'
        f'<span class="value">{value:.3f}</span></div>'
        for name, value, kind in items
    )
    return (
        f'<div class="bars" role="group" aria-label="{text(kind_words)}">'
        f"{inner}</div>\n"
    )


def dots(
    items: Iterable[Tuple[str, float, Optional[float], Optional[float]]],
    names: Tuple[str, str, str],
) -> str:
    """Returns, per line from 0 to 1, a true value as a tick and two guesses as dots.

    Args:
      items: (name, truth, first guess, second guess); None for no guess.
      names: of the truth and the guesses.
    """
    kinds = ("tick", "dot first", "dot second")
    key = "".join(
        f'<span><i><span class="{kind}"></span></i>{text(name)}</span>'
        for kind, name in zip(kinds, names)
    )
    inner = ""
    for name, *values in items:
        marks = "".join(
            f'<span class="{kind}" style="left:{100 * value:.2f}%"></span>'
            for kind, value in zip(kinds, values)
            if value is not None
        )
        shown = ", ".join(
            f"{short} {'—' if value is None else format(value, '.2f')}"
            for short, value in zip(names, values)
        )
        inner += (
            f'<div class="bar"><span>{text(name)}</span>'
            f'<span class="track">{marks}</span>'
            f'<span class="value">{text(shown)}</span></div>'
        )
    return f'<div class="key">{key}</div><div class="bars dots">{inner}</div>\n'


def definitions(items: Iterable[Tuple[str, Any]]) -> str:
    """Returns terms with what they are."""
    inner = "".join(f"<dt>{text(term)}</dt><dd>{text(is_)}</dd>" for term, is_ in items)
    return f"<dl>{inner}</dl>\n"


def details(summary: str, body_html: str) -> str:
    """Returns something that is unfolded by a click."""
    return f"<details><summary>{text(summary)}</summary>{body_html}</details>\n"


def code(lines: str) -> str:
    """Returns commands to copy."""
    return f"<pre><code>{text(lines)}</code></pre>\n"


def picture(
    path: pathlib.Path, *, title: str, caption: str, least_width: int = 760
) -> str:
    """Returns a PNG file inside the page, which scrolls where the page is narrower.

    Args:
      path: of the file.
      title: first words of the caption.
      caption: how to read the picture; also what screen readers hear.
      least_width: pixels below which it is not shrunk.
    """
    content = path.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    # A PNG file's width is in its bytes 16 to 19.
    width = int.from_bytes(content[16:20], "big")
    return (
        f'<figure><div class="picture" tabindex="0" '
        f'style="--least:{least_width}px;--own:{width}px">'
        f'<img alt="{text(title)}. {text(caption)}" src="data:image/png;base64,{data}">'
        f"</div><figcaption><b>{text(title)}.</b> {text(caption)}</figcaption>"
        "</figure>\n"
    )


def charts(figures: Iterable[Tuple[str, str]]) -> str:
    """Returns charts beside each other: (SVG, how to read it)."""
    inner = "".join(
        f"<figure>{svg_html}<figcaption>{text(caption)}</figcaption></figure>"
        for svg_html, caption in figures
    )
    return f'<div class="charts">{inner}</div>\n'
