"""Packaging of car_tf."""

import pathlib
import re
import sys

import setuptools

if not (3, 9) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "car_tf needs Python 3.9 to 3.13, because TensorFlow has no wheels for others; "
        f"this is Python {sys.version.split()[0]} ({sys.executable}). "
        "Try: python3.13 -m venv .venv"
    )

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "car_tf/__init__.py").read_text())
# Two stacks: docs/stacks.md.
OLD, NEW = 'python_version < "3.12"', 'python_version >= "3.12"'

setuptools.setup(
    name="car_tf",
    version=VERSION[1],
    description="Calibrated samples of segmentation maps: CAR in TensorFlow and Keras",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9,<3.14",
    packages=[
        *setuptools.find_packages(include=["car_tf", "car_tf.*", "export", "export.*"]),
        "car_tf.configs",
    ],
    # Configurations are found by their path, in a checkout and in a wheel alike.
    package_dir={"car_tf.configs": "configs"},
    # What the proposal page serves to the browser, and what a report is made of.
    package_data={"car_tf": ["app/page/*", "report/templates/*"]},
    entry_points={"console_scripts": ["car-tf = car_tf.__main__:main"]},
    install_requires=[
        "absl-py",
        "jinja2>=3.1",
        "matplotlib>=3.7",
        "pillow>=10",
        "pydantic>=2.10,<3",
        "scipy>=1.10",
        "setuptools<81",
        "tqdm>=4.60",
        # TensorFlow Addons has no later release, and needs all of these.
        f"keras==2.15.0; {OLD}",
        f"numpy>=1.23.5,<2; {OLD}",
        f"protobuf<5; {OLD}",
        f"tensorflow==2.15.1; {OLD}",
        f"tensorflow-addons==0.23.0; {OLD}",
        f"tensorflow-probability==0.23.0; {OLD}",
        f"typeguard<3; {OLD}",
        # Each release of tf_keras is made for one of TensorFlow.
        f"keras>=3.12; {NEW}",
        f"numpy>=2; {NEW}",
        f"tensorboard>=2.20; {NEW}",
        f"tensorflow==2.21.0; {NEW}",
        f"tensorflow-probability==0.25.0; {NEW}",
        f"tf-keras==2.21.0; {NEW}",
    ],
    extras_require={
        # CUDA's libraries.
        "gpu": [
            f"tensorflow[and-cuda]==2.15.1; {OLD}",
            f"tensorflow[and-cuda]==2.21.0; {NEW}",
        ],
        # The gRPC client, and the warm-up requests of an export.
        "serving": [
            f"tensorflow-serving-api==2.15.1; {OLD}",
            f"tensorflow-serving-api==2.21.0; {NEW}",
        ],
        # The proposal page.
        "app": ["fastapi>=0.110", "uvicorn>=0.27"],
        # The documentation as a site.
        "docs": [
            *("mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10"),
            "mkdocstrings[python]>=0.26",
        ],
        # LIDC crops from DICOM files; scans on the proposal page.
        "dicom": ["nibabel>=4", "pydicom>=2.4"],
        # The last two for the proposal page, in a client and in a browser.
        "test": [
            *("pytest>=7", "pytest-xdist>=3", "pydicom>=2.4", "nibabel>=4"),
            *("httpx<0.28", "playwright>=1.40"),
        ],
    },
)
