"""The order of the tests: files that take longest come first, so that no process is left alone with one at the end."""

from pathlib import Path

HERE = Path(__file__).parent
#: The longest first; a file that is not named takes less than half a minute.
LONG = (
    "study/test_grid.py", "training/test_trainer.py", "figures/test_lab.py", "figures/test_page.py", "cli/test_cli.py",
    "study/test_readme.py", "mapping/test_spreading.py", "test_docs.py", "study/test_workbook.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    place = {HERE / name: k for k, name in enumerate(LONG)}
    assert not [path for path in place if not path.is_file()], "conftest.py names a file that is not there"
    items.sort(key=lambda item: place.get(item.path, len(LONG)))
