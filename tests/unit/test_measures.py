"""From what runs left in the store to rows of measures."""

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.core.hashing import json_sha256
from soteacher.core.recipe import Recipe
from soteacher.core.sealed import write_sealed
from soteacher.data.prepared import Prepared
from soteacher.data.settings import Augment
from soteacher.data.spec import DataSpec
from soteacher.measures import calibration
from soteacher.measures.accuracy import bootstrap_interval, top_k
from soteacher.measures.calibrated_null import ece_null
from soteacher.measures.softmax import probabilities
from soteacher.results.collect import check_planned, measure
from soteacher.results.columns import COLUMNS, DISAGREEMENT, EPOCHS, RELIABILITY, TIDY
from soteacher.store.run_folder import RunFolder
from soteacher.study.spec_parts import NetworkSpec, StreamSpec
from soteacher.study.specs import RunSpec, fingerprint
from soteacher.study.summary import MEASURES_FORMAT


def test_top_k_counts_the_images_whose_class_is_among_the_k_largest_logits():
    logits = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [-1.0, -3.0, -2.0]])
    classes = np.array([0, 1, 2, 1])
    assert top_k(logits, classes, 1) == 1 / 4
    assert top_k(logits, classes, 2) == 2 / 4
    assert top_k(logits, classes, 3) == 1


@pytest.mark.parametrize(("own", "places"), [(0, 4), (1, 1), (2, 2), (3, 3)])
def test_among_equal_logits_the_lower_class_comes_first_as_with_argmax(own, places):
    logits, classes = np.array([[5.0, 7.0, 7.0, 7.0]]), np.array([own])
    assert [top_k(logits, classes, k) for k in (1, 2, 3, 4)] == [k >= places for k in (1, 2, 3, 4)]
    assert top_k(logits, classes, 1) == (logits.argmax() == own)


def test_where_all_logits_are_equal_the_lowest_classes_are_right():
    assert top_k(np.zeros((5, 10)), np.arange(5), 5) == 1
    assert top_k(np.zeros((5, 10)), np.arange(5, 10), 5) == 0


def test_more_places_than_classes_make_every_image_right():
    assert top_k(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1]), 5) == 1


def test_top_k_agrees_with_sorting():
    draw = np.random.Generator(np.random.PCG64(0))
    logits, classes = draw.normal(size=(500, 12)), draw.integers(12, size=500)
    for k in (1, 3, 5):
        largest = np.argsort(-logits, axis=1)[:, :k]
        assert top_k(logits, classes, k) == (largest == classes[:, None]).any(axis=1).mean()


@pytest.mark.parametrize("images", [1, 4, 7, 450, 10_000])
@pytest.mark.parametrize("share", [0.04, 0.5, 0.7, 0.99])
def test_the_interval_of_an_accuracy_is_that_of_scipys_binomial_distribution(images, share):
    accuracy = round(share * images) / images
    expected = stats.binom.ppf([0.025, 0.975], images, accuracy) / images
    assert bootstrap_interval(accuracy, images) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_interval_of_an_accuracy_is_that_of_scipys_bootstrap_of_the_images():
    right = np.repeat([1.0, 0.0], [360, 90])
    random = np.random.default_rng(0)
    drawn = stats.bootstrap(
        (right,), np.mean, n_resamples=20_000, method="percentile", rng=random
    ).confidence_interval
    assert bootstrap_interval(0.8, 450) == pytest.approx((drawn.low, drawn.high), abs=1.01 / 450)


def test_the_interval_of_all_right_or_all_wrong_has_no_width():
    assert bootstrap_interval(1.0, 450) == (1, 1)
    assert bootstrap_interval(0.0, 450) == (0, 0)


# four images of two classes, worked out by hand

