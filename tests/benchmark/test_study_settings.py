"""Configs are read strictly, and all errors are reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.config.recipes import shipped_recipes
from benchmark.config.study import load_study, to_yaml
from benchmark.config.yaml import config_names, shipped_folder
from clothclf.errors import SettingsError
from clothclf.training.check_recipe import check_recipe

MINIMAL = "study: s\narchitectures: [vgg16]\n"


def faults(text: str, folder: Path, *assignments: str) -> list[str]:
    path = folder / "c.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_study(path, assignments)
    return str(caught.value).splitlines()


def test_every_fault_is_reported_at_once_with_file_path_and_near_names(tmp_path: Path) -> None:
    text = MINIMAL + "train: {epoch: 3, batch_size: big}\ndata: {split: {trian: 0.5}}\n"
    lines = faults(text, tmp_path)
    assert len(lines) == 3
    assert all(line.startswith(f"{tmp_path / 'c.yaml'}: ") for line in lines)
    text = "\n".join(lines)
    assert "train.epoch: unknown key (did you mean epochs" in text
    assert "train.batch_size: input should be a valid integer, not 'big'" in text
    assert "data.split.trian: unknown key (did you mean train?)" in text


def test_an_assignment_is_blamed_for_its_own_fault(tmp_path: Path) -> None:
    lines = faults(MINIMAL, tmp_path, "train.momentum=2", "data.lable=x")
    assert any(line.startswith("--set train.momentum=2: train.momentum:") for line in lines)
    assert any("data.lable: unknown key (did you mean label?)" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study: s\nstudy: t\narchitectures: [a]\n", "duplicate key"),
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("study: [", "not valid YAML"),
        ("- a\n", "must contain keys"),
        ("", "must contain keys"),
        ("study: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("study: s\narchitectures: []\n", "architectures"),
        ("study: 'a b'\narchitectures: [a]\n", "study"),
        (MINIMAL + "seeds: [1, 1]\n", "must not list a seed twice"),
        (MINIMAL + "train: {epochs: 0}\n", "train.epochs"),
        (MINIMAL + "train: {epochs: true}\n", "train.epochs"),
        (MINIMAL + "train: {learning_rate: .nan}\n", "train.learning_rate"),
        (MINIMAL + "data: {source: kaggle}\n", "requires data.path"),
        (MINIMAL + "data: {split: {train: 0.9}}\n", "must add up to 1"),
        (MINIMAL + "model: {mode: finetune, batch_norm: drifting}\n", "mode: frozen"),
        ("study: s\narchitectures: [{name: a, heads: {}}]\n", "did you mean head?"),
    ],
)
def test_a_faulty_config_is_refused_in_words(text: str, says: str, tmp_path: Path) -> None:
    assert says in "\n".join(faults(text, tmp_path))


def test_a_missing_config_names_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no such config file \(did you mean fashion.yaml"):
        load_study(Path("fashin.yaml"))
    with pytest.raises(SettingsError, match="is a folder"):
        load_study(tmp_path)


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
@pytest.mark.parametrize("beside", ["nothing", "a folder"])
def test_the_suffix_of_a_config_may_be_left_out(suffix: str, beside: str, tmp_path: Path) -> None:
    (tmp_path / f"clothing{suffix}").write_text(MINIMAL)
    if beside == "a folder":
        (tmp_path / "clothing").mkdir()
    assert load_study(tmp_path / "clothing").study == "s"


@pytest.mark.parametrize("name", ["cothing.yaml", "cothing", "clothing.yml"])
def test_a_misspelled_config_gets_the_names_that_lie_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "clothing.yaml").write_text(MINIMAL)
    with pytest.raises(SettingsError, match=r"no such config file \(did you mean clothing.yaml"):
        load_study(tmp_path / name)


@pytest.mark.parametrize("name", ["demo", "demo.yaml", "configs/demo.yaml"])
def test_shipped_configs_are_found_by_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_study(Path(name)).study == "demo"


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text; nobody means that."""
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL + "train: {learning_rate: 1e-3}\n")
    assert load_study(path).train.learning_rate == 0.001
    assert load_study(path, ["train.learning_rate=2e-4"]).train.learning_rate == 0.0002


def test_assignments_reach_into_nothing_and_take_lists(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL)
    study = load_study(path, ["data.split.seed=7", "seeds=[1, 2]", "architectures=[a, {name: b}]"])
    assert study.data.split.seed == 7
    assert study.seeds == (1, 2)
    assert [entry.name for entry in study.architectures] == ["a", "b"]


@pytest.mark.parametrize("text", ["train.epochs", "=3", "a..b=1", "study.x=1"])
def test_a_malformed_assignment_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL)
    with pytest.raises(SettingsError, match="--set"):
        load_study(path, [text])


@pytest.mark.parametrize("name", config_names(shipped_folder()))
def test_a_resolved_config_reads_back_as_itself(name: str, tmp_path: Path) -> None:
    study = load_study(Path(name))
    path = tmp_path / "resolved.yaml"
    path.write_text(to_yaml(study))
    assert load_study(path) == study
    assert yaml.safe_load(path.read_text())["study"] == study.study


@pytest.mark.parametrize(
    ("name", "weights"), [("fashion", "pretrained"), ("finetune", "pretrained"), ("demo", "none")]
)
def test_shipped_studies_never_train_on_random_weights_unasked(name: str, weights: str) -> None:
    assert load_study(Path(name)).model.weights == weights


