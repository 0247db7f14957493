import pytest

from model.bench import Plan, compared_ms, machine


def test_competitors_take_turns_of_a_warm_up_and_three():
    calls = []
    figures = compared_ms(
        {"one": lambda: calls.append("one"), "two": lambda: calls.append("two")}, 4, 5
    )
    turn = ["one"] * 4 + ["two"] * 4
    assert calls == turn * 2
    assert set(figures) == {"one", "two"}
    for times in figures.values():
        assert 0 <= times["best_ms"] <= times["median_ms"]


@pytest.mark.parametrize(("batches", "threads", "steps"), [((1,), (1,), 4), ((1, 8), (1, 2), 7)])
def test_a_plan_knows_its_steps(batches, threads, steps):
    assert Plan(batches, threads).n_steps == steps


def test_the_machine_is_described_and_not_named():
    about = machine()
    assert about["cores"] >= about["cores_allowed"] >= 1
    assert len(about["load_average"]) == 3
    assert set(about) == {"cpu", "cores", "cores_allowed", "flags", "load_average", "python"} | {
        "torch",
        "onnxruntime",
        "numpy",
        "scipy",
    }
