"""What an exported model costs: against the process that made it, and when it is new.

    python -m tests.benchmarks.exported --config cityscapes_paper

Exports untrained networks of a configuration, which take as long as trained ones, loads
the SavedModel, and times requests of one image and 16 samples: in turns, so that whatever
else the machine does meets all alike. Prints a table, and JSON as its last line.
`--requests 2000` also asks `sample` so often from six threads at the same time, and counts
the answers that are not those of one request after the other.
"""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import tempfile
import time
from typing import Any, Dict, List

import numpy as np
from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli
from tests.benchmarks import timing

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "cityscapes_paper", "Name or path of a configuration.")
flags.DEFINE_multi_string("set", [], "Override `section.field=value`; repeatable.")
flags.DEFINE_integer("rounds", 9, "Calls of each kind.", lower_bound=1)
flags.DEFINE_integer("requests", 0, "Requests of six threads.", lower_bound=0)

NUM_SAMPLES = 16
SEED = ((1, 2),)
NUM_THREADS = 6


def ratio(seconds: Dict[str, List], name: str, other: str) -> float:
    """Returns the median over the rounds of one call's time by another's."""
    return float(np.median(np.divide(seconds[name], seconds[other])))


def build(config: config_lib.Config) -> Any:
    """Returns an untrained sampler whose samples differ, and the facts of its data."""
    import tensorflow as tf

    from car_tf.blackbox import attach
    from car_tf.models import build as networks
    from car_tf.models.keras_api import keras

    few = config_lib.change(config, data={"num_drawn": (4, 1, 1)})
    dataset_info = attach.load(few).info
    keras.utils.set_random_seed(0)
    refinement_net = networks.build_refinement_net(config, dataset_info)
    kernel = refinement_net.logits_layer.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    calibration_net = networks.build_calibration_net(config, dataset_info)
    return (
        networks.build_sampler(calibration_net, refinement_net, dataset_info),
        dataset_info,
    )


def inputs_of(config: config_lib.Config, dataset_info: Any) -> Dict[str, np.ndarray]:
    """Returns an image of noise and, where the model needs it, a map of noise."""
    rng = np.random.default_rng(0)
    size = (1, *config.data.size)
    image = rng.integers(0, 256, (*size, dataset_info.image_channels)).astype(np.uint8)
    if not dataset_info.num_blackbox_classes:
        return {"image": image}
    if dataset_info.blackbox_output == "probabilities":
        blackbox = rng.random((*size, dataset_info.num_blackbox_classes), np.float32)
        blackbox /= blackbox.sum(-1, keepdims=True)
    else:
        ids = rng.integers(0, dataset_info.num_blackbox_classes, size)
        blackbox = ids.astype(np.uint8)
    return {"image": image, "blackbox": blackbox}


def steady_costs(
    model: Any, settings: Any, folder: pathlib.Path, inputs: Dict, rounds: int
) -> Dict[str, Any]:
    """Times the signatures, and the same computation in this process."""
    import tensorflow as tf

    from export import program

    loaded = tf.saved_model.load(str(folder))
    served = loaded.signatures
    seen = {name: tf.constant(value) for name, value in inputs.items()}
    draws = {"num_samples": tf.constant(NUM_SAMPLES), "seed": tf.constant(SEED)}
    encoded = served["encode"](**seen)
    computation = tf.function(program.Program(model, settings).sample, autograph=False)
    calls = {
        "in process: sample": lambda: computation(
            seen["image"],
            seen.get("blackbox"),
            draws["seed"],
            draws["num_samples"],
        ),
        "sample": lambda: served["sample"](**seen, **draws),
        "decode": lambda: served["decode"](**encoded, **draws),
        "encode": lambda: served["encode"](**seen),
        "calibrate": lambda: served["calibrate"](**seen),
    }
    seconds = timing.in_turns(
        {name: timing.clock(call) for name, call in calls.items()}, repeats=rounds
    )
    return {
        "seconds": {name: float(np.median(times)) for name, times in seconds.items()},
        "sample / in process": ratio(seconds, "sample", "in process: sample"),
        "decode / sample": ratio(seconds, "decode", "sample"),
    }


