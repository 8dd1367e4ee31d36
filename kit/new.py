"""A first competition from a folder of images: infer what lies where, write competition.toml and a prompt list.

Reads the names of files (archives are listed, not unpacked) and the CSV files beside them; writes
``NAME/competition.toml`` and ``NAME/prompts/first.toml``. What was understood is a `Layout`, shown before it is
believed: everything in it can be corrected in the file.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.table import Table

from kit.competition import FILE, HOME, RUN_NAME, Listing
from kit.errors import InputError, some
from kit.files import Workspace, write_atomic
from kit.table import (
    IMAGE_SUFFIXES,
    is_archive,
    is_image,
    is_visible,
    read_csv,
    scan_files,
    strip_archive,
    strip_suffix,
    unpack,
)
from kit.terminal import escape, note

LABELED, UNLABELED, TEST, VALIDATION = "labeled", "unlabeled", "test", "validation"
ROLES = {  # words of a folder's or CSV's name; "train_unlabeled" is unlabelled: the first role wins
    UNLABELED: {"unlabeled", "unlabelled", "unsup", "unsupervised", "extra"},
    TEST: {"test", "testing", "tests", "testset"},
    VALIDATION: {"val", "valid", "validation", "valset", "dev"},
    LABELED: {"train", "training", "trainset", "labeled", "labelled"},
}
FILLERS = {"image", "images", "img", "imgs", "photos", "pictures", "set", "data", "dataset", "files"}
ID_COLUMNS = (
    "image_id id filename file_name file image image_name imagename image_path path img img_id img_name name uuid"
).split()
LABEL_COLUMNS = "label labels class class_name classname target category category_name species breed y".split()
SAMPLE = re.compile(r"sample.*sub|submission", re.IGNORECASE)
SOLUTION = re.compile(r"solution", re.IGNORECASE)
MAX_CSV_DEPTH = 2  # folders between the root and a CSV
N_VOTES = 200  # ids that choose the folder a CSV speaks of
MIN_SHARE = 0.5  # of a CSV's ids must be images; the image table then names those that are not
TEMPLATES = ("a photo of a {}.", "a close-up photo of a {}.", "a picture of a {}.", "an image showing a {}.")

TOML = """\
# What the organisers decided. `metric` stands on the competition's Evaluation page.
[competition]
title = {title}
{slug}task = "multiclass"
metric = "accuracy"  # or macro_f1, balanced_accuracy, log_loss

# Where the files are, relative to root.
[data]
{data}
# Every run is scored on the same folds; n is lowered where a class has fewer images.
[folds]
n = 5
seed = 0

# One table per experiment: a model, and its options beside it. These two read pixels and work offline: a floor to beat.
[runs.forest]
model = "forest"

[runs.svm]
model = "svm"

# From here on weights come from the model hub; where it cannot be reached, these runs are skipped and say so.
# prompts = "first" is prompts/first.toml: better words for the classes are the cheapest points there are.
[runs.zero_shot]
model = "zero_shot"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"

[runs.probe]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"

[runs.wise_ft]
model = "clip_finetune"
encoder = "open_clip:ViT-B-16/openai"
prompts = "first"

[runs.efficientnetv2_s]
model = "fine_tune"
encoder = "timm:tf_efficientnetv2_s.in21k_ft_in1k"
{pseudo}
# Combined by weights chosen on out-of-fold predictions; the printed score is measured on rows that did not choose them.
[ensemble]
members = [{members}]
"""
PSEUDO = """
# Learns from the unlabelled images too, with the labels its teachers agree on.
[runs.probe_pseudo]
model = "linear_probe"
encoder = "open_clip:ViT-B-32/openai"
prompts = "first"
pseudo = { teachers = ["probe", "wise_ft"] }
"""
MEMBERS = ("forest", "svm", "zero_shot", "probe", "wise_ft", "efficientnetv2_s")
PROMPTS = """\
# Every word goes into every template. Several words per class are averaged: write what a caption would say.
templates = [{templates}]

