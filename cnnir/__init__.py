"""cnnir: a compiler for convolutional networks.

The road through the code: a source (`cnnir.frontends`) becomes a `cnnir.ir.Graph`, passes (`cnnir.passes`)
rewrite it, a backend (`cnnir.backends`) turns it into an artifact (`cnnir.artifact`), and
`cnnir.runtime` runs that artifact without importing any of the above.
"""

__version__ = "0.1.0"
