"""The paper's 1-D regression (CAR, Section 5.1): all its runs trained at once."""
