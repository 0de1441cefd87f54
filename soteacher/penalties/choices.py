"""The named choices of penalties. No torch: study files are checked with them."""

from __future__ import annotations

from typing import Literal

Norm = Literal["entrywise", "induced", "induced_strided"]
"""The norm of a convolution in the Lipschitz sum."""
Which = Literal["weights", "all"]
"""The parameters that L1 decay counts."""
Ramp = Literal["linear", "cosine", "cyclic", "piecewise"]
"""How the consistency weight rises over the epochs: Appendix D.1."""
Mode = Literal["official", "paper"]
"""How the consistency term reads the paper: as the authors' code does, or as the text does."""
