"""Runs that fail and runs that are cancelled, as the user sees them."""

from typing import Any

from graphs import graph

from .editor import Editor


def failed_nodes(editor: Editor) -> Any:
    """The nodes that the editor draws a red border around."""
    return editor.page.evaluate(
        """() => app.graph._nodes
             .filter((node) => node.strokeStyles?.executionError?.call(node))
             .map((node) => node.type)"""
    )


def fails(editor: Editor, node: str, words: str) -> None:
    """Run, and check that the node is marked and the message is where users see it."""
    assert editor.run() == "error"
    editor.page.get_by_test_id("error-overlay").wait_for()
    assert failed_nodes(editor) == [node]
    editor.shot("error_overlay")
    editor.page.get_by_test_id("error-overlay-see-errors").click()
    editor.page.get_by_test_id("runtime-error-panel").get_by_text(words).first.wait_for()
    editor.shot("error_panel")


def test_an_error_is_shown_on_its_node_with_our_words(editor):
    editor.load_prompt(graph(denoise=0.5))
    words = "Connect 'Image to Pixel Latent', or set denoise to 1."
    fails(editor, "UnconditionalPNDMSampler", words)


def test_after_an_error_the_mended_graph_runs(editor):
    editor.load_prompt(graph(denoise=0.5))
    assert editor.run() == "error"
    editor.set_widget(editor.node("UnconditionalPNDMSampler"), "denoise", 1)
    assert editor.run() == "success"
    assert editor.pictures(editor.node("UnconditionalImageOutput"))
    assert failed_nodes(editor) == []


def test_cancel_stops_a_long_run_empties_the_queue_and_the_next_run_works(editor):
    editor.load_prompt(graph("DDPM", steps=1000, batch_size=64))
    prompt = editor.start()
    editor.page.wait_for_function("(id) => seenByTests.progress[id] >= 3", arg=prompt)
    editor.shot("running")
    editor.page.get_by_role("button", name="Cancel current run").first.click()
    assert editor.wait(prompt) == "interrupted"
    assert editor.page.evaluate("(id) => seenByTests.progress[id]", prompt) < 500
    editor.page.wait_for_function(
        """async () => {
          const { exec_info } = await (await fetch('/api/prompt')).json()
          return exec_info.queue_remaining === 0
        }"""
    )
    editor.page.get_by_test_id("active-jobs-indicator").wait_for(state="detached")

    sampler = editor.node("UnconditionalDDPMSampler")
    editor.set_widget(sampler, "steps", 10)
    editor.set_widget(sampler, "batch_size", 1)
    assert editor.run() == "success"
    assert editor.pictures(editor.node("UnconditionalImageOutput"))
    editor.shot("after_cancel")
