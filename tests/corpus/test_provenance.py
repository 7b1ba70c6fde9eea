"""Another choice of test session, and every file of the earlier choice is refused by the next step, with what makes it anew."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from bemerc.behavior.describe.description import read_descriptions, write_descriptions
from bemerc.behavior.describe.references import GENERAL
from bemerc.behavior.tokens import file
from bemerc.cli.main import app
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from bemerc.corpus.provenance import StaleError
from bemerc.evaluate import test_set
from bemerc.language.inputs import variants
from bemerc.language.model import behavior_model
from bemerc.language.predict import score_labels
from bemerc.language.predict.records import read_predictions, write_predictions
from bemerc.language.train import crossfit
from tests import toy_language as language

ROOT = Path(__file__).resolve().parents[2]
HOW = score_labels.Params(device="cpu")


def sessions(test: int) -> Manifest:
    """Five sessions as IEMOCAP has them: ids hold no split, one session is test and the one before it dev."""
    dev = (test - 2) % 5 + 1
    made = []
    for session in range(1, 6):
        split: Split = "test" if session == test else "dev" if session == dev else "train"
        for turn in range(6):
            dialogue, speaker = f"iemocap/Ses0{session}F_impro01", f"Ses0{session}_{'FM'[turn % 2]}"
            label = language.LABELS[(session + turn) % 3]
            made.append(Utterance(f"{dialogue}_{turn}", dialogue, turn, speaker, f"so {turn}", label, split, None))
    return Manifest(tuple(made), language.LABELS, ("iemocap",), Path())


class Project:
    """data/, models/ and params.yaml, and the commands that turn one into the other."""

    def __init__(self, folder: Path) -> None:
        self.data, self.models, self.params = folder / "data", folder / "models", folder / "params.yaml"
        told = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        shape = language.build(folder / "backbone", sessions(5), replace(language.TINY, steps=2))
        training = asdict(replace(language.TRAINING, epochs=1))
        told |= {"model": {**asdict(shape), "targets": ["all-linear"]}, "align": training, "merc": training}
        self.params.write_text(yaml.safe_dump(told), encoding="utf-8")

    def prepare(self, manifest: Manifest) -> None:
        write_manifest(self.data / "manifest.jsonl", manifest.utterances, manifest.labels, manifest.corpora)

    def tokens(self, manifest: Manifest) -> None:
        language.write(self.data / "tokens.h5", manifest).close()

    def describe(self, manifest: Manifest) -> None:
        write_descriptions(self.data / "descriptions.jsonl", language.describe(manifest))
        usual = replace(GENERAL, fitted=provenance.fitted(manifest))
        (self.data / "references.json").write_text(usual.to_json())

    def train(self, stage: int) -> Result:
        where = ["--data", str(self.data), "--models", str(self.models), "--params", str(self.params)]
        return CliRunner().invoke(app, ["train", "--stage", str(stage), *where])

    def predict(self) -> Path:
        manifest, out = read_manifest(self.data / "manifest.jsonl"), self.data.parent / "TVB.jsonl"
        with file.open_tokens(self.data / "tokens.h5") as read:
            write_predictions(
                out, score_labels.MercModel(self.models / "merc" / "TVB").score(manifest, read, ("dev", "test"), HOW)
            )
        return out

    def evaluate(self, predictions: Path) -> Result:
        return CliRunner().invoke(app, ["evaluate", str(predictions), "--data", str(self.data)])


def refused(answer: Result, *words: str) -> None:
    assert answer.exit_code == 1, answer.output
    assert all(word in answer.output for word in ("another manifest or other splits", *words)), answer.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"))
    first = sessions(test=5)
    for step in (made.prepare, made.tokens, made.describe):
        step(first)
    for stage in (1, 2):
        answer = made.train(stage)
        assert answer.exit_code == 0, answer.output
    return made


def test_each_step_refuses_what_learned_from_the_new_test_session(project: Project) -> None:
    predictions, second = project.predict(), sessions(test=1)
    test_set.validate(sessions(test=5), read_predictions(predictions))
    project.prepare(second)
    try:
        for stage in (1, 2):
            refused(project.train(stage), "tokens.h5", "bemerc tokens")
        refused(project.evaluate(predictions), "TVB", "bemerc predict")
        with pytest.raises(StaleError) as stale:
            project.predict()
        assert (stale.value.actual, stale.value.wanted) == tuple(provenance.learned(sessions(s)) for s in (5, 1))
        project.tokens(second)
        for stage in (1, 2):
            refused(project.train(stage), "references.json", "bemerc describe data/manifest.jsonl")
        project.describe(second)
        refused(project.train(2), str(project.models / "align"), "bemerc train --stage 1")
        with pytest.raises(StaleError) as stale:  # tokens that another train calibrated
            project.predict()
        assert "tokens.h5" in str(stale.value)
    finally:
        for step in (project.prepare, project.tokens, project.describe):
            step(sessions(test=5))


def test_a_clip_to_predict_makes_nothing_stale(project: Project) -> None:
    whole = sessions(test=5)
    new = Utterance("iemocap/new_0", "iemocap/new", 0, "Ann", "what now", None, "test", None)
    more = replace(whole, utterances=tuple(sorted((*whole.utterances, new), key=lambda u: u.id)))
    project.prepare(more)
    project.tokens(more)
    try:
        test_set.validate(more, read_predictions(project.predict()))
        assert project.train(2).exit_code == 0
    finally:
        project.prepare(whole)
        project.tokens(whole)


def test_what_says_nothing_of_its_manifest_is_refused(project: Project) -> None:
    known = (project.data / "references.json").read_text()
    (project.data / "references.json").write_text(GENERAL.to_json())
    answer = project.train(1)
    (project.data / "references.json").write_text(known)
    assert answer.exit_code == 1
    assert "says nothing of its manifest" in answer.output


def test_a_student_of_other_splits_is_refused(project: Project, tmp_path: Path) -> None:
    first, second, said = sessions(5), sessions(1), language.describe(sessions(5))
    inputs = replace(variants.LADDER["TVB"], description="crossfit")
    write_descriptions(tmp_path / "crossfit.jsonl", said, provenance.fitted(first))
    assert variants.read_described(inputs, tmp_path, first)["crossfit"] == said
    with pytest.raises(StaleError):
        variants.read_described(inputs, tmp_path, second)
    write_descriptions(tmp_path / "crossfit.jsonl", said)
    with pytest.raises(StaleError):
        variants.read_described(inputs, tmp_path, first)
    assert read_descriptions(tmp_path / "crossfit.jsonl") == said
    shape, how = behavior_model.Params(device="cpu"), crossfit.Params(folds=1)
    with file.open_tokens(project.data / "tokens.h5") as read, pytest.raises(StaleError):
        crossfit.run(second, read, said, project.models / "align", shape, language.TRAINING, HOW, how, tmp_path)


def test_the_label_set_labels_and_words_are_part_of_what_was_learned() -> None:
    whole = sessions(5)
    one = whole.utterances[0]
    for changed in ({"label": "anger"}, {"text": "other"}):
        moved = replace(whole, utterances=(replace(one, **changed), *whole.utterances[1:]))
        assert provenance.learned(moved) != provenance.learned(whole)
        assert provenance.fitted(moved) == provenance.fitted(whole)
    assert provenance.learned(replace(whole, labels=(*whole.labels, "fear"))) != provenance.learned(whole)
    facts = {provenance.fitted(sessions(test)) for test in range(1, 6)}
    assert len(facts) == 5
