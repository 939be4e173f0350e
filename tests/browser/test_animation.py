"""Animated pictures in the node that made them."""

from graphs import graph


def test_an_animation_plays_in_its_node_and_not_over_the_page(editor):
    prompt = graph(seed=1, batch_size=3, format="animated webp", scale=8)
    editor.load_prompt(prompt)
    assert editor.run() == "success"
    picture = editor.page.locator(".dom-widget img")
    picture.wait_for()
    editor.page.wait_for_function(
        "() => document.querySelector('.dom-widget img').naturalWidth === 128"
    )
    for _ in range(3):
        editor.settle()
    editor.shot("animation")
    shown, node = picture.bounding_box(), editor.area(editor.node("UnconditionalImageOutput"))
    assert shown is not None
    assert shown["x"] >= node["x"] - 1
    assert shown["y"] >= node["y"] - 1
    assert shown["x"] + shown["width"] <= node["x"] + node["width"] + 1
    assert shown["y"] + shown["height"] <= node["y"] + node["height"] + 1
