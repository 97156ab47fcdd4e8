"""The run report: what stands in it, that it stands alone, and that it is legible."""

import html.parser
import json
import re
import subprocess
import sys

import job
import PIL.Image
import pytest

from car_tf import config as config_lib
from car_tf.report import charts, write
from car_tf.report import page as report_page
from car_tf.report import context, results, sections
from car_tf.runtime import run_dir

FLIP = {
    "original": 0,
    "flipped": 1,
    "true_probability": 0.25,
    "flip_probability": 0.5,
}
FLIPS = {
    "split": "val",
    "data": "street scenes in /data/town & city",
    "notes": ["the black box is imitated"],
    "ged": 0.3,
    "by_num_samples": {
        "16": {"ged": 0.3, "ged_unbiased": 0.25, "sample_diversity": 0.5},
        "50": {"ged": 0.28, "ged_unbiased": 0.25, "sample_diversity": 0.5},
    },
    "num_images": 2,
    "num_undefined_images": 0,
    "num_samples": 50,
    "ged_flip_oracle_calibration_net": 0.6,
    "ece": 0.0125,
    "reliability": {"ece": 0.0125, "bins": []},
    "entropy_bits": {"probs": 1.0, "sample_mean": 0.9, "first_probs": 0.1},
    "sample_mean_difference": 0.02,
    "iou_per_class_calibration_net": {"road": 1.0, "road2": None},
    "calibration": {
        name: {"classes": [FLIP], "mean_flip_offset": 0.25, "worst_flip_offset": 0.25}
        for name in ("calibration_net", "refinement_net")
    },
    "best": {"step": 7, "ged": 0.31},
    "cases": {
        "worst": [{"name": "b", "ged": 0.4}],
        "best": [{"name": "a", "ged": 0.2}],
    },
}
LOG = {"step": 1, "pixel_loss": 0.1, "adversarial": 0.7, "discriminator": 1.386}
LOG.update(real_accuracy=0.5, fake_accuracy=0.52, seconds=30.0)


@pytest.fixture
def folder(tmp_path):
    """A run directory as a finished run leaves it."""
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    for name in ("samples", "worst", "best", "entropies"):
        PIL.Image.new("RGB", (30, 20), "red").save(run / "figures" / f"{name}.png")
    (run / "config.json").write_text(config_lib.to_json(config_lib.load("cityscapes")))
    (run / "metrics.json").write_text(json.dumps(FLIPS))
    argv = ["/x/car_tf/train.py", "--config", "cityscapes", "--workdir", "a b"]
    environment = {"command": argv, "machine": "two cores", "started": "today"}
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "stage1_log.jsonl").write_text(
        '{"step": 1, "cross_entropy": 2, "seconds": 60}'
    )
    (run / "stage2_log.jsonl").write_text(json.dumps(LOG) + '\n{"step": 2, "adv')
    return run


def text_of(page):
    """The words of a page, without tags and style."""
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def rendered(folder, *others):
    return write.render(context.read(folder), [*map(context.read, others)])