[words]
{words}
"""


@dataclass(frozen=True)
class Layout:
    """Hold what was understood of a folder of images.

    Parameters
    ----------
    root
        The folder, absolute.
    labeled, unlabeled, test
        As in ``[data]`` of competition.toml: a folder, several folders or a listing, relative to `root`.
    classes
        Class names, sorted.
    counts
        Images by split: labeled, unlabeled, test, validation.
    validation
        Folders of validation images, which nothing reads.
    sample_submission, solution
        CSV files, or None.
    """

    root: Path
    labeled: str | Listing
    classes: tuple[str, ...]
    counts: dict[str, int]
    unlabeled: str | tuple[str, ...] | Listing | None = None
    test: str | tuple[str, ...] | Listing | None = None
    validation: tuple[str, ...] = ()
    sample_submission: str | None = None
    solution: str | None = None


def infer_layout(data: Path, unpack_to: Path | None = None) -> Layout:
    """Infer which files of a folder are labelled, unlabelled and test images.

    Labels are class folders (``train/<class>/``, ``<class>/``) or a CSV whose ids are image files; where both are there
    and name different classes, the CSV is believed. Folders are recognised by the words of their names.

    Parameters
    ----------
    data
        A folder, or a zip or tar archive.
    unpack_to
        Where an archive is unpacked: the workspace's ``data/NAME``.

    Raises
    ------
    InputError
        When there is nothing, no image, or nothing that labels images; says what was looked for and found.
    """
    root = _open_root(data, unpack_to)
    files = scan_files(root)
    names = [name for name in files if is_image(name)] + _list_archived(root, files)
    if not names:
        what = f"no images ({', '.join(IMAGE_SUFFIXES)}); found {_show(root)}" if files else "no files"
        raise InputError(f"{root}: holds {what}; give the folder that holds the competition's images")
    return _Inference(root, files, names).infer()


def describe(layout: Layout) -> Table:
    """Return a table of what was understood, for the user to confirm."""
    table = Table(title=escape(f"what lies in {layout.root}"), title_justify="left")
    for column in ("", "where", "images", ""):
        table.add_column(column, justify="right" if column == "images" else "left")
    classes = f"{len(layout.classes)} classes: {some(layout.classes)}"
    details = {LABELED: classes, VALIDATION: "not used: the folds do its work; its images may join the labelled ones"}
    for split in (LABELED, UNLABELED, TEST, VALIDATION):
        source = getattr(layout, split)
        where = escape(_toml_source(source)) if source else "none found"
        if source or split != VALIDATION:
            n_images = f"{layout.counts[split]:,}" if source else ""
            table.add_row(split, where, n_images, escape(details.get(split, "")))
    table.add_row("sample submission", escape(layout.sample_submission or "none found"), "", "")
    if layout.solution:
        table.add_row("solution", escape(layout.solution), "", "practice: scores submissions, read by nothing else")
    return table


def write_competition(
    name: str, layout: Layout, folder: Path, slug: str | None = None, workspace: Workspace | None = None
) -> Path:
    """Write ``competition.toml`` and ``prompts/first.toml`` of a new competition; return its folder.

    Parameters
    ----------
    name
        Letters, digits, ``-`` and ``_``.
    layout
        What `infer_layout` understood.
    folder
        The folder of competitions: that of the kit or of the workspace; ``folder/name`` is written.
    slug
        Kaggle's name for the competition, or its address.
    workspace
        Data inside it are named relative to it, so that it can be moved; else by their absolute path.

    Raises
    ------
    InputError
        When the name or slug cannot be one, or another competition of that name is there.
    """
    if not RUN_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a competition: letters, digits, - and _, a letter or digit first")
    home, slug = folder / name, read_slug(slug) if slug else None
    text = _compose(slug or name, layout, slug, workspace)
    file, prompts = home / FILE, home / "prompts" / "first.toml"
    if HOME.resolve() != folder.resolve() and (HOME / name / FILE).exists():
        raise InputError(f"{name!r} is one of the kit's own competitions; choose another name")
    if file.exists() and file.read_bytes() != text.encode():
        raise InputError(f"{file} is there already and says something else; choose another name or delete it")
    if not prompts.exists():  # words somebody wrote are never lost
        with write_atomic(prompts, "w") as opened:
            opened.write(_compose_prompts(layout.classes))
    with write_atomic(file, "w") as opened:
        opened.write(text)
    return home


def read_slug(text: str) -> str:
    """Return Kaggle's name for a competition, from it or from its address.

    Raises
    ------
    InputError
        When it is neither.
    """
    address = re.search(r"kaggle\.com/(?:competitions|c)/([^/?#\s]+)", text)
    slug = address.group(1) if address else text.strip().strip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", slug):
        raise InputError(
            f"{text!r} is no Kaggle competition: give the last part of its address, such as 'digit-recognizer'"
        )
    return slug


def toml_text(value: str) -> str:
    """Return a text as a TOML string: JSON's escapes are TOML's, but DEL must not stand raw."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True)
