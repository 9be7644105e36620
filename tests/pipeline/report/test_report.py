"""The report as a whole: nothing in it that is not in its inputs."""

import base64
import csv
import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from pipeline.core.errors import UserError
from pipeline.report.results import read_results
from pipeline.tracking.pages import run_address


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def table(text: str, section: str, columns: str) -> list[list[str]]:
    """The cells of the first table with this head after a heading."""
    lines = f"\n{text}"[f"\n{text}".index(f"\n{section}\n") :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(columns))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("| "):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_every_number_of_the_variant_table_is_in_the_inputs(project: Any) -> None:
    made = {}
    for name, mixer in (("swin_micro", "swin"), ("dwnet_micro", "dwnet"), ("dyn", "dynamic_dwnet")):
        values = [project.random.uniform(10, 90) for _ in range(3)]
        made[name] = (
            project.run("classify", name, mixer, values=values),
            project.profile(name, mixer),
        )
    text = project.text()
    rows = table(text, "### Classification", "| configuration |")
    assert len(rows) == 3
    for row in rows:
        metrics, profile = made[row[0].split("`")[1]]
        finals = [seed["final"]["top1"] for seed in metrics["seeds"]]
        speed = fmean(seed["train_images_per_second"] for seed in metrics["seeds"])
        low, high = stats.t.interval(0.95, 2, fmean(finals), stats.sem(finals))
        hours = sum(seed["wall_time_s"] for seed in metrics["seeds"]) * 2 / 3600
        assert row == [
            f"[`{metrics['variant']}`](../classify/{metrics['variant']}/metrics.json)",
            f"{fmean(finals):.1f}",
            f"{low:.1f} to {high:.1f}",
            "3",
            f"{metrics['parameters'] / 1e6:.2f}",
            f"{metrics['macs'] / 1e9:.3f}",
            f"{profile['inference_images_per_second']:,.0f}",
            f"{speed:,.0f}",
            f"{hours:.3g}",
            "`cpu`",
            "small-scale run, synthetic",
        ]


def test_every_seed_is_listed_with_its_ids(reported: Any) -> None:
    text = (reported.root / "results/report/report.md").read_text()
    rows = {(row[0], row[1]): row for row in table(text, "### Segmentation", "| variant | seed |")}
    assert list(rows) == [("`dwnet_micro`", "0")]
    seed = json.loads((reported.root / "results/segment/dwnet_micro/metrics.json").read_text())[
        "seeds"
    ][0]
    row = rows["`dwnet_micro`", "0"]
    assert row[2] == f"{seed['final']['miou']:.1f}"
    address = run_address("http://127.0.0.1:5000", seed["mlflow_run_id"])
    link = f"[`{seed['mlflow_run_id']}`]({address})"
    assert row[8:] == [f"`{seed['run_id'][:12]}`", link]


def test_every_measured_number_of_the_csv_is_in_the_inputs(reported: Any) -> None:
    rows = [row for row in reported.rows() if row["measured_final"]]
    assert len(rows) > 20
    for row in rows:
        read = {
            kind: json.loads(path.read_text())
            for kind in ("metrics", "profile")
            if (
                path := reported.root
                / "results"
                / (row["task"] if kind == "metrics" else kind)
                / row["variant"]
                / f"{kind}.json"
            ).exists()
        }
        seeds = read["metrics"]["seeds"]
        metric = row["metric"]
        if metric in seeds[0]["final"]:
            values = [seed["final"][metric] for seed in seeds]
            assert float(row["measured_best"]) == pytest.approx(
                fmean(seed["best"][metric] for seed in seeds), abs=1e-6
            )
        elif row["task"] != "classify":
            values = [read["metrics"]["parameters"] / 1e6]
        else:
            key, unit = {"parameters_m": ("parameters", 1e6), "macs_g": ("macs", 1e9)}.get(
                metric, ("inference_images_per_second", 1)
            )
            values = [read["profile"][key] / unit]
        assert float(row["measured_final"]) == pytest.approx(fmean(values), abs=1e-6)
        assert int(row["seeds"]) == len(values)
        assert (
            row["sd"] == ""
            if len(values) == 1
            else float(row["sd"]) == pytest.approx(stdev(values), abs=1e-6)
        )
        assert row["commit"] == read["metrics"]["commit"]


def test_where_the_numbers_come_from_is_said(reported: Any) -> None:
    text = (reported.root / "results/report/report.md").read_text()
    rows = {row[0]: row for row in table(text, "## Provenance", "| configuration |")}
    for path in sorted((reported.root / "results/classify").glob("*/metrics.json")):
        metrics = json.loads(path.read_text())
        row = rows[f"classification `{path.parent.name}`"]
        assert f"`{metrics['commit'][:10]}`" in row[1]
        assert row[3:5] == [f"`{metrics['data']['manifest'][:10]}`", f"`{metrics['device']}`"]
    assert f"`torch {version('torch')}`" in text