LABELS = np.array([0, 0, 1, 1])
PREDICTED = np.array([[0.9, 0.1], [0.36, 0.64], [0.38, 0.62], [0.3, 0.7]])
"""The second image is wrong, the others are right."""
TRAINED = np.array([[0.8, 0.2], [0.5, 0.5]])
HISTORY = """\
stage,epoch,lr,train_top1,test_top1,loss_ce,loss_kd
prepare,1,0.1,0.25,,9.0,
main,1,0.05,0.5,0.75,2.0,0.5
main,2,0.05,0.625,1.0,1.0,0.25
main,3,0.005,0.75,0.75,0.5,
"""
TRAINED_ON = {
    "device": "A processor",
    "device_type": "cpu",
    "threads": 2,
    "precision": "tf32",
    "versions": {"python": "3", "torch": "2.0.1"},
}


def prepared(folder, **arrays):
    """Prepared data of two classes with these arrays."""
    folder.mkdir()
    facts = {}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        facts[name] = {"sha256": files.sha256_of(folder / f"{name}.npy")}
    return Prepared(folder, {"classes": ["a", "b"], "arrays": facts, "mean": [], "std": []})


def spec_of(run_id, teacher=None):
    """The spec of a run; its seed is made of its id."""
    return RunSpec(
        role="teacher" if teacher is None else "student",
        data=DataSpec("generated", 1),
        stream=StreamSpec(Augment()),
        network=NetworkSpec("wrn_10_1", 1),
        recipe=Recipe(epochs=3, batch=2, lr=0.05, decay_at=()),
        terms={},
        seed=zlib.crc32(run_id.encode()),
        teacher=None if teacher is None else spec_of(teacher),
    )


class Shelf:
    """A store, and a manifest of the runs that were put there."""

    def __init__(self, folder):
        self.store, self.manifest = folder / "store", {"runs": {}}
        self.data = prepared(folder / "data", test_labels=LABELS)

    def entry(self, run_id, teacher=None):
        """What the manifest says about a run before it is trained."""
        spec = spec_of(run_id, teacher)
        of_run = fingerprint(spec, self.data.sha256)
        entry = {"spec": spec.to_json(), "spec_sha256": spec.sha256, "fingerprint": of_run}
        if teacher:
            entry["teacher"] = {"id": teacher, "fingerprint": self.entry(teacher)["fingerprint"]}
        return entry

    def put(self, run_id, predicted=PREDICTED, teacher=None, **artifacts):
        """Finish a run that predicts these probabilities; return its folder."""
        entry = self.entry(run_id, teacher)
        folder = RunFolder(self.store, entry["fingerprint"], run_id)
        logits = {"test_logits": np.log(predicted), **artifacts}
        writers = {
            f"{name}.npy": lambda file, array=array: np.save(file, array)
            for name, array in logits.items()
        }
        writers["history.csv"] = lambda file: file.write(HISTORY.encode())
        facts = {"trained_on": TRAINED_ON, "soteacher": "1.2.3", "seconds": 1.0}
        facts |= {"spec": entry["spec"], "data_sha256": self.data.sha256}
        folder.finish("done", writers, facts, {})
        artifacts = folder.record()["artifacts"]
        self.manifest["runs"][run_id] = entry | {"status": "done", "artifacts": artifacts}
        return folder

    def measured(self):
        """Rows by run, epochs by run and number, bins by run, scaling and number."""
        found = measure(self.manifest["runs"], self.data, self.store)
        return SimpleNamespace(
            runs={row["run"]: row for row in found.runs},
            epochs={(row["run"], row["epoch"]): row for row in found.epochs},
            bins={(row["run"], row["scaled"], row["bin"]): row for row in found.reliability},
            found=found,
        )


@pytest.fixture
def shelf(tmp_path):
    """A shelf with no run on it."""
    return Shelf(tmp_path)


def test_other_columns_have_another_number_so_that_snakemake_measures_again():
    """If this fails because columns changed, raise `MEASURES_FORMAT` and note it here."""
    assert (MEASURES_FORMAT, json_sha256([*TIDY.values()])[:8]) == (3, "08b70a72")


