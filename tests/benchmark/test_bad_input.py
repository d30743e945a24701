"""Bad input: one line that says what is wrong, exit code 2, no traceback, nothing trained."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.config.study import load_study
from clothclf import bounded_file
from tests.benchmark.conftest import Bench, environment, run_bench

LONG_TAIL = "id,articleType\n1,A\n2,A\n3,B\n"


def make_folder(tmp_path: Path, table: str, images: int = 0) -> Path:
    from PIL import Image

    folder = tmp_path / "pictures"
    (folder / "images").mkdir(parents=True)
    (folder / "styles.csv").write_text(table)
    for number in range(1, images + 1):
        image = Image.new("RGB", (12, 16), (number * 9 % 256, number * 5 % 256, 0))
        image.save(folder / "images" / f"{number}.jpg")
    return folder


def check(bench: Bench, *arguments: str, says: str, lines: int = 1) -> None:
    done = bench(*arguments, "-c", "tiny.yaml")
    assert done.code == 2, done
    assert "Traceback" not in done.err
    result = [line for line in done.err.splitlines() if line.startswith("bench: ")]
    assert len(result) == lines
    assert says in done.err
    assert "epoch 1/" not in done.err


def kaggle(folder: Path) -> tuple[str, ...]:
    return ("--set", "data.source=kaggle", "--set", f"data.path={folder}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--max-gmacs"),
        ("report", "--max-latency-ms"),
        ("report", "--min-accuracy"),
        ("run", "vgg16", "--max-gmacs"),
        ("run", "vgg16", "--gpus-per-run"),
        ("run", "vgg16", "--executor", "ray", "--cpus-per-run"),
        ("select", "--budget", "1h", "--max-params"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
def test_a_number_that_is_none_is_refused_by_the_name_of_its_option(
    arguments: tuple[str, ...], value: str
) -> None:
    done = CliRunner().invoke(main, [*arguments, value])
    assert done.exit_code == 2
    assert f"Invalid value for '{arguments[-1]}'" in done.stderr


@pytest.mark.parametrize("seed", ["-1", str(2**31)])
def test_a_seed_out_of_range_is_reported_in_one_line(seed: str, bench: Bench) -> None:
    """Nothing is said of a list that has no other item."""
    done = CliRunner().invoke(main, ["run", "--all", "--seed", seed])
    assert (done.exit_code, "Invalid value for '--seed'" in done.stderr) == (2, True)
    check(bench, "run", "--all", "--set", f"seeds=[{seed}]", says="seeds.0: input should be")


@pytest.mark.parametrize("option", ["-c", "@", "--recipe"])
def test_a_pipe_that_nobody_writes_to_is_reported(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be waited for without end."""
    monkeypatch.setattr(bounded_file, "PIPE_TIMEOUT_S", 0.1)
    monkeypatch.chdir(tmp_path)
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    named = [f"@{pipe}"] if option == "@" else ["vgg16", option, str(pipe)]
    done = CliRunner().invoke(main, ["run", *named])
    assert done.exit_code == 2
    assert f"bench: {pipe}: " in done.stderr
    assert "that had no data for" in done.stderr


def test_a_config_may_come_through_a_pipe(tmp_path: Path) -> None:
    """Such as a shell makes of `-c <(command)`, however slow the command is."""
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("w") as file:
            for part in ("study: piped\n", "architectures: [vgg16]\n"):
                time.sleep(0.2)
                file.write(part)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    assert load_study(pipe).study == "piped"
    writer.join()


def test_a_damaged_store_is_reported_with_a_remedy_that_helps(bench: Bench, tmp_path: Path) -> None:
    """There is no server to be started."""
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    done = bench("sync", "-c", "tiny.yaml")
    assert done.code == 2
    assert "mlruns/mlflow.db cannot be used: " in done.err
    assert "move the file away and rebuild it with `bench sync`" in done.err
    assert "server" not in done.err


def test_a_missing_zip(bench: Bench, tmp_path: Path) -> None:
    check(bench, "run", "--all", *kaggle(tmp_path / "no.zip"), says="does not exist")


