"""Procedural scenes: reproducible, exactly labelled, and showing what the labels say."""

import math
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from pydantic import ValidationError

from jepakit.data.sources.procedural_scenes import DISTANCE_EDGES, ProceduralScenes
from jepakit.data.sources.scenes.description import COLOURS, RADII
from jepakit.data.sources.scenes.rendering import visible_objects

NUM_SCENES = 60


def scenes(**settings: object) -> ProceduralScenes:
    return ProceduralScenes(ProceduralScenes.Settings(**settings))


def test_the_same_index_gives_the_same_sample_in_another_instance_and_order() -> None:
    first, second = scenes(), scenes()
    forwards = [first.sample(index) for index in range(5)]
    backwards = [second.sample(index) for index in reversed(range(5))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a.picture, b.picture)
        assert (a.name, a.label) == (b.name, b.label)


def test_another_process_draws_the_same_picture() -> None:
    code = (
        "import zlib; from jepakit.data.sources.procedural_scenes import ProceduralScenes as P;"
        "print(zlib.crc32(P(P.Settings()).sample(7).picture.tobytes()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1"},
    ).stdout
    assert int(printed) == zlib.crc32(scenes().sample(7).picture.tobytes())


def test_indices_and_seeds_give_different_scenes() -> None:
    pictures = [scenes().sample(index).picture for index in range(20)]
    assert len({picture.tobytes() for picture in pictures}) == 20
    assert scenes().scene(3) != scenes(seed=1).scene(3)


@pytest.mark.parametrize("size", [(8, 8), (32, 48), (65, 33), (64, 64)])
def test_pictures_have_the_asked_size_and_are_not_flat(size: tuple[int, int]) -> None:
    source = scenes(size=size)
    for index in range(4):
        sample = source.sample(index)
        assert sample.picture.shape == (*size, 3)
        assert sample.picture.dtype == np.uint8
        assert sample.picture.std(axis=(0, 1)).min() > 3
        assert 30 < sample.picture.mean() < 225


def test_one_number_is_a_square() -> None:
    assert scenes(size=96).settings.size == (96, 96)
    assert ProceduralScenes.Settings.model_validate_json('{"size": [32, 64]}').size == (32, 64)


def test_size_does_not_change_the_scene() -> None:
    small, large = scenes(size=32), scenes(size=(96, 200))
    for index in range(10):
        assert small.scene(index) == large.scene(index)
        assert small.labels(index) == large.labels(index)
    # Averaged down, the larger picture's central square is nearly the smaller picture.
    centre = large.sample(0).picture[:, 52:148].astype(float)
    shrunk = centre.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.sample(0).picture).mean() < 6


def test_every_object_is_visible_and_inside_the_central_square() -> None:
    source = scenes()
    for index in range(NUM_SCENES):
        scene = source.scene(index)
        seen = visible_objects(scene, (64, 64))
        samples = np.bincount(seen[seen >= 0], minlength=len(scene.objects))
        assert len(samples) == len(scene.objects)
        assert samples.min() >= 4  # one pixel
    for size in ((32, 64), (64, 32)):
        for index in range(NUM_SCENES):
            seen = visible_objects(source.scene(index), size)
            wide = seen if size[0] < size[1] else seen.T
            assert (wide[:, :32] == -1).all()
            assert (wide[:, 96:] == -1).all()


def test_objects_are_seen_where_and_as_they_are_described() -> None:
    source = scenes(size=128)
    checked = 0
    for index in range(NUM_SCENES):
        scene = source.scene(index)
        seen = visible_objects(scene, (128, 128))
        nearest = scene.objects.index(scene.nearest)
        rows, columns = np.nonzero(seen == nearest)
        if scene.nearest.shape == "sphere" and len(rows) > 1000:
            column, row = scene.nearest.image_position
            assert abs((columns.min() + columns.max() + 1) / 512 - column) < 0.02
            assert abs((rows.min() + rows.max() + 1) / 512 - row) < 0.02
            # The closed form of a ball's ellipse under perspective.
            item, focal = scene.nearest, scene.camera.focal * 128
            square = item.half_width**2
            stretch = math.sqrt(item.distance**2 - square) / (item.depth**2 - square) ** 1.5
            assert len(rows) == pytest.approx(math.pi * focal**2 * square * stretch, rel=0.02)
            checked += 1
    assert checked > 5


def test_a_nearer_object_hides_a_farther_one() -> None:
    source = scenes(num_objects=(10, 10))
    hidden = 0
    for index in range(10):
        scene = source.scene(index)
        seen = visible_objects(scene, (64, 64))
        for number, item in enumerate(scene.objects):
            column, row = item.image_position
            shown = int(seen[int(row * 128), int(column * 128)])
            assert shown >= 0  # a centre shows the object itself or whatever hides it
            if shown != number:
                assert scene.objects[shown].depth < item.depth
                hidden += 1
    assert hidden > 0


def test_paint_shows_its_colour() -> None:
    source = scenes(size=64)
    strongest = {"red": 0, "green": 1, "blue": 2}
    agree = []
    for index in range(NUM_SCENES):
        scene = source.scene(index)
        picture = source.sample(index).picture
        seen = visible_objects(scene, (64, 64))[::2, ::2]
        for number, item in enumerate(scene.objects):
            if item.colour in strongest and (seen == number).sum() > 20:
                mean = picture[seen == number].mean(axis=0)
                agree.append(int(mean.argmax()) == strongest[item.colour])
    assert len(agree) > 50
    assert np.mean(agree) > 0.97


