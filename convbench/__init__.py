"""Which reducer and which LSTM input size for a Conv2D -> reducer -> LSTM model: measured, on this machine."""

__version__ = "0.1.0"
