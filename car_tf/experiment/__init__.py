"""The paper's experiments: its tables on LIDC and its 1-D regression."""
