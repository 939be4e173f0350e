"""The editor's other way of showing nodes: as elements of the page (Nodes 2.0)."""

import re

from templates import saved


def test_a_template_runs_and_shows_its_picture_and_its_report(modern):
    modern.load(saved("quick_start_pndm"))
    assert modern.run() == "success"
    output = modern.page.locator(f"[data-node-id='{modern.node('UnconditionalImageOutput')}']")
    output.locator("img").first.wait_for()
    modern.page.wait_for_function(
        "(image) => image.complete && image.naturalWidth === 536",
        arg=output.locator("img").first.element_handle(),
    )
    sampler = modern.page.locator(f"[data-node-id='{modern.node('UnconditionalPNDMSampler')}']")
    report = sampler.locator(".unconditional-report")
    report.wait_for()
    assert re.search("20 steps", report.inner_text())
    modern.fit()
    modern.shot("modern_run")


def test_the_schedule_is_drawn_in_its_node(modern):
    loader = modern.add("UnconditionalUNetLoader")
    node = modern.add("UnconditionalShowSchedule")
    modern.page.evaluate(
        """([from, to]) => {
          const [loader, node] = [from, to].map((id) => app.graph.getNodeById(id))
          node.pos = [loader.pos[0] + 400, loader.pos[1]]
          loader.connect(0, node, 0)
        }""",
        [loader, node],
    )
    modern.fit()
    assert modern.run() == "success"
    plot = modern.page.locator(f"[data-node-id='{node}'] .unconditional-schedule svg")
    plot.wait_for()
    box = plot.bounding_box()
    assert box
    assert box["width"] > 200 < box["height"]
    modern.fit()
    modern.shot("modern_schedule")
