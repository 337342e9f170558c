"""``finst inspect``: a picture of the input of a model, with the role of every token. Reads no weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from matplotlib.patheffects import withStroke

from finst.cli.options import Inspect
from finst.errors import FinstError, choice
from finst.prompts import scene_description
from finst.scenes.designs import grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture
from finst.vlm.encode import Encoded, encode, token_texts
from finst.vlm.open import Reader, open_reader
from finst.vlm.tokens import Kind, TokenMap, View

ROLES: dict[Kind, tuple[str, str]] = {
    "template": ("#e5e7eb", "chat template"),
    "text": ("#ffffff", "prompt text"),
    "image": ("#dbeafe", "picture"),
    "colour": ("#fde68a", "colour"),
    "noun": ("#bbf7d0", "noun"),
    "comma": ("#e9d5ff", "after an object"),
    "last": ("#fca5a5", "last: predicts the answer"),
    "answer": ("#fbcfe8", "answer"),
}
"""Fill colour and meaning, in the order of the legend."""

OBJECT_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#5a5a5a", "#a5aa00")
"""One colour per object, for the frames of its patches and of its words."""

INK = "#1f2937"
FAINT = "#6b7280"
FRAME = "#9ca3af"
SUFFIXES = (".png", ".pdf", ".svg")


def inspect(spec: Inspect) -> Path:
    """Draws and writes the picture; returns its path. Raises FinstError for bad input."""
    if spec.out.suffix not in SUFFIXES:
        raise choice("picture format", spec.out.suffix, SUFFIXES)
    if spec.objects < 2:
        raise FinstError(f"a description needs a described object and a target: expected 2 or more, not {spec.objects}")
    scene = grid_scene(
        np.random.default_rng(spec.seed), Grid.parse(spec.grid), spec.objects, spec.entropy, spec.jitter_px
    )
    reader = open_reader(spec.model, revision=spec.revision)
    picture = draw(scene)
    prompt = scene_description(scene, range(spec.objects - 1), spec.objects - 1, spec.placement)
    figure = token_figure(reader, picture, encode(reader, picture, prompt))
    try:
        spec.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(spec.out, dpi=150)
    except OSError as cause:
        raise FinstError(f"cannot write {spec.out}: {cause.strerror}") from cause
    return spec.out


def token_figure(reader: Reader, picture: Picture, encoded: Encoded) -> Figure:
    """The picture with its patch grid, the coverage of each patch, and the prompt with coloured roles.

    Where a model sees several views, the grid is that of the first view, and each view's coverage is drawn.
    """
    boxes = list(_boxes(reader, encoded))
    lines = _wrapped(boxes)
    prompt_inches = _LINE * len(lines) + 0.65
    picture_inches = 4.7
    height = picture_inches + prompt_inches + 0.6
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    tokens = encoded.tokens
    count = int((encoded.input_ids == reader.config.image_token_id).sum())
    title = f"{reader.id}: {len(tokens)} tokens, {count} of them for the picture ({tokens.layout})"
    figure.text(0.35 / _WIDTH, 1 - 0.38 / height, title, fontsize=13, weight="bold", color=INK)
    panels = 1 + len(tokens.views)
    side = (_WIDTH - 0.7 - 0.5 * (panels - 1)) / panels
    bottom = (prompt_inches + 0.1) / height
    axes_height = (picture_inches - 0.35) / height
    shown, *covered = (
        figure.add_axes(((0.35 + panel * (side + 0.5)) / _WIDTH, bottom, side / _WIDTH, axes_height))
        for panel in range(panels)
    )
    _draw_picture(shown, picture, tokens)
    for number, (axes, view, shares) in enumerate(zip(covered, tokens.views, _by_view(tokens), strict=True)):
        if tokens.unplaced:
            _draw_unplaced(axes, picture, tokens)
        else:
            alone = "share of each image token that shows an object, in %"
            title = alone if panels == 2 else f"view {number}: shares that show an object, in %"
            _draw_coverage(axes, picture, view, shares, title)
    words = figure.add_axes((0, 0, 1, (prompt_inches - 0.1) / height))
    _draw_prompt(words, lines, prompt_inches - 0.1)
    return figure


def _by_view(tokens: TokenMap) -> list[Float[np.ndarray, "object patch"]]:
    """The coverage of each view's patches."""
    ends = np.cumsum([view.areas.size for view in tokens.views])
    return np.split(tokens.coverage, ends[:-1], axis=1)


def _bare(axes: Axes, picture: Picture, view: View, title: str) -> None:
    axes.set(xlim=(0, picture.scene.width), ylim=(picture.scene.height, 0), aspect="equal", anchor="C")
    axes.set_title(title, loc="left", fontsize=9, color=FAINT)
    rows, cols = view.grid
    step = max(1, cols // 10, rows // 10)
    numbered = (rows, cols) != (1, 1)
    axes.set_xticks(view.cols.mean(axis=1)[::step], [str(c) if numbered else "" for c in range(cols)[::step]])
    axes.set_yticks(view.rows.mean(axis=1)[::step], [str(r) if numbered else "" for r in range(rows)[::step]])
    axes.tick_params(length=0, labelsize=7, labelcolor=FAINT)
    axes.spines[:].set_color(FRAME)
    left, top, right, bottom = view.window
    axes.vlines(np.unique(view.cols), top, bottom, color=FRAME, lw=0.5)
    axes.hlines(np.unique(view.rows), left, right, color=FRAME, lw=0.5)


def _draw_picture(axes: Axes, picture: Picture, tokens: TokenMap) -> None:
    scene = picture.scene
    view, *others = tokens.views
    grid = "the grid of view 0" if others else "its grid of image tokens"
    suffix = "" if tokens.unplaced else f", with {grid}"
    _bare(axes, picture, view, f"picture, {scene.width}×{scene.height} px{suffix}")
    axes.imshow(picture.image, extent=(0, scene.width, scene.height, 0), interpolation="nearest", zorder=0)
    for index, obj in enumerate(scene.objects):
        colour = OBJECT_COLOURS[index % len(OBJECT_COLOURS)]
        left, top, right, bottom = obj.box
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=2))
        label = f"{index} {obj.name}"
        middle = (left + right) / 2
        text = axes.text(middle, bottom + 4, label, ha="center", va="top", fontsize=8, color=colour, weight="bold")
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _draw_unplaced(axes: Axes, picture: Picture, tokens: TokenMap) -> None:
    """Writes why there is no coverage to draw."""
    _bare(axes, picture, tokens.views[0], "image tokens have no place in the picture")
    middle = (picture.scene.width / 2, picture.scene.height / 2)
    axes.text(*middle, fill(tokens.unplaced, 32), ha="center", va="center", fontsize=11, color=INK)