def test_the_published_study_is_configured_as_published() -> None:
    study = load_study(Path("fashion"))
    assert (study.train.epochs, study.train.batch_size, study.train.patience) == (10, 16, 5)
    assert (study.train.learning_rate, study.train.momentum) == (0.001, 0.9)
    assert (study.data.image_size, study.data.max_classes) == (112, 11)
    assert study.data.min_images_per_class == 900
    assert {entry.name: entry.head and entry.head.hidden for entry in study.architectures} == {
        "vgg16": 256,
        "densenet121": 14,
        "efficientnet_b0": None,
    }


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_fit_an_architecture_and_say_their_source(name: str) -> None:
    study = load_study(Path("demo"), [f"recipe={name}", "model={}", "train={}"])
    check_recipe(study.train, study.model, [("test_resnet", 32)])
    text = (shipped_folder() / "recipes" / f"{name}.yaml").read_text("utf-8")
    assert "# Source: " in text
    assert "# Reached here: " in text


def test_a_study_goes_before_its_recipe_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "model: {mode: finetune, head: {dropout: 0.2}}\n"
        "train: {epochs: 7, batch_size: 8, augment: {mixup: 0.2, crop_padding: 4}}\n"
    )
    path = tmp_path / "c.yaml"
    recipe = f"recipe: {tmp_path / 'r.yaml'}\n"
    path.write_text(MINIMAL + recipe + "train: {epochs: 2, augment: {mixup: 0.5}}\n")
    study = load_study(path, ["train.batch_size=4"])
    assert (study.model.mode, study.model.head.dropout) == ("finetune", 0.2)
    assert (study.train.epochs, study.train.batch_size) == (2, 4)
    assert (study.train.augment.mixup, study.train.augment.crop_padding) == (0.5, 4)
    (tmp_path / "resolved.yaml").write_text(to_yaml(study))
    assert load_study(tmp_path / "resolved.yaml") == study


OWN_KEYS = MINIMAL + "train: {epochs: 2, momentum: 0.9, patience: 3}\nmodel: {mode: frozen}\n"


def test_keys_that_override_a_recipe_are_reported(tmp_path: Path) -> None:
    """Those of the file, with another value than the recipe's: epochs and mode, not momentum."""
    path = tmp_path / "c.yaml"
    path.write_text(OWN_KEYS)
    result: list[str] = []
    study = load_study(path, ["recipe=finetune-fast", "train.batch_size=4"], notify=result.append)
    assert (study.model.mode, study.train.epochs, study.train.batch_size) == ("frozen", 2, 4)
    assert result == [
        f"recipe finetune-fast: model.mode, train.epochs of {path} override it; use "
        "--recipe finetune-fast to override them"
    ]


def test_a_recipe_option_goes_before_the_file_and_after_assignments(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(OWN_KEYS + "recipe: published\n")
    result: list[str] = []
    study = load_study(path, ["train.epochs=3"], "finetune-fast", result.append)
    assert (study.recipe, study.model.mode, study.train.schedule) == (
        "finetune-fast",
        "finetune",
        "onecycle",
    )
    assert (study.train.epochs, study.train.patience) == (3, 3)
    assert result == []
    (tmp_path / "resolved.yaml").write_text(to_yaml(study))
    assert load_study(tmp_path / "resolved.yaml") == study


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_shipped_recipe_replaces_the_demos(recipe: str) -> None:
    """The demo standardizes features, which no other recipe does."""
    study = load_study(Path("configs/demo.yaml"), [], recipe)
    assert not study.model.standardize_features


def test_two_recipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL)
    with pytest.raises(SettingsError, match="--recipe published and --set recipe=x: give one"):
        load_study(path, ["recipe=x"], "published")
    with pytest.raises(SettingsError, match=r"--recipe finetune-fats: .*did you mean finetune-fas"):
        load_study(path, [], "finetune-fats")


def test_a_recipes_options_are_none_of_another_optimizer(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("train: {optimizer: adamw, optimizer_options: {eps: 1e-6}}\n")
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL + f"recipe: {recipe}\n")
    assert load_study(path).train.optimizer_options == {"eps": 1e-6}
    assert load_study(path, ["train.optimizer=sgd"]).train.optimizer_options == {}


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("finetune-fats", r"--set recipe=.*neither a built-in recipe.*did you mean finetune-fast"),
        ("nowhere.yaml", r"a YAML file \(built-in: finetune-best, finetune-fast, published\)"),
        ("3", "recipe: input should be a valid string"),
        ("{here}/no_keys.yaml", r"no_keys.yaml: must contain keys such as `model:` and `train:`"),
        ("{here}/fault.yaml", r"fault.yaml: train.epoch: unknown key \(did you mean epochs"),
        ("{here}/study.yaml", r"study.yaml: study: unknown key"),
    ],
)
def test_a_faulty_recipe_is_reported_with_its_own_name(
    recipe: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "no_keys.yaml").write_text("- sgd\n")
    (tmp_path / "fault.yaml").write_text("train: {epoch: 3}\n")
    (tmp_path / "study.yaml").write_text(MINIMAL)
    with pytest.raises(SettingsError, match=says):
        load_study(Path("demo"), [f"recipe={recipe.format(here=tmp_path)}"])


def test_a_deprecated_key_is_read_with_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    data = "data: {source: table, path: t.csv, picture: photo}"
    path.write_text(f"study: s\n{data}\narchitectures: [resnet18]\n")
    notices: list[str] = []
    assert load_study(path, notify=notices.append).data.image == "photo"
    assert notices == ["data.picture is deprecated; use data.image"]
    with pytest.raises(SettingsError, match=r"data\.picture: unknown key"):
        load_study(path, ["data.image=photo"])


def test_the_former_key_of_exact_duplicates_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{MINIMAL}data: {{split: {{keep_twins_together: false}}}}\n")
    notices: list[str] = []
    assert not load_study(path, notify=notices.append).data.split.keep_exact_duplicates_together
    (notice,) = notices
    assert "use data.split.keep_exact_duplicates_together" in notice
