"""What the training node shows: the network before a run, then loss, samples and time left."""

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route

from .editor import SETTINGS, Editor

NODE = "UnconditionalTrain"
PLAN = {
    "parameters": 2_650_000,
    "size": [12, 16],
    "channels": 3,
    "memory": 410e6,
    "pictures": 1,
    "notes": ["Skipped 1 file that is not a picture: notes.txt"],
}
PARAMETERS = "2.65 M"


_PLAN_ROUTE = "**/unconditional/training/plan"
_REPORT_ROUTE = "**/unconditional/training?node=*"


class Answers:
    """Answers the panel's requests instead of the host; with ``None`` they fail."""

    def __init__(self, page: Page):
        self.plan: dict[str, Any] | None = PLAN
        self.reports: dict[str, Any] = {}
        self.settings: list[dict[str, Any]] = []
        self._page = page
        page.route(_PLAN_ROUTE, self._plan)
        page.route(_REPORT_ROUTE, self._report)

    def stop(self) -> None:
        """Let the host answer."""
        self._page.unroute(_PLAN_ROUTE)
        self._page.unroute(_REPORT_ROUTE)

    def _plan(self, route: Route) -> None:
        self.settings.append(route.request.post_data_json or {})
        route.abort() if self.plan is None else route.fulfill(json=self.plan)

    def _report(self, route: Route) -> None:
        node = route.request.url.rpartition("=")[2].replace("%3A", ":")
        route.fulfill(json=self.reports.get(node, {}))


@pytest.fixture
def answers(_shared_editor: Editor) -> Iterator[Answers]:
    """The host's answer."""
    found = Answers(_shared_editor.page)
    yield found
    _shared_editor.clear()
    found.stop()


def sheet(colour: str) -> str:
    """The address of a sheet of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (64, 32), colour).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def report(**changed: Any) -> dict[str, Any]:
    """A run at step 400, with a loss of 10 / step; each point is the mean of ten steps."""
    losses = [[step - 4.5, 10 / step] for step in range(10, 401, 10)]
    values = {"name": "model", "state": "training", "first_step": 0, "step": 400, "steps": 1000}
    values |= {"seconds_left": 1210.0, "seconds_per_step": 0.151, "losses": losses}
    values |= {"saved": [100, 200, 300, 400], "grid": None}
    return {**PLAN, **values, "notes": [], **changed}


def grid(**changed: Any) -> dict[str, Any]:
    """Sheets in red, green and blue."""
    sheets = zip(("averaged", "current", "nearest"), ("red", "green", "blue"), strict=True)
    values = {"step": 400, "rows": 2, "columns": 4, "ratio": 0.83, "copies": 0, "samples": 8}
    values |= {"copying": False, **{name: sheet(colour) for name, colour in sheets}}
    return {**values, **changed}


def send(editor: Editor, node: int | str, content: dict[str, Any]) -> None:
    """Send a report to the page as the host does."""
    editor.page.evaluate(
        """([node, report]) =>
             app.api.dispatchCustomEvent('unconditional_training', { node, report })""",
        [str(node), content],
    )


def panel(editor: Editor) -> Locator:
    """The panel in the graph's only training node."""
    return editor.page.locator(".unconditional-training")


def says(editor: Editor, words: str) -> str:
    """Wait until the panel contains this text, and return all of its text."""
    panel(editor).get_by_text(words).wait_for()
    return panel(editor).inner_text()


def add(editor: Editor) -> int:
    """Put a training node into the graph, wait until it says what it would train, and return it."""
    node = editor.add(NODE)
    says(editor, PARAMETERS)
    return node


def height(editor: Editor, node: int) -> float:
    return editor.page.evaluate("(id) => app.graph.getNodeById(id).size[1]", node)


def check_is_within_its_node(editor: Editor, node: int) -> None:
    """The panel's last line is above the lower edge of the node."""
    editor.fit()
    editor.settle()
    area, box = editor.area(node), panel(editor).bounding_box()
    last = panel(editor).locator(".unconditional-report").last.bounding_box()
    assert box
    assert last
    for each in (box, last):
        assert area["x"] <= each["x"]
        assert each["x"] + each["width"] <= area["x"] + area["width"] + 1
        assert each["y"] + each["height"] <= area["y"] + area["height"] + 1
    assert last["y"] + last["height"] <= box["y"] + box["height"] + 1