def test_a_folder_without_its_table(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check(bench, "run", "--all", *kaggle(tmp_path / "empty"), says="has no styles.csv")


def test_a_table_without_the_label_column(bench: Bench, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "id,articleTypes\n1,A\n", images=1)
    check(bench, "data", "stats", *kaggle(folder), says="did you mean articleTypes")


def test_a_threshold_that_leaves_too_few_classes(bench: Bench, tmp_path: Path) -> None:
    folder = make_folder(tmp_path, LONG_TAIL, images=3)
    settings = ("--set", "data.min_images_per_class=2")
    check(bench, "data", "stats", *kaggle(folder), *settings, says="leaves 1 of 2 classes")


def test_a_class_too_small_to_split(bench: Bench, tmp_path: Path) -> None:
    table = "id,articleType\n" + "".join(f"{n},{'AB'[n > 10]}\n" for n in range(1, 13))
    folder = make_folder(tmp_path, table, images=12)
    check(bench, "run", "--all", *kaggle(folder), says="class 'B' has 2 images")


def test_an_unknown_architecture(bench: Bench) -> None:
    check(bench, "run", "efficientnet_bo", says="did you mean efficientnet_b0")
    check(bench, "run", "nothing_like_*", says="matches no timm architecture")


def test_an_unknown_key_and_a_wrong_type(bench: Bench) -> None:
    check(bench, "run", "--all", "--set", "train.epoch=1", says="did you mean epochs")
    check(bench, "run", "--all", "--set", "train.epochs=ten", says="valid integer")
    check(
        bench, "report", "--set", "train.epoch=1", "--set", "seeds=x", says="train.epoch", lines=2
    )


def test_weights_that_are_missing_or_do_not_fit(bench: Bench, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from timm import create_model

    setting = f"model.weights={tmp_path}"
    check(bench, "run", "test_resnet", "--set", setting, says="test_resnet.safetensors")
    state = create_model("test_efficientnet").state_dict()
    save_file(state, tmp_path / "test_resnet.safetensors")
    check(bench, "run", "test_resnet", "--set", setting, says="does not fit test_resnet")


def test_an_image_size_that_the_architecture_refuses(bench: Bench) -> None:
    check(bench, "run", "inception_v3", says="does not accept images of 32 x 32 pixels")


def test_a_padding_larger_than_the_image(bench: Bench) -> None:
    check(bench, "run", "--all", "--set", "train.augment.crop_padding=32", says="crop_padding")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            ["train.optimizer=adamwe"],
            "train.optimizer: 'adamwe' is not known to timm (did you mean",
        ),
        (
            ["train.optimizer=adamw", "train.optimizer_options={beta: 0.9}"],
            "train.optimizer_options.beta: adamw has no such option (did you mean betas?)",
        ),
        (["train.layer_decay=0.7", "model.mode=frozen"], "train.layer_decay: model.mode: frozen"),
        (["train.warmup_epochs=99"], "warmup_epochs: must be below epochs"),
        (["train.augment.rand_augment=rand-z9"], "section 'z9' is not known"),
        (["recipe=finetune-bets"], "did you mean finetune-best"),
    ],
)
def test_a_recipe_that_cannot_be_carried_out(settings: list[str], says: str, bench: Bench) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    check(bench, "run", "--all", *options, says=says)


@pytest.mark.parametrize("blocked", ["file", "permissions"])
def test_a_tracking_folder_that_cannot_be_written(
    blocked: str, bench: Bench, tmp_path: Path
) -> None:
    place = tmp_path / "blocked"
    if blocked == "file":
        place.write_text("")
    elif os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    else:
        place.mkdir(mode=0o500)
    check(bench, "run", "--all", "--set", f"tracking.folder={place}", says="is not writable")


def test_an_unreachable_tracking_server(bench: Bench) -> None:
    setting = "tracking.uri=http://127.0.0.1:9"
    check(bench, "run", "--all", "--set", setting, says="tracking.uri: http://127.0.0.1:9 cannot")


def test_a_report_without_runs(bench: Bench) -> None:
    check(bench, "report", says="has no runs with these settings")


def test_pretrained_weights_without_a_hub_fail_with_the_remedy(bench: Bench) -> None:
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    try:
        check(bench, "run", "test_resnet", "--set", "model.weights=pretrained", says="safetensors")
    finally:
        del os.environ["HF_ENDPOINT"]


def test_the_published_study_stops_at_once_without_a_hub(tmp_path: Path) -> None:
    """Before its images are looked for, and with every way out."""
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    done = run_bench(tmp_path, "run", "--all", "-c", "fashion", variables={**environment(), **away})
    assert done.code == 2
    (result,) = (line for line in done.err.splitlines() if line.startswith("bench: "))
    for remedy in ("--set model.weights=FOLDER", "HF_ENDPOINT", "--set model.weights=none"):
        assert remedy in result
    assert not (tmp_path / "mlruns/runs").exists()


@pytest.mark.parametrize("command", [("run", "--all"), ("select", "--budget", "5m")])
def test_a_device_that_is_not_there(command: tuple[str, ...], bench: Bench, tmp_path: Path) -> None:
    check(bench, *command, "--set", "device=cuda:63", says="cuda:63 is not available")
    assert not (tmp_path / "mlruns").exists()


def test_keys_that_override_a_recipe_are_reported(bench: Bench) -> None:
    plan = ("run", "test_resnet", "-c", "tiny.yaml", "--dry-run")
    weaker = bench(*plan, "--set", "recipe=finetune-fast")
    assert weaker.code == 0, weaker.err
    keys = "model.mode, model.standardize_features, train.epochs, train.learning_rate"
    overriding = f"{keys} of tiny.yaml override it"
    assert overriding in weaker.err
    stronger = bench(*plan, "--recipe", "finetune-fast")
    assert stronger.code == 0, stronger.err
    assert "override it" not in stronger.err
    assert "8 epochs" in stronger.err


def test_neither_names_nor_all(bench: Bench) -> None:
    assert bench("run").code == 2
    assert "--all" in bench("run").err
