"""Both renderers show the same scene: bowl, puree, spoon, load, and depth in ticks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ladle.errors import SimulationError
from simulation import expert
from simulation.drawing import DEPTH_SCALE_M
from simulation.gl_renderer import GlRenderer
from simulation.ray_renderer import RayRenderer
from simulation.renderer import Renderer
from simulation.scene_sampling import sample_scene
from simulation.world import RenderState, ScoopWorld

PLAIN_COLOURS = {"puree_rgb": (1.0, 0.5, 0.1), "table_rgb": (0.4, 0.4, 0.4), "bowl_rgb": (0.9, 0.9, 0.9)}
SCENE = replace(sample_scene(1), fill=0.6, **PLAIN_COLOURS)


@pytest.fixture(scope="module")
def states() -> dict[str, RenderState]:
    """The start, the middle of the sweep, and the lifted end of a demonstration."""
    world, plan = ScoopWorld(SCENE), expert.plan(SCENE)
    found = {"start": world.render_state()}
    world.step(plan[:5700])
    found["sweep"] = world.render_state()
    world.step(plan[5700:])
    found["lifted"] = world.render_state()
    return found


@pytest.fixture(scope="module", params=["auto", "rays"])
def renderer(request: pytest.FixtureRequest):
    """What this machine offers, and the renderer that works everywhere."""
    with Renderer(SCENE, request.param) as made:
        yield made


def orange(rgb: np.ndarray) -> np.ndarray:
    """Mask of pixels with the puree's hue."""
    red, _, blue = (rgb[..., i].astype(int) for i in range(3))
    return red - blue > 60


def test_images_have_the_sensors_format(renderer: Renderer, states: dict[str, RenderState]) -> None:
    """RGB bytes and 16-bit ticks of 240x120 pixels from both cameras, with a few drop-outs."""
    for camera in ("hand", "front"):
        rgb, ticks = renderer.render(states["start"], camera)
        assert (rgb.shape, rgb.dtype) == ((120, 240, 3), np.uint8)
        assert (ticks.shape, ticks.dtype) == ((120, 240), np.uint16)
        assert 0.0005 < np.mean(ticks == 0) < 0.2


def test_equal_states_give_equal_images_and_later_ones_other_noise(renderer: Renderer,
                                                                   states: dict[str, RenderState]) -> None:
    """Noise comes from scene, camera and time alone."""
    first, again = renderer.render(states["start"], "hand"), renderer.render(states["start"], "hand")
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    later = renderer.render(replace(states["start"], time_s=1.0), "hand")
    difference = later[0].astype(int) - first[0].astype(int)
    assert 3.0 < difference.std() < 5.0
    assert (later[1] != first[1]).mean() > 0.5


def test_puree_and_load_are_seen(renderer: Renderer, states: dict[str, RenderState]) -> None:
    """The hand camera sees the puree at the start, and the load on a lifted spoon."""
    assert orange(renderer.render(states["start"], "hand")[0]).sum() > 500
    lifted = states["lifted"]
    with_load = orange(renderer.render(lifted, "hand")[0]).sum()
    without = orange(renderer.render(replace(lifted, mass_g=0.0), "hand")[0]).sum()
    assert with_load > without + 50


def test_the_carved_surface_is_drawn(renderer: Renderer, states: dict[str, RenderState]) -> None:
    """A hole in the surface changes what depth and colour show."""
    state = states["start"]
    holed = state.puree_m.copy()
    holed[10:-10, 10:-10] = np.minimum(holed[10:-10, 10:-10], 0.02)
    before, after = renderer.render(state, "hand"), renderer.render(replace(state, puree_m=holed), "hand")
    deeper = after[1].astype(int) - before[1].astype(int)
    assert (deeper > 0.02 / DEPTH_SCALE_M).sum() > 200


def test_depth_is_along_the_optical_axis(renderer: Renderer, states: dict[str, RenderState]) -> None:
    """Points rebuilt from the front camera's depth lie on the table's plane."""
    ticks = np.stack([renderer.render(replace(states["start"], time_s=t / 10), "front")[1] for t in range(5)])
    rows, columns = np.arange(112, 120), np.arange(100, 140)
    depth = np.median(ticks, axis=0)[np.ix_(rows, columns)] * DEPTH_SCALE_M
    half = np.tan(np.deg2rad(20.0))
    y = (1 - 2 * (rows + 0.5) / 120) * half
    x = (2 * (columns + 0.5) / 240 - 1) * half * 2
    in_camera = np.stack([x[None, :] * depth, y[:, None] * depth, -depth], axis=-1)
    at, towards = np.array([1.20, 0.50, 0.48]), np.array([0.50, 0.0, 0.24])
    back = (at - towards) / np.linalg.norm(at - towards)
    right = np.cross([0, 0, 1], back) / np.linalg.norm(np.cross([0, 0, 1], back))
    in_world = in_camera @ np.column_stack([right, np.cross(back, right), back]).T + at
    assert np.abs(in_world[..., 2]).mean() < 0.01


def test_both_renderers_agree(states: dict[str, RenderState]) -> None:
    """The same scene looks the same, so that either may stand in for the other."""
    with Renderer(SCENE, "auto") as first, Renderer(SCENE, "rays") as rays:
        if first.backend == "rays":
            assert isinstance(first._drawer, RayRenderer)
            return
        assert isinstance(first._drawer, GlRenderer)
        for state in states.values():
            images = [r.render(state, "hand") for r in (first, rays)]
            apart = np.abs(images[0][0].astype(int) - images[1][0].astype(int)).max(axis=-1)
            assert np.mean(apart > 25) < 0.02
            deep = np.abs(images[0][1].astype(int) - images[1][1].astype(int))
            assert np.mean(deep > 0.002 / DEPTH_SCALE_M) < 0.02


def test_another_scene_in_the_same_renderer_is_drawn_as_in_its_own(states: dict[str, RenderState]) -> None:
    """A renderer that goes on with another scene draws exactly what a new one would."""
    other = sample_scene(9, "eval")
    state = ScoopWorld(other).render_state()
    with Renderer(SCENE, "rays") as used, Renderer(other, "rays") as fresh:
        used.render(states["lifted"], "hand")
        used.set_scene(other)
        np.testing.assert_array_equal(used.render(state, "hand")[0], fresh.render(state, "hand")[0])


def test_the_bowl_is_in_the_hand_cameras_view_at_the_start_of_every_scene() -> None:
    """A policy that looks can see where to go."""
    with Renderer(SCENE, "rays") as renderer:
        for seed in range(15):
            scene = replace(sample_scene(seed, "eval"), **PLAIN_COLOURS)
            renderer.set_scene(scene)
            rgb, _ = renderer.render(ScoopWorld(scene).render_state(), "hand")
            assert orange(rgb).sum() > 300, seed


def test_without_any_graphics_library_rays_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare machine renders by itself when it may choose, and says why when it may not."""
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with Renderer(SCENE, "auto") as renderer:
        assert renderer.backend == "rays"
    with pytest.raises(SimulationError, match="egl is not installed: use backend 'rays'"):
        Renderer(SCENE, "egl")


def test_an_unknown_backend_is_named() -> None:
    """The message lists what would have worked."""
    with pytest.raises(SimulationError, match=r"'vulkan'.*auto, egl, osmesa, rays"):
        Renderer(SCENE, "vulkan")  # type: ignore[arg-type]
