"""Encoders that correlate a gaussian's tokens over time, and the heads that read them (4DSTR, arXiv 2511.07241).

`encoders.build` gives a Mamba, GRU or attention encoder behind one interface; `heads.DynamicWeights` turns its
feature into the residual of an attribute. `mamba` is the standard mixer, `scan` its selective scan, and `block` the
compiled form of what an encoder needs of both: the last token's output.
"""