def test_a_finished_run_is_measured_from_its_logits(shelf):
    shelf.put("good")
    row = shelf.measured().runs["good"]
    assert tuple(row) == COLUMNS
    assert (row["run"], row["spec_sha256"], row["status"]) == (
        "good",
        spec_of("good").sha256,
        "done",
    )
    assert (row["top1"], row["top5"]) == (0.75, 1)
    assert row["nll"] == pytest.approx(-np.log([0.9, 0.36, 0.62, 0.7]).mean())
    assert row["ece"] == pytest.approx((2 * (0.63 - 0.5) + 0.3 + 0.1) / 4)
    assert (row["note"], row["classes"]) == ("", 2)
    # B(4, 0.75) is at most 1 with chance 0.05 and 4 with chance 0.32
    assert (row["top1_low"], row["top1_high"]) == (0.25, 1)
    # bins of one image: 2 c (1 - c); the bin of two: both wrong 0.1368, one 0.4664, none 0.3968
    of_two = 0.1368 * 1.26 + 0.4664 * 0.26 + 0.3968 * 0.74
    assert row["ece_null"] == pytest.approx((2 * 0.9 * 0.1 + 2 * 0.7 * 0.3 + of_two) / 4)
    unknown = ("agreement", "predictive_kl", "test_distance", "train_distance_l1", "test_spread")
    assert [row[name] for name in unknown] == [""] * 5


def test_the_scaled_measures_are_of_the_cross_fitted_logits(shelf):
    shelf.put("good")
    row = shelf.measured().runs["good"]
    scaled, temperatures = calibration.scale(np.log(PREDICTED), LABELS)
    assert (row["temperature_first"], row["temperature_second"]) == temperatures
    predicted, logs = probabilities(scaled)
    bins = calibration.reliability(predicted, LABELS)
    assert row["nll_scaled"] == calibration.nll(logs, LABELS) != row["nll"]
    assert row["ece_scaled"] == calibration.ece(bins) != row["ece"]
    assert row["ece_scaled_null"] == ece_null(predicted) != row["ece_null"]


def test_a_student_is_compared_with_its_teacher(shelf):
    shelf.put("teacher", predicted=np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]))
    shelf.put("student", teacher="teacher")
    rows = shelf.measured().runs
    assert rows["student"]["agreement"] == 0.5  # of equal logits the lower class is the largest
    p, q = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]), PREDICTED
    assert rows["student"]["predictive_kl"] == pytest.approx((p * np.log(p / q)).sum() / 4)
    assert rows["teacher"]["agreement"] == rows["teacher"]["predictive_kl"] == ""


def test_distances_are_to_the_true_distributions_where_those_are_known(shelf, tmp_path):
    truth = PREDICTED.copy()
    truth[1] = [0.66, 0.34]  # by 0.3 for both classes; the class is another one, too
    shelf.data = prepared(
        tmp_path / "known",
        test_labels=LABELS,
        test_truth=truth,
        train_truth=np.array([[0.8, 0.2], [0.9, 0.1]]),
    )
    shelf.put("good", train_logits=np.log(TRAINED))
    row = shelf.measured().runs["good"]
    assert row["test_distance"] == pytest.approx(0.3 * np.sqrt(2) / 4)
    assert row["test_distance_l1"] == pytest.approx(0.6 / 4)
    assert row["train_distance"] == pytest.approx(0.4 * np.sqrt(2) / 2)
    assert row["train_distance_l1"] == pytest.approx(0.8 / 2)
    assert row["top1"] == 0.75  # against argmax p*, not against the labels drawn from p*
    # no two images have the same p*
    assert (row["test_spread"], row["train_spread"]) == (0, 0)
    assert row["test_bias"] == pytest.approx(0.18 / 4)
    assert row["train_bias"] == pytest.approx(0.32 / 2)
    excess = 0.66 * np.log(0.66 / 0.36) + 0.34 * np.log(0.34 / 0.64)
    assert row["test_excess_nll"] == pytest.approx(excess / 4)
    excess = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert row["train_excess_nll"] == pytest.approx(excess / 2)
    # test images are scaled as for ECE; training images with the geometric mean of both halves
    scaled, (first, second) = calibration.scale(np.log(PREDICTED), LABELS)
    expected = np.linalg.norm(probabilities(scaled)[0] - truth, axis=1).mean()
    assert row["test_distance_scaled"] == pytest.approx(expected)
    scaled = TRAINED ** (1 / np.sqrt(first * second))
    scaled /= scaled.sum(axis=1, keepdims=True)
    expected = np.linalg.norm(scaled - [[0.8, 0.2], [0.9, 0.1]], axis=1).mean()
    assert row["train_distance_scaled"] == pytest.approx(expected)