def test_further_evaluations_are_listed(folder):
    assert "Other evaluations" not in text_of(rendered(folder))
    other = {"split": "selection", "num_images": 7, "num_samples": 50}
    other["by_num_samples"] = {"50": {"ged": 0.4567}}
    other["noise_sampling"] = "stratified"
    path = folder / "metrics_selection_50_stratified.json"
    path.write_text(json.dumps(other))
    page = text_of(rendered(folder))
    assert "2 of val 50 independent 0.280 0.250 — 0.500" in page
    assert "7 of selection 50 stratified 0.457 — — —" in page


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects where the page points."""

    VOID = ("meta", "img", "line", "polyline", "circle", "rect")

    def __init__(self):
        super().__init__()
        self.open, self.targets, self.names, self.ids = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        attrs = dict(attrs)
        self.targets += [attrs[key] for key in ("src", "href") if key in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            assert attrs["alt"]

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# The page


def test_the_page_is_whole_and_needs_nothing_else(folder):
    page = write.write(folder).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.names and "link" not in tags.names
    assert "url(" not in page and "@import" not in page
    anchors = [target for target in tags.targets if target.startswith("#")]
    assert [anchor[1:] for anchor in anchors] == tags.ids
    pictures = [target for target in tags.targets if not target.startswith("#")]
    assert len(pictures) == 4
    assert all(target.startswith("data:image/png;base64,") for target in pictures)
    assert not list(folder.glob(".report*"))


def test_numbers_stand_beside_baselines_and_the_paper(folder):
    words = text_of(rendered(folder))
    assert "this run, cGAN+Lcal 0.300 0.250 0.500" in words
    assert "flip oracle over F's arg-max 0.600" in words
    assert "cGAN+Lcal 0.164 ± 0.01" in words and "cGAN+Lce 0.632 ± 0.07" in words
    assert "50 0.280 0.250 0.500" in words
    assert "road → road2 truth 0.25, F 0.50, G 0.50" in words
    assert "b (0.400)" in words and "a (0.200)" in words
    # 60 s of stage 1, 30 s of stage 2.
    assert "1.5 min stage 1 60 s, stage 2 30 s" in words
    assert "The black box is imitated." in words
    assert "step 7, GED 0.310" in words
    assert "python -m car_tf.train --config cityscapes --workdir 'a b'" in words
    assert "stage2.num_samples 12" in words


def test_words_from_files_are_escaped_and_titles_are_short(folder):
    page = rendered(folder)
    assert "<title>cGAN+Lcal: street scenes in town &amp; city</title>" in page
    assert "/data/town &amp; city" in page and "town & city" not in page


def test_a_discriminator_at_chance_is_said_first(folder):
    assert "ended at chance" in text_of(rendered(folder))
    line = {**LOG, "discriminator": 0.9}
    (folder / "stage2_log.jsonl").write_text(json.dumps(line))
    assert "ended at chance" not in text_of(rendered(folder))


def test_a_run_that_has_just_begun_has_a_report(folder):
    for path in folder.iterdir():
        if path.name not in ("config.json", "figures"):
            path.unlink()
    for path in (folder / "figures").iterdir():
        path.unlink()
    words = text_of(rendered(folder))
    assert "has not been evaluated yet" in words
    assert "cGAN+Lcal: cityscapes" in words
    assert "<img" not in rendered(folder)


def test_readers_are_compared_and_their_ged_alone_is_left_out(folder):
    scores = {"ged": 0.7, "hm_iou": 0.4}
    names = ("argmax", "independent", "leave_one_out", "readers_drawn")
    metrics = {
        key: value
        for key, value in FLIPS.items()
        if key not in ("calibration", "ged_flip_oracle_calibration_net")
    }
    metrics["readers"] = {"comparisons": {name: scores for name in names}}
    metrics["by_num_samples"] = {
        "16": {**FLIPS["by_num_samples"]["16"], "hm_iou": 0.55}
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    config = config_lib.load("lidc", ["stage2.num_samples=5"])
    (folder / "config.json").write_text(config_lib.to_json(config))
    words = text_of(rendered(folder))
    assert "this run, cGAN+Lcal 0.300 0.250 0.550 0.500" in words
    assert "F's arg-max, always the same 0.700 — 0.400" in words
    assert "three readers against the fourth — — 0.400" in words
    # The first table of the paper, and the row of M = 5 of its third.
    assert "cGAN+Lcal (20) 0.264 ± 0.002" in words
    assert "cGAN+Lcal (5) 0.278 ± 0.000" in words
    assert "cGAN+Lcal (10)" not in words and "Hu et al." not in words


def test_runs_and_scores_stand_side_by_side(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    config = config_lib.load("cityscapes_lce", ["train.seed=5"])
    (other / "config.json").write_text(config_lib.to_json(config))
    (other / "metrics.json").write_text(json.dumps({**FLIPS, "data": "elsewhere"}))
    scores = tmp_path / "theirs.json"
    scores.write_text(json.dumps({"ged": 0.4567, "num_samples": 16}))
    write.write(folder, [str(other), str(scores)])
    words = text_of((folder / "report.html").read_text(encoding="utf-8"))
    assert "other cGAN+Lce 2 of val 0.300" in words
    assert "theirs 0.457" in words
    assert "stage2.pixel_loss calibration cross_entropy" in words
    assert "train.seed 1 5" in words and "stage2.steps 500 500" not in words
    assert "different data" in words
    assert f"--workdir {folder} --compare {other}" in words


def test_sections_that_are_handed_in_replace_those_of_a_segmentation(folder):
    page = write.write(folder, sections=[("own", "Own", "<p>theirs</p>")])
    words = text_of(page.read_text(encoding="utf-8"))
    assert "Own theirs" in words and "Repeat it" in words
    assert "Summary" not in words


def test_methods_have_the_papers_names():
    for name, overrides, method in (
        ("cityscapes", [], "cGAN+Lcal"),
        ("cityscapes_lce", [], "cGAN+Lce"),
        ("cityscapes_gt", [], "cGAN+Lcal on the true distribution"),
        ("lidc_cvae", [], "cVAE-GAN+Lcal (β=0)"),
        ("lidc_cvae_elbo", ["stage2.kl_weight=0.1"], "cVAE-GAN (β=0.1)"),
    ):
        config = json.loads(config_lib.to_json(config_lib.load(name, overrides)))
        assert results.method(config) == method


# Pieces


def test_bars_are_as_long_as_their_values():
    page = report_page.bars([("a", 0.1, "own"), ("b", 0.4, "")], "GED")
    # The longest fills the track; 0.1 / 0.4 is a quarter.
    assert re.findall(r"width:([0-9.]+)%", page) == ["25.00", "100.00"]
    assert report_page.bars([("a", 0.0, "")], "GED").count("width:0.00%") == 1


def test_dots_stand_at_their_probabilities():
    page = report_page.dots([("a", 0.25, None, 1.0)], ("truth", "F", "G"))
    assert re.findall(r"left:([0-9.]+)%", page) == ["25.00", "100.00"]
    assert "truth 0.25, F —, G 1.00" in page


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 0.9, [0, 0.25, 0.5, 0.75, 1]),
        (0, 500, [0, 200, 400, 600]),
        (-0.3, 0.5, [-0.4, -0.2, 0, 0.2, 0.4, 0.6]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_axes_have_round_numbers(low, high, expected):
    assert charts.ticks(low, high) == expected


def test_lines_go_through_their_points():
    chart = charts.lines("t", {"a": [(0, 0.0), (10, 1.0)], "b": []})
    # The frame: 46 to 390 across, 212 up to 44.
    assert 'points="46.0,212.0 390.0,44.0"' in chart
    assert chart.count("polyline") == 1
    assert charts.lines("t", {"a": []}) == ""


def test_reliability_shows_the_gap():
    entry = dict(lower=0.5, upper=0.6, num_pixels=3, accuracy=0.25, confidence=0.75)
    empty = dict(lower=0.6, upper=0.7, num_pixels=0, accuracy=None, confidence=None)
    chart = charts.reliability("t", [entry, empty])
    # 168 pixels high: 0.25 is 42, the gap to 0.75 is 84.
    assert 'class="solid" x="219.00" y="170.00" width="32.40" height="42.00"' in chart
    assert 'class="gap" x="219.00" y="86.00" width="32.40" height="84.00"' in chart
    assert chart.count("<rect") == 2


def test_durations_and_commands():
    assert context.duration(89.4) == "89 s"
    assert context.duration(150) == "2.5 min"
    assert context.duration(5400) == "1.5 h"
    assert context.command(["/a/car_tf/data/lidc/prepare.py", "x y"]) == (
        "python -m car_tf.data.lidc.prepare 'x y'"
    )
    assert context.command(["/bin/own script", "1"]) == "'/bin/own script' 1"


# Colours


def luminance(color):
    """Relative luminance of `#rrggbb` by WCAG 2.1."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    # WCAG's best known border case: the lightest grey for text on white.
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("colors", [report_page.LIGHT, report_page.DARK])
def test_contrast_is_enough(colors):
    least = {"text": 7, "muted": 4.5, "accent": 4.5}
    least.update(dict.fromkeys(("first", "second", "third", "grey"), 3))
    for name, ratio in least.items():
        for ground in ("page", "panel", "warning"):
            assert contrast(colors[name], colors[ground]) >= ratio, (name, ground)
    assert set(colors) - set(least) == {"page", "panel", "warning", "line"}


