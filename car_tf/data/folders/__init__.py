"""Any folder of images and raters as a data set, as its `dataset.json` says."""
