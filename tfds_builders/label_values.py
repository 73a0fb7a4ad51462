"""Values of multi-label columns: text -> 1 positive, 0 negative, -1 uncertain, NaN blank.

That is CheXpert's coding (Irvin et al. 2019); blank is a label that is not mentioned.
"""

import numpy as np
import pandas as pd

# As published, as Excel saves it, and with a decimal comma.
_TEXTS = {"1.0": 1, "1": 1, "0.0": 0, "0": 0, "-1.0": -1, "-1": -1, "": np.nan}
_TEXTS |= {text.replace(".", ","): number for text, number in _TEXTS.items()}
_BLANK = ("nan", "na", "<na>", "null")  # as R and pandas may write it
ALLOWED = "1, 0, -1 (uncertain) or nothing"


def read_values(texts: pd.Series) -> tuple[pd.Series, pd.Series, int]:
    """Returns the values of a label column.

    Args:
      texts: str, without blanks around them; any index.

    Returns:
      Values, float32, NaN where blank; which texts are not allowed, bool; and how many texts such as NA
      were read as blank. Series have the index of `texts`.
    """
    is_written_blank = texts.str.lower().isin(_BLANK)
    is_invalid = ~texts.isin(_TEXTS) & ~is_written_blank
    return texts.map(_TEXTS).astype(np.float32), is_invalid, int(is_written_blank.sum())
