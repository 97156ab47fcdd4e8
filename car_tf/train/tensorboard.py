"""What a training run shows in TensorBoard: scalars, pictures, and its configuration."""

import io
import pathlib
from typing import Any, Dict, List, Mapping, Optional

import matplotlib.figure
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from car_tf.blackbox import postprocess
from car_tf.data import examples, info
from car_tf.evaluate import accumulators, distances, evaluation, sampling
from car_tf.metrics import calibration
from car_tf.report import figures
from car_tf.runtime import run_dir

FOLDER = "tensorboard"
NUM_IMAGES = 3

DESCRIPTIONS = {
    "cross_entropy": "Lce of F, nats, mean over labelled pixels",
    "accuracy": "Share of labelled pixels that F's arg-max gets right",
    "selection_cross_entropy": "Lce of F on the selection split; lower is better",
    "pixel_loss": "Lcal, Lce or the negative ELBO, nats, mean over labelled pixels",
    "adversarial": "Ladv of G, nats; 0.693 where D is at chance",
    "discriminator": "Cross entropy of D on real and generated pairs, nats; 1.386 at "
    "chance",
    "r1": "R1 penalty of D, before its weight",
    "energy": "Energy distance of the samples from the labels",
    "complexity": "KL of the posterior of z from N(0, I), nats, sum over z",
    "real_accuracy": "Share of real pairs that D takes for real",
    "fake_accuracy": "Share of generated pairs that D takes for generated",
    "selection_ged": "Squared GED on the selection split; lower is better",
    "ged": "Squared GED of the best weights; lower is better",
    "hm_iou": "Hungarian-matched IoU of the best weights; higher is better",
    "ece": "Expected calibration error of F",
    "ged_before_stage2": "Squared GED of G before stage 2, with the same noise",
    "hm_iou_before_stage2": "Hungarian-matched IoU of G before stage 2",
    "realism_auc": "AUC of a fresh judge that tells samples from labels; 0.5 is best",
    "realism_auc_before_stage2": "The same of G before stage 2",
}


class Board:
    """Writes a run's events; of several workers, the chief alone writes."""

    def __init__(self, folder: pathlib.Path, *, writes: bool = True):
        self._writer = tf.summary.create_noop_writer()
        if writes:
            self._writer = tf.summary.create_file_writer(str(folder))

    @classmethod
    def of(cls, workdir: run_dir.RunDir) -> "Board":
        """Returns the board of a run directory."""
        return cls(workdir.path / FOLDER, writes=workdir.writes)

    def scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers as `group/name`."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                words = DESCRIPTIONS.get(name)
                tf.summary.scalar(f"{group}/{name}", value, description=words)
        self._writer.flush()

    def pictures(
        self, group: str, step: int, drawn: Mapping[str, matplotlib.figure.Figure]
    ) -> None:
        """Writes figures as `group/name`."""
        with self._writer.as_default(step=step):
            for name, figure in drawn.items():
                content = io.BytesIO()
                figure.savefig(content, format="png")
                image = tf.io.decode_png(content.getvalue(), channels=3)
                tf.summary.image(f"{group}/{name}", image[None])
        self._writer.flush()

    def configuration(self, fields: Mapping[str, str], notes: List[str]) -> None:
        """Writes fields as text and as hyper-parameters, and notes on the data."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in fields.items())
        with self._writer.as_default(step=0):
            tf.summary.text("configuration", f"| field | value |\n|---|---|\n{rows}")
            if notes:
                tf.summary.text("notes", "".join(f"- {note}\n" for note in notes))
            hparams.hparams({name: _typed(value) for name, value in fields.items()})
        self._writer.flush()


def _typed(text: str) -> Any:
    """Returns a number where the text is one, so that runs are sorted by it."""
    try:
        return float(text)
    except ValueError:
        return text


class Glimpse:
    """Collects what the pictures of one look at the selection split need."""

    def __init__(self, source: examples.Examples, dataset_info: info.DatasetInfo):
        self._source = source
        self._dataset_info = dataset_info
        self._gallery: List[figures.Shown] = []
        self._reliability = calibration.Reliability()
        self._flips: Optional[Dict[str, calibration.FlipCalibration]] = None
        if dataset_info.flips:
            arrays = distances.flip_arrays(dataset_info)
            self._flips = {
                name: calibration.FlipCalibration(**arrays)
                for name in ("calibration_net", "refinement_net")
            }

    def add(self, drawn: sampling.SampledImage) -> None:
        """Adds an image; the first ones are shown."""
        labels = self._source.labels[drawn.index]
        if len(self._gallery) < NUM_IMAGES:
            self._gallery.append(
                evaluation.shown(drawn, self._source, self._dataset_info)
            )
        seen = (drawn.sample_mean, labels, self._dataset_info)
        accumulators.add_reliability(self._reliability, *seen)
        if self._flips:
            blackbox = self._source.blackbox
            agrees = None
            if blackbox is not None:
                agrees = postprocess.hard_labels(blackbox[drawn.index]) == labels[0]
            # F is judged where the black box is right, as in CAR, A.4.
            self._flips["calibration_net"].update(drawn.probs, labels[0], agrees)
            self._flips["refinement_net"].update_samples(drawn.samples, labels[0])

    def figures(self) -> Dict[str, matplotlib.figure.Figure]:
        """Returns the figures by name; none where nothing was added."""
        if not self._gallery:
            return {}
        bins = self._reliability.to_dict()
        drawn = {
            "samples": figures.gallery_figure(self._gallery),
            "entropies": figures.entropies_figure(self._gallery),
            "reliability": figures.reliability_figure(bins, "the mean of G"),
        }
        if self._flips:
            tables = {name: flips.to_dict() for name, flips in self._flips.items()}
            names = self._dataset_info.class_names
            drawn["calibration"] = figures.calibration_figure(tables, names)
        return drawn
