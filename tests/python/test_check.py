"""`evenkeel check --fleet`: what a fleet with these settings may render together, before it does."""

import subprocess

import pytest

from sidecar import BINARY


def check(settings, *arguments, tmp_path):
    file = tmp_path / "hot.yaml"
    file.write_text(settings)
    done = subprocess.run([BINARY, "check", file, *arguments], capture_output=True, text=True, timeout=10)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "settings, size, product",
    [
        # Only the rollout stands in the file: 5/s a sidecar is the default, and nothing said what that means for a thousand.
        ("rollout: 2", 1000, "5 renders/s in each of 1000 sidecars = 5000 renders/s upstream"),
        ("admission: {fleet_rate: 20, fleet_size: 98}", 98, "= 20 renders/s upstream"),
        ("admission: {fleet_rate: 20, fleet_size: 100}", 1000, "0.2 renders/s in each of 1000 sidecars = 200 renders/s upstream"),
        ("admission: {rate: 0}", 1000, "0 renders/s in each of 1000 sidecars = 0 renders/s upstream"),
    ],
)
def test_it_prints_the_product_and_fails_above_the_bound(settings, size, product, tmp_path):
    code, said, _ = check(settings, "--fleet", str(size), tmp_path=tmp_path)
    assert code == 0 and product in said.splitlines()[-1], said
    upstream = product.split("= ")[1].split()[0]
    code, said, error = check(settings, "--fleet", str(size), "--at-most", upstream, tmp_path=tmp_path)
    assert (code, error) == (0, ""), "as much as that is within the bound"
    if float(upstream) > 0:
        below = str(float(upstream) - 0.001)
        code, said, error = check(settings, "--fleet", str(size), "--at-most", below, tmp_path=tmp_path)
        assert code == 78 and product in said and f"{size} sidecars may render {upstream}/s together" in error, (said, error)


@pytest.mark.parametrize(
    "settings, remedy",
    [
        ("rollout: 2", "set admission.fleet_rate, with admission.fleet_size 1000"),
        ("admission: {fleet_rate: 20, fleet_size: 100}", "admission.fleet_size is 100: set 1000"),
        ("admission: {fleet_rate: 20, fleet_size: 1000}", "lower admission.fleet_rate"),
    ],
)
def test_it_says_what_to_change(settings, remedy, tmp_path):
    code, _, error = check(settings, "--fleet", "1000", "--at-most", "10", tmp_path=tmp_path)
    assert code == 78 and error.rstrip().endswith(remedy), error


@pytest.mark.parametrize("arguments", [["--fleet", "0"], ["--at-most", "5"], ["--fleet", "2", "--at-most", "much"]])
def test_a_wrong_flag_is_wrong_usage(arguments, tmp_path):
    assert check("rollout: 2", *arguments, tmp_path=tmp_path)[0] == 2


def test_bad_settings_have_no_product(tmp_path):
    code, said, error = check("rollout: two", "--fleet", "9", tmp_path=tmp_path)
    assert (code, said) == (78, "") and "rollout" in error
