"""Packaging of car_tf."""

import pathlib
import sys

import setuptools

if not (3, 9) <= sys.version_info[:2] <= (3, 11):
    sys.exit(
        "car_tf needs Python 3.9, 3.10 or 3.11, because TensorFlow 2.15 and TensorFlow "
        f"Addons have no wheels for others; this is Python {sys.version.split()[0]} "
        f"({sys.executable}). Try: python3.11 -m venv .venv"
    )

ROOT = pathlib.Path(__file__).parent

setuptools.setup(
    name="car_tf",
    version="0.1.0",
    description="Calibrated samples of segmentation maps: CAR in TensorFlow and Keras",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.9,<3.12",
    packages=[
        *setuptools.find_packages(include=["car_tf", "car_tf.*", "export", "export.*"]),
        "car_tf.configs",
    ],
    # Configurations are found by their path, in a checkout and in a wheel alike.
    package_dir={"car_tf.configs": "configs"},
    # What the proposal page serves to the browser, and the report is made of.
    package_data={"car_tf": ["app/page/*", "report/templates/*"]},
    install_requires=[
        "absl-py",
        "jinja2>=3.1",
        "keras==2.15.0",
        "matplotlib>=3.7",
        "numpy>=1.23.5,<2",
        "pillow>=10",
        "protobuf<5",
        "scipy>=1.10",
        "setuptools<81",
        "tensorflow==2.15.1",
        "tensorflow-addons==0.23.0",
        "tensorflow-probability==0.23.0",
        "tqdm>=4.60",
        "typeguard<3",
    ],
    extras_require={
        # The gRPC client, and the warm-up requests of an export.
        "serving": ["tensorflow-serving-api==2.15.1"],
        # The proposal page.
        "app": ["fastapi>=0.110", "uvicorn>=0.27"],
        # LIDC crops from DICOM files.
        "dicom": ["pydicom>=2.4"],
        # The last two for the proposal page, in a client and in a browser.
        "test": [
            *("pytest>=7", "pytest-xdist>=3", "pydicom>=2.4"),
            *("httpx<0.28", "playwright>=1.40"),
        ],
    },
)