def test_the_true_distributions_of_training_images_divide_their_distance(shelf, tmp_path):
    known = np.array([[0.8, 0.2], [0.8, 0.2]])
    shelf.data = prepared(
        tmp_path / "known", test_labels=LABELS, test_truth=PREDICTED, train_truth=known
    )
    shelf.put("good", train_logits=np.log([[0.9, 0.1], [0.6, 0.4]]))
    row = shelf.measured().runs["good"]
    assert row["train_spread"] == pytest.approx(2 * 0.15**2)  # around (0.75, 0.25)
    assert row["train_bias"] == pytest.approx(2 * 0.05**2)
    assert (row["test_spread"], row["test_bias"]) == pytest.approx((0, 0))


def test_accuracy_counts_against_the_likeliest_class_and_calibration_against_drawn_labels(
    shelf, tmp_path
):
    truth = np.array([[0.6, 0.4], [0.4, 0.6], [0.4, 0.6], [0.4, 0.6]])
    shelf.data = prepared(
        tmp_path / "known", test_labels=LABELS, test_truth=truth, train_truth=TRAINED
    )
    shelf.put("good", train_logits=np.log(TRAINED))
    row = shelf.measured().runs["good"]
    assert row["top1"] == 1
    assert row["ece"] == pytest.approx((2 * (0.63 - 0.5) + 0.3 + 0.1) / 4)


def known_counts(folder, truth, **others):
    """Prepared data of two classes whose training images have these p* of the first class."""
    first = np.array(truth)
    return prepared(
        folder, test_labels=LABELS, train_truth=np.stack([first, 1 - first], axis=1), **others
    )


