"""Pages that are written from the code say what the code says."""

from pathlib import Path

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.schema import markdown_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN = "<!-- settings: written by resfit_ros.core.schema.markdown_table -->\n"


def test_when_settings_are_documented_expect_the_table_of_the_code():
    page = (DOCS / "learning.md").read_text()
    written = page.split(BEGIN)[1].split("<!-- end of settings -->")[0]
    assert written == markdown_table(LearningConfig)
