"""Pages that are written from the code say what the code says."""

from pathlib import Path

import pytest

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.core.schema import markdown_table
from resfit_ros.data.formats.options import ExportOptions, ImportOptions
from resfit_ros.policies.openpi import OpenpiOptions

DOCS = Path(__file__).resolve().parents[2] / "docs"
WRITTEN = "written by resfit_ros.core.schema.markdown_table -->\n"


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("learning.md", LearningConfig),
        ("policies/openpi.md", OpenpiOptions),
        ("sensors.md", AggregatorParameters),
        ("safety.md", SafetyParameters),
        ("data/formats.md", ImportOptions),
        ("data/formats.md", ExportOptions),
    ],
    ids=lambda v: str(v),
)
def test_when_settings_are_documented_expect_the_table_of_the_code(page, kind):
    tables = [part.split("<!-- end of")[0] for part in (DOCS / page).read_text().split(WRITTEN)[1:]]
    assert markdown_table(kind) in tables
