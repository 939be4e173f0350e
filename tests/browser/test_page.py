"""The editor's page with the pack in it."""

from devtools.contract import NODES

from .editor import SETTINGS


def test_the_page_loads_without_an_error_of_ours_and_knows_our_nodes(editor):
    editor.open(SETTINGS)
    known = editor.page.evaluate("Object.keys(LiteGraph.registered_node_types)")
    assert {name for name in known if name.startswith("Unconditional")} == set(NODES)
    editor.settle()
    assert not editor.complaints()


def test_every_node_can_be_put_into_a_graph(editor):
    for k, name in enumerate(NODES):
        node = editor.add(name)
        editor.page.evaluate(
            "([id, x, y]) => { app.graph.getNodeById(id).pos = [x, y] }",
            [node, k % 5 * 340, k // 5 * 420],
        )
    editor.fit()
    editor.shot("all_nodes")
