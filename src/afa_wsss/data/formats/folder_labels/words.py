"""What names of columns and members mean, and what cells of a column of 0 and 1 may hold."""

from __future__ import annotations

import re

from afa_wsss.data.formats.folder_labels.reading import EMPTY_WORDS, plain


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILE_WORDS = _words("""
    file image img photo picture pic path filename file_name filepath file_path image_path img_path photo_path
    image_name img_name photo_name image_file image_filename img_file imagefile imagename imagepath image_id imageid
    img_id photo_id id name fname uri url image_url filenames files images photos
""")
ID_WORDS = _words("id image_id imageid img_id photo_id name")
LABEL_WORDS = _words("""
    label labels class classes tag tags category categories class_name class_names classname label_name label_names
    labelname category_name category_names species target targets keyword keywords ground_truth image_label
    image_labels object objects annotation annotations attribute_tags choice choices
""")
SPLIT_WORDS = _words("split subset set usage partition phase dataset_split data_split split_name")
IS_VALIDATION_WORDS = _words("is_valid is_val is_validation is_test is_holdout")
PRESENT_WORDS = _words("confidence present presence value verified_present")
INDEX_WORDS = _words("index idx row no nr number unnamed:_0")
OTHER_WORDS = _words("""
    width height x y w h xmin ymin xmax ymax x_min y_min x_max y_max x1 y1 x2 y2 bbox area score url date time caption
    text comment comments notes note annotator source fold
    author license camera timestamp md5 size depth pose sha1 sha256 hash checksum bytes filesize file_size
    iso aperture exposure focal_length latitude longitude lat lon
""")
FLAG_WORDS = _words(
    "isoccluded istruncated isgroupof isdepiction isinside truncated difficult occluded verified crowd iscrowd"
)
"""Names of columns, as ``column_word`` writes them; of ``FILE_WORDS``, those in ``ID_WORDS`` may count the rows."""

NUMBERED_LABEL = re.compile(r"^(label|tag|class|category|keyword)s?[_ ]?\d+$")

YES, NO = _words("1 1.0 true yes x y"), _words("0 0.0 false no n") | EMPTY_WORDS
"""Cells of a column that stands for one class, in lower case."""


def column_word(name: str) -> str:
    """A column's name in lower case, ``_`` for blanks and hyphens.

    Example:
        >>> column_word(" Image Name")
        'image_name'
    """
    return re.sub(r"[\s\-]+", "_", plain(name).strip("\"'").lower())
