"""Reading recipes."""

from pathlib import Path

import pytest

from fvdeblur import networks
from fvdeblur.datasets import BlurSettings
from fvdeblur.errors import UsageError
from fvdeblur.networks import WindowShape
from fvdeblur.training import TrainConfig, load_config
from fvdeblur.training.guides import Guide
from fvdeblur.training.loop import learning_rate

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def test_an_empty_recipe_is_the_defaults(recipe: Path) -> None:
    recipe.write_text("")
    assert load_config(recipe) == TrainConfig()


def test_values_and_overrides(recipe: Path) -> None:
    recipe.write_text(
        'data = "there"\nsteps = 7\nema = 0\n[network_options]\nwidths = [8, 16]\n'
        "[blur]\nsize = 160\nspeed = [1, 2.5]\nstrides = [2]\n"
    )
    config = load_config(recipe, steps=9, data=None)
    assert (config.data, config.steps, config.ema) == ("there", 9, 0)
    assert config.network_options == {"widths": [8, 16]}
    assert config.blur == BlurSettings(size=160, speed=(1, 2.5), strides=(2,))


@pytest.mark.parametrize("name", ["chrysos2017", "dfpgnet", "fvd", "ren2019"])
def test_the_recipes_fit(name: str) -> None:
    config = load_config(MODELS / name / "train.toml", data="somewhere")
    assert config.network == name
    network = networks.create(config.network, **config.network_options)
    assert config.patch % network.multiple == 0
    Guide(WindowShape.of(network))  # what it wants can be made


def test_the_reference_recipe_of_ren2019_is_the_papers() -> None:
    """Sections 3.2 and 4.1: Adam at 1e-4, times 0.3 every 50,000 of 400,000 steps, 16 patches of 256x256, L_c."""
    config = load_config(MODELS / "ren2019" / "reference.toml", data="somewhere")
    assert (config.optimiser, config.loss, config.schedule) == ("adam", "euclidean", "steps")
    assert (config.steps, config.batch, config.patch) == (400_000, 16, 256)
    assert (config.frequency_weight, config.log_error_weight, config.weight_decay) == (0, 0, 0)
    assert config.protocols == {"average-5": 1.0}
    expected = {0: 1e-4, 49_999: 1e-4, 50_000: 3e-5, 399_999: 1e-4 * 0.3**7}
    for step, rate in expected.items():
        assert learning_rate(config, step) == pytest.approx(rate)
    network = networks.create(config.network, **config.network_options)
    assert WindowShape.of(network) == WindowShape(5, 4, takes_flow=False, prior_channels=3, identity_size=80)
    assert network.head.weight.shape == (32, 15, 5, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step = 3", "unknown key 'step'; known are: .*steps"),
        ("[blur]\nsped = [1, 2]", "unknown key 'blur.sped'; known are: .*speed"),
        ('steps = "many"', "steps must be int, not 'many'"),
        ("steps = 1.5", "steps must be int"),
        ("steps = true", "steps must be int"),
        ("data = 3", "data must be str"),
        ("network_options = 3", "network_options must be dict"),
        ('learning_rate = "fast"', "learning_rate must be float"),
        ("blur = 3", "blur must be a table"),
        ("[blur]\nspeed = 3.0", "blur.speed must be a list of float"),
        ('[blur]\nspeed = ["slow", "fast"]', "blur.speed must be a list of float"),
        ("[blur]\nstrides = [1.5]", "blur.strides must be a list of int"),
        ("[blur]\nspeed = [3.0]", "blur.speed must be two numbers"),
        ("[blur]\nspeed = [3.0, 1.0]", "blur.speed must be two numbers, the smaller first"),
        ("[blur]\nspeed = [0, 1.0]", "blur.speed must be above 0"),
        ("[blur]\nexposure = [-1, 1.0]", "blur.exposure must be above 0"),
        ("[blur]\nscale = []", "blur.scale must be two numbers"),
        ("[blur]\nstrides = []", "blur.strides must be whole numbers from 1"),
        ("[blur]\nstrides = [0]", "blur.strides must be whole numbers from 1"),
        ("[blur]\nnoise = -1", "blur.noise must not be negative"),
        ("[blur]\nshake_share = 2", r"blur.shake_share must lie in 0\.\.1"),
        ("stills_share = 1.5", r"stills_share must lie in 0\.\.1"),
        ("patches_per_segment = 0", "patches_per_segment must be at least 1"),
        ("workers = -1", "workers must not be negative"),
        ("ema = 1", "ema must be at least 0 and below 1"),
        ("prior_dropout = 1.1", r"prior_dropout must lie in 0\.\.1"),
        ("photograph_share = -0.1", r"photograph_share must lie in 0\.\.1"),
        ("regressor = 3", "regressor must be str"),
        ('loss = "l1"', "loss must be one of charbonnier, euclidean"),
        ('optimiser = "lion"', "optimiser must be one of muon, adam, sgd"),
        ('schedule = "linear"', "schedule must be one of cosine, steps"),
        ("decay_steps = 0", "decay_steps must be at least 1"),
        ("decay = 0", "decay must be above 0 and at most 1"),
        ("prior_weight = -1", "prior_weight must not be negative"),
        ("adversarial_weight = -0.1", "adversarial_weight must not be negative"),
        ("discriminator_attention = 1", "discriminator_attention must be bool"),
        ("[protocols]\nhaze = 0.1", "unknown protocol 'haze'; known are: average-5"),
        ("[protocols]\ngaussian = 2", r"protocols.gaussian must lie in 0\.\.1"),
        ('[protocols]\ngaussian = "often"', r"protocols.gaussian must lie in 0\.\.1"),
        ("[protocols]\ngaussian = 0.7\njung = 0.6", "protocols must not be more than 1 together"),
        ("protocols = 3", "protocols must be dict"),
        ("patch = 193", r"patch \(193\) must not be larger than blur.size \(192\)"),
        ("steps =", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named(recipe: Path, text: str, expected: str) -> None:
    recipe.write_text(text)
    with pytest.raises(UsageError, match=expected) as caught:
        load_config(recipe)
    assert str(caught.value).startswith(f"{recipe}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe\.toml: cannot be read \(No such file"):
        load_config(recipe)
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory"):
        load_config(tmp_path)
    recipe.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_config(recipe)


def test_zero_exposure_is_allowed(recipe: Path) -> None:
    recipe.write_text("[blur]\nexposure = [0, 0]\n")
    assert load_config(recipe).blur.exposure == (0, 0)