class _Labels:
    """Hold a CSV that labels images: the listing, the class of every id and the images' paths."""

    listing: Listing
    labels: pd.Series
    paths: set[str]


@dataclass
class _Inference:
    """Look at one folder: `names` are the paths of its images, those inside archives included."""

    root: Path
    files: list[str]
    names: list[str]
    roles: dict[str, list[str]] = field(init=False)
    tables: dict[str, pd.DataFrame] = field(init=False, default_factory=dict)
    complaints: list[InputError] = field(init=False, default_factory=list)
    by_stem: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.roles = _find_roles(self.names)
        self.by_stem = defaultdict(list)
        for name in self.names:
            self.by_stem[strip_suffix(name).rpartition("/")[2]].append(name)
        for file in sorted(self.files):
            if file.lower().endswith(".csv") and file.count("/") <= MAX_CSV_DEPTH:
                self._read(file)

    def infer(self) -> Layout:
        """Return the layout, or say that nothing labels the images."""
        sample = self._find_csv(SAMPLE)
        labels, folder, classes = self._find_labels(), *self._find_class_folders()
        if labels and set(labels.labels) == set(classes):
            labels = None
        if labels is None and not classes:
            self._refuse()
        labeled = labels.listing if labels else folder
        known = labels.paths if labels else {name for name in self._below(folder) if "/" in name}
        if not labels and folder == ".":
            known = {name for name in known if name.partition("/")[0] in classes}
        test, test_paths = self._find_test(sample, known)
        unlabeled, pool_paths = self._find_pool(labels, test_paths)
        validation = tuple(self.roles[VALIDATION])
        n_validation = sum(len(self._below(path)) for path in validation)
        layout = Layout(
            root=self.root,
            labeled=labeled,
            classes=tuple(sorted(set(labels.labels) if labels else classes)),
            counts={LABELED: len(known), UNLABELED: len(pool_paths), TEST: len(test_paths), VALIDATION: n_validation},
            unlabeled=unlabeled,
            test=test,
            validation=validation,
            sample_submission=sample,
            solution=self._find_csv(SOLUTION),
        )
        _refuse_inside_archives(layout)
        return layout

    def _read(self, file: str) -> None:
        """Read a CSV; remember what is wrong with it, should no other have labels."""
        try:
            self.tables[file] = read_csv(self.root / file)
        except InputError as error:
            self.complaints.append(error)

    def _find_csv(self, pattern: re.Pattern[str]) -> str | None:
        """Return the CSV with such a name, the one highest up."""
        found = [file for file in self.tables if pattern.search(Path(file).name)]
        return min(found, key=lambda file: (file.count("/"), file), default=None)

    def _below(self, folder: str) -> list[str]:
        """Return the images below a folder."""
        return self.names if folder == "." else [name for name in self.names if name.startswith(f"{folder}/")]

    def _find_labels(self) -> _Labels | None:
        """Return the CSV that labels most images."""
        found = []
        for file, table in self.tables.items():
            name = Path(file).stem
            if SAMPLE.search(name) or SOLUTION.search(name) or _role_of(name) not in (LABELED, None):
                continue
            for column, label in _guess_columns(table):
                images = self._match(table[column], avoid=(TEST, VALIDATION, UNLABELED))
                labels = table[label][table[label].str.strip() != ""]
                if images and 1 < labels.nunique() < len(labels):
                    listing = Listing(csv=file, images=images[0], id=column, label=label)
                    found.append(_Labels(listing, labels, images[1]))
                    break
        return max(found, key=lambda each: len(each.paths), default=None)

    def _match(self, ids: pd.Series, avoid: tuple[str, ...] = ()) -> tuple[str, set[str]] | None:
        """Return the folder a column's ids are images of, and those images."""
        votes: Counter[str] = Counter()
        for image_id in map(strip_suffix, ids.head(N_VOTES)):
            for name in self.by_stem.get(image_id.rpartition("/")[2], ()):
                whole = strip_suffix(name)
                if f"/{whole}".endswith(f"/{image_id}"):
                    votes[whole.removesuffix(image_id).rstrip("/") or "."] += 1
        avoided = [path for role in avoid for path in self.roles[role]]
        votes = Counter({path: n for path, n in votes.items() if not any(_is_in(path, other) for other in avoided)})
        if not votes:
            return None
        folder = max(votes, key=lambda path: (votes[path], any(_is_in(path, own) for own in self.roles[LABELED]), path))
        wanted = {strip_suffix(image_id) if folder == "." else f"{folder}/{strip_suffix(image_id)}" for image_id in ids}
        found = {name for name in self._below(folder) if strip_suffix(name) in wanted}
        return (folder, found) if len(found) >= MIN_SHARE * len(ids) else None

    def _find_class_folders(self) -> tuple[str, tuple[str, ...]]:
        """Return the folder of class folders and the classes; none where there is no such folder."""
        starts = sorted(self.roles[LABELED], key=lambda path: -len(self._below(path))) or ["."]
        for folder in starts:
            while True:
                below = self._below(folder)
                inside = _children(below if folder == "." else [name[len(folder) + 1 :] for name in below])
                taken = [path for role in (UNLABELED, TEST, VALIDATION) for path in self.roles[role]]
                inside = {name for name in inside if _join(folder, name) not in taken}
                if len(inside) != 1:
                    break
                folder = _join(folder, inside.pop())
            inside = {name for name in inside if not is_archive(name)}
            if inside:
                self._refuse_beside(folder)
                return folder, tuple(sorted(inside))
        return ".", ()

    def _refuse_beside(self, folder: str) -> None:
        """Refuse class folders beside a folder of validation images: it would be read as one more class."""
        beside = [path for path in self.roles[VALIDATION] if _join(folder, path.rpartition("/")[2]) == path]
        if beside:
            remedy = "move the class folders into a folder of their own, such as train/"
            raise InputError(f"{self.root}: the class folders lie beside {some(beside)}; {remedy}")

    def _find_test(
        self, sample: str | None, known: set[str]
    ) -> tuple[str | tuple[str, ...] | Listing | None, set[str]]:
        """Return the test images: a folder of that name, else the images a test CSV or the sample submission lists."""
        if self.roles[TEST]:
            return _one_or_all(self.roles[TEST]), {name for path in self.roles[TEST] for name in self._below(path)}
        listings = [file for file in self.tables if _role_of(Path(file).stem) == TEST]
        for file in [*listings, *([sample] if sample else [])]:
            for column in _guess_ids(self.tables[file]):
                ids = self.tables[file][column]
                images = self._match(ids, avoid=(LABELED, VALIDATION, UNLABELED)) or self._match(ids)
                if images and not images[1] & known:
                    return Listing(csv=file, images=images[0], id=column), images[1]
        return None, set()

    def _find_pool(self, labels: _Labels | None, test: set[str]) -> tuple[str | tuple[str, ...] | None, set[str]]:
        """Return the unlabelled images: folders of that name, else what no CSV lists of the labelled images' folder."""
        if self.roles[UNLABELED]:
            folders = self.roles[UNLABELED]
            return _one_or_all(folders), {name for path in folders for name in self._below(path)}
        if labels and labels.listing.images != ".":
            rest = set(self._below(labels.listing.images)) - labels.paths - test
            if rest:
                return labels.listing.images, rest
        return None, set()

    def _refuse(self) -> None:
        """Say that nothing labels the images."""
        if self.complaints:
            raise self.complaints[0]
        raise InputError(
            f"{self.root}: no labels found: neither class folders (train/<class>/, or <class>/) nor a CSV with a "
            f"column of image names ({some(ID_COLUMNS, 3)}, ...) and one of classes ({some(LABEL_COLUMNS, 3)}, ...); "
            f"found {_show(self.root)}"
        )


