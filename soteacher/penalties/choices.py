"""The named choices of penalties, without torch: study files are checked against them."""

from __future__ import annotations

from typing import Literal

Norm = Literal["entrywise", "induced", "induced_strided"]
"""The norm of a convolution in the Lipschitz sum."""
Which = Literal["weights", "all"]
"""The parameters that L1 decay counts."""
Ramp = Literal["linear", "cosine", "cyclic", "piecewise"]
"""The curve of the consistency weight over the epochs: Appendix D.1."""
Mode = Literal["official", "paper"]
"""The version of the consistency term: that of the authors' code, or that of the paper's text."""