def control(editor: Editor, node: int, **values: Any) -> None:
    """Set widgets of a node."""
    for name, value in values.items():
        editor.set_widget(node, name, value)


def test_a_run_is_shown_cancelled_and_goes_on_where_it_stopped(editor):
    folder = editor.host.folder / "input" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(12):
        Image.new("RGB", (8, 8), (20 * k, 0, 255)).save(folder / f"{k}.png")
    (folder / "notes.txt").write_text("no picture")
    node = editor.add(NODE)
    values = {"folder": "tiny", "name": "panel/tiny", "size": 0, "network": "small", "steps": 30}
    control(editor, node, **values, batch_size=2, preview_every=15, save_every=10)
    assert "8 × 8" in says(editor, "12 pictures")  # noqa: RUF001
    check_is_within_its_node(editor, node)

    # A whole run.
    assert editor.run() == "success"
    said = says(editor, "panel/tiny: Finished 30 steps")
    for words in ("12 pictures", "16 samples, step 30", "saved 3 times", ".txt (1)"):
        assert words in said
    check_is_within_its_node(editor, node)
    editor.shot("training_real")
    panel(editor).get_by_role("button", name="nearest").click()
    nearest = editor.shot_of(panel(editor).locator("img"), "training_real_nearest")
    assert np.median(nearest[..., 2]) == 255  # the training pictures are all blue

    # More steps, and Cancel.
    editor.set_widget(node, "steps", 1_000_000)
    prompt = editor.start()
    says(editor, "s/step")
    says(editor, "left")
    editor.shot("training_real_running")
    editor.page.get_by_role("button", name="Cancel current run").first.click()
    assert editor.wait(prompt) == "interrupted"
    said = says(editor, "Press Run to continue.")
    stopped = int(re.findall(r"Saved at step (\d+) of 1000000", said)[0])
    assert stopped > 30

    # The state is still there in a page that is loaded again, and Run goes on.
    workflow = editor.saved()
    editor.open(SETTINGS)
    editor.load(workflow)
    says(editor, f"panel/tiny: Stopped. Saved at step {stopped}")
    node = editor.node(NODE)
    editor.set_widget(node, "steps", stopped + 5)
    assert editor.run() == "success"
    says(editor, f"panel/tiny: Finished {stopped + 5} steps")


def test_before_a_run_the_node_says_what_it_would_train(editor, answers):
    node = editor.add(NODE)
    said = says(editor, PARAMETERS)
    for words in ("16 × 12", "3 channels", "410 MB of memory", "1 picture", "notes.txt"):  # noqa: RUF001
        assert words in said
    check_is_within_its_node(editor, node)
    editor.shot("training_plan")


def test_a_changed_widget_is_asked_about_once(editor, answers):
    node = add(editor)
    asked = len(answers.settings)
    answers.plan = {"error": "There are no pictures in cats."}
    for size in (8, 16, 32):
        editor.set_widget(node, "size", size)
    said = says(editor, "There are no pictures in cats.")
    assert "parameters" not in said
    assert "notes.txt" not in said
    assert [settings["size"] for settings in answers.settings[asked:]] == [32]
    assert answers.settings[-1]["linked"] == []


def test_a_linked_input_is_named_in_place_of_its_value(editor, answers):
    node = add(editor)
    answers.plan = {}
    editor.page.evaluate(
        """([from, to]) => {
          const [source, node] = [from, to].map((id) => app.graph.getNodeById(id))
          source.connect(0, node, node.inputs.findIndex(({ name }) => name === 'images'))
        }""",
        [editor.add("EmptyImage"), node],
    )
    says(editor, "Press Run to train")
    assert answers.settings[-1]["linked"] == ["images"]
    assert "images" not in answers.settings[-1]


def test_without_a_host_the_node_says_that_it_can_be_run(editor, answers):
    answers.plan = None
    editor.add(NODE)
    says(editor, "Press Run to train")