def test_the_same_inputs_give_the_same_bytes(laptop: Any, reported: Any) -> None:
    first = contents(reported.root / "results/report")
    assert contents(laptop.report()) == first
    assert {
        "report.md",
        "report.html",
        "results.csv",
        "accuracy_classify.svg",
        "curves_detect.svg",
    } <= first.keys()
    assert {
        "accuracy_over_macs_g.svg",
        "throughput.svg",
        "samples_classify_dwnet_micro.webp",
    } <= first.keys()


def test_a_report_without_samples_holds_no_image_of_a_data_set(laptop: Any) -> None:
    path = laptop.root / "params.yaml"
    path.write_text(f"{path.read_text()}\ncompare: {{samples: false}}\n")
    folder = laptop.report()
    assert not list(folder.glob("samples_*"))
    assert "image/webp" not in (folder / "report.html").read_text()


def test_one_changed_number_changes_the_report(laptop: Any, reported: Any) -> None:
    path = laptop.root / "results/classify/swin_micro/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["seeds"][1]["final"]["top1"] += 3
    path.write_text(json.dumps(metrics))
    first, second = contents(reported.root / "results/report"), contents(laptop.report())
    changed = {name for name in first if first[name] != second[name]}
    assert {
        "report.md",
        "report.html",
        "results.csv",
        "accuracy_classify.svg",
        "accuracy_over_macs_g.svg",
    } <= changed
    assert "accuracy_detect.svg" not in changed


def test_the_page_needs_nothing_from_outside(reported: Any) -> None:
    page = (reported.root / "results/report/report.html").read_text()
    assert not re.findall(
        r"""(?:src|srcset|action|poster|data)\s*=\s*["'](?!data:image/(?:png|webp);)""", page
    )
    assert not re.search(
        r"<(?:script [^>]|link|iframe|object|embed|base)\b|@import|url\((?!#)", page
    )
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        in page
    )
    pictures = list(
        path
        for path in (reported.root / "results/report").iterdir()
        if path.suffix in (".svg", ".webp", ".png")
    )
    assert page.count('role="img"') + page.count("<img ") == len(pictures) > 10
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)), "pictures do not share names"
    for target in re.findall(r'href="([^"#]+)["#]', page):
        if target == "http://127.0.0.1:5000/":  # of MLflow's runs
            continue
        assert (reported.root / "results/report" / target).is_file(), target


def test_tables_of_the_page_scroll_and_both_schemes_are_there(reported: Any) -> None:
    page = (reported.root / "results/report/report.html").read_text()
    assert page.count("<table ") == page.count('<div class="scroll ')
    assert "prefers-color-scheme: dark" in page


def test_small_and_synthetic_is_said_first_and_in_bold(reported: Any) -> None:
    text = (reported.root / "results/report/report.md").read_text()
    assert (
        "**Small-scale run on synthetic images: no answer about vision.**" in text.split("\n## ")[0]
    )


def test_a_small_run_on_photographs_is_said_too(project: Any) -> None:
    project.run("classify", "dwnet_micro", "dwnet", data={"source": "/data/imagenet"})
    top = project.text().split("\n## ")[0]
    assert "**Small-scale run: no verdict on the paper.** Classification: " in top
    assert "images of `imagenet`, " in top
    assert "synthetic" not in top


def test_an_empty_project_has_a_report(project: Any) -> None:
    folder = project.report()
    assert "**Nothing has been run yet.**" in (folder / "report.md").read_text()
    with open(folder / "results.csv", newline="") as file:
        assert {row["verdict"] for row in csv.DictReader(file)} == {"not run"}


def test_results_of_forgotten_variants_are_left_out_with_a_note(project: Any) -> None:
    project.run("classify", "old", "dwnet")
    del project.tree["classify"]["old"]
    project.run("classify", "new", "dwnet")
    text = project.text()
    assert "Results of classify `old` are left out" in text
    assert "| `old` |" not in text


def test_results_of_another_setting_are_noted(project: Any) -> None:
    project.run("classify", "dwnet_micro", "dwnet", kernel_size=5)
    project.name("classify", "dwnet_micro", "dwnet", kernel_size=3)
    assert "was trained with kernel_size 5, the parameters now say 3" in project.text()


