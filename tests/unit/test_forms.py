"""The forms of a run's records: one without an entry is refused by name, and stops no other."""

import json
import os

import pytest

from soteacher.core import files
from soteacher.core.errors import Damaged
from soteacher.core.sealed import write_sealed
from soteacher.store.forms import read_manifest
from soteacher.store.run_folder import RunFolder
from soteacher.store.status import state_of
from soteacher.study.specs import fingerprint_of

SPEC = {"role": "student"}
OF_RUN = fingerprint_of(SPEC, "data")
TAUGHT = {"id": "teacher", "fingerprint": "f"}
ATTEMPT = {"host": "here", "pid": 1, "slurm_job": None, "started": "2026-01-01T00:00:00+0000"}
TRAINED_ON = {
    "device": "cpu",
    "device_type": "cpu",
    "threads": 1,
    "precision": "tf32",
    "versions": {"torch": "2"},
}
DESCRIPTION = {"id": "a", "spec": SPEC, "data_sha256": "data", "fingerprint": OF_RUN}
RECORD = DESCRIPTION | {
    "status": "done",
    "artifacts": {},
    "attempts": [ATTEMPT],
    "trained_on": TRAINED_ON,
    "seconds": 1.5,
    "soteacher": "1",
}
STATE = {
    "fingerprint": OF_RUN,
    "serial": 1,
    "tensors_sha256": "0",
    "saved": 1.5,
    "cursor": ["MAIN", 0, 1],
    "history": [],
    "seconds": 1,
    "images_per_second": None,
    "epochs": 2,
    "images_left": 3,
    "checkpoints": {},
}
ENTRY = {
    "spec": SPEC,
    "spec_sha256": "s",
    "fingerprint": OF_RUN,
    "status": "done",
    "artifacts": {},
    "teacher": TAUGHT,
}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "store", OF_RUN, "a")


def test_records_of_the_right_form_are_read(folder, tmp_path):
    write_sealed(folder.path / "state-1.json", STATE)
    assert folder.progress()["serial"] == 1
    write_sealed(folder.path / "run.json", RECORD)
    assert state_of(folder).name == "done"
    write_sealed(tmp_path / "m.json", {"runs": {"a": ENTRY}})
    assert json.loads((tmp_path / "m.json").read_text()) == read_manifest(tmp_path / "m.json", "it")


def without(values):
    """The same values, each time without another of the entries."""
    return [{k: v for k, v in values.items() if k != key} for key in values]


@pytest.mark.parametrize(
    "record",
    [
        *without(RECORD),
        RECORD | {"status": "lost"},
        RECORD | {"status": "diverged"},
        RECORD | {"seconds": "1"},
        *(RECORD | {"attempts": [attempt]} for attempt in without(ATTEMPT)),
        *(RECORD | {"trained_on": facts} for facts in without(TRAINED_ON)),
    ],
)
def test_a_record_of_another_form_is_damage_of_its_run(folder, record):
    write_sealed(folder.path / "run.json", record)
    state = state_of(folder)
    assert state.name == "damaged" and "the record of a" in state.facts["why"]


@pytest.mark.parametrize(
    "state", [*without(STATE), STATE | {"cursor": ["END"]}, STATE | {"cursor": ["MAIN", -1, 0]}]
)
def test_of_two_states_the_one_of_the_right_form_is_used(folder, state):
    write_sealed(
        folder.path / "state-0.json", state | {"serial": 2} if "serial" in state else state
    )
    with pytest.raises(Damaged, match=r"all saved states of a in .* are damaged or of another run"):
        folder.progress()
    write_sealed(folder.path / "state-1.json", STATE)
    assert folder.progress()["serial"] == 1


@pytest.mark.parametrize("entry", [*without(ENTRY), [], ENTRY | {"status": "blocked"}])
def test_an_entry_of_another_form_is_damage_of_the_manifest(tmp_path, entry):
    write_sealed(tmp_path / "m.json", {"runs": {"a": entry}})
    with pytest.raises(
        Damaged, match=r"cannot read it, .*m.json: its entry 'runs.a.* another form"
    ):
        read_manifest(tmp_path / "m.json", "it")


def test_a_lock_that_is_a_pipe_is_not_waited_for(folder):
    folder.path.mkdir(parents=True)
    os.mkfifo(folder.path / "lock")
    assert files.held_by(folder.path) is None