def test_objects_cast_shadows() -> None:
    """The ground darkens beside the objects on the side away from the lamp."""
    source = scenes(size=128)
    darker = []
    for index in range(NUM_SCENES):
        scene = source.scene(index)
        picture = source.sample(index).picture.mean(axis=2)
        seen = visible_objects(scene, (128, 128))[::2, ::2]
        item = scene.nearest
        aside = 1.35 * item.half_width * (-1 if scene.light.direction[0] > 0 else 1)
        places = []
        for offset in (aside, -aside):
            x, y, _ = item.position
            column, row, _ = scene.camera.project(x + offset, y, 0.0)
            places.append((min(int(row * 128), 127), min(max(int(column * 128), 0), 127)))
        if all(seen[place] == -1 for place in places) and abs(scene.light.direction[0]) > 0.5:
            darker.append(picture[places[0]] < picture[places[1]])
    assert len(darker) > 10
    assert np.mean(darker) > 0.8


def test_objects_do_not_touch() -> None:
    for index in range(NUM_SCENES):
        objects = scenes(num_objects=(8, 10)).scene(index).objects
        for number, a in enumerate(objects):
            for b in objects[:number]:
                apart = math.dist(a.position[:2], b.position[:2])
                assert apart >= a.half_width + b.half_width


def test_labels_tell_the_scene() -> None:
    source = scenes()
    for index in range(NUM_SCENES):
        scene, labels = source.scene(index), source.labels(index)
        camera = (0.0, -scene.camera.distance, scene.camera.height)
        distances = [math.dist(camera, item.position) for item in scene.objects]
        nearest = scene.objects[int(np.argmin(distances))]
        assert labels["nearest_distance"] == pytest.approx(min(distances))
        assert labels["nearest_distance_class"] == sum(
            edge <= min(distances) for edge in DISTANCE_EDGES
        )
        assert labels["count"] == source.label(index) == len(scene.objects) - 3
        for name in ("shape", "colour", "material", "size"):
            classes = source.tasks[f"nearest_{name}"]
            assert classes[labels[f"nearest_{name}"]] == getattr(nearest, name)
        assert (labels["nearest_column"], labels["nearest_row"]) == nearest.image_position
        assert nearest.position[2] == nearest.height / 2
        assert nearest.half_width <= 1.05 * RADII[nearest.size]


def test_sample_agrees_with_name_and_label() -> None:
    source = scenes(first=12)
    sample = source.sample(0)
    assert sample.name == source.name(0) == "scene-000012"
    assert sample.label == source.label(0)
    assert source.classes[sample.label] == str(len(source.scene(0).objects))


def test_classes_are_about_equally_frequent() -> None:
    source = scenes()
    labels = [source.labels(index) for index in range(500)]
    for task, classes in source.tasks.items():
        share = np.bincount([item[task] for item in labels], minlength=len(classes)) / len(labels)
        assert len(share) == len(classes)
        assert (share * len(classes)).min() > 0.55, task
        assert (share * len(classes)).max() < 1.5, task


@pytest.mark.parametrize("limits", [(3, 3), (5, 7), (10, 10)])
def test_number_of_objects_stays_within_its_limits(limits: tuple[int, int]) -> None:
    source = scenes(num_objects=limits)
    counts = {len(source.scene(index).objects) for index in range(40)}
    assert counts == set(range(limits[0], limits[1] + 1))


def test_ranges_of_scenes_are_disjoint_splits_of_one_series() -> None:
    train, test = scenes(num_pictures=10), scenes(num_pictures=5, first=10)
    everything = scenes(num_pictures=15)
    names = [source.name(index) for source in (train, test) for index in range(len(source))]
    assert names == [everything.name(index) for index in range(15)]
    assert test.scene(2) == everything.scene(12)


def test_indices_outside_are_refused() -> None:
    source = scenes(num_pictures=4)
    for index in (-1, 4):
        with pytest.raises(IndexError, match="0 to 3"):
            source.sample(index)


def test_fingerprint_follows_the_settings() -> None:
    prints = {
        scenes(**settings).fingerprint()
        for settings in ({}, {"seed": 1}, {"size": 32}, {"first": 5}, {"num_objects": (3, 4)})
    }
    assert len(prints) == 5
    assert scenes().fingerprint() == scenes(size=(64, 64)).fingerprint()


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"size": 4}, "8 or more"),
        ({"num_objects": (2, 5)}, "fewest, most"),
        ({"num_objects": (6, 5)}, "fewest, most"),
        ({"num_objects": (3, 11)}, "fewest, most"),
        ({"num_pictures": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        scenes(**settings)


def test_colours_are_those_of_the_task() -> None:
    assert scenes().tasks["nearest_colour"] == COLOURS
    assert len(COLOURS) == 8


def test_without_textures_the_objects_and_labels_stay() -> None:
    textured = ProceduralScenes(ProceduralScenes.Settings(num_pictures=3))
    plain = ProceduralScenes(ProceduralScenes.Settings(num_pictures=3, textures=False))
    assert plain.fingerprint() != textured.fingerprint()
    for index in range(3):
        assert plain.labels(index) == textured.labels(index)
        assert plain.scene(index).background.ground.pattern == "plain"
        assert plain.scene(index).background.wall.pattern == "plain"
