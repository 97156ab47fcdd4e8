"""The paper's results, when they may be quoted, and what its methods change.

A difference between rows is a list of overrides, so that a table compares methods at
equal size and training.
"""

import dataclasses
from typing import Any, Dict, List, Mapping, Tuple

PAPER_COLUMNS = ("GED 16", "GED 50", "GED 100", "HM-IoU 16")
NOTHING = "—"
# Data set -> working size and number of the images that the paper evaluates on.
DATA = {"cityscapes": ([256, 512], 500), "lidc": ([128, 128], 1992)}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table."""

    method: str  # as the paper calls it
    key: str  # names the runs; empty for results that are quoted alone
    # All that makes up the method, so that the configuration of a table may be that of
    # any of them.
    overrides: Tuple[str, ...]
    paper: Tuple[str, ...]  # the paper's values in `PAPER_COLUMNS`


def _overrides(
    pixel_loss: str, *others: str, noise: str = "standard", num_samples: int = 20
) -> Tuple[str, ...]:
    changed = (f"stage2.pixel_loss={pixel_loss}", f"refinement_net.noise={noise}")
    return (*changed, f"stage2.num_samples={num_samples}", *others)


def _calibrated(num_samples: int, *paper: str) -> Row:
    overrides = _overrides("calibration", num_samples=num_samples)
    return Row(f"cGAN+Lcal ({num_samples})", f"lcal-{num_samples}", overrides, paper)


def _elbo(beta: str, *paper: str) -> Row:
    overrides = _overrides("elbo", f"stage2.kl_weight={beta}")
    return Row(f"cVAE-GAN (β={beta})", f"elbo-{beta}", overrides, paper)


def _quoted(method: str, *paper: str) -> Row:
    return Row(method, "", (), paper)


LCE = Row(
    "cGAN+Lce",
    "lce",
    _overrides("cross_entropy"),
    ("0.639 ± 0.002", NOTHING, NOTHING, "0.477 ± 0.004"),
)
LCAL = _calibrated(
    20, "0.264 ± 0.002", "0.248 ± 0.004", "0.243 ± 0.004", "0.592 ± 0.005"
)
CVAE = Row(
    "cVAE-GAN+Lcal (β=0)",
    "cvae-lcal",
    _overrides("calibration", noise="encoded"),
    ("0.272 ± 0.006", "0.252 ± 0.006", "0.246 ± 0.006", "0.593 ± 0.003"),
)
TABLES: Dict[str, Tuple[Row, ...]] = {}
TABLES["table1"] = (
    _quoted("Kohl et al. (2018)", "0.320 ± 0.030", NOTHING, "0.252", "0.500 ± 0.030"),
    _quoted("Kohl et al. (2019)", "0.270 ± 0.010", NOTHING, NOTHING, "0.530 ± 0.010"),
    _quoted("Hu et al. (2019)", NOTHING, "0.267 ± 0.012", NOTHING, NOTHING),
    _quoted("Baumgartner et al. (2019)", NOTHING, NOTHING, "0.224", NOTHING),
    LCE,
    LCAL,
)
TABLES["table3"] = (
    _calibrated(1, "0.644 ± 0.033", "0.643 ± 0.033", "0.643 ± 0.033", "0.494 ± 0.013"),
    _calibrated(5, "0.278 ± 0.000", "0.257 ± 0.002", "0.252 ± 0.001", "0.585 ± 0.003"),
    _calibrated(10, "0.277 ± 0.003", "0.257 ± 0.003", "0.250 ± 0.003", "0.589 ± 0.007"),
    _calibrated(15, "0.271 ± 0.002", "0.250 ± 0.001", "0.245 ± 0.003", "0.593 ± 0.002"),
    LCAL,
)
TABLES["table4"] = (
    LCE,
    LCAL,
    _elbo("0.1", "0.577 ± 0.095", NOTHING, NOTHING, "0.484 ± 0.006"),
    _elbo("1", "0.596 ± 0.078", NOTHING, NOTHING, "0.474 ± 0.005"),
    _elbo("10", "0.609 ± 0.061", NOTHING, NOTHING, "0.482 ± 0.010"),
    CVAE,
)

# GED 16 on Cityscapes with flipping classes (CAR, Section 5.2.2): method -> value.
CITYSCAPES: Dict[str, str] = {
    "cGAN+Lcal": "0.164 ± 0.01",
    "cGAN+Lce": "0.632 ± 0.07",
    "cGAN+Lcal on the true distribution": "0.038 ± 0.00",
    "Probabilistic U-Net": "0.206",
}


def method(config: Mapping[str, Any]) -> str:
    """Names a configuration's method as the paper does; others by their own names."""
    stage2 = config.get("stage2", {})
    if "pixel_loss" not in stage2:
        return config["name"]
    if stage2["pixel_loss"] == "elbo":
        return f"cVAE-GAN (β={stage2['kl_weight']:g})"
    if stage2["pixel_loss"] == "cross_entropy":
        return "cGAN+Lce"
    if config["refinement_net"].get("noise") == "encoded":
        return "cVAE-GAN+Lcal (β=0)"
    if config["calibration_net"]["kind"] == "true_distribution":
        return "cGAN+Lcal on the true distribution"
    return "cGAN+Lcal"


def quoted(
    config: Mapping[str, Any], num_images: int
) -> List[Tuple[str, Dict[str, str]]]:
    """Returns (method, `ged` and `hm_iou`) of the paper with 16 samples.

    Of its tables on LIDC the first, and the row of the run's own method. Empty where a
    run is on other images than the paper's or at another size.
    """
    data = config["data"]
    if not data["data_dir"] or DATA.get(data["dataset"]) != (data["size"], num_images):
        return []
    if data["dataset"] == "cityscapes":
        return [(name, {"ged": value}) for name, value in CITYSCAPES.items()]
    mine = method(config)
    mine = (mine, f"{mine} ({config['stage2']['num_samples']})")
    rows = {row.method: row for row in TABLES["table1"]}
    for row in (*TABLES["table3"], *TABLES["table4"]):
        if row.method in mine:
            rows[row.method] = row
    return [
        (name, {"ged": row.paper[0], "hm_iou": row.paper[3]})
        for name, row in rows.items()
        if NOTHING not in (row.paper[0], row.paper[3])
    ]
