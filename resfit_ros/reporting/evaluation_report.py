"""Everything that is made of evaluation.json: the figure, and one page with all pictures in it."""

import json
from pathlib import Path

from resfit_ros.core.errors import DataError
from resfit_ros.core.whole_file import write_whole
from resfit_ros.reporting.compared import BAGS
from resfit_ros.reporting.evaluation_figure import draw_evaluation
from resfit_ros.reporting.evaluation_page import page
from resfit_ros.reporting.film import film_strips


def write_report(result_path: Path, bags: Path | None = None) -> Path:
    """Writes the figure (.png) and the page (.html) beside a result; returns the page.

    bags: folder of its episodes, `bags` beside it where None. Raises DataError when the result cannot be
    read.
    """
    try:
        result = json.loads(result_path.read_text())
        result["arms"], result["episodes"], result["setup"]  # noqa: B018  results of older releases lack some
    except OSError as error:
        raise DataError(f"{result_path}: cannot be read ({error.strerror}); evaluate first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{result_path}: not a result of 'resfit evaluate' of this release ({error!r})"
        ) from None
    figure = result_path.with_suffix(".png")
    draw_evaluation(result, figure)
    strips = list(film_strips(result, bags or result_path.parent / BAGS))
    out = result_path.with_name(
        "report.html" if result_path.stem == "evaluation" else f"{result_path.stem}.html"
    )
    write_whole(out, page(result, figure.read_bytes(), strips))
    return out
