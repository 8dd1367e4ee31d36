"""Read and write bundle.json, which names everything that a bundle holds; changed files and versions are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kit.config.competition import Data, DecisionPlan, Facts, Run, SubmissionPlan, Table
from kit.core.errors import InputError, some
from kit.core.files import hash_file, key_of, write_atomic
from kit.core.names import PROGRAM
from kit.features.encoders import preprocessing_of
from kit.features.weights import EncoderSpec, parse_encoder

MANIFEST = "bundle.json"
FORMAT = 2


class FoldPart(Table):
    """Name one fold's model.

    Parameters
    ----------
    file
        Its weights; for a model that is fitted anew, the rows of the training images and their labels.
    settled
        The setting that was chosen for it, where the model has one.
    """

    fold: int
    file: str
    settled: Any = None


class Member(Table):
    """Name one run, its share in the mixture and its folds' models.

    Parameters
    ----------
    name
        The run; of several rounds the kept one, ``NAME.N``.
    run
        Its options; encoders are those of the bundle.
    kept
        Whether its models are restored from weights; else they are fitted anew on the training images' features.
    asks_neighbours
        Whether they use the neighbours of an image: then the graph is made anew, with the new test images.
    weight, temperature
        In the mixture: 0..1, and above 0.
    """

    name: str
    run: Run
    kept: bool
    asks_neighbours: bool
    weight: float
    temperature: float
    folds: list[FoldPart]


class CarriedEncoder(Table):
    """Name an encoder as the bundle's runs write it, and the hash of its preprocessing."""

    text: str
    args: dict[str, Any]
    preprocessing: str

    def spec(self, folder: Path) -> EncoderSpec:
        """Return the encoder, its files looked up in the bundle's folder."""
        return parse_encoder(self.text, self.args, (folder,))


class CarriedWords(Table):
    """Name the text features of a prompt list."""

    encoder: str
    args: dict[str, Any]
    prompts: str
    file: str


class TrainingImages(Table):
    """Name the features of the training images, for graphs and for models that are fitted anew.

    Parameters
    ----------
    names
        ``split/id`` of each row; the labelled images first, then the unlabelled, then the old test images.
    features
        Arrays by encoder: ``{"encoder": ..., "args": ..., "file": ...}``.
    pixels
        Arrays of decoded images by their side: ``{"side": ..., "file": ...}``.
    """

    names: list[str]
    features: list[dict[str, Any]]
    pixels: list[dict[str, Any]]


class CarriedRule(Table):
    """Name the rule that finds images of none of the classes, see `kit.runs.decide`.

    Parameters
    ----------
    scores
        The scores' names; their ranks are averaged.
    threshold
        The mean rank below which an image is rejected.
    encoders
        Those whose features are compared: ``{"encoder": ..., "args": ...}``.
    of_folds
        Whether each fold's model is scored, as for a run alone; else the mixture is.
    folds
        The folds, each with other labelled images to compare with.
    file
        Their features, and the scores among which an image is ranked.
    """

    scores: list[str]
    threshold: float
    encoders: list[dict[str, Any]]
    of_folds: bool
    folds: list[int]
    file: str


class CarriedDecision(Table):
    """Name what turns probabilities into decisions.

    Parameters
    ----------
    plan
        The competition's ``[decision]``: how a submission writes decisions.
    thresholds
        (n_classes,) probabilities from which an image has a class, with several labels per image; else None.
    rule
        Finds images of none of the classes; None where every image gets a class.
    """

    plan: DecisionPlan
    thresholds: list[float] | None
    rule: CarriedRule | None


class Bundle(Table):
    """Hold the content of bundle.json.

    Parameters
    ----------
    format, kit
        Version of bundle.json, and of the kit that wrote it.
    competition, facts, data, submission
        The competition; of its data the test images and the sample submission are read.
    what
        ``"ensemble"``, or the names of the runs.
    classes
        Class names, in the order of all probabilities.
    parents
        (n_classes,) index of each class's parent, -1 where it has none; None without a hierarchy of labels.
    prior
        (n_classes,) share of the labelled images that have each class: the prediction of broken images.
    encoders, words, training
        What the members need.
    requirements
        Versions of the packages that made the runs.
    files
        SHA-256 of each file.
    """

    format: int
    kit: str
    competition: str
    facts: Facts
    data: Data
    submission: SubmissionPlan = SubmissionPlan()
    what: str
    classes: list[str]
    parents: list[int] | None
    prior: list[float]
    decision: CarriedDecision
    members: list[Member]
    encoders: list[CarriedEncoder]
    words: list[CarriedWords]
    training: TrainingImages | None
    requirements: dict[str, str]
    files: dict[str, str]

    @property
    def training_images(self) -> TrainingImages:
        """Return the training images, for a member that needs them; InputError where bundle.json names none."""
        if self.training is None:
            raise InputError(f"{MANIFEST}: names no training images; write the bundle anew")
        return self.training


def write_manifest(folder: Path, bundle: Bundle) -> None:
    """Write bundle.json, with a key of its own content."""
    import json

    content = bundle.model_dump(mode="json")
    with write_atomic(folder / MANIFEST, "w") as file:
        json.dump({**content, "key": key_of(content)}, file, indent=1, ensure_ascii=False)
        file.write("\n")


def read_bundle(folder: Path) -> Bundle:
    """Read bundle.json and check every file and every encoder's preprocessing against it.

    Raises
    ------
    InputError
        When it is missing or was edited (classes in another order, for one), a file is missing or changed, or an
        encoder's preprocessing is not that of the training any more; with the remedy.
    """
    import json

    file = folder / MANIFEST
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        key = content.pop("key")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); write the bundle anew: {PROGRAM} bundle") from error
    if key != key_of(content):
        raise InputError(
            f"{file}: it was edited since it was written (classes, their order and settings belong to the weights); "
            f"write the bundle anew: {PROGRAM} bundle"
        )
    try:
        bundle = Bundle.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InputError(f"{file}: another version of the kit wrote it; use the wheel beside it") from error
    _check_files(folder, bundle)
    _check_preprocessing(folder, bundle)
    return bundle


def _check_files(folder: Path, bundle: Bundle) -> None:
    """Refuse files that are missing or have changed."""
    if missing := [name for name in bundle.files if not (folder / name).is_file()]:
        raise InputError(
            f"{folder}: {some(missing, 3)} missing; upload the whole folder: kaggle datasets create -p FOLDER -r zip"
        )
    if changed := [name for name, digest in bundle.files.items() if hash_file(folder / name) != digest]:
        raise InputError(
            f"{folder}: {some(changed, 3)} changed since the bundle was written; upload it again, or write it anew"
        )


def _check_preprocessing(folder: Path, bundle: Bundle) -> None:
    """Refuse encoders that would see their images otherwise than in training."""
    for encoder in bundle.encoders:
        if preprocessing_of(encoder.spec(folder)).key != encoder.preprocessing:
            library = "timm" if encoder.text.startswith("timm:") else "open_clip_torch"
            raise InputError(
                f"encoder {encoder.text!r}: its preprocessing is not the one it was trained with; install {library}=="
                f"{bundle.requirements.get(library, '?')}, for which {PROGRAM} bundle --wheels adds the wheel"
            )
