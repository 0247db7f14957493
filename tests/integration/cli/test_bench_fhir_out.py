from integration.cli.bench_fhir_out import measure_out


def test_each_run_sends_its_reports():
    one, two = measure_out(3, (1, 2))
    assert (one["connections"], two["connections"]) == (1, 2)
    for row in (one, two):
        assert row["reports"] == 3
        assert row["a_second"] > 0
        assert 0 < row["post_p50_ms"] <= row["post_p99_ms"]
        assert row["processor_ms_a_report"] > 0
