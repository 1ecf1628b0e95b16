import xml.etree.ElementTree as ElementTree

from pipeline.flow import FLOW, LOGS
from pipeline.picture import ascii_picture, chains, mermaid
from pipeline.picture_svg import svg_picture

SVG = "{http://www.w3.org/2000/svg}"


def test_every_stage_stands_in_one_chain():
    stages = [row.stage for log in LOGS for chain in chains(log) for row in chain]
    assert sorted(stages) == sorted(row.stage for row in FLOW)


def test_the_picture_for_a_terminal_reads_as_the_table():
    shown = ascii_picture([row for row in FLOW if row.stage in ("quota", "safety")])
    assert shown.split("\n\n")[0].splitlines() == [
        "traffic ═══▶ quota ─ admitted ──▶ safety",
        "             └▶ decisions         └▶ decisions",
    ]
    assert all(word in ascii_picture() for row in FLOW for word in (row.stage, row.passes, *row.writes))


def test_mermaid_has_an_edge_for_every_relation():
    edges = [line for line in mermaid().splitlines() if "-->" in line or "==>" in line]
    reads = sum(row.reads in LOGS for row in FLOW)
    passes = sum(bool(row.passes) for row in FLOW)
    writes = sum(len(row.writes) for row in FLOW)
    assert len(edges) == len(set(edges)) == reads + passes + writes


def test_the_svg_is_whole_and_nothing_sticks_out():
    picture = ElementTree.fromstring(svg_picture())
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    for row in FLOW:
        assert row.stage in texts
    width, height = float(picture.get("width")), float(picture.get("height"))
    for box in picture.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_stages_do_not_overlap():
    picture = ElementTree.fromstring(svg_picture())
    boxes = [
        tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
        for box in picture.iter(f"{SVG}rect")
        if box.get("class") == "stage"
    ]
    assert len(boxes) == len(FLOW)
    for index, (x, y, w, h) in enumerate(boxes):
        for ox, oy, ow, oh in boxes[:index]:
            assert x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y