def _draw_coverage(
    axes: Axes, picture: Picture, view: View, coverage: Float[np.ndarray, "object patch"], title: str
) -> None:
    _bare(axes, picture, view, title)
    cols = view.grid[1]
    for index, patch in np.argwhere(coverage > 0).tolist():
        (top, bottom), (left, right) = view.rows[patch // cols], view.cols[patch % cols]
        colour, share = OBJECT_COLOURS[index % len(OBJECT_COLOURS)], float(coverage[index, patch])
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, color=colour, alpha=0.15 + 0.75 * share, lw=0)
        )
    legible = np.flatnonzero(coverage.any(axis=0)) if cols <= 20 else np.array([], dtype=int)
    for patch in legible.tolist():
        shares = [share for share in coverage[:, patch].tolist() if share > 0]
        ink = "white" if max(shares) > 0.65 else INK
        middle = view.cols[patch % cols].mean(), view.rows[patch // cols].mean()
        axes.text(*middle, "\n".join(map(_percent, shares)), ha="center", va="center", fontsize=7, color=ink)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"


_WIDTH = 11.0
"""Width of the figure in inches; the prompt's axes are in inches too."""
_FONT = 9.0
_CHARACTER = 0.602 * _FONT / 72
"""Advance width of a character of the monospaced face, in inches."""
_PADDING = 0.05
_GAP = 0.05
_LINE = 0.5


@dataclass(frozen=True)
class _TokenBox:
    """The box of a token, or of all image tokens together."""

    text: str
    kind: Kind
    object: int | None
    position: str

    @property
    def width(self) -> float:
        """Width in inches."""
        return max(len(self.text), 0.78 * len(self.position)) * _CHARACTER + 2 * _PADDING


def _boxes(reader: Reader, encoded: Encoded) -> Iterator[_TokenBox]:
    """The boxes of all tokens, in order; the image tokens share one box."""
    texts = token_texts(reader, encoded.input_ids.tolist())
    of_picture = np.flatnonzero(encoded.input_ids.numpy() == reader.config.image_token_id)
    first, last = int(of_picture[0]), int(of_picture[-1])
    for position, (role, text) in enumerate(zip(encoded.tokens.roles, texts, strict=True)):
        if position == first:
            yield _TokenBox(f"{encoded.tokens.layout} image tokens", "image", None, f"{first}-{last}")
        elif not first < position <= last:
            visible = text.replace("\n", "↵").replace(" ", "·")
            yield _TokenBox(visible, role.kind, role.object, str(position))


def _wrapped(boxes: list[_TokenBox]) -> list[list[_TokenBox]]:
    """Lines that fit the figure; a line break of the conversation starts a new line."""
    lines: list[list[_TokenBox]] = [[]]
    for box in boxes:
        used = sum(b.width + _GAP for b in lines[-1])
        if lines[-1] and (used + box.width > _WIDTH - 0.7 or lines[-1][-1].text.endswith("↵")):
            lines.append([])
        lines[-1].append(box)
    return lines


def _draw_prompt(axes: Axes, lines: list[list[_TokenBox]], height: float) -> None:
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    axes.axis("off")
    for number, line in enumerate(lines):
        left, top = 0.35, 0.22 + number * _LINE
        for box in line:
            _draw_box(axes, box, left, top)
            left += box.width + _GAP
    used = {box.kind for line in lines for box in line}
    handles = [Patch(fc=c, ec=FRAME, lw=0.6, label=meaning) for kind, (c, meaning) in ROLES.items() if kind in used]
    handles.append(Patch(fc="none", ec=OBJECT_COLOURS[0], lw=1.8, label="words about the object in that frame"))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.35 / _WIDTH, 0.1 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=7.5,
        labelcolor=INK,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handleheight=1.1,
        handletextpad=0.5,
        columnspacing=1.5,
    )


def _rounded(left: float, top: float, width: float, height: float, fill: str, edge: str, lw: float) -> FancyBboxPatch:
    style = "round,pad=0,rounding_size=0.04"
    return FancyBboxPatch((left, top), width, height, boxstyle=style, fc=fill, ec=edge, lw=lw)


def _draw_box(axes: Axes, box: _TokenBox, left: float, top: float) -> None:
    named = box.object is not None
    edge = OBJECT_COLOURS[box.object % len(OBJECT_COLOURS)] if box.object is not None else FRAME
    axes.add_patch(_rounded(left, top, box.width, 0.23, ROLES[box.kind][0], edge, 1.8 if named else 0.6))
    middle = left + box.width / 2
    axes.text(middle, top + 0.115, box.text, ha="center", va="center", fontsize=_FONT, family="monospace", color=INK)
    axes.text(middle, top - 0.025, box.position, ha="center", va="bottom", fontsize=6, color=FAINT)