def test_a_run_shows_its_time_and_its_loss_with_marks_where_it_was_saved(editor, answers):
    node = add(editor)
    send(editor, node, report(state="reading", name="", losses=[], saved=[], step=3, steps=9))
    says(editor, "Reading the pictures: 3 of 9")
    send(editor, node, report(seconds_left=None, losses=[[1, 1.0]], saved=[], step=1))
    says(editor, "measuring the time")
    send(editor, node, report())
    said = says(editor, "step 400 of 1000")
    assert "20 min left" in said
    assert "0.151 s/step" in said
    marks = panel(editor).locator(".unconditional-marks").get_attribute("d") or ""
    assert marks.count("M") == 4
    ticks = panel(editor).locator("svg .tick").all_text_contents()
    assert {"0.1", "100", "400"} <= set(ticks)
    assert "saved 4 times" in said
    # The smooth line and the thin one go from the left to the right.
    box = panel(editor).locator("svg").bounding_box()
    assert box
    for line in (".curve", ".thin"):
        drawn = panel(editor).locator(line).bounding_box()
        assert drawn
        assert drawn["width"] > 0.7 * box["width"]
        assert drawn["height"] > 0.3 * box["height"]
    check_is_within_its_node(editor, node)
    editor.shot("training_run")


def test_the_step_and_loss_at_the_mouse_are_shown(editor, answers):
    node = add(editor)
    send(editor, node, report())
    value = panel(editor).locator("svg .value")
    value.get_by_text("0.0253").wait_for()  # the mean of the last two points
    editor.fit()
    box = panel(editor).locator("svg .thin").bounding_box()
    assert box
    editor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel(editor).get_by_text(re.compile(r"step \d+: ")).wait_for()
    found = re.fullmatch(r"step (\d+): ([\d.]+)", value.text_content() or "")
    assert found
    step, loss = int(found[1]), float(found[2])
    assert 180 <= step <= 230
    assert loss == pytest.approx(10 / step, rel=0.05)
    # It stays there when the next report comes.
    higher = [[step - 4.5, 1 + step / 100] for step in range(10, 401, 10)]
    send(editor, node, report(losses=higher))
    panel(editor).get_by_text(re.compile(rf"step {step}: [23]")).wait_for()
    editor.page.mouse.move(30, 450)
    value.get_by_text("4.95").wait_for()


def test_buttons_show_samples_of_either_weights_and_the_nearest_training_pictures(editor, answers):
    node = add(editor)
    sheets = grid()
    send(editor, node, report(grid=sheets))
    said = says(editor, "8 samples, step 400")
    assert "Not copying: samples are 0.83 times as far" in said
    image = panel(editor).locator("img")

    def shown() -> str:
        source = image.get_attribute("src")
        return next(name for name, address in sheets.items() if address == source)

    assert shown() == "averaged"
    editor.fit()
    pressed = []
    for button in ("current", "nearest", "nearest", "averaged", "nearest", "nearest"):
        panel(editor).get_by_role("button", name=button).click()
        pressed.append(shown())
        current = panel(editor).locator("[aria-pressed=true]")
        assert current.text_content() == pressed[-1]
    # A second click on 'nearest' goes back to the samples.
    assert pressed == ["current", "nearest", "current", "averaged", "nearest", "averaged"]
    # Reports without new samples keep them, also while the next run reads its pictures.
    send(editor, node, report(state="reading", name=""))
    says(editor, "Reading")
    assert image.is_visible()
    send(editor, node, report(step=410))
    says(editor, "step 410 of 1000")
    assert shown() == "averaged"
    pixels = editor.shot_of(image, "training_samples")
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    assert tuple(middle) == (255, 0, 0)
    check_is_within_its_node(editor, node)
    editor.shot("training_grid")


def test_a_model_that_copies_is_reported_and_notes_are_listed(editor, answers):
    node = add(editor)
    notes = ["The loss jumped at step 320: back to step 300 with half the learning rate."]
    copies = grid(copying=True, copies=5, ratio=0.21)
    send(editor, node, report(grid=copies, notes=notes))
    said = says(editor, "Copying: samples are only 0.21 times as far")
    assert "5 of 8" in said
    assert notes[0] in said
    check_is_within_its_node(editor, node)
    editor.shot("training_copying")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("stopped", "Saved at step 400 of 1000. Press Run to continue."),
        ("finished", "Finished 400 steps"),
        ("failed", "Last saved at step 300 of 1000."),
    ],
)
def test_the_end_of_a_run_is_shown(state, words, editor, answers):
    node = add(editor)
    send(editor, node, report(grid=grid()))
    says(editor, "20 min left")
    send(editor, node, report(state=state, saved=[300]))
    said = says(editor, words)
    assert "min left" not in said
    assert panel(editor).locator("img").is_visible()


