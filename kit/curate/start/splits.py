"""Where the images lie that are not labelled: those of the test, those without labels, and those of a validation set.

Works on a survey; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kit.config.data import Listing
from kit.curate.start.columns import named_columns, read_cells
from kit.curate.start.listed import Labeled, find_ids, find_pixel_id
from kit.curate.start.roles import LABELED, TEST, UNLABELED, VALIDATION, images_in, role_of
from kit.curate.start.samples import Sample
from kit.curate.start.survey import Survey
from kit.data.table.sources import list_folders

Source = str | tuple[str, ...] | Listing | None


@dataclass(frozen=True)
class Found:
    """Hold where the images of a split lie, which they are, and why."""

    source: Source = None
    names: set[str] = field(default_factory=set)
    n_images: int = 0
    evidence: str = ""


def find_test(survey: Survey, roles: Mapping[str, list[str]], sample: Sample | None, labeled: Labeled) -> Found:
    """Return the test images: those that the sample submission names, as far as it can be matched; else a folder's."""
    if isinstance(labeled.source, Listing) and labeled.source.form == "pixels":
        return _find_pixel_rows(survey, labeled.source.csv or "")
    listings = _test_tables(survey)
    if sample is not None and (by_sample := _by_sample(survey, roles, sample, listings, labeled)):
        return by_sample
    if roles[TEST]:
        names = images_in(survey.names, roles[TEST])
        return Found(_one_or_all(roles[TEST]), names, len(names), "a folder of that name")
    others = [*roles[LABELED], *roles[VALIDATION], *roles[UNLABELED]]
    for file in listings:
        rows = survey.tables[file]
        chosen = find_ids(survey, rows, others, ()) or find_ids(survey, rows, (), ())
        if chosen and not chosen[1].names & labeled.names:
            return _listed(file, chosen[0], None, chosen[1].folders, chosen[1].names, f"{file} lists them")
    return Found(evidence="no folder, list or sample submission names any")


def _test_tables(survey: Survey) -> list[str]:
    """Return the tables of test images, by their names."""
    return [file for file in survey.tables if role_of(file) == TEST]


def _find_pixel_rows(survey: Survey, train: str) -> Found:
    """Return the test images where rows are images: the table with the same pixels."""
    pixels = survey.pixels[train]
    same = [file for file in survey.pixels if file != train and survey.pixels[file] == pixels]
    same = sorted(same, key=lambda file: (role_of(file) != TEST, file))
    if not same or (role_of(same[0]) != TEST and len(same) > 1):
        return Found(evidence="no other table has rows of pixels")
    source = Listing(csv=same[0], id=find_pixel_id(survey.tables[same[0]]), form="pixels")
    return Found(source, set(), len(survey.tables[same[0]]), f"the rows of {same[0]}")


def _by_sample(
    survey: Survey, roles: Mapping[str, list[str]], sample: Sample, listings: list[str], labeled: Labeled
) -> Found | None:
    """Return the test images that the sample submission names, itself or by way of a table of test images."""
    others = [*roles[LABELED], *roles[VALIDATION], *roles[UNLABELED]]
    ids = set(sample.ids)
    for file in listings:  # integers that stand for files
        rows = survey.tables[file]
        for name in named_columns(rows):
            if ids <= set(read_cells(rows, name)) and (chosen := find_ids(survey, rows, others, roles[TEST])):
                column, match = chosen
                if match.names & labeled.names or (column == name and sample.match):
                    continue
                via = f"the ids of {sample.file}, by way of {file}" if column != name else f"{file} lists them"
                return _listed(file, name, column, match.folders, match.names, via)
    match = survey.index.match(sample.ids, others, roles[TEST]) or survey.index.match(sample.ids, (), roles[TEST])
    if match is None or match.names & labeled.names:
        return None
    for folders in (roles[TEST], list(match.folders)):
        if len(folders) == 1 and set(folders) <= {*roles[TEST]} and images_in(survey.names, folders) == match.names:
            why = f"the ids of {sample.file} are the images of this folder"
            return Found(folders[0], match.names, len(match.names), why)
    listed = next((file for file in listings if _lists(survey, file, match.names)), sample.file)
    name = sample.id
    if listed != sample.file and (chosen := find_ids(survey, survey.tables[listed], others, roles[TEST])):
        name = chosen[0]
    return _listed(listed, name or "", None, match.folders, match.names, f"the ids of {sample.file}")


def _lists(survey: Survey, file: str, names: set[str]) -> bool:
    """Tell whether a table lists just these images."""
    chosen = find_ids(survey, survey.tables[file], (), ())
    return chosen is not None and chosen[1].names == names


def _listed(
    file: str, column: str, of_file: str | None, folders: tuple[str, ...], names: set[str], evidence: str
) -> Found:
    """Return the images that a table lists."""
    images = folders[0] if len(folders) == 1 else list(folders)
    of_file = None if of_file == column else of_file
    return Found(Listing(csv=file, images=images, id=column, file=of_file), names, len(names), evidence)


def find_pool(survey: Survey, roles: Mapping[str, list[str]], labeled: Labeled, test: Found) -> Found:
    """Return the unlabelled images: in folders of that name, else those of the labelled images' folders in no table."""
    folders, why = roles[UNLABELED], "a folder of that name"
    if not folders and isinstance(labeled.source, Listing) and labeled.source.pattern is None:
        folders = [folder for folder in list_folders(labeled.source) if folder != "."]
        why = "beside the labelled images, and in no list"
    names = images_in(survey.names, folders) - labeled.names - test.names
    return Found(_one_or_all(folders), names, len(names), why) if names else Found()


def find_validation(survey: Survey, roles: Mapping[str, list[str]], taken: set[str]) -> Found:
    """Return the images of a validation set, which nothing reads."""
    names = images_in(survey.names, roles[VALIDATION]) - taken
    return Found(tuple(roles[VALIDATION]), names, len(names)) if names else Found(())


def _one_or_all(folders: list[str]) -> str | tuple[str, ...]:
    """Return one folder as text, several as they are."""
    return folders[0] if len(folders) == 1 else tuple(folders)
