"""The note on where position IDs come from is current: its own command gives its tables, figures and numbers."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from finst.errors import FinstError
from studies.origins.collect import collect, main
from studies.origins.evidence import of_places, sentences
from studies.origins.lineages import first_above, lineages
from studies.origins.note import filled
from studies.origins.rows import read, row_of, trajectory_of

ROOT = Path(__file__).parents[2]
NOTE, RESULTS, FIGURES = Path("docs/origins.md"), Path("studies/origins/results.jsonl"), Path("docs/figures/origins")
MODULE = "python -m studies.origins.collect "


@pytest.fixture(scope="module")
def lines():
    return read([ROOT / RESULTS])


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """A copy of the note with its blocks emptied, after the command that it shows was run beside it."""
    folder = tmp_path_factory.mktemp("repository")
    for path in (NOTE, RESULTS):
        (folder / path).parent.mkdir(parents=True)
        shutil.copy(ROOT / path, folder / path)
    text = (ROOT / NOTE).read_text()
    (command,) = [line for line in text.splitlines() if line.startswith(MODULE)]
    (folder / NOTE).write_text(re.sub(r"(<!-- (?!end)\w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(shlex.split(command.removeprefix(MODULE)))
    return folder


def test_the_note_has_the_numbers_of_the_results(again):
    assert (again / NOTE).read_text() == (ROOT / NOTE).read_text()


@pytest.mark.parametrize("name", ["trainings.csv", "trainings.md", "causes.csv", "when.csv"])
def test_tables_are_those_of_the_results(again, name):
    assert (again / FIGURES / name).read_text() == (ROOT / FIGURES / name).read_text()


@pytest.mark.parametrize("name", ["causes.png", "when.png"])
def test_figures_are_made_and_light(again, name):
    kept = ROOT / FIGURES / name
    assert kept.stat().st_size < 100_000
    with Image.open(kept) as before, Image.open(again / FIGURES / name) as after:
        assert before.size == after.size
        assert before.convert("L").getpixel((0, 0)) == 255


def test_lines_of_markdown_can_be_read():
    for path in (NOTE, FIGURES / "trainings.md"):
        assert max(map(len, (ROOT / path).read_text().splitlines())) < 200


def test_every_line_says_its_recipe_and_machine(lines):
    for row in map(row_of, lines):
        assert None not in [row[name] for name in ("mix", "family", "seed", "tokens", "machine")]
        assert row["steps"]
    assert (ROOT / RESULTS).stat().st_size < 400_000


def test_the_comparisons_are_those_of_the_rows():
    def row(mix, steps, logits, holds, **more):
        known = {"mix": mix, "steps": steps, "before": 0, "low_entropy": None, "binds": holds}
        return {**known, "binds with any heads": True, "prefill id_retrieval logits": logits, **more}

    placed = [row("never-mixed", 12_700, 1.0 + k, holds=k == 0) for k in range(3)]
    without = [row("counting", 12_700, 0.01 * k, holds=False) for k in range(3)]
    long = [row("binding", 25_400, 3.0, holds=True, before=25_400)]
    few = [row("binding", 50_800, 3.0, holds=False, low_entropy=0.6)]
    length, any_head, places = sentences([*placed, *without, *long, *few])
    assert "1 of 1 [21, 100 %]" in length
    assert "1 of 3 [6, 79 %] with 12,700 or fewer" in length
    assert "3 of 3" in any_head
    # complete separation of 3 and 3: two of the 20 ways to divide six numbers
    assert places == of_places(without, placed)
    assert "0.00 to 0.02 logits in the 3 trainings without place tokens, and 1.00 to 3.00 in the 3 with them" in places
    assert "p 0.100" in places
    assert sentences(without) == []


def test_a_lineage_goes_through_the_training_that_it_continues(lines):
    path = [row for line in lines for row in trajectory_of(line)]
    by_name = {lineage.name: lineage for lineage in lineages(path)}
    assert "binding-long-s0" not in by_name
    continued = by_name["legs34-s7"]
    steps = [row["step"] for row in continued.checkpoints]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (100, 50_800)
    assert {row["name"] for row in continued.checkpoints} == {"binding-long-s0", "legs34-s7"}
    arrivals = [first_above(continued, "prefill", stage) for stage in ("id_selection", "id_retrieval")]
    assert arrivals == [2_367, 25_799]


def test_a_note_without_a_block_is_refused_before_anything_is_written(tmp_path):
    note = tmp_path / "note.md"
    note.write_text("<!-- answer -->\n<!-- end -->\n")
    with pytest.raises(FinstError, match="no block 'trainings'"):
        collect([ROOT / RESULTS], tmp_path / "out", note)
    assert not (tmp_path / "out").exists()
    assert filled("a\n<!-- b -->\nold\n<!-- end -->\nc", {"b": "new"}) == "a\n<!-- b -->\n\nnew\n\n<!-- end -->\nc"
