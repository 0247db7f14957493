from integration.metrics.families import by, gauge, single


def samples(family):
    return [(sample.name, sample.labels, sample.value) for sample in family.samples]


def test_samples_have_the_labels_of_their_values():
    made = gauge("a", "words", {("x", "y"): 1.0}, ("left", "right"))
    assert samples(made) == [("a", {"left": "x", "right": "y"}, 1.0)]
    assert samples(single("b", "words", 2.0)) == [("b", {}, 2.0)]
    assert samples(by("state", "c", "words", {})) == []
