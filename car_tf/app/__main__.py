"""A local page on which to see, choose and correct segmentation proposals.

    python -m car_tf.app --workdir RUN
    python -m car_tf.app --workdir RUN --images DIR --output DATASET --rater anna
    python -m car_tf.app --saved_model MODELS/NAME --blackbox MODEL_OR_FOLDER

Open the address that it prints, drop images, choose a proposal, correct it, and save it
as OUTPUT/masks/<rater>/<stem>.png, or as PNG, Cityscapes' JSON or COCO. It answers this
machine alone, unless --host says otherwise, and has no passwords.
"""

import socket
import sys
import threading
from typing import Any, Optional, Tuple

from absl import flags

from car_tf.config import cli, data_sections
from car_tf.runtime import run_dir
from export import versions

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "", "Run directory, whose exported model is used.")
flags.DEFINE_string("saved_model", "", "Exported model, or a folder of its versions.")
flags.DEFINE_string(
    "blackbox",
    "",
    "Segmenter, or folder of its predictions, for a model that works on one (default: "
    "that of the training; where there is none, each image must come with its map).",
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Sets how --blackbox is understood, other than in training, such as "
    "blackbox.encoding=label_ids; may be repeated.",
)
flags.DEFINE_multi_string(
    "images",
    [],
    "Images to label one after the other (pictures, DICOM, NIfTI), or folders of them.",
)
flags.DEFINE_string(
    "output", "", "Folder that gets images/ and masks/<rater>/, to be trained on."
)
flags.DEFINE_string(
    "rater",
    "",
    "Your name, as the page begins with it, which is that of a folder: letters, digits, "
    "dot, dash and underscore, at most 64.",
)
flags.DEFINE_list(
    "window",
    [],
    "LOW,HIGH: the grey values of scans that the model sees as black and white "
    "(default: those of the training, or of each file).",
)
flags.DEFINE_enum(
    "size", "trained", ["trained", "own"], "Size at which images are predicted."
)
flags.DEFINE_integer(
    "num_samples", 16, "Proposals at first.", lower_bound=2, upper_bound=64
)
flags.DEFINE_integer(
    "seed", 0, "Seed of the proposals.", lower_bound=0, upper_bound=2**31 - 1
)
flags.DEFINE_string("host", "127.0.0.1", "Address to bind to.")
flags.DEFINE_integer(
    "port", 8765, "Port to bind to; 0 for a free one.", lower_bound=0, upper_bound=65535
)


def _window() -> Optional[Tuple[float, float]]:
    if not FLAGS.window:
        return None
    try:
        low, high = map(float, FLAGS.window)
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise versions.ExportError(
            f"--window: wanted LOW,HIGH, got {','.join(FLAGS.window)}"
        )
    return low, high


def _build() -> Any:
    """Loads the model; returns the server's application."""
    window = _window()
    path = versions.of_flags(FLAGS.workdir, FLAGS.saved_model)
    config = run_dir.saved_config(FLAGS.workdir) if FLAGS.workdir else None
    print(f"loading {path}", flush=True)
    # TensorFlow starts here, after the cheap checks.
    from car_tf.app import folder as app_folder
    from car_tf.app import inputs
    from car_tf.app import server as app_server
    from car_tf.app import session as app_session
    from car_tf.predict import predictor

    options = predictor.Options(
        num_samples=FLAGS.num_samples,
        seed=FLAGS.seed,
        size=FLAGS.size,
        blackbox=FLAGS.blackbox,
        blackbox_settings=data_sections.blackbox_settings(FLAGS.set),
    )
    session = app_session.Session(
        predictor.Predictor(path),
        options,
        window,
        draw_examples=lambda: inputs.draw_examples(config) if config else [],
        log=lambda words: print(words, flush=True),
    )
    if session.reader.needs_map:
        print("this run works on a black box; photographs need --blackbox MODEL")
    folder = app_folder.Folder(FLAGS.images, FLAGS.output, session.labels, FLAGS.rater)
    threading.Thread(target=session.warm_up, daemon=True).start()
    return app_server.build(session, FLAGS.host, folder)


def main() -> int:
    """Serves the page until Ctrl-C; returns the exit code."""
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        words = f"error: the page needs {error.name}: pip install fastapi uvicorn"
        print(words, file=sys.stderr)
        return 1
    family = socket.AF_INET6 if ":" in FLAGS.host else socket.AF_INET
    with socket.socket(family) as listening:
        try:
            # Before the model is loaded, which takes longer.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((FLAGS.host, FLAGS.port))
        except OSError as error:
            words = f"error: --host {FLAGS.host} --port {FLAGS.port}: {error.strerror}"
            print(words, file=sys.stderr)
            return 1
        server = _build()
        listening.listen()  # Whoever opens the address at once is not refused.
        host = f"[{FLAGS.host}]" if ":" in FLAGS.host else FLAGS.host
        port = listening.getsockname()[1]
        print(f"open http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(server, log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(*run_dir.USER_ERRORS, versions.ExportError))