def _open_root(data: Path, unpack_to: Path | None) -> Path:
    """Return the folder to look at; an archive is unpacked."""
    if data.is_dir():
        return data.resolve()
    if not data.exists():
        raise InputError(f"{data}: no such folder or archive")
    if not is_archive(data.name) or unpack_to is None:
        raise InputError(f"{data}: is a file; give a folder of images{' or an archive' if unpack_to else ''}")
    if unpack_to.exists():
        note(f"{escape(unpack_to)} is there already and read as it is; remove it to unpack {escape(data.name)} again")
    return unpack(data, unpack_to).resolve()


def _list_archived(root: Path, files: list[str]) -> list[str]:
    """Return the images inside archives, as if each were a folder; those unpacked beside are left out."""
    folders = {name.rpartition("/")[0] for name in files}
    found = []
    for archive in filter(is_archive, files):
        if not any(_is_in(folder, strip_archive(archive)) for folder in folders):
            members = _skip_single_folder(_list_members(root / archive))
            found += [f"{archive}/{name}" for name in members if is_image(name)]
    return found


def _list_members(archive: Path) -> list[str]:
    """Return the visible files of an archive."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                members = [name for name in opened.namelist() if not name.endswith("/")]
        else:
            with tarfile.open(archive) as opened:
                members = [member.name.removeprefix("./") for member in opened if member.isfile()]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{archive}: cannot be read ({error}); fetch it again") from error
    return [name for name in members if all(map(is_visible, name.split("/")))]


def _skip_single_folder(names: list[str]) -> list[str]:
    """Leave out folders that hold everything, as unpacking does."""
    while len({name.partition("/")[0] for name in names}) == 1 and all("/" in name for name in names):
        names = [name.partition("/")[2] for name in names]
    return names


def _children(names: list[str]) -> dict[str, list[str]]:
    """Return the folders of a level, each with the names below it."""
    inside: dict[str, list[str]] = defaultdict(list)
    for name in names:
        first, slash, rest = name.partition("/")
        if slash:
            inside[first].append(rest)
    return inside


def _role_of(name: str) -> str | None:
    """Return what a name says: "test_images" and "stage1_test" hold test images, the class "test_tube" does not."""
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", strip_archive(name)).lower())
    telling = [word for word in words if word not in FILLERS]
    if not set(telling) <= set().union(*ROLES.values()):
        telling = telling[-1:]
    return next((role for role, known in ROLES.items() if known.intersection(telling)), None)


def _find_roles(names: list[str]) -> dict[str, list[str]]:
    """Return the folders by role, also below a folder that holds everything, and train/train or train/unlabeled."""
    found: dict[str, list[str]] = {role: [] for role in ROLES}
    inside = _children(names)
    for child, below in sorted(inside.items()):
        role, deeper = _role_of(child), _children(below)
        if role == LABELED and deeper and all(map(_role_of, deeper)):
            for inner, paths in _find_roles(below).items():
                found[inner] += [f"{child}/{path}" for path in paths]
        elif role:
            found[role].append(child)
    if len(inside) == 1 and not any(found.values()):
        ((child, below),) = inside.items()
        found = {role: [f"{child}/{path}" for path in paths] for role, paths in _find_roles(below).items()}
    return found


def _guess_ids(table: pd.DataFrame) -> list[str]:
    """Return the columns that may hold image names, likeliest first."""
    columns = [name for name in table.columns if name and list(table.columns).count(name) == 1]
    known = [name for wanted in ID_COLUMNS for name in columns if name.lower() == wanted]
    return list(dict.fromkeys([*known, *columns[:1]]))


def _guess_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of columns that may hold image names and classes, likeliest first."""
    columns = [name for name in table.columns if name and list(table.columns).count(name) == 1]
    pairs = []
    for image_id in _guess_ids(table):
        others = [name for name in columns if name != image_id]
        known = [name for wanted in LABEL_COLUMNS for name in others if name.lower() == wanted]
        pairs += [(image_id, label) for label in known or (others if len(others) == 1 else [])]
    return pairs


