"""Columns of parquet files as arrays."""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.core.errors import DataError
from resfit_ros.data.formats.libraries import library

Table = Any  # pyarrow.Table


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """A parquet file. Raises DataError naming a file that is missing or damaged."""
    with _reading(path):
        return _opened(path).read(columns)


class EpisodeRows:
    """Rows of single episodes out of files that hold many; columns: which to read, None: all.

    What was read last is kept: the next episode often lies in it too.
    """

    def __init__(self, columns: Container[str] | None = None) -> None:
        self._columns = columns
        self._path: Path | None = None
        self._file: Any = None
        self._groups: dict[int, Table] = {}

    def of(self, path: Path, episode: int) -> Table:
        """The rows of an episode. Raises DataError where they are missing or damaged, others or not."""
        arrow, compute = library("pyarrow"), library("pyarrow.compute")
        with _reading(path):
            if path != self._path:
                self._file, self._path, self._groups = _opened(path), path, {}
            holding = [g for g in range(self._file.num_row_groups) if self._may_hold(g, episode)]
            self._groups = {g: self._groups[g] if g in self._groups else self._read(g) for g in holding}
            if not holding:
                raise DataError(f"{path} has no row of it")
            rows = arrow.concat_tables(self._groups.values())
            rows = rows.filter(compute.equal(rows["episode_index"], episode))
        if not len(rows):
            raise DataError(f"{path} has no row of it")
        return rows

    def _may_hold(self, group: int, episode: int) -> bool:
        of = self._file.metadata.row_group(group)
        names = [of.column(i).path_in_schema for i in range(of.num_columns)]
        found = of.column(names.index("episode_index")).statistics
        return found is None or not found.has_min_max or found.min <= episode <= found.max

    def _read(self, group: int) -> Table:
        names = [n for n in self._file.schema_arrow.names if self._columns is None or n in self._columns]
        return self._file.read_row_group(group, names)


def _opened(path: Path) -> Any:
    return library("pyarrow.parquet").ParquetFile(path, page_checksum_verification=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file into a DataError that names it."""
    arrow = library("pyarrow")
    if not path.is_file():
        raise DataError(f"{path} is missing; fetch the dataset again")
    try:
        yield
    except (OSError, ValueError, LookupError, arrow.ArrowException) as error:
        reason = str(error).split("\n")[0][:120]
        raise DataError(f"{path} cannot be read ({reason}); fetch the dataset again") from None


def column_names(path: Path) -> list[str]:
    """The columns of a parquet file; raises DataError where it cannot be read."""
    with _reading(path):
        return list(library("pyarrow.parquet").read_schema(path).names)


def write_table(table: Table, path: Path) -> None:
    """Writes a file whose pages bear checksums."""
    path.parent.mkdir(parents=True, exist_ok=True)
    library("pyarrow.parquet").write_table(table, path, write_page_checksum=True)


def matrix(table: Table, name: str) -> np.ndarray:
    """A column of numbers, or of lists of one length, as (n, width); NaN where a value is missing.

    Raises DataError where there is no such column, or its lists have several lengths or are nested.
    """
    if name not in table.column_names:
        raise DataError(f"there is no column '{name}'; there are: {', '.join(table.column_names)}")
    column = table.column(name).combine_chunks()
    arrow = library("pyarrow")
    is_list = arrow.types.is_list(column.type) or arrow.types.is_large_list(column.type)
    if is_list or arrow.types.is_fixed_size_list(column.type):
        return _lists(column, name)
    return _numbers(column, name)[:, None]


def _lists(column: Any, name: str) -> np.ndarray:
    rows, compute = len(column), library("pyarrow.compute")
    if column.null_count:
        raise DataError(f"column '{name}' has {column.null_count} rows without a value")
    widths = set(compute.list_value_length(column).to_pylist())
    if len(widths) > 1:
        raise DataError(f"column '{name}' has rows of {' and '.join(map(str, sorted(widths)))} values")
    return _numbers(column.flatten(), name).reshape(rows, -1 if rows else 0)


def _numbers(values: Any, name: str) -> np.ndarray:
    arrow = library("pyarrow")
    kind = values.type
    if not (arrow.types.is_floating(kind) or arrow.types.is_integer(kind) or arrow.types.is_boolean(kind)):
        raise DataError(f"column '{name}' holds {kind}, expected numbers")
    array = values.to_numpy(zero_copy_only=False)
    return array.astype(np.float64) if array.dtype == object else array  # with values missing


def texts_or_bytes(table: Table, name: str) -> list[Any]:
    """A column as Python values."""
    return table.column(name).to_pylist()
