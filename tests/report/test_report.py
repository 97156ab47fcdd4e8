"""The run report: what stands in it, that it stands alone, and that it is legible."""

import html
import html.parser
import json
import re
import subprocess
import sys

import job
import PIL.Image
import pytest

from car_tf import config as config_lib
from car_tf.data import io
from car_tf.report import context, figures, paper_tables, write
from car_tf.runtime import run_dir

FLIP = {
    "original": 0,
    "flipped": 1,
    "true_probability": 0.25,
    "flip_probability": 0.5,
}
BIN = dict(lower=0.5, upper=0.6, num_pixels=3, accuracy=0.25, confidence=0.55)
FLIPS = {
    "split": "val",
    "data": "street scenes in /data/town & city",
    "notes": ["the black box is <imitated>"],
    "ged": 0.3,
    "by_num_samples": {
        "16": {"ged": 0.3, "ged_unbiased": 0.25, "sample_diversity": 0.5},
        "50": {"ged": 0.28, "ged_unbiased": None, "sample_diversity": 0.5},
    },
    "num_images": 2,
    "num_undefined_images": 1,
    "num_samples": 50,
    "ged_flip_oracle_calibration_net": 0.6,
    "ece": 0.0125,
    "reliability": {"ece": 0.0125, "bins": [BIN]},
    "entropy_bits": {"probs": 1.0, "sample_mean": 0.9, "first_probs": 0.1},
    "sample_mean_difference": 0.02,
    "miou_calibration_net": 0.75,
    "pixel_accuracy_calibration_net": 0.875,
    "iou_per_class_calibration_net": {"road": 1.0, "road2": None, "$a$ <b>": None},
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
INFO = {
    "class_names": ["road", "road2", "$a$ <b>"],
    "class_colors": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "flips": [{"original": 0, "flipped": 1, "probability": 0.25}],
}
LOG = {"step": 1, "pixel_loss": 0.1, "adversarial": 0.7, "discriminator": 1.386}
LOG.update(real_accuracy=0.5, fake_accuracy=0.52, seconds=30.0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run directory as a finished run leaves it; its charts are not drawn."""
    monkeypatch.setattr(figures, "svg", lambda *unused: "<svg></svg>")
    run = tmp_path / "a run"
    (run / "figures").mkdir(parents=True)
    for name in ("samples", "worst", "best", "entropies"):
        PIL.Image.new("RGB", (30, 20), "red").save(run / "figures" / f"{name}.png")
    argv = ["/x/car_tf/train/__main__.py", "--workdir", str(run)]
    argv += ["--set", "data.data_dir=/data/own data/city"]
    changes = ["data.data_dir=/data/own data/city", "data.size=256,512"]
    config = config_lib.load("cityscapes", changes)
    (run / "config.json").write_text(config_lib.to_json(config))
    for name, content in (
        ("metrics", FLIPS),
        ("environment", {"command": argv, "machine": "two cores", "started": "today"}),
        ("data", {"title": "t", "facts": INFO, "splits": {"val": {"num_images": 2}}}),
    ):
        (run / f"{name}.json").write_text(json.dumps(content))
    line = '{"step": 1, "cross_entropy": 2, "seconds": 60}'
    (run / "stage1_log.jsonl").write_text(line)
    (run / "stage2_log.jsonl").write_text(json.dumps(LOG) + '\n{"step": 2, "adv')
    return run


def change(folder, **changes):
    (folder / "metrics.json").write_text(json.dumps({**FLIPS, **changes}))


def words(page):
    """The words of a page, without tags and style, and without charts."""
    page = re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


def rendered(folder, *others):
    return write.render(context.read(folder), [*map(context.read, others)])


def text_of(folder, *others):
    return words(rendered(folder, *others))


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in order, and collects where the page points."""

    VOID = ("meta", "img", "input")

    def __init__(self, page):
        super().__init__()
        self.open, self.targets, self.names, self.ids = [], [], set(), []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        attrs = dict(attrs)
        keys = ("src", "href", "xlink:href")
        self.targets += [attrs[key] for key in keys if key in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            assert attrs["alt"]

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# The page


def test_intervals_and_other_models_stand_in_the_tables(folder):
    scores = {"ged": 0.3, "ged_interval": [0.2, 0.4], "hm_iou": 0.5}
    peer = {"ged": 0.45, "ged_interval": [0.4, 0.5]}
    change_of = {"mean": -0.15, "interval": [-0.25, -0.0004]}
    change(
        folder,
        by_num_samples={"16": scores},
        samplers={
            "peer": {**peer, "num_samples": 16, "by_num_samples": {"16": peer}},
            "few": {**peer, "num_samples": 4, "by_num_samples": {"4": peer}},
        },
        differences={"peer": {"16": {"ged": change_of}}, "few": {}},
        bootstrap={"num_groups": 17},
        distance={"classes": [0, 1, 2], "absent": "leave_out"},
    )
    text = text_of(folder)
    assert "0.300 0.200 to 0.400" in text
    assert "peer 0.450 0.400 to 0.500" in text and "few (4 samples) 0.450" in text
    assert "peer -0.150 -0.250 to 0.000" in text and "17 groups here" in text
    assert "a class that occurs in neither map is left out" in text


def test_the_page_is_whole_and_needs_nothing_else(folder, monkeypatch):
    monkeypatch.undo()
    page = write.write(folder).read_text(encoding="utf-8")
    tags = Tags(page)
    assert not {"script", "link", "b>"} & tags.names
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    anchors = {target for target in tags.targets if target.startswith("#")}
    assert {anchor[1:] for anchor in anchors} <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))
    pictures = [target for target in tags.targets if not target.startswith("#")]
    assert len(pictures) == 4
    assert all(target.startswith("data:image/png;base64,") for target in pictures)
    assert page.count("<svg") == 5  # flips, reliability, and three of the logs
    assert not list(folder.glob(".report*"))


def test_texts_from_files_are_escaped_and_paths_are_shortened(
    folder, tmp_path, monkeypatch
):
    monkeypatch.undo()
    page = rendered(folder)
    assert "<title>cGAN+Lcal: street scenes in town &amp; city</title>" in page
    assert "The black box is &lt;imitated&gt;" in page and "<imitated" not in page
    assert "$a$ &lt;b&gt;" in page and "<b>:" not in page
    assert "python -m car_tf.train --workdir 'a run'" in words(page)
    assert "--set data.data_dir=city" in words(page).replace("'", "")
    assert str(tmp_path) not in page and "/data" not in page and "own data" not in page


@pytest.mark.parametrize(
    "text, shown",
    [
        ("in /a/b/c, ~/d/e.", "in c, e."),
        (r"C:\a\b", "b"),
        ("and/or 1 / 2 https://a.b/c figures/a.png", None),
    ],
)
def test_absolute_paths_are_shortened(text, shown):
    assert io.without_folders(text) == (shown or text)


def test_the_verdict_is_what_stage_2_changed(folder):
    text = text_of(folder)
    assert "GED16 is 0.300 ; before stage 2 it was not measured." in text
    assert "realism (judge" not in text
    before = {"ged": 0.9, "by_num_samples": {"16": {"ged": 0.5, "hm_iou": 0.4996}}}
    realism = {"auc": 0.4, "before_stage2": {"auc": 0.55}, "f_pixels": {"auc": 1.0}}
    baselines = {"before_stage2": before, "f_pixels": {"ged": 0.7, "hm_iou": 0.2}}
    scores = {"16": {"ged": 0.3, "hm_iou": 0.5004}}
    changes = dict(baselines=baselines, realism=realism, by_num_samples=scores)
    change(folder, **changes)
    text = text_of(folder)
    assert "With stage 2 GED16 went from 0.500 to 0.300 (better)," in text
    assert "HM-IoU went from 0.500 to 0.500 (no change)," in text
    # 0.4 is farther from 0.5 than 0.55 is.
    assert "(judge AUC, 0.5 is perfect) went from 0.550 to 0.400 (worse)." in text
    assert "G before stage 2 0.500 0.500 0.550" in text
    assert "independent pixels of F 0.700 0.200 1.000" in text
    # An interval of the difference that holds 0 tells neither.
    paired = {"16": {"ged": {"mean": -0.2, "interval": [-0.5, 0.1]}}}
    info = {"num_groups": 9}
    change(folder, **changes, differences={"before_stage2": paired}, bootstrap=info)
    assert "0.500 to 0.300 (no clear change)," in text_of(folder)


def test_numbers_stand_beside_baselines(folder):
    text = text_of(folder)
    assert "this run, cGAN+Lcal 0.300 0.250 0.500" in text
    assert "flip oracle over F's arg-max 0.600 – –" in text
    assert "mIoU 0.750 pixel accuracy 0.875 road 1.000 $a$ <b> –" in text
    assert "road → road2 in 25 % of the images." in text and "not labelled" in text
    assert "b (0.400)" in text and "a (0.200)" in text
    # 60 s of stage 1, 30 s of stage 2.
    assert "1.5 min stage 1 60 s, stage 2 30 s" in text
    assert "step 7, GED 0.310" in text and "stage2.num_samples 2" in text
    # The longest bar fills its cell, and 0.3 / 0.6 is half.
    assert re.findall("--bar:([0-9.]+)%", rendered(folder)) == ["50.0", "100.0"]


def test_g_stands_beside_f(folder, monkeypatch):
    monkeypatch.undo()
    g_mean = {"ece": 0.5, "reliability": {"ece": 0.5, "bins": [BIN]}}
    iou = {"road": 0.25, "road2": None, "$a$ <b>": 0.5}
    of_g = {"miou": 0.375, "pixel_accuracy": 0.25, "iou_per_class": iou}
    named = {f"{key}_refinement_net": value for key, value in of_g.items()}
    change(folder, g_mean=g_mean, **named)
    page = rendered(folder)
    text = words(page)
    assert "IoU F mode of G mIoU 0.750 0.375 pixel accuracy 0.875 0.250" in text
    assert "road 1.000 0.250" in text and "mean of the samples of G 0.900 0.500" in text
    assert "Reliability of the mean of G, ECE 50.00 %" in page


def test_networks_of_another_run_are_named(folder):
    changes = ["train.init_from=/data/old", "stage1.steps=0"]
    config = config_lib.load("cityscapes", [*changes, "train.init_networks=both"])
    (folder / "config.json").write_text(config_lib.to_json(config))
    text = text_of(folder)
    assert "Begins with F and G of old Stage 1 none: F is kept" in text


def test_what_is_undefined_is_explained(folder):
    text = text_of(folder)
    assert "GED undefined for 1, because their labels hold none" in text
    assert "50 0.280 – 0.500 –: undefined, because samples that share" in text
    assert "–: undefined, because neither label nor prediction has this class" in text
    change(folder, ece=None, by_num_samples={"16": {"ged": None}}, num_samples=16)
    text = text_of(folder)
    assert "GED16 is undefined: no label holds a class" in text
    assert "ECE over ten bins: undefined, because no pixel is labelled" in text


def test_the_paper_is_quoted_where_its_images_are(folder):
    assert "0.164" not in text_of(folder)  # two images, not 500
    change(folder, num_images=500)
    text = text_of(folder)
    assert (
        "cGAN+Lcal (CAR) 0.164 ± 0.01" in text and "paper's scores are not" not in text
    )
    config = json.loads(config_lib.to_json(config_lib.load("lidc")))
    config["data"].update(data_dir="d", size=[128, 128])
    config["stage2"]["num_samples"] = 5
    rows = dict(paper_tables.quoted(config, 1992))
    # The first table of the paper, and the row of M = 5 of its third.
    assert rows["cGAN+Lcal (20)"] == {"ged": "0.264 ± 0.002", "hm_iou": "0.592 ± 0.005"}
    assert "cGAN+Lcal (5)" in rows and "cGAN+Lcal (10)" not in rows
    config["data"]["size"] = [64, 64]
    assert paper_tables.quoted(config, 1992) == []


def test_a_discriminator_at_chance_is_named_first(folder):
    assert "ended at chance" in text_of(folder)
    line = {**LOG, "discriminator": 0.9}
    (folder / "stage2_log.jsonl").write_text(json.dumps(line))
    assert "ended at chance" not in text_of(folder)


def test_a_run_that_has_just_begun_has_a_report(folder):
    for path in [*folder.glob("*.json*"), *folder.glob("figures/*")]:
        if path.name != "config.json":
            path.unlink()
    text = text_of(folder)
    assert "has not been evaluated yet" in text and "cGAN+Lcal: cityscapes" in text
    assert "<img" not in rendered(folder)


def test_raters_are_compared_and_a_rater_alone_has_no_ged(folder):
    scores = {"ged": 0.7, "hm_iou": 0.4}
    names = ("argmax", "leave_one_out", "readers_drawn")
    raters = {"comparisons": {name: scores for name in names}}
    by_count = {"16": {**FLIPS["by_num_samples"]["16"], "hm_iou": 0.55}}
    change(folder, raters=raters, by_num_samples=by_count)
    text = text_of(folder)
    assert "this run, cGAN+Lcal 0.300 0.250 0.550 0.500" in text
    assert "F's arg-max as a constant sampler 0.700 – 0.400" in text
    assert "all raters but one against that one – – 0.400" in text
    assert "the raters' own masks, sampled 0.700 – 0.400" in text
    assert "Compare the samples on the right with the raters" in text
    facts = {**INFO, "num_raters": 1, "rater_word": "expert"}
    (folder / "data.json").write_text(json.dumps({"facts": facts, "splits": {}}))
    assert "One expert shows no disagreement" in text_of(folder)


def test_runs_and_scores_stand_side_by_side(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    config = config_lib.load("cityscapes_lce", ["train.seed=5"])
    (other / "config.json").write_text(config_lib.to_json(config))
    (other / "metrics.json").write_text(json.dumps({**FLIPS, "data": "elsewhere"}))
    scores = tmp_path / "theirs.json"
    scores.write_text(json.dumps({"ged": 0.4567, "num_samples": 16}))
    write.write(folder, [str(other), str(scores)])
    text = words((folder / "report.html").read_text(encoding="utf-8"))
    assert "other cGAN+Lce 2 of val 0.300" in text
    assert "theirs 0.457" in text
    assert "stage2.pixel_loss calibration cross_entropy" in text
    assert "train.seed 1 5" in text and "stage2.steps 500 500" not in text
    assert "different data" in text
    assert "--workdir 'a run' --compare other" in text


def test_further_evaluations_are_listed(folder):
    assert "Other evaluations" not in text_of(folder)
    other = {"split": "selection", "num_images": 7, "num_samples": 50}
    other.update(by_num_samples={"50": {"ged": 0.4567}}, noise_sampling="stratified")
    path = folder / "metrics_selection_50_stratified.json"
    path.write_text(json.dumps(other))
    text = text_of(folder)
    assert "2 of val 50 independent 0.280 0.500" in text
    assert "7 of selection 50 stratified 0.457 –" in text


def test_what_proposals_are_worth_is_shown(folder):
    assert "As proposals" not in text_of(folder)
    study = dict(num_targets=8, num_images=2, num_samples=16, max_regions=12)
    study["table"] = [["proposals", "IoU", "picks"], ["a mixture", "0.812", "3.0"]]
    (folder / "proposals.json").write_text(json.dumps(study))
    assert "proposals IoU picks a mixture 0.812 3.0" in text_of(folder)


def test_a_run_of_another_kind_brings_its_own_sections(folder, monkeypatch):
    monkeypatch.undo()
    picture = folder / "figures" / "samples.png"
    chart = figures.svg(figures.curves_figure({1: [], 2: [LOG]}), "own", "<Own>")
    blocks = ["A text <&>.", {"heads": ["λ", "runs"], "rows": [["1", None]]}]
    blocks += [{"picture": picture, "title": "T", "caption": "C"}]
    blocks += [{"facts": [("Seeds", 3)]}, {"chart": chart, "caption": "D"}]
    write.write(folder, sections=[("own", "Own results", blocks), ("no", "None", [])])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Own results A text <&>. λ runs 1 – T. C Seeds 3 D" in words(page)
    assert '<a href="#own">' in page and '<a href="#no">' not in page
    assert "GED" not in words(page) and Tags(page).names >= {"svg", "img"}


def test_methods_have_the_papers_names():
    for name, overrides, method in (
        ("cityscapes", [], "cGAN+Lcal"),
        ("cityscapes_lce", [], "cGAN+Lce"),
        ("cityscapes_gt", [], "cGAN+Lcal on the true distribution"),
        ("lidc_cvae", [], "cVAE-GAN+Lcal (β=0)"),
        ("lidc_cvae_elbo", ["stage2.kl_weight=0.1"], "cVAE-GAN (β=0.1)"),
        ("regression", [], "regression"),
    ):
        config = json.loads(config_lib.to_json(config_lib.load(name, overrides)))
        assert paper_tables.method(config) == method


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


def test_contrast_is_enough_in_light_and_dark():
    css = (write.TEMPLATES / "palette.css").read_text(encoding="utf-8")
    modes = [dict(re.findall(r"--(\w+):(#\w{6})", m)) for m in css.split("@media")]
    least = {"text": 7, "muted": 4.5, "accent": 4.5}
    least.update(dict.fromkeys(("first", "second", "third", "grey"), 3))
    assert len(modes) == 2 and modes[0].keys() == modes[1].keys() >= least.keys()
    for colors in modes:
        for name, ratio in least.items():
            for ground in ("page", "panel", "warning"):
                found = contrast(colors[name], colors[ground])
                assert found >= ratio, (name, ground)
    assert set(figures._VARIABLES.values()) <= modes[0].keys()


# The command


def test_the_command_finds_the_sections_of_a_regression(tmp_path):
    config = config_lib.load("regression")
    (tmp_path / "config.json").write_text(config_lib.to_json(config))
    environment = json.dumps({"report": type(config).REPORT})
    (tmp_path / "environment.json").write_text(environment)
    done = job.fork("--workdir", tmp_path, module="car_tf.report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "report.html")
    assert "not finished" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_file_that_a_run_names_is_not_executed(folder, tmp_path):
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit(7)")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "name": str(evil)}))
    done = job.fork("--workdir", folder, module="car_tf.report")
    assert done.returncode == 0, done.stderr


def test_the_command_needs_no_tensorflow():
    code = "import sys, car_tf.report.write; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=job.CHECKOUT)
    assert done.returncode == 0


def test_what_is_no_run_is_refused_in_one_line(folder, tmp_path):
    done = job.fork("--workdir", tmp_path, module="car_tf.report")
    assert done.returncode == 1 and "config.json" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    for other, words_of_it in ((tmp_path, "config"), (folder / "config.json", "score")):
        with pytest.raises(run_dir.RunError, match=words_of_it):
            write.write(folder, [str(other)])
    (folder / "metrics.json").write_text("{")
    with pytest.raises(run_dir.RunError, match="metrics.json is not JSON"):
        write.write(folder)
