"""Which metadata columns are the usual ones: shown, and stored, without being named.

Age, sex, site of the body, skin type and view of an image. Other columns (a referrer, a postcode, a
date) must be named. `simclr_med/metrics/usual_columns.py` has the same list for what is shown.
"""

import re
import unicodedata

# Of a name without case, blanks and punctuation: "Patient Age", "patient_age" and "PatientAge" are one.
_AGE = r"""
    (patients?|approx(imate)?)? age
    (s|groups?|bands?|bins?|range|class|category|decade|approx(imate)?|(in)?(years?|yrs?)
     |at(diagnosis|exam(ination)?|imaging|scan|study|visit|biopsy))?
"""
_OTHERS = r"""
    (patients?|biological)? (sex|gender) (at(birth|diagnosis))?
    | (anatom(y|ic|ical)?|body|lesion)? (sites?|locali[sz]ation) (general|special)?
    | (anatom(y|ic|ical)?|body|lesion) (location|region|part) s? (general|special)?
    | bodyparts? (headorneck|arm|palm|backofhand|torsofront|torsoback|genitaliaorgroin|buttocks|leg
                  |foottoporside|footsole|other)
    | (dermatologists?)? (fit[zs]patrick|monk) (skin|photo)? (type|tone|scale)? (label)? (\d|us|india)?
    | (skin)? phototypes? | skin (type|tone|colou?r) s?
    | (view|projection) s? (position|type)? | (ap(or)?pa|pa(or)?ap) | frontal(or)?lateral
"""
_IS_AGE = re.compile(_AGE, re.VERBOSE)
_IS_USUAL = re.compile(f"{_AGE}|{_OTHERS}", re.VERBOSE)


def is_usual(column: str) -> bool:
    """Returns whether a column is one of the usual ones, whatever its case and punctuation."""
    return _IS_USUAL.fullmatch(_letters(column)) is not None


def is_age(column: str) -> bool:
    """Returns whether a column holds ages."""
    return _IS_AGE.fullmatch(_letters(column)) is not None


def _letters(column: str) -> str:
    """Returns a name without case, blanks and punctuation."""
    text = unicodedata.normalize("NFKC", column).casefold()
    return "".join(letter for letter in text if letter.isalnum())