def test_training_images_are_measured_by_tenths_of_disagreement(shelf, tmp_path):
    # of 11 images the first tenth has two; 0.2 of the first class is as certain as 0.8
    truth = [0.5, 0.6, 0.45, 0.3, 1.0, 0.2, 0.9, 0.9, 0.75, 0.99, 0.66]
    shelf.data = known_counts(tmp_path / "known", truth)
    predicted = np.linspace(0.2, 0.85, 11)
    logits = np.log(np.stack([predicted, 1 - predicted], axis=1))
    shelf.put("good", train_logits=logits)
    found = shelf.measured()
    rows = found.found.disagreement
    assert all(tuple(row) == DISAGREEMENT for row in rows)
    assert [(row["run"], row["tenth"], row["images"]) for row in rows] == [
        ("good", n, 2 if n == 1 else 1) for n in range(1, 11)
    ]
    certain = [0.995, 0.9, 0.9, 0.8, 0.75, 0.7, 0.66, 0.6, 0.55, 0.5]
    assert [row["certainty"] for row in rows] == pytest.approx(certain)
    off = [predicted[i] - truth[i] for i in (4, 9)]
    assert rows[0]["distance"] == pytest.approx(np.sqrt(2) * np.abs(off).mean())
    # equally certain images stay in their order
    assert rows[1]["distance"] == pytest.approx(np.sqrt(2) * abs(predicted[6] - 0.9))
    assert rows[2]["distance"] == pytest.approx(np.sqrt(2) * abs(predicted[7] - 0.9))
    assert rows[9]["entropy"] == pytest.approx(np.log(2))
    excess = 0.5 * np.log(0.5 / predicted[0]) + 0.5 * np.log(0.5 / (1 - predicted[0]))
    assert rows[9]["excess_nll"] == pytest.approx(excess)
    # like images are 1.0 and 0.99, and the two of 0.9
    like = [2, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert [row["like"] for row in rows] == like
    of_pair = 2 * (predicted[7] - predicted[6]) ** 2 / 4 * 2  # two classes, half way, n / (n - 1)
    assert [row["spread"] for row in rows[1:3]] == pytest.approx([of_pair, of_pair])
    assert np.isnan([row["spread"] for row in rows if not row["like"]]).all()
    row = found.runs["good"]
    assert tuple(row) == COLUMNS
    assert row["train_distance_hardest"] == rows[9]["distance"] != row["train_distance"]
    assert row["train_excess_nll_hardest"] == rows[9]["excess_nll"]


def test_the_tenths_add_up_to_the_measures_of_all_training_images(shelf, tmp_path):
    draw = np.random.default_rng(5)
    shelf.data = known_counts(tmp_path / "known", draw.random(57))
    shelf.put("good", train_logits=draw.normal(size=(57, 2)))
    found = shelf.measured()
    rows, row = found.found.disagreement, found.runs["good"]
    images = np.array([row["images"] for row in rows])
    for name in ("distance", "excess_nll"):
        mean = images @ [row[name] for row in rows] / 57
        assert mean == pytest.approx(row[f"train_{name}"])


@pytest.mark.parametrize(
    "truth",
    [[0.7, 0.3] * 10, [0.1, 0.9, 0.1 + 1e-12] * 5, np.linspace(0.5, 0.9, 9)],
    ids=["equally certain", "equal up to rounding", "under ten images"],
)
def test_without_tenths_there_are_no_rows_and_the_hardest_is_empty(shelf, tmp_path, truth):
    shelf.data = known_counts(tmp_path / "known", truth)
    shelf.put("good", train_logits=np.zeros((len(truth), 2)))
    found = shelf.measured()
    assert found.found.disagreement == []
    row = found.runs["good"]
    assert row["train_distance"] > 0
    assert row["train_distance_hardest"] == row["train_excess_nll_hardest"] == ""


def test_epochs_are_those_of_the_main_stage_with_the_sum_of_their_losses(shelf):
    shelf.put("good")
    shelf.put("other")
    found = shelf.measured()
    assert list(found.epochs) == [(run, epoch) for run in ("good", "other") for epoch in (1, 2, 3)]
    assert all(tuple(row) == EPOCHS for row in found.found.epochs)
    values = [tuple(found.epochs["good", epoch].values())[2:] for epoch in (1, 2, 3)]
    assert values == [
        (0.05, 0.5, 0.75, 2.5),
        (0.05, 0.625, 1.0, 1.25),
        (0.005, 0.75, 0.75, 0.5),
    ]


def test_the_best_accuracy_is_that_of_the_history_and_not_the_last(shelf):
    shelf.put("good")
    row = shelf.measured().runs["good"]
    assert (row["best_top1"], row["top1"]) == (1.0, 0.75)


def test_bins_of_confidence_are_told_before_and_after_scaling(shelf):
    shelf.put("good")
    found = shelf.measured()
    assert all(tuple(row) == RELIABILITY for row in found.found.reliability)
    assert list(found.bins) == [("good", s, b) for s in (0, 1) for b in range(1, 16)]
    for b in range(1, 16):
        row = found.bins["good", 0, b]
        assert (row["low"], row["high"]) == pytest.approx(((b - 1) / 15, b / 15))
        images, confidence, accuracy = {10: (2, 0.63, 0.5), 11: (1, 0.7, 1), 14: (1, 0.9, 1)}.get(
            b, (0, 0, 0)
        )
        assert row["images"] == images
        assert (row["confidence"], row["accuracy"]) == pytest.approx((confidence, accuracy))


@pytest.mark.parametrize(("scaled", "measured"), [(0, "ece"), (1, "ece_scaled")])
def test_the_bins_are_those_of_the_calibration_error(shelf, scaled, measured):
    shelf.put("good")
    found = shelf.measured()
    rows = [found.bins["good", scaled, b] for b in range(1, 16)]
    gaps = sum(row["images"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    assert sum(row["images"] for row in rows) == 4
    assert gaps / 4 == pytest.approx(found.runs["good"][measured])


def test_a_row_tells_how_its_run_was_trained(shelf):
    shelf.put("good")
    row = shelf.measured().runs["good"]
    told = ("device", "threads", "precision", "torch", "soteacher")
    assert [row[name] for name in told] == ["A processor", 2, "tf32", "2.0.1", "1.2.3"]


@pytest.mark.parametrize(
    ("device_type", "facts", "expected"),
    [
        ("cpu", {"cpu_capability": "AVX512"}, "AVX512"),
        ("cuda", {"cpu_capability": "AVX512"}, ""),
        ("cpu", {}, ""),  # an earlier version recorded nothing
    ],
)
def test_the_cpu_s_instructions_are_told_for_runs_on_a_cpu(
    shelf, monkeypatch, device_type, facts, expected
):
    monkeypatch.setitem(TRAINED_ON, "device_type", device_type)
    for name, value in facts.items():
        monkeypatch.setitem(TRAINED_ON, name, value)
    shelf.put("good")
    assert shelf.measured().runs["good"]["capability"] == expected


def test_runs_without_a_result_have_a_note_and_nothing_else(shelf):
    shelf.put("good")
    where = {"epoch": 3, "step": 7, "terms": {"ce": "nan", "kd": "0.5"}}
    bad, child = shelf.entry("bad"), shelf.entry("child", "bad")
    facts = {"spec": bad["spec"], "data_sha256": shelf.data.sha256, "diverged": where}
    facts |= {"trained_on": TRAINED_ON, "soteacher": "1.2.3", "seconds": 1.0}
    RunFolder(shelf.store, bad["fingerprint"], "bad").finish("diverged", {}, facts, {})
    shelf.manifest["runs"] |= {
        "bad": bad | {"status": "diverged", "artifacts": {}, "diverged": where},
        "child": child | {"status": "blocked", "artifacts": {}, "blocked_by": "bad"},
    }
    found = shelf.measured()
    assert list(found.runs) == ["bad", "child", "good"]
    assert found.runs["bad"]["note"] == "bad: diverged in epoch 3, step 7 (ce=nan, kd=0.5)"
    assert found.runs["child"]["note"] == "child: blocked by bad"
    for run, status in (("bad", "diverged"), ("child", "blocked")):
        row = found.runs[run]
        assert row["status"] == status
        assert {row[name] for name in COLUMNS[4:]} == {""}
    assert {run for run, *_ in (*found.epochs, *found.bins)} == {"good"}


def test_an_artifact_that_differs_from_the_manifest_is_refused_though_its_record_was_changed_too(
    shelf, tmp_path
):
    shelf.data = prepared(
        tmp_path / "known", test_labels=LABELS, test_truth=PREDICTED, train_truth=TRAINED
    )
    folder = shelf.put("good", train_logits=np.log(TRAINED))
    shelf.measured()
    for name in ("test_logits.npy", "train_logits.npy", "history.csv"):
        path = folder.path / name
        kept, record = path.read_bytes(), folder.record()
        path.write_bytes(kept + b" ")
        with pytest.raises(UserError, match=f"{name} of good has changed since it was recorded"):
            shelf.measured()
        changed = record["artifacts"] | {name: files.sha256_of(path)}
        write_sealed(folder.path / "run.json", record | {"artifacts": changed})
        with pytest.raises(UserError, match="manifest and the store have different runs 'good'"):
            shelf.measured()
        write_sealed(folder.path / "run.json", record)
        path.unlink()
        with pytest.raises(UserError, match=f"{name} of good is missing"):
            shelf.measured()
        path.write_bytes(kept)
    shelf.measured()


def test_a_teacher_s_changed_logits_are_refused_when_its_student_is_measured(shelf):
    folder = shelf.put("teacher")
    shelf.put("student", teacher="teacher")
    del shelf.manifest["runs"]["teacher"]  # it has a manifest of its own
    assert shelf.measured().runs["student"]["agreement"] == 1
    np.save(folder.path / "test_logits.npy", np.zeros((4, 2)))
    with pytest.raises(UserError, match=r"test_logits.npy of teacher has changed"):
        shelf.measured()


def test_a_run_without_its_record_is_refused_in_words(shelf):
    folder = shelf.put("good")
    (folder.path / "run.json").unlink()
    with pytest.raises(UserError, match=r"good is not finished in the store: .*; rerun the same"):
        shelf.measured()


@pytest.mark.parametrize("swapped", [("fingerprint", "artifacts"), ("spec", "spec_sha256")])
def test_a_manifest_with_parts_of_two_runs_swapped_is_refused(shelf, swapped):
    shelf.put("good")
    shelf.put("other", predicted=PREDICTED[::-1])
    shelf.measured()
    one, two = shelf.manifest["runs"].values()
    for key in swapped:
        one[key], two[key] = two[key], one[key]
    with pytest.raises(Damaged, match="entry of good is of another run"):
        shelf.measured()


def test_a_manifest_of_runs_on_other_data_is_refused(shelf, tmp_path):
    shelf.put("good")
    shelf.data = prepared(tmp_path / "later", test_labels=LABELS[::-1])
    with pytest.raises(Damaged, match="entry of good is of another run or other data"):
        shelf.measured()


def test_labels_that_changed_after_training_are_not_used(shelf):
    shelf.put("good")
    np.save(shelf.data.folder / "test_labels.npy", LABELS[::-1])
    with pytest.raises(Damaged, match="prepared array test_labels has changed"):
        shelf.measured()


def test_a_teacher_of_several_students_is_read_once(shelf, monkeypatch):
    shelf.put("teacher")
    for student in ("first", "second"):
        shelf.put(student, teacher="teacher")
    read, artifact = [], RunFolder.artifact
    monkeypatch.setattr(
        RunFolder, "artifact", lambda self, name: read.append(self.id) or artifact(self, name)
    )
    rows = shelf.measured().runs
    assert read == ["teacher"]
    assert rows["first"]["agreement"] == rows["second"]["agreement"] == 1


def test_a_student_is_not_compared_with_another_teacher_than_its_own(shelf):
    shelf.put("teacher")
    shelf.put("other")
    shelf.put("student", teacher="teacher")
    entry = shelf.manifest["runs"]["student"]
    entry["teacher"] = {"id": "other", "fingerprint": shelf.entry("other")["fingerprint"]}
    with pytest.raises(Damaged, match="taught by other, which is not the teacher in its spec"):
        shelf.measured()


def test_a_manifest_is_refused_by_the_run_that_it_lacks_or_holds_with_other_settings(shelf):
    shelf.put("good")
    shelf.put("another")
    good, another = (spec_of(run).sha256 for run in ("good", "another"))
    check_planned(Path("m.json"), shelf.manifest, {"good": good[:16], "another": another})
    with pytest.raises(UserError, match="lacks 'third'"):
        check_planned(Path("m.json"), shelf.manifest, {"good": good, "third": "d"})
    with pytest.raises(UserError, match="has 'another' with other settings"):
        check_planned(Path("m.json"), shelf.manifest, {"good": good, "another": "dd"})
