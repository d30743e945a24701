"""From what is named to architectures with sizes: lists, wildcards, limits, and their faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.config.study import SelectionSettings, StudySettings
from benchmark.planning.architecture_names import expand, find_architectures, named_entries, sized
from clothclf.cost.quick import MAX_IN_PROCESS, backbone_request, count_many
from clothclf.errors import ArchitectureError, UserError
from clothclf.models.check_weights import check_architecture
from clothclf.settings import ArchitectureSettings, DataSettings, HeadSettings


def study(*names: str, **changes: Any) -> StudySettings:
    entries = tuple(ArchitectureSettings(name=name) for name in names or ("test_resnet",))
    values: dict[str, Any] = {"study": "s", "architectures": entries}
    return StudySettings(**{**values, **changes})


def named(pairs: Any) -> list[tuple[str, Any]]:
    return [(entry.name, entry.image_size) for entry in pairs]


def test_every_size_of_a_sweep_is_an_entry_and_an_own_size_goes_before() -> None:
    entries = (
        ArchitectureSettings(name="test_resnet"),
        ArchitectureSettings(name="test_vit", image_size="native"),
        ArchitectureSettings(name="test_efficientnet", image_size=48),
    )
    asked = study(data=DataSettings(image_size=(32, 64)), architectures=entries)
    assert named(sized(asked, entries)) == [
        ("test_resnet", 32),
        ("test_resnet", 64),
        ("test_vit", 160),
        ("test_efficientnet", 48),
    ]


def test_efficientnets_have_each_their_own_size_by_config_alone() -> None:
    asked = study("efficientnet_b[0-7]", data=DataSettings(image_size="native"))
    sizes = [size for _, size in named(sized(asked, expand(asked.architectures)))]
    assert sizes == [224, 240, 256, 288, 320, 448, 528, 600]


def test_a_list_has_a_name_on_each_line_and_keeps_its_entrys_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("# two\n\nvgg11  # small\nvgg1[13]\n")
    entry = ArchitectureSettings.model_validate({"file": "names.txt", "head": {"hidden": 4}})
    result = expand([entry])
    assert [item.name for item in result] == ["vgg11", "vgg13"]
    assert {item.head for item in result} == {HeadSettings(hidden=4)}
    assert [item.name for item in named_entries(["@names.txt"])] == ["vgg11", "vgg13"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"# nothing\n\n", "contains no architecture"),
        (b"vgg16\nvgg61\n", "line 2: architecture 'vgg61' is not known .*did you mean"),
        (b"@other.txt\n", "line 1: a list must contain architectures, not other lists"),
        (b"vgg16\n\xff\xfe\n", "is not UTF-8 at byte 7"),
        (b"a" * 1_000_001, "larger than 1 MB"),
        (b"x\n" * 10_001, "more than 10,000 lines"),
    ],
)
def test_a_list_that_cannot_be_used_is_reported_by_file_and_line(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        named_entries([f"@{path}"])


def test_all_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(UserError) as caught:
        named_entries(["vgg61", "vgg16", "no_such_*"])
    assert len(str(caught.value).splitlines()) == 2


def test_a_wildcard_goes_over_tags_where_it_has_a_dot() -> None:
    result = [entry.name for entry in named_entries(["efficientnet_b0.*"])]
    assert "efficientnet_b0.ra_in1k" in result
    with pytest.raises(UserError, match="no timm architecture with a tag"):
        expand([ArchitectureSettings(name="efficientnet_b0.zz*")])


def test_limits_leave_out_with_a_reason_what_is_too_large_at_its_size(tmp_path: Path) -> None:
    limits = SelectionSettings(max_gmacs=0.005, exclude=("*_vit",))
    asked = study("test_resnet", "test_vit", data=DataSettings(image_size=(32, 64)))
    actual = find_architectures(asked.model_copy(update={"selection": limits}), [], tmp_path)
    result = {(item.entry.name, item.image_size): item.out for item in actual}
    assert result["test_resnet", 32] == ""
    assert "GMACs, more than 0.005" in result["test_resnet", 64]
    assert result["test_vit", 32] == result["test_vit", 64] == "excluded by *_vit"


def test_limits_that_leave_nothing_say_the_smallest(tmp_path: Path) -> None:
    limits = SelectionSettings(max_params=0.0001)
    asked = study("test_resnet", data=DataSettings(image_size=32), selection=limits)
    with pytest.raises(ArchitectureError, match=r"exclude all 1 .*smallest, test_resnet at 32"):
        find_architectures(asked, [], tmp_path)


def test_a_size_of_a_sweep_that_an_architecture_refuses_is_named(tmp_path: Path) -> None:
    asked = study("test_resnet", "vgg11")
    asked = asked.model_copy(update={"data": DataSettings(image_size=(64, 16))})
    with pytest.raises(UserError, match=r"'vgg11' does not accept images of 16 x 16 pixels"):
        find_architectures(asked, [], tmp_path)
    left = find_architectures(asked, [], tmp_path, leave_out_unfit=True)
    assert {(item.entry.name[:4], item.image_size) for item in left if item.out} == {("vgg1", 16)}


def test_a_backbone_with_a_head_costs_what_the_whole_does(tmp_path: Path) -> None:
    (backbone,) = count_many([backbone_request("test_resnet", 32)], tmp_path)
    head = backbone.with_head(HeadSettings(hidden=5), 3)
    assert backbone.macs is not None
    assert backbone.params is not None
    assert head.macs == backbone.macs + backbone.features * 5 + 5 * 3
    assert head.params == backbone.params + backbone.features * 5 + 5 + 5 * 3 + 3


def test_counts_are_kept_and_many_are_counted_as_few_are(tmp_path: Path) -> None:
    requests = [backbone_request("test_resnet", 16 + 8 * n) for n in range(MAX_IN_PROCESS + 1)]
    by_processes = count_many(requests, tmp_path / "a")
    here = [count_many([request], tmp_path / "b")[0] for request in requests[:2]]
    assert by_processes[:2] == here
    assert len(list((tmp_path / "a" / "counts").iterdir())) == len(requests)
    result: list[int] = []
    assert count_many(requests, tmp_path / "a", lambda done, total: result.append(done)) == (
        by_processes
    )
    assert result == []


def test_counting_and_checking_agree_on_a_refusal(tmp_path: Path) -> None:
    (count,) = count_many([backbone_request("vgg11", 16)], tmp_path)
    with pytest.raises(ArchitectureError) as caught:
        check_architecture("vgg11", 16)
    assert count.error == str(caught.value)


def test_limits_are_on_what_is_deployed(tmp_path: Path) -> None:
    limits = SelectionSettings(max_gmacs=0.08)  # at 112 px, 0.070 deployed and 0.267 in training
    asked = study("mobileone_s0", data=DataSettings(image_size=112), selection=limits)
    (result,) = find_architectures(asked, [], tmp_path)
    assert result.out == ""
    (backbone,) = count_many([backbone_request("mobileone_s0", 112)], tmp_path)
    head = backbone.with_head(HeadSettings(), 3)
    assert head.training_macs == (backbone.training_macs or 0) + backbone.features * 3
    assert head.training_params == (backbone.training_params or 0) + backbone.features * 3 + 3