def test_no_text_is_smaller_than_twelve_pixels():
    sizes = re.findall(r"font(?:-size)?:(?:600 )?(\d+)px", report_page._STYLE)
    assert sizes and min(map(int, sizes)) >= 12


# The command


def report(*arguments, **kwargs):
    return job.run(*arguments, module="car_tf.report", **kwargs)


def test_the_command_writes_the_report(folder, tmp_path):
    done = report("--workdir", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report.html")


def test_the_command_needs_no_tensorflow(folder):
    code = "import sys, car_tf.report.write; sys.exit('tensorflow' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=job.CHECKOUT).returncode == 0
    )


def test_what_is_no_run_is_refused_in_one_line(folder, tmp_path):
    for arguments, words in (
        (["--workdir", tmp_path], "config.json"),
        (["--workdir", folder, "--compare", tmp_path], "config.json"),
        (["--workdir", folder, "--compare", folder / "config.json"], "car_tf.score"),
    ):
        done = report(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert words in done.stderr
    (folder / "metrics.json").write_text("{")
    with pytest.raises(run_dir.RunError, match="metrics.json is not JSON"):
        write.write(folder)


def test_captions_are_there_for_every_picture(folder):
    run = context.read(folder)
    body = sections.pictures(run, ("samples", "worst", "best", "entropies"))
    captions = re.findall(r"<figcaption><b>(.*?)</b> (.*?)</figcaption>", body)
    assert len(captions) == 4 and all(title and words for title, words in captions)
