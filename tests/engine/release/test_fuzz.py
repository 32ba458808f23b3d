"""A short set of the fuzzing that `make fuzz` does at length."""

from pathlib import Path

from tests.fuzz import KEPT_SEEDS, package_of, run_case


def test_mutated_packages_are_refused_or_unpacked_as_their_manifest_says(tmp_path: Path) -> None:
    """Three hundred mutated packages and every seed that ever found something; several outcomes are met."""
    outcomes = {run_case(seed, tmp_path) for seed in (*range(300), *KEPT_SEEDS)}
    assert "unpacked" in outcomes
    assert len(outcomes) > 10


def test_a_seed_gives_the_same_package_for_ever() -> None:
    """A printed seed can be run again."""
    assert package_of(7) == package_of(7)
    assert package_of(7) != package_of(8)