def test_what_comes_from_files_cannot_become_markup(project: Any) -> None:
    metrics = project.run("classify", "dwnet_micro", "dwnet", data={"dataset": "<i>tags</i>"})
    metrics["device"] = "<b>bold</b> | ` [words](http://b) ` end"
    project.write("classify", "dwnet_micro", metrics)
    project.profile("dwnet_micro", "dwnet", layout="<u>")
    page = (project.report() / "report.html").read_text()
    assert not re.search(r"<(?:i|b|u)>", page)
    assert 'href="http://b' not in page
    assert "&lt;i&gt;tags&lt;/i&gt;" in page


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text('{"task": "classify"'), "is not JSON"),
        (lambda path: path.write_text("[]"), "does not fit"),
        (
            lambda path: path.write_text(path.read_text().replace('"seeds"', '"seed"')),
            "does not fit at 'seeds'",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"top1": 50,', '"top1": NaN,')),
            "does not fit",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('": "top1"', '": "a"')),
            "lacks its main",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"dwnet_micro"', '"other"')),
            "is of classify other",
        ),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not JSON"),
    ],
)
def test_bad_metrics_are_one_sentence_with_the_path(
    project: Any, break_it: Any, complaint: str
) -> None:
    project.run("classify", "dwnet_micro", "dwnet", values=[50])
    break_it(project.root / "results/classify/dwnet_micro/metrics.json")
    with pytest.raises(UserError, match=complaint) as caught:
        read_results(project.call())
    assert "results/classify/dwnet_micro/metrics.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failure_leaves_the_last_report_alone(project: Any) -> None:
    before = contents(project.report())
    project.run("classify", "dwnet_micro", "dwnet")
    (project.root / "results/classify/dwnet_micro/metrics.json").write_text("{")
    with pytest.raises(UserError):
        project.report()
    assert contents(project.root / "results/report") == before


def test_bad_profile_and_history_are_named(project: Any) -> None:
    project.run("classify", "dwnet_micro", "dwnet")
    history = project.root / "results/classify/dwnet_micro/history.csv"
    history.write_text("seed,epoch,top1\n0,one,50\n")
    with pytest.raises(UserError, match=r"history\.csv does not fit at 'epoch' in line 2"):
        read_results(project.call())
    history.unlink()
    read_results(project.call())
    project.profile("dwnet_micro", "dwnet", macs="many")
    with pytest.raises(UserError, match=r"profile\.json does not fit at 'macs'"):
        read_results(project.call())


def first_rows(project: Any) -> list[list[str]]:
    return table(project.text(), "# Local attention beside depth-wise convolution", "| question |")


def test_the_first_screen_answers_beside_the_paper(project: Any) -> None:
    """What the runs say stands with its interval beside the paper's numbers, and is judged."""
    for task in ("classify", "detect", "segment"):
        project.run(task, "dw", "dwnet", "tiny", values=[46.0, 46.1, 46.2], scale="paper")
        project.run(task, "swin", "swin", "tiny", values=[45.0, 45.1, 45.1], scale="paper")
    project.run(
        "classify", "dyn", "dynamic_dwnet", "tiny", values=[44.0, 44.1, 44.0], scale="paper"
    )
    rows = first_rows(project)
    assert [row[3] for row in rows] == ["not run", "differs", "differs", "not run", "agrees"]
    assert rows[1][2] == "`dyn` minus `dw`: top-1 -2.1 (-2.4 to -1.8)."
    assert rows[4][2].startswith("`dw` minus `swin`: top-1 +1.0 (+0.9 to +1.2), box AP +1.0")
    assert "81.8 against 81.2 at size tiny, 83.2 against 83.2 at base" in rows[1][1]
    assert "80.3†" in rows[0][1], "a recalled number is marked"


def test_small_and_synthetic_runs_answer_nothing_on_the_first_screen(project: Any) -> None:
    for data in ({"source": "/photographs"}, {}):
        project.run("classify", "dw", "dwnet", values=[50.0, 51.0], data=data)
        project.run("classify", "dyn", "dynamic_dwnet", values=[55.0, 56.0], data=data)
        row = first_rows(project)[1]
        assert row[2:] == (
            ["`dyn` minus `dw`: top-1 +5.0 (+5.0 to +5.0).", "not judged"]
            if data
            else ["Synthetic images: no answer.", "no answer"]
        )


def sentences(markdown: str) -> list[str]:
    """Every sentence outside of tables, code and links as one word."""
    found: list[str] = []
    for line in markdown.splitlines():
        if not line.startswith(("|", "#", "</", "![")):
            words = re.sub(r"\]\([^)]*\)|<[^>]+>", "", re.sub(r"`[^`]*`", "code", line))
            found += re.split(r"(?<=[.!?])\)?\*{0,2}\s+(?=[^a-z])", words)
    return found


def test_every_sentence_has_at_most_35_words(laptop: Any) -> None:
    laptop.factorial()
    laptop.search()
    found = sentences(laptop.text())
    assert len(found) > 100
    assert [sentence for sentence in found if len(sentence.split()) > 35] == []


def test_pictures_say_their_values_and_tables_their_heads(reported: Any) -> None:
    page = (reported.root / "results/report/report.html").read_text()
    spoken = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', page)
    metrics = json.loads((reported.root / "results/classify/swin_micro/metrics.json").read_text())
    mean = fmean(seed["final"]["top1"] for seed in metrics["seeds"])
    assert any(f"swin_micro {mean:.1f}" in text for text in spoken)
    assert all("Values: " in text for text in spoken), "every picture says what it shows"
    tables = re.findall(r"<table .*?</table>", page, re.DOTALL)
    assert tables
    assert all('<th role="columnheader" scope="col"' in table for table in tables)
    assert all('<th role="rowheader" scope="row"' in table for table in tables)