def _is_in(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or below it."""
    return path == folder or path.startswith(f"{folder}/")


def _join(folder: str, name: str) -> str:
    """Return a path below a folder, which may be the root."""
    return name if folder == "." else f"{folder}/{name}"


def _one_or_all(paths: list[str]) -> str | tuple[str, ...]:
    """Return one folder as text, several as they are."""
    return paths[0] if len(paths) == 1 else tuple(paths)


def _refuse_inside_archives(layout: Layout) -> None:
    """Refuse folders that lie inside an archive: only whole archives are unpacked."""
    for source in (layout.labeled, layout.unlabeled, layout.test):
        for path in [source] if isinstance(source, str | Listing) else source or ():
            path = path.images if isinstance(path, Listing) else path
            inside = [part for part in path.split("/")[:-1] if is_archive(part)]
            if inside:
                remedy = f"unpack it, or give it instead of the folder: --data {layout.root / inside[0]}"
                raise InputError(f"{layout.root}: the images lie in {path!r}, inside {inside[0]}; {remedy}")


def _show(root: Path) -> str:
    """Return the first entries of a folder, for a message."""
    return some(sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir()), 8)


def _compose(title: str, layout: Layout, slug: str | None, workspace: Workspace | None) -> str:
    """Return the text of competition.toml."""
    root = layout.root
    if workspace and root.is_relative_to(workspace.root.resolve()):
        root = root.relative_to(workspace.root.resolve())
    data = {
        "root": toml_text(root.as_posix()),
        **{split: _toml_source(getattr(layout, split)) for split in (LABELED, UNLABELED, TEST)},
        **{key: _toml_source(getattr(layout, key)) for key in ("sample_submission", "solution")},
    }
    members = [*MEMBERS, *(["probe_pseudo"] if layout.unlabeled else [])]
    return TOML.format(
        title=toml_text(title),
        slug=f"slug = {toml_text(slug)}\n" if slug else "",
        data="".join(f"{key} = {value}\n" for key, value in data.items() if value),
        pseudo=PSEUDO if layout.unlabeled else "",
        members=", ".join(map(toml_text, members)),
    )


def _toml_source(source: str | tuple[str, ...] | Listing | None) -> str:
    """Return a source as competition.toml writes it; nothing for none."""
    if source is None:
        return ""
    if isinstance(source, str):
        return toml_text(source)
    if isinstance(source, Listing):
        keys = source.model_dump(exclude_none=True)
        return "{ " + ", ".join(f"{key} = {toml_text(value)}" for key, value in keys.items()) + " }"
    return "[" + ", ".join(map(toml_text, source)) + "]"


def _compose_prompts(classes: tuple[str, ...]) -> str:
    """Return the text of a first prompt list; classes that would share a word keep their names."""
    spoken = {name: " ".join(re.sub("[_-]", " ", name).split()) for name in classes}
    n_owners = Counter(spoken.values())
    words = {name: word if word and n_owners[word] == 1 else name for name, word in spoken.items()}
    return PROMPTS.format(
        templates=", ".join(map(toml_text, TEMPLATES)),
        words="\n".join(f"{toml_text(name)} = [{toml_text(word)}]" for name, word in words.items()),
    )
