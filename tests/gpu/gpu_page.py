"""The page of a GPU check, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def page(report: dict[str, Any]) -> str:
    """Return the page of a report: first what is wrong, then what was measured."""
    facts = report["facts"]
    parts = [
        *_verdict(report),
        f"# Check of {facts.get('device', 'an unknown device')}",
        *_machine(facts),
        "## Tests of training",
        _tests(report["tests"]),
        "## Time of a training step",
        *_steps(report["steps"]),
        "## Overhead of teacher methods",
        *_overhead(report["overhead"]),
        "## Several processes on one device",
        *_together(report["together"]),
    ]
    if report["left_out"]:
        parts += ["## Left out", _listed(report["left_out"])]
    return "\n\n".join(parts) + "\n"


def _verdict(report: dict[str, Any]) -> Iterable[str]:
    if report["device"] != "cuda":
        yield (
            "**This report is not of a GPU.** The check ran on a CPU, with batches of two images, "
            "to show that it works; its times mean nothing."
        )
    wrong, tests = report["wrong"], report["tests"]
    if wrong:
        yield f"**Something is wrong: {len(wrong)} failures.**\n\n{_listed(wrong)}"
    elif "counts" in tests:
        yield "**Nothing failed**" + (" of what was run." if report["left_out"] else ".")
    else:
        yield f"**The tests were not run.** {_tests(tests)} No measurement failed."
    if report["refused"]:
        yield f"Refused, with the reason:\n\n{_listed(report['refused'])}"
    if report["left_out"]:
        limit = report["facts"].get("limit", 0)
        yield (
            f"Left out, for lack of time ({limit:.0f} s): {len(report['left_out'])} parts, "
            "which are listed at the end."
        )


def _machine(facts: dict[str, Any]) -> Iterable[str]:
    versions = facts.get("versions", {})
    known = {
        "driver": facts.get("driver"),
        "compute capability": facts.get("compute_capability"),
        "memory": f"{facts['memory_gb']} GB" if "memory_gb" in facts else None,
        "GPUs that are visible": facts.get("visible"),
        "CPU cores": facts.get("cores"),
        "soteacher": facts.get("soteacher"),
        **versions,
        "measured on": facts.get("when"),
    }
    yield ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)


def _tests(tests: dict[str, Any]) -> str:
    if "missing" in tests:
        return f"Not run: missing {', '.join(tests['missing'])}."
    if "counts" not in tests:
        return "Not run: see above."
    counts = ", ".join(f"{number} {name}" for name, number in tests["counts"].items()) or "none"
    return f"{counts}, in {tests['seconds']:.0f} s. The output is in `tests.log`."


def _steps(rows: list[dict[str, Any]]) -> Iterable[str]:
    if not rows:
        yield "Not measured."
        return
    yield (
        "A step is the batch, the teacher's prediction, the losses, the gradients and the update. "
        "ms: median (quartiles) of series of steps. Host: the CPU's part of a lone step; where it "
        "is near the time of a step, the GPU waits for the CPU. Roofline: the shortest time that "
        "the GPU's stated peaks allow by a model of FLOP and bytes, which bounds it, and its share "
        "of the measured time."
    )
    head = ("network", "precision", "deterministic", "batch", "ms", "host ms", "images/s")
    yield _table(
        (*head, "peak MB", "roofline"),
        (
            (
                *(row["name"], row["precision"], "yes" if row["deterministic"] else "no"),
                *(
                    str(row["batch"]),
                    f"{row['ms']:.2f} ({row['ms_low']:.2f} to {row['ms_high']:.2f})",
                ),
                *(f"{row['host_ms']:.2f}", f"{row['images_per_second']:.0f}"),
                f"{row['peak_mb']:.0f}",
                f"{row['roofline_ms']:.2f} ms, {row['bound']}, {row['share']:.0%}"
                if "share" in row
                else "unknown peaks",
            )
            for row in rows
        ),
    )


def _quartiles(row: dict[str, Any]) -> str:
    return f"{row['ms']:.2f} ({row['ms_low']:.2f} to {row['ms_high']:.2f})"


def _overhead(rows: list[dict[str, Any]]) -> Iterable[str]:
    if not rows:
        yield "Not measured."
        return
    yield (
        "The methods take turns on the same batches, as in the table `overhead` of the study; "
        "float32, deterministic. More: median of the ratios of paired steps."
    )
    yield _table(
        ("network", "method", "ms", "more", "peak MB"),
        (
            (
                *(row["network"], row["method"], f"{row['ms']:.2f}", f"{row['more']:+.1%}"),
                "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}",
            )
            for row in rows
        ),
    )


def _together(rows: list[dict[str, Any]]) -> Iterable[str]:
    if not rows:
        yield "Not measured."
        return
    yield f"{rows[0]['name']}; float32, deterministic. Images per second of all processes together."
    first = rows[0]["images_per_second"]
    yield _table(
        ("processes", "images/s", "of the first row", "peak MB of one"),
        (
            (
                *(str(row["processes"]), f"{row['images_per_second']:.0f}"),
                *(f"{row['images_per_second'] / first:.2f}", f"{row['peak_mb']:.0f}"),
            )
            for row in rows
        ),
    )


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