def first_requests(folder: pathlib.Path, inputs: Dict, rounds: int) -> Dict[str, float]:
    """Loads as a server does, warms up, and returns first by steady request.

    Through a session, as in TensorFlow Serving, which prepares the graph anew for each
    set of outputs.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    from export import warmup

    records = tf.data.TFRecordDataset(str(folder / warmup.FILE)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    requests = [log.predict_log.request for log in logs]
    ratios = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saved = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))

        def run(request: Any, changes: Dict[str, np.ndarray]) -> None:
            signature = saved.signature_def[request.model_spec.signature_name]
            values = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            values.update({k: v for k, v in changes.items() if k in values})
            names = request.output_filter or sorted(signature.outputs)
            session.run(
                [signature.outputs[name].name for name in names],
                {signature.inputs[name].name: v for name, v in values.items()},
            )

        for request in requests:
            run(request, {})
        for request in requests:
            seconds = []
            for _ in range(1 + rounds):
                start = time.perf_counter()
                run(request, inputs)
                seconds.append(time.perf_counter() - start)
            outputs = ", ".join(request.output_filter) or "all outputs"
            name = f"{request.model_spec.signature_name} ({outputs})"
            ratios[name] = seconds[0] / float(np.median(seconds[1:]))
    return ratios


def wrong_answers(folder: pathlib.Path, inputs: Dict, num_requests: int) -> int:
    """Asks from several threads; returns how many answers are others than in turn."""
    import tensorflow as tf

    sample = tf.saved_model.load(str(folder)).signatures["sample"]
    seen = {name: tf.constant(value) for name, value in inputs.items()}

    def answer(index: int) -> np.ndarray:
        seed, num = tf.constant([[1, index]]), tf.constant(4)
        return sample(**seen, num_samples=num, seed=seed)["samples"].numpy()

    alone = [answer(index) for index in range(3 * NUM_THREADS)]

    def is_wrong(index: int) -> bool:
        index %= len(alone)
        return not np.array_equal(answer(index), alone[index])

    with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
        return sum(pool.map(is_wrong, range(num_requests)))


def measure(
    config: config_lib.Config, rounds: int, num_requests: int = 0
) -> Dict[str, Any]:
    """Exports and measures; see the module's docstring."""
    from export import program, run

    model, dataset_info = build(config)
    settings = program.Settings(dataset_info)
    inputs = inputs_of(config, dataset_info)
    with tempfile.TemporaryDirectory() as output:
        folder = run.export_run(
            config, model, dataset_info, pathlib.Path(output), num_samples=NUM_SAMPLES
        )
        results = {
            "config": config.name,
            "size": list(config.data.size),
            "num_samples": NUM_SAMPLES,
            "rounds": rounds,
            **steady_costs(model, settings, folder, inputs, rounds),
            "first / steady": first_requests(folder, inputs, rounds),
        }
        if num_requests:
            results["requests"] = num_requests
            results["wrong"] = wrong_answers(folder, inputs, num_requests)
        return results


def table(results: Dict[str, Any]) -> List[str]:
    """Returns the results as lines for people."""
    height, width = results["size"]
    rounds = results["rounds"]
    lines = [
        f"{results['config']}: one image of {height} x {width}, "
        f"{results['num_samples']} samples, medians of {rounds}"
    ]
    rows = [(name, f"{value:.3f} s") for name, value in results["seconds"].items()]
    for name in ("sample / in process", "decode / sample"):
        rows.append((name, f"{results[name]:.3f}"))
    for name, value in results["first / steady"].items():
        rows.append((f"first / steady: {name}", f"{value:.2f}"))
    if "wrong" in results:
        name = f"wrong of {results['requests']} requests of {NUM_THREADS} threads"
        rows.append((name, str(results["wrong"])))
    return lines + [f"  {name:<55}{value:>9}" for name, value in rows]


def main() -> int:
    """Measures; returns the exit code."""
    config = config_lib.load(FLAGS.config, FLAGS.set)
    if not isinstance(config, config_lib.Config):
        raise config_lib.ConfigError(f"--config: {FLAGS.config} is never exported")
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of its own functions.
    results = measure(config, FLAGS.rounds, FLAGS.requests)
    print("\n".join(table(results)))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(config_lib.ConfigError,))