def test_a_node_that_was_made_higher_keeps_its_height_and_others_only_grow(editor, answers):
    node = add(editor)
    heights = [height(editor, node)]
    for content in (report(), report(grid=grid()), report(notes=[]), report(state="finished")):
        send(editor, node, content)
        editor.page.wait_for_timeout(200)
        heights.append(height(editor, node))
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] < 500
    assert heights[2] == heights[3], "a report without samples keeps them"
    editor.page.evaluate(
        "([id, height]) => app.graph.getNodeById(id).setSize([500, height])",
        [node, heights[-1] + 300],
    )
    send(editor, node, report(step=420))
    says(editor, "step 420 of 1000")
    assert height(editor, node) == heights[-1] + 300
    check_is_within_its_node(editor, node)


def test_a_page_that_is_loaded_during_a_run_shows_it(editor, answers):
    node = add(editor)
    editor.set_widget(node, "name", "cats")
    workflow = editor.saved()
    answers.reports = {str(node): report(name="cats_00002", grid=grid())}
    editor.clear()
    editor.load(workflow)
    said = says(editor, "step 400 of 1000")
    assert "cats_00002: step" in said
    assert "8 samples" in said
    # The events of the same run go on from there.
    send(editor, node, report(name="cats_00002", step=410))
    says(editor, "step 410 of 1000")
    assert panel(editor).locator("img").is_visible()


def test_the_run_of_another_model_is_not_shown_in_a_loaded_workflow(editor, answers):
    node = add(editor)
    editor.set_widget(node, "name", "cats")
    workflow = editor.saved()
    answers.reports = {str(node): report(name="dogs")}
    editor.clear()
    editor.load(workflow)
    assert "step 400" not in says(editor, PARAMETERS)


def test_a_run_ends_in_the_page_when_the_host_was_restarted(editor, answers):
    node = add(editor)
    send(editor, node, report(step=420))
    says(editor, "step 420 of 1000")
    editor.page.evaluate("() => app.api.dispatchCustomEvent('reconnected')")
    says(editor, "Saved at step 400 of 1000. Press Run to continue.")


def test_a_node_in_a_subgraph_shows_its_run(editor, answers):
    node = add(editor)
    outer, inner = editor.page.evaluate(
        """(id) => {
          const node = app.graph.getNodeById(id)
          const { subgraph, node: outer } = app.graph.convertToSubgraph(new Set([node]))
          return [outer.id, subgraph.nodes[0].id]
        }""",
        node,
    )
    open_subgraph = """(id) => {
      const outer = app.graph.getNodeById(id)
      app.canvas.openSubgraph(outer.subgraph, outer)
    }"""
    workflow = editor.saved()
    editor.page.evaluate(open_subgraph, outer)
    says(editor, PARAMETERS)
    send(editor, f"{outer}:{inner}", report())
    says(editor, "step 400 of 1000")
    # The node with the same id outside is another one.
    send(editor, str(inner), report(step=410))
    assert "step 410" not in panel(editor).inner_text()

    answers.reports = {f"{outer}:{inner}": report(name=answers.settings[-1]["name"], step=420)}
    editor.page.evaluate("() => app.canvas.setGraph(app.rootGraph)")
    editor.load(workflow)
    editor.page.evaluate(open_subgraph, outer)
    says(editor, "step 420 of 1000")
    editor.page.evaluate("() => app.canvas.setGraph(app.rootGraph)")


def test_a_chinese_editor_shows_a_run_in_chinese(chinese, answers):
    node = add(chinese)
    send(chinese, node, report(grid=grid()))
    said = says(chinese, "剩余 20 分钟")
    assert "第 400 步" in said
    assert "没有照抄" in said
    check_is_within_its_node(chinese, node)
    chinese.shot("training_zh")


def test_nodes_of_the_page_show_a_run_whole(modern, answers):
    node = add(modern)
    send(modern, node, report(grid=grid()))
    says(modern, "step 400 of 1000")
    modern.page.locator(f"[data-node-id='{node}'] .unconditional-training img").wait_for()
    check_is_within_its_node(modern, node)
    modern.shot("training_modern")
