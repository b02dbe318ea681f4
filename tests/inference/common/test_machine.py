"""How many cores a container may use."""

from inference.common.machine import cores


def test_cores_of_a_container(tmp_path):
    quota = tmp_path / "cpu.max"
    assert cores(quota=quota) >= 1
    quota.write_text("150000 100000\n")
    assert cores(quota=quota) <= 2
    quota.write_text("50000 100000\n")
    assert cores(quota=quota) == 1
    quota.write_text("max 100000\n")
    assert cores(quota=quota) == cores(quota=tmp_path / "none")
